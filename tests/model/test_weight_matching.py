"""What of a file fits a model, what is missing or left over, and the report that runs it."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.model.styles import (
    CONV,
    NO_FILE,
    PATCHIFY,
    loaded,
    model_of,
    saved,
    state,
    theirs,
)
from vitc_inspect import cli
from vitc_inspect.common.errors import SpecError
from vitc_inspect.inspection.stem_inspection import inspect_stem, inspect_vit
from vitc_inspect.model import checkpoints
from vitc_inspect.model.checkpoints import load_weights, save_weights
from vitc_inspect.model.modules import build_stem, build_vit
from vitc_inspect.model.weight_matching import match_weights, put_weights
from vitc_inspect.stem.spec import patchify_stem
from vitc_inspect.stem.vit import ViTSpec


def test_of_several_models_in_a_file_the_one_taken_is_named(tmp_path):
    tensors = state()
    zeros = {key: torch.zeros_like(value) for key, value in tensors.items()}
    path = saved({"model_ema": zeros, "model": tensors}, tmp_path / "a.pt")
    checkpoint = load_weights(path)
    assert checkpoint.notes == ("The weights under model were taken, not those under model_ema.",)
    assert torch.equal(checkpoint.tensors["cls_token"], tensors["cls_token"])


def test_the_momentum_encoder_is_left_over(tmp_path):
    tensors = {f"module.base_encoder.{key}": value for key, value in state().items()}
    tensors["module.momentum_encoder.cls_token"] = torch.zeros(1, 1, 8)
    match = match_weights(load_weights(saved(tensors, tmp_path / "a.pt")), model_of(CONV))
    assert match.notes == ("In the file and not used: momentum_encoder.cls_token.",)


def without(tensors: dict[str, Tensor], *keys: str) -> dict[str, Tensor]:
    return {key: value for key, value in tensors.items() if key not in keys}


P = "patch_embed.proj"
FITTING = "Use a file saved from this stem."


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda t: without(t, f"{P}.0.weight"), f"the file lacks {P}.0.weight. {FITTING}"),
        (
            lambda t: without(t, f"{P}.1.running_var"),
            f"the file lacks {P}.1.running_var. {FITTING}",
        ),
        (
            lambda t: without(t, *(key for key in t if P in key and "6" not in key)),
            f"the file lacks {P}.0.weight, {P}.1.weight, {P}.1.bias and 7 more. {FITTING}",
        ),
        (
            lambda t: t | {f"{P}.0.weight": torch.zeros(4, 3, 5, 5)},
            f"{P}.0.weight is 4 x 3 x 5 x 5 in the file and 4 x 3 x 3 x 3 here. {FITTING}",
        ),
        (
            lambda t: without(t, "cls_token") | {f"{P}.6.bias": torch.tensor(1.0)},
            f"{P}.6.bias is a single number in the file and 8 here; the file lacks cls_token."
            f" {FITTING}",
        ),
        (
            lambda t: t | {key: torch.zeros(9) for key in t if key.startswith(f"{P}.1.")},
            f"{P}.1.weight is 9 in the file and 4 here, {P}.1.bias is 9 in the file and 4 here,"
            f" {P}.1.running_mean is 9 in the file and 4 here and 1 more. {FITTING}",
        ),
        (
            lambda t: {f"net.{key}": value for key, value in t.items()},
            "none of its names is known, such as net.cls_token."
            " Use the names of this package, timm or torchvision.",
        ),
        (
            lambda t: {"a\nb": torch.zeros(1)},
            "none of its names is known, such as a?b."
            " Use the names of this package, timm or torchvision.",
        ),
        (
            lambda t: t | {"pos_embed": torch.zeros(1, 24, 8)},
            "its position table pos_embed has 24 rows for 25 tokens: the class token, image size"
            " or stride differs. Use a file made for 16 x 24 pixels and stride 4.",
        ),
        (
            lambda t: t | {"pos_embed": torch.zeros(1, 7 * 7 + 1, 8)},
            "its position table pos_embed has 50 rows for 25 tokens: the image size or stride"
            " differs. Use an image of 28 x 28 pixels, or a file made for 16 x 24 pixels and"
            " stride 4.",
        ),
        (
            lambda t: t | {"pos_embed": torch.zeros(1, 25, 9)},
            f"pos_embed is 1 x 25 x 9 in the file and 1 x 25 x 8 here. {FITTING}",
        ),
        (
            lambda t: t | {"pos_embed": torch.zeros(1, 0, 8)},
            "its position table pos_embed has 0 rows for 25 tokens: the image size or stride"
            " differs. Use a file made for 16 x 24 pixels and stride 4.",
        ),
    ],
)
@pytest.mark.parametrize("whole", [True, False])
def test_what_the_stem_cannot_have_is_one_sentence(tmp_path, change, sentence, whole):
    path = saved(change(state()), tmp_path / "a.pt")
    inspect = partial(inspect_vit, model_of(CONV)) if whole else partial(inspect_stem, CONV)
    with pytest.raises(SpecError) as caught:
        inspect(weights=path, device="cpu")
    assert caught.value.field == "weights"
    assert str(caught.value) == f"weights = 'a.pt': {sentence}"


def test_the_forums_257_against_197(tmp_path):
    """A table made for 256 pixels, whose error PyTorch words as sizes of tensors a and b."""
    large, usual = (patchify_stem(16, 4, image_size=side) for side in (256, 224))
    path = tmp_path / "a.safetensors"
    save_weights(build_stem(large), path)
    with pytest.raises(SpecError) as caught:
        inspect_stem(usual, weights=path, device="cpu")
    assert str(caught.value) == (
        "weights = 'a.safetensors': its position table pos_embed.table has 257 rows for 197"
        " tokens: the image size or stride differs. Use an image of 256 x 256 pixels, or a file"
        " made for 224 x 224 pixels and stride 16."
    )
    advised = replace(usual, image_size=(256, 256))
    assert inspect_stem(advised, weights=path, device="cpu").disagreements == ()


def test_what_is_missing_and_what_does_not_fit_is_listed_by_name(tmp_path):
    tensors = without(state(), f"{P}.0.weight", "blocks.1.norm2.bias") | {
        "pos_embed": torch.zeros(1, 4, 8),
        "head.weight": torch.zeros(9, 8),
        "blocks.0.ls1.gamma": torch.zeros(8),
        f"{P}.3.bias": torch.zeros(6),
    }
    match = match_weights(load_weights(saved(tensors, tmp_path / "a.pt")), model_of(CONV))
    assert match.missing == (f"{P}.0.weight",)
    assert match.encoder_missing == ("blocks.1.norm2.bias",)
    (misfit,) = match.misfits
    assert (misfit.name, misfit.key) == ("pos_embed.table", "pos_embed")
    assert (misfit.shape, misfit.needed) == ((1, 4, 8), (1, 25, 8))
    assert [m.key for m in match.encoder_misfits] == ["head.weight"]
    assert match.unexpected == (f"{P}.3.bias", "blocks.0.ls1.gamma")  # what may matter first
    assert "conv1.weight" not in match.tensors
    assert match.keys["block2.qkv.weight"] == "blocks.1.attn.qkv.weight"
    with pytest.raises(SpecError):
        put_weights(build_vit(model_of(CONV)), match)


def test_what_the_encoder_lacks_is_a_note_and_stays_as_drawn(tmp_path):
    tensors = without(state(), "norm.weight", "norm.bias") | {"head.weight": torch.zeros(9, 8)}
    path = saved(tensors, tmp_path / "a.pt")
    report = inspect_vit(model_of(CONV), weights=path, device="cpu", norm_statistics="stored")
    assert report.run_notes == (
        "Drawn from the seed, since the file lacks them: norm.weight, norm.bias.",
        "Drawn from the seed, since of another shape: head.weight is 9 x 8 in the file and 5 x 8"
        " here.",
    )
    drawn = build_vit(model_of(CONV), seed=4)
    module = build_vit(model_of(CONV), seed=4)
    put_weights(module, match_weights(load_weights(path), model_of(CONV)))
    assert torch.equal(module.head.weight, drawn.head.weight)
    assert torch.equal(module.head.bias, tensors["head.bias"])


def test_the_encoder_of_a_file_is_left_over_for_a_stem(tmp_path):
    path = saved(state(), tmp_path / "a.pt")
    report = inspect_stem(CONV, weights=path, device="cpu")
    assert report.run_notes == (
        "In the file and not used: blocks.0.norm1.weight, blocks.0.norm1.bias,"
        " blocks.0.norm2.weight and 25 more.",
        "BatchNorm used the image's statistics; norm_statistics \"stored\" takes the file's.",
    )
    assert set(report.notes) <= set(str(report).splitlines())


def test_numbers_that_are_not_finite_are_named(tmp_path):
    tensors = state()
    tensors["cls_token"][0, 0, 3] = float("nan")
    tensors[f"{P}.6.weight"][0] = float("inf")
    match = match_weights(load_weights(saved(tensors, tmp_path / "a.safetensors")), CONV)
    assert match.notes[-1] == f"Not all numbers are finite: {P}.6.weight, cls_token."


@pytest.mark.parametrize(
    ("dtype", "note"),
    [
        (torch.float16, ("The file's numbers are float16.",)),
        (torch.bfloat16, ("The file's numbers are bfloat16.",)),
        (torch.float64, ("The file's numbers are float64.",)),
        (torch.float32, ()),
    ],
)
@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_other_number_formats_are_read_and_named(tmp_path, dtype, note, suffix):
    tensors = {key: value.to(dtype) for key, value in state("patchify").items()}
    path = saved(tensors, tmp_path / f"a.{suffix}")
    assert match_weights(load_weights(path), model_of(PATCHIFY)).notes == note
    weight = loaded(PATCHIFY, path).proj.weight
    assert weight.dtype == torch.float32
    assert torch.equal(weight, tensors["patch_embed.proj.weight"].float())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_the_report_runs_the_files_weights_and_names_the_file(tmp_path, dtype):
    written = theirs("torchvision", "conv")
    path = saved(written.state_dict(), tmp_path / "vit.pth")
    settings: dict[str, Any] = {"device": "cpu", "dtype": dtype, "norm_statistics": "stored"}
    report = inspect_stem(CONV, "ramp", weights=str(path), **settings)
    with torch.no_grad():
        tokens = written.tokens(torch.from_numpy(report.input)[None])[0]
    kept = report.trace.record("pos_embed").kept.values.float()
    torch.testing.assert_close(kept, tokens, rtol=0.05, atol=1e-5 if dtype == "float32" else 0.05)
    assert report.weights == json.loads(json.dumps(report.to_dict()))["weights"] == "vit.pth"
    assert report.disagreements == ()
    again = inspect_stem(CONV, "ramp", weights=path, seed=5, init="trunc_normal", **settings)
    assert torch.equal(again.trace.record("pos_embed").kept.values.float(), kept)


def test_a_whole_model_is_inspected_with_a_files_weights(tmp_path):
    path = saved(state(), tmp_path / "vit.pt")
    report = inspect_vit(model_of(CONV), weights=path, device="cpu", init="trunc_normal")
    assert (report.weights, report.disagreements) == ("vit.pt", ())
    assert (report.init, report.norm_statistics) == ("trunc_normal", "image")


def test_the_terminal_takes_a_file(tmp_path, capsys):
    path = saved(state(), tmp_path / "vit.pt")
    command = [
        "3x3/2:4 bn relu, 3x3/2:6 bn relu, 1x1:8",
        "--image-size",
        "16x24",
        "--device",
        "cpu",
    ]
    assert cli.main([*command, "--weights", str(path), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["weights"] == "vit.pt"
    assert printed["notes"] == list(inspect_stem(CONV, weights=path, device="cpu").notes)
    assert cli.main([*command, "--weights", "nobody.pt"]) == 2
    assert capsys.readouterr().err == f"weights = 'nobody.pt': there is no such file. {NO_FILE}\n"


def test_matching_takes_no_memory_for_weights_and_leaves_the_random_state():
    wide = ViTSpec(stem=patchify_stem(16, 8192), depth=200, num_heads=64, mlp_ratio=4)
    before = torch.get_rng_state()
    checkpoint = checkpoints.Checkpoint(file="a", tensors={"cls_token": torch.zeros(1)}, notes=())
    match = match_weights(checkpoint, wide)  # 161 billion weights
    assert len(match.encoder_missing) == 200 * 12 + 4
    assert torch.equal(torch.get_rng_state(), before)
