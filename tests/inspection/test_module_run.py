"""A module from the command line: read anew, watched, tried on a picture."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from tests import faulty
from vitc_inspect.common.errors import SpecError
from vitc_inspect.common.images import image_array
from vitc_inspect.inspection.module_run import Source, have_changed, run_module, with_sizes

CPU = torch.device("cpu")
OWN = """
from torch import nn
from {helper} import WIDTH
class Own(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(3, WIDTH, 4, 4))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A file of a person's own, and one beside it that it imports."""
    (tmp_path / f"widths_{tmp_path.name}.py").write_text("WIDTH = 8\n")
    (tmp_path / "own.py").write_text(OWN.format(helper=f"widths_{tmp_path.name}"))
    yield tmp_path
    sys.modules.pop(f"widths_{tmp_path.name}", None)


def write(path: Path, text: str) -> None:
    """As an editor does, some seconds later."""
    path.write_text(text)
    later = path.stat().st_mtime + 5
    os.utime(path, (later, later))


def test_the_file_and_what_it_imports_beside_it_are_read_anew(folder: Path) -> None:
    source = Source(f"{folder}/own.py:Own", CPU)
    assert source.read()[0].out_channels == 8  # type: ignore[index]
    assert not have_changed(source.files)
    write(folder / f"widths_{folder.name}.py", "WIDTH = 12\n")
    assert have_changed(source.files)
    module = source.read()
    assert module[0].out_channels == 12  # type: ignore[index]
    assert not have_changed(source.files)
    assert not module.training


def test_a_package_is_read_anew_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    name = f"kept_{folder.name}"
    write(folder / f"{name}.py", "from torch import nn\nlayer = nn.Linear(2, 3)\n")
    source = Source(f"{name}:layer", CPU)
    assert source.read().out_features == 3
    write(folder / f"{name}.py", "from torch import nn\nlayer = nn.Linear(2, 5)\n")
    os.utime(folder / f"{name}.py", (2e9, 2e9))
    assert have_changed(source.files)
    assert source.read().out_features == 5
    del sys.modules[name]


def test_the_same_file_gives_the_same_weights(folder: Path) -> None:
    source = Source(f"{folder}/own.py:Own", CPU)
    read = []
    for seed in range(2):
        torch.manual_seed(seed)
        drawn = torch.random.get_rng_state()
        read.append(source.read().state_dict()["0.weight"])
        assert torch.equal(torch.random.get_rng_state(), drawn)
    assert torch.equal(*read)


def test_a_file_that_breaks_is_watched_on_and_can_be_mended(folder: Path) -> None:
    source, own = Source(f"{folder}/own.py:Own", CPU), folder / "own.py"
    source.read()
    good = own.read_text()
    write(own, good.replace("nn.Sequential", "nn.Sequentiel"))
    with pytest.raises(SpecError, match="Sequentiel") as caught:
        source.read()
    assert isinstance(caught.value.__cause__, AttributeError)
    assert not have_changed(source.files)
    os.remove(own)
    assert have_changed(source.files)
    write(own, good)
    source.read()


@pytest.mark.parametrize(
    ("module", "inputs"),
    [(faulty.SlicedTable(), ["2,3,32,32"]), (faulty.ByName(), ["pixel_values=1,3,32,32"])],
    ids=["by place", "by name"],
)
def test_the_first_input_holds_the_picture_where_it_is_an_image(module, inputs) -> None:
    trial = run_module(module.eval(), inputs, "ramp")
    assert trial.pictured
    assert trial.array is not None
    np.testing.assert_array_equal(trial.array, image_array("ramp", (32, 32), 3))
    given = (*trial.by_place, *trial.by_name.values())[0]
    assert torch.equal(given[0], given[-1])


@pytest.mark.parametrize(
    ("inputs", "seen"), [(["1,16,8,8"], True), (["1,64,16"], False), (["4"], False)]
)
def test_what_is_no_image_gets_random_numbers(inputs: list[str], seen: bool) -> None:
    trial = run_module(torch.nn.Identity(), inputs, "ramp")
    assert not trial.pictured
    assert (trial.image is not None) is seen


def test_every_output_can_be_had_in_full() -> None:
    layers = [torch.nn.Conv2d(3, 64, 3, 1, 1), *(torch.nn.ReLU() for _ in range(3))]
    trial = run_module(torch.nn.Sequential(*layers), ["1,3,128,128"], "edges")
    kept = trial.report.rows[0].call.kept
    assert kept is not None
    assert kept.step > 1  # 4 MiB are too many to be held for the strip
    output = trial.output(0)
    assert output is not None
    assert (output.step, tuple(output.values.shape)) == (1, (64, 128, 128))


@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        (["1,3,0,8"], "it is not a shape"),
        (["1,3,224"], None),
        (["x=1,3,8,8"], "it is not a shape"),
        (["1,3,99999,99999"], "more than 1 MiB of numbers. Use a smaller shape"),
        ([], "the module takes 1, and 0 were given"),
    ],
)
def test_sizes_from_the_page_are_checked(sizes: list[str], says: str | None) -> None:
    if says is None:
        assert with_sizes(["image=1,3,32,32"], sizes, budget=2**20) == ("image=1,3,224",)
        return
    with pytest.raises(SpecError, match=says) as caught:
        with_sizes(["image=1,3,32,32"], sizes, budget=2**20)
    assert caught.value.field == "input"


def test_the_command_lines_own_sizes_always_pass() -> None:
    assert with_sizes(["1,3,512,512"], ["1,3,512,512"], budget=1) == ("1,3,512,512",)
