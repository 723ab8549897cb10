"""Weights from files: every style of names gives the outputs of the model that wrote it, nothing
in a file is run, and what does not fit is said in one sentence."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from collections import OrderedDict
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from vitc_inspect import cli
from vitc_inspect.common.errors import SpecError
from vitc_inspect.inspection.stem_inspection import inspect_stem, inspect_vit
from vitc_inspect.model import checkpoints
from vitc_inspect.model.checkpoint_formats import SAVE
from vitc_inspect.model.checkpoints import load_weights, save_weights
from vitc_inspect.model.modules import build_stem, build_vit
from vitc_inspect.model.weight_matching import match_weights, put_weights
from vitc_inspect.stem.notation import parse_stem
from vitc_inspect.stem.spec import StemSpec, conv_stem, patchify_stem
from vitc_inspect.stem.vit import ViTSpec

CONV = conv_stem((4, 6), embed_dim=8, image_size=(16, 24))
PATCHIFY = patchify_stem(8, 8, image_size=(16, 24))
PLACES = {"conv": 4 * 6 + 1, "patchify": 2 * 3 + 1}
STEMS = {"conv": CONV, "patchify": PATCHIFY}
HEADS, HIDDEN, CLASSES, DEPTH = 2, 12, 5, 2


def model_of(stem: StemSpec) -> ViTSpec:
    return ViTSpec(stem=stem, depth=DEPTH, num_heads=HEADS, mlp_ratio=1.5, num_classes=CLASSES)


# The same models with the names of others, written with torch.nn alone.


class TheirBlock(nn.Module):
    """torchvision's encoder layer."""

    def __init__(self, mlp: tuple[str, str]) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(8, eps=1e-6), nn.LayerNorm(8, eps=1e-6)
        self.self_attention = nn.MultiheadAttention(8, HEADS, batch_first=True)
        named = {mlp[0]: nn.Linear(8, HIDDEN), "1": nn.GELU(), mlp[1]: nn.Linear(HIDDEN, 8)}
        self.mlp = nn.Sequential(OrderedDict(named))

    def forward(self, tokens: Tensor) -> Tensor:
        normed = self.ln_1(tokens)
        tokens = tokens + self.self_attention(normed, normed, normed, need_weights=False)[0]
        return tokens + self.mlp(self.ln_2(tokens))


class Torchvision(nn.Module):
    """A ViT whose modules are called as in torchvision."""

    def __init__(self, stem: str, mlp: tuple[str, str] = ("0", "3")) -> None:
        super().__init__()
        self.conv_proj: nn.Module = nn.Conv2d(3, 8, 8, 8)
        if stem == "conv":
            self.conv_proj = nn.Sequential(
                OrderedDict(
                    conv_bn_relu_0=nn.Sequential(
                        nn.Conv2d(3, 4, 3, 2, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU()
                    ),
                    conv_bn_relu_1=nn.Sequential(
                        nn.Conv2d(4, 6, 3, 2, 1, bias=False), nn.BatchNorm2d(6), nn.ReLU()
                    ),
                    conv_last=nn.Conv2d(6, 8, 1),
                )
            )
        self.class_token = nn.Parameter(torch.zeros(1, 1, 8))
        self.encoder = nn.Module()
        self.encoder.pos_embedding = nn.Parameter(torch.zeros(1, PLACES[stem], 8))
        self.encoder.layers = nn.Sequential(
            OrderedDict((f"encoder_layer_{i}", TheirBlock(mlp)) for i in range(DEPTH))
        )
        self.encoder.ln = nn.LayerNorm(8, eps=1e-6)
        self.heads = nn.Sequential(OrderedDict(head=nn.Linear(8, CLASSES)))

    def tokens(self, image: Tensor) -> Tensor:
        maps = self.conv_proj(image).flatten(2).transpose(1, 2)
        return torch.cat([self.class_token, maps], dim=1) + self.encoder.pos_embedding

    def forward(self, image: Tensor) -> Tensor:
        return self.heads(self.encoder.ln(self.encoder.layers(self.tokens(image)))[:, 0])


class Attention(nn.Module):
    """timm's attention."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(8, 24), nn.Linear(8, 8)

    def forward(self, tokens: Tensor) -> Tensor:
        q, k, v = self.qkv(tokens).chunk(3, dim=-1)
        heads = []
        for q1, k1, v1 in zip(*(part.chunk(HEADS, dim=-1) for part in (q, k, v)), strict=True):
            heads.append((q1 @ k1.transpose(1, 2) / 4**0.5).softmax(dim=-1) @ v1)
        return self.proj(torch.cat(heads, dim=-1))


class TimmBlock(nn.Module):
    """timm's block."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(8, eps=1e-6), nn.LayerNorm(8, eps=1e-6)
        self.attn = Attention()
        layers = {"fc1": nn.Linear(8, HIDDEN), "act": nn.GELU(), "fc2": nn.Linear(HIDDEN, 8)}
        self.mlp = nn.Sequential(OrderedDict(layers))

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.attn(self.norm1(tokens))
        return tokens + self.mlp(self.norm2(tokens))


class Timm(nn.Module):
    """A ViT whose modules are called as in timm; its convolutional stem as in MoCo v3."""

    def __init__(self, stem: str) -> None:
        super().__init__()
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, 8, 8, 8)
        if stem == "conv":
            self.patch_embed.proj = nn.Sequential(
                *(nn.Conv2d(3, 4, 3, 2, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU()),
                *(nn.Conv2d(4, 6, 3, 2, 1, bias=False), nn.BatchNorm2d(6), nn.ReLU()),
                nn.Conv2d(6, 8, 1),
            )
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 8))
        self.pos_embed = nn.Parameter(torch.zeros(1, PLACES[stem], 8))
        self.blocks = nn.Sequential(*(TimmBlock() for _ in range(DEPTH)))
        self.norm = nn.LayerNorm(8, eps=1e-6)
        self.head = nn.Linear(8, CLASSES)

    def tokens(self, image: Tensor) -> Tensor:
        maps = self.patch_embed.proj(image).flatten(2).transpose(1, 2)
        return torch.cat([self.cls_token, maps], dim=1) + self.pos_embed

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(self.tokens(image)))[:, 0])


def shaken(module: nn.Module) -> nn.Module:
    """Every weight and stored statistic with a value of its own, so that none can be mistaken."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                drawn = torch.rand(value.shape, generator=generator)
                value.copy_(drawn + 0.5 if "var" in name else drawn - 0.5)
    return module.eval()


def theirs(style: str, stem: str) -> nn.Module:
    if style == "torchvision before 0.13":
        return shaken(Torchvision(stem, ("linear_1", "linear_2")))
    return shaken({"torchvision": Torchvision, "timm": Timm}[style](stem))


def state(stem: str = "conv", style: str = "timm") -> dict[str, Tensor]:
    return dict(theirs(style, stem).state_dict())


def image() -> Tensor:
    return torch.randn(1, 3, 16, 24, generator=torch.Generator().manual_seed(1))


def saved(tensors: Any, path: Path) -> Path:
    save_file(tensors, path) if path.suffix == ".safetensors" else torch.save(tensors, path)
    return path


def loaded(model: StemSpec | ViTSpec, path: Path) -> nn.Module:
    """Our model, with a file's weights."""
    module = build_vit(model) if isinstance(model, ViTSpec) else build_stem(model)
    put_weights(module, match_weights(load_weights(path), model))
    return module


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
    written = shaken(build_vit(model) if isinstance(model, ViTSpec) else build_stem(model))
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


NO_FILE = "Use the path of a .safetensors or .pt file."


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


def test_matching_takes_no_memory_for_weights_and_leaves_the_random_state():
    wide = ViTSpec(stem=patchify_stem(16, 8192), depth=200, num_heads=64, mlp_ratio=4)
    before = torch.get_rng_state()
    checkpoint = checkpoints.Checkpoint(file="a", tensors={"cls_token": torch.zeros(1)}, notes=())
    match = match_weights(checkpoint, wide)  # 161 billion weights
    assert len(match.encoder_missing) == 200 * 12 + 4
    assert torch.equal(torch.get_rng_state(), before)
