"""Files of weights: read without running any code in them, refused in one sentence, written."""

from __future__ import annotations

import os
import pickle
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tests.model.styles import (
    CONV,
    NO_FILE,
    model_of,
    saved,
    shaken,
    state,
)
from vitc_inspect.common.errors import SpecError
from vitc_inspect.model import checkpoints
from vitc_inspect.model.checkpoint_formats import SAVE
from vitc_inspect.model.checkpoints import load_weights, save_weights
from vitc_inspect.model.modules import build_stem
from vitc_inspect.model.weight_matching import match_weights


@pytest.mark.parametrize(
    "wrap",
    [
        lambda t: {"state_dict": t, "epoch": 3},
        lambda t: {"model": t, "optimizer": {"lr": 0.1}},
        lambda t: {"model_ema": t},
        lambda t: {"model": {"state_dict": t}},
        lambda t: {f"module.{key}": value for key, value in t.items()},
        lambda t: {f"_orig_mod.module.{key}": value for key, value in t.items()},
        lambda t: {f"module._orig_mod.{key}": value for key, value in t.items()},
        lambda t: {"state_dict": {f"module.base_encoder.{key}": t[key] for key in t}},
        lambda t: {**t, "epoch": 3, "names": ["a"], 7: "b"},
        lambda t: {key: nn.Parameter(value) for key, value in t.items() if "num_" not in key},
        lambda t: {key: value for key, value in t.items() if "num_batches" not in key},
    ],
)
@pytest.mark.parametrize("modern", [True, False])
def test_what_training_programs_put_around_the_weights_is_taken_off(tmp_path, wrap, modern):
    tensors, path = state(), tmp_path / "a.pt"
    torch.save(wrap(tensors), path, _use_new_zipfile_serialization=modern)
    checkpoint = load_weights(path)
    assert checkpoint.tensors.keys() == {key for key in tensors if "num_batches" not in key}
    assert checkpoint.notes == match_weights(checkpoint, model_of(CONV)).notes == ()
    assert match_weights(checkpoint, model_of(CONV)).error is None


class Evil:
    """Makes a directory when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("modern", [True, False])
@pytest.mark.parametrize(
    "place", [lambda t, e: {**t, "x": e}, lambda t, e: {"model": t, "args": e}]
)
def test_a_pickle_that_wants_to_run_something_is_refused_and_does_not(tmp_path, modern, place):
    mark, path = tmp_path / "ran", tmp_path / "evil.pt"
    torch.save(place(state(), Evil(mark)), path, _use_new_zipfile_serialization=modern)
    with pytest.raises(SpecError) as caught:
        load_weights(path)
    why = (
        "it asks for posix.mkdir, and nothing in a file is ever run"
        if modern
        else "it is damaged, or asks for more than tensors, and nothing in a file is ever run"
    )
    assert str(caught.value) == f"weights = 'evil.pt': {why}. {SAVE}."
    assert caught.value.field == "weights"
    assert not mark.exists()
    torch.load(path, weights_only=False)  # else the test itself would be harmless
    assert mark.exists()


@pytest.mark.parametrize("protocol", range(6))
def test_a_plain_pickle_is_refused_and_does_not_run(tmp_path, protocol):
    mark, path = tmp_path / "ran", tmp_path / "evil.pth"
    path.write_bytes(pickle.dumps(Evil(mark), protocol=protocol))
    with pytest.raises(SpecError) as caught:
        load_weights(path)
    assert "\n" not in str(caught.value)
    assert not mark.exists()


def test_a_whole_module_is_refused(tmp_path):
    torch.save(nn.Sequential(nn.Linear(2, 2)), tmp_path / "module.pt")
    with pytest.raises(SpecError) as caught:
        load_weights(tmp_path / "module.pt")
    assert str(caught.value) == (
        "weights = 'module.pt': it asks for torch.nn.modules.container.Sequential,"
        " torch.nn.modules.linear.Linear, and nothing in a file is ever run."
        ' Save the state_dict alone, torch.save(model.state_dict(), "model.pt").'
    )


def test_a_compressed_archive_is_refused_before_it_is_unpacked(tmp_path):
    saved(state(), tmp_path / "a.pt")
    with (
        zipfile.ZipFile(tmp_path / "a.pt") as plain,
        zipfile.ZipFile(tmp_path / "b.pt", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for part in plain.infolist():
            packed.writestr(part.filename, plain.read(part))
    with pytest.raises(SpecError, match=r"^weights = 'b.pt': the file is cut short or damaged\. "):
        load_weights(tmp_path / "b.pt")


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("nobody.pt", f"weights = 'nobody.pt': there is no such file. {NO_FILE}"),
        ("", f"weights = '': there is no such file. {NO_FILE}"),
        (Path("."), f"weights = '.': it is a folder. {NO_FILE}"),
        (
            "https://example.org/a.pt",
            f"weights = 'https://example.org/a.pt': it is an address, and only files are read."
            f" {NO_FILE}",
        ),
        ("a\0b", f"weights = 'a\\x00b': there is no such file. {NO_FILE}"),
        ("a" * 5000, f"weights = '{'a' * 58}…: there is no such file. {NO_FILE}"),
        (7, f"weights = 'int': it is not a path. {NO_FILE}"),
    ],
)
def test_a_path_that_leads_nowhere_is_refused(path, sentence):
    with pytest.raises(SpecError) as caught:
        load_weights(path)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "it is empty. Use a whole file."),
        (b"Dear reader", "it is neither a safetensors file nor one of torch.save. Use a"),
        (b"PK\3\4", "the file is cut short or damaged. Use a whole file."),
        (b"\x80\2", "the file is cut short or damaged. Use a whole file."),
        (b"\x10\0\0\0\0\0\0\0{}", "the file is cut short or damaged. Use a whole file."),
        (b"\xff" * 8 + b"{}", "the file is cut short or damaged. Use a whole file."),
    ],
)
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path, content, sentence):
    (tmp_path / "odd.bin").write_bytes(content)
    with pytest.raises(SpecError) as caught:
        load_weights(tmp_path / "odd.bin")
    assert str(caught.value).startswith(f"weights = 'odd.bin': {sentence}")


def test_a_file_that_is_too_large_is_not_opened(tmp_path, monkeypatch):
    path = saved(state(), tmp_path / "a.safetensors")
    size = path.stat().st_size
    monkeypatch.setattr(checkpoints, "MAX_FILE_BYTES", size)
    load_weights(path)
    monkeypatch.setattr(checkpoints, "MAX_FILE_BYTES", size - 1)
    with pytest.raises(SpecError) as caught:
        load_weights(path)
    assert str(caught.value) == (
        f"weights = 'a.safetensors': its {size:,} bytes are more than {size - 1:,}."
        " Use a file of the weights alone."
    )


@pytest.mark.parametrize("kind", ["safetensors", "zip", "pickle"])
def test_a_damaged_file_is_one_sentence_or_still_tensors(tmp_path, kind):
    whole, path = tmp_path / f"whole.{kind}", tmp_path / "damaged"
    if kind == "safetensors":
        save_file(state(), whole)
    else:
        torch.save(state(), whole, _use_new_zipfile_serialization=kind == "zip")
    content = whole.read_bytes()
    generator = torch.Generator().manual_seed(0)
    for turn in range(60):
        place, value = (int(n) for n in torch.randint(0, 10**9, (2,), generator=generator))
        if turn % 3 == 0:
            damaged = content[: place % len(content)]
        else:  # one byte, half of the time among the first, where structure stands
            at = place % (len(content) if turn % 3 == 1 else 2000)
            damaged = content[:at] + bytes([value % 256]) + content[at + 1 :]
        path.unlink(missing_ok=True)  # what is mapped from the last one stays whole
        path.write_bytes(damaged)
        with suppress(SpecError):
            match_weights(load_weights(path), model_of(CONV))


@pytest.mark.parametrize(
    "content", [{}, {"a": 1}, [torch.zeros(2)], torch.zeros(2), 7, {"model": 1}]
)
def test_a_file_without_named_tensors_is_refused(tmp_path, content):
    with pytest.raises(SpecError) as caught:
        load_weights(saved(content, tmp_path / "a.pt"))
    assert str(caught.value) == (
        "weights = 'a.pt': it holds no weights by name. Use a file made from a state_dict."
    )


def test_a_mapping_that_holds_itself_ends(tmp_path):
    around: dict[str, Any] = {}
    around["model"] = around
    with pytest.raises(SpecError, match="it holds no weights by name"):
        load_weights(saved(around, tmp_path / "a.pt"))


def test_tensors_that_are_no_plain_numbers_are_left_out_by_name(tmp_path):
    odd = {
        "a": torch.ones(2, dtype=torch.int64),
        "b": torch.zeros(2, 2).to_sparse(),
        "c": torch.empty(2, device="meta"),
        "d": torch.zeros(2, dtype=torch.complex64),
    }
    checkpoint = load_weights(saved({**state(), **odd}, tmp_path / "a.pt"))
    assert checkpoint.notes == (
        "Left out, since not plain floating-point numbers: a, b, c and 1 more.",
    )
    assert match_weights(checkpoint, CONV).error is None


def test_a_file_may_be_replaced_while_its_tensors_are_held(tmp_path):
    path = tmp_path / "a.safetensors"
    module = shaken(build_stem(CONV))
    save_weights(module, path)
    held = load_weights(path).tensors["pos_embed.table"]
    before = held.clone()
    save_weights(build_stem(CONV, seed=9), path)
    assert torch.equal(held, before)
    assert not torch.equal(load_weights(path).tensors["pos_embed.table"], before)


@pytest.mark.parametrize("name", ["no/folder/a.safetensors", ".", "a\0b"])
def test_a_file_that_cannot_be_written_is_one_sentence(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpecError) as caught:
        save_weights(build_stem(CONV), name)
    assert caught.value.field == "weights"
    assert str(caught.value).endswith(": it cannot be written. Use a folder that may be written.")
    assert list(tmp_path.iterdir()) == []
