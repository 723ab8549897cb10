"""A file in any style gives the outputs of the model that wrote it."""

from __future__ import annotations

import pytest
import torch

from tests.model.styles import (
    CONV,
    PATCHIFY,
    image,
    loaded,
    model_of,
    saved,
    shaken,
    state,
    theirs,
)
from vitc_inspect.model.checkpoints import load_weights, save_weights
from vitc_inspect.model.modules import build, build_stem
from vitc_inspect.model.weight_matching import match_weights
from vitc_inspect.stem.notation import parse_stem

STEMS = {"conv": CONV, "patchify": PATCHIFY}


@pytest.mark.parametrize("suffix", ["safetensors", "pt", "pth", "bin"])
@pytest.mark.parametrize("stem", STEMS)
@pytest.mark.parametrize("style", ["timm", "torchvision", "torchvision before 0.13"])
def test_a_file_of_any_style_gives_the_outputs_of_who_wrote_it(tmp_path, style, stem, suffix):
    written = theirs(style, stem)
    path = saved(written.state_dict(), tmp_path / f"weights.{suffix}")
    with torch.no_grad():
        whole, alone = loaded(model_of(STEMS[stem]), path), loaded(STEMS[stem], path)
        torch.testing.assert_close(whole(image()), written(image()), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(alone(image()), written.tokens(image()), rtol=1e-4, atol=1e-5)
    match = match_weights(load_weights(path), model_of(STEMS[stem]))
    assert match.style == style.partition(" ")[0]
    assert (match.missing, match.misfits, match.unexpected, match.notes) == ((), (), (), ())
    assert (match.encoder_missing, match.encoder_misfits, match.error) == ((), (), None)
    assert match.keys.keys() == match.tensors.keys()
    assert len(set(match.keys.values())) == len(match.keys) > 20


@pytest.mark.parametrize("model", [CONV, PATCHIFY, model_of(CONV)], ids=["conv", "patchify", "vit"])
def test_our_own_file_gives_every_weight_back(tmp_path, model):
    written = shaken(build(model))
    path = tmp_path / "ours.safetensors"
    save_weights(written, path)
    read = loaded(model, path).state_dict()
    assert [p.name for p in tmp_path.iterdir()] == ["ours.safetensors"]
    for name, value in written.state_dict().items():
        assert torch.equal(read[name], value)
    match = match_weights(load_weights(path), model)
    assert (match.style, match.unexpected, match.notes) == ("vitc_inspect", (), ())
    assert match.keys == {name: name for name in match.keys}


@pytest.mark.parametrize("notation", ["3x3/2:4 ln gelu, 1x1:8 bn relu", "8x8/8:8 ln", "8x8/8:8 bn"])
def test_a_norm_after_the_last_convolution_is_matched_too(tmp_path, notation):
    spec = parse_stem(notation, image_size=(16, 24))
    written = shaken(build_stem(spec))
    save_weights(written, tmp_path / "a")
    with torch.no_grad():
        assert torch.equal(loaded(spec, tmp_path / "a")(image()), written(image()))


def test_the_norm_of_timms_patch_embedding_is_the_projections(tmp_path):
    spec = parse_stem("8x8/8:8 ln", image_size=(16, 24))
    tensors = state("patchify")
    tensors |= {f"patch_embed.norm.{kind}": torch.rand(8) for kind in ("weight", "bias")}
    match = match_weights(load_weights(saved(tensors, tmp_path / "a.pt")), spec)
    assert match.keys["proj_norm.weight"] == "patch_embed.norm.weight"
    assert match.error is None
