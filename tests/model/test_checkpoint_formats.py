"""Files of weights that are odd: what each is, and how weights are made of it."""

from __future__ import annotations

import gzip
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from vitc_inspect import cli
from vitc_inspect.common.errors import SpecError
from vitc_inspect.model.checkpoint_formats import SAVE
from vitc_inspect.model.checkpoints import load_weights, save_weights
from vitc_inspect.model.modules import build_stem, build_vit
from vitc_inspect.model.weight_matching import match_weights, put_weights
from vitc_inspect.stem.notation import parse_stem
from vitc_inspect.stem.spec import patchify_stem
from vitc_inspect.stem.vit import ViTSpec

STEM = patchify_stem(4, 8, image_size=8)
GOOD = dict(build_stem(STEM, seed=5).state_dict())
KERNEL = GOOD["proj.weight"]


def matched(content, path, save=torch.save, stem=STEM):
    save(content, path)
    return match_weights(load_weights(path), stem)


def refused(content, path, save=torch.save):
    """The sentence about a file, after its field and its name."""
    try:
        error = matched(content, path, save).error
    except SpecError as raised:
        error = raised
    assert error is not None
    head = f"weights = '{path.name}': "
    assert str(error).startswith(head)
    return str(error).removeprefix(head)


def quantized(tensor):
    return torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8)


ODD = [
    # what is made of a kernel, what is said of it, and what gives the kernel back
    (lambda w: w.to(torch.complex64), "is of complex numbers (complex64)", "{}.real"),
    (lambda w: w.to(torch.int8), "is of whole numbers (int8)", "{}.float(), times the scale"),
    (lambda w: w.to(torch.uint16), "is of whole numbers (uint16)", "{}.float(), times the scale"),
    (lambda w: w > 0, "is of True and False", "{}.float()"),
    (lambda w: w.to_sparse(), "is sparse (sparse_coo)", "{}.to_dense()"),
    (lambda w: w[0, 0].to_sparse_csr(), "is sparse (sparse_csr)", "{}.to_dense()"),
    (quantized, "is quantized (qint8)", "{}.dequantize()"),
    (lambda w: w.to("meta"), "is a shape without numbers (on the meta device)", "it from a model"),
    (lambda w: torch.nested.nested_tensor([w[0], w[1]]), "is a nested tensor", "each of {}.unbind"),
    (
        lambda w: torch.nested.nested_tensor([w[0], w[1]], layout=torch.jagged),
        "is a nested tensor",
        "each of {}.unbind()",
    ),
    (
        lambda w: torch.zeros(2, dtype=torch.float4_e2m1fn_x2),
        "is of packed numbers (float4_e2m1fn_x2)",
        "{} as it was",
    ),
]


@pytest.mark.filterwarnings("ignore")  # prototypes and deprecations of torch
@pytest.mark.parametrize(("make", "what", "how"), ODD)
def test_what_a_tensor_is_and_how_a_weight_is_made_of_it(tmp_path, make, what, how):
    said = refused({**GOOD, "proj.weight": make(KERNEL)}, tmp_path / "a.pt")
    assert said.startswith(f"proj.weight {what} in the file. Save {how.format('proj.weight')}")
    assert "lacks" not in said


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("make", "back"),
    [
        (lambda w: w.to(torch.complex64), lambda t: t.real),
        (lambda w: w.to_sparse(), lambda t: t.to_dense()),
        (lambda w: quantized(quantized(w).dequantize()), lambda t: t.dequantize()),
    ],
)
def test_what_is_said_to_save_can_be_used(tmp_path, make, back):
    odd = {name: make(value) for name, value in GOOD.items()}
    match = matched({name: back(value) for name, value in odd.items()}, tmp_path / "a.pt")
    assert match.error is None
    put_weights(build_stem(STEM), match)


@pytest.mark.parametrize("kind", [torch.int8, torch.complex64])
def test_where_all_tensors_are_odd_they_are_named_together(tmp_path, kind):
    odd = {name: value.to(kind) for name, value in GOOD.items()}
    said = refused(odd, tmp_path / "a.pt")
    assert said.startswith("proj.weight, proj.bias, class_token.token and 1 more are of ")


def test_other_faults_are_told_beside_an_odd_tensor(tmp_path):
    odd = {**GOOD, "proj.weight": KERNEL.to(torch.int8), "proj.bias": torch.zeros(9)}
    del odd["class_token.token"]
    assert refused(odd, tmp_path / "a.pt") == (
        "proj.bias is 9 in the file and 8 here; the file lacks class_token.token;"
        " proj.weight is of whole numbers (int8) in the file. Use a file saved from this stem."
    )


def test_an_odd_tensor_of_the_encoder_is_drawn_and_named(tmp_path):
    vit = ViTSpec(stem=STEM, depth=1, num_heads=2, mlp_ratio=1, num_classes=3)
    state = dict(build_vit(vit).state_dict())
    state["block1.fc1.weight"] = state["block1.fc1.weight"].to(torch.int8)
    match = matched(state, tmp_path / "a.pt", stem=vit)
    assert match.error is None
    assert "Drawn from the seed, since of no plain numbers: block1.fc1.weight." in match.notes
    assert not any("lacks" in note for note in match.notes)


@pytest.mark.parametrize(
    "kind", [torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn, torch.float8_e5m2]
)
@pytest.mark.parametrize("save", [torch.save, save_file])
def test_every_plain_format_is_taken(tmp_path, kind, save):
    match = matched({**GOOD, "proj.weight": KERNEL.to(kind)}, tmp_path / "a", save)
    assert match.error is None
    stem = build_stem(STEM)
    put_weights(stem, match)
    assert torch.equal(stem.proj.weight, KERNEL.to(kind).float())


@pytest.mark.parametrize(
    "make",
    [
        nn.Parameter,
        lambda w: w.permute(1, 0, 2, 3).contiguous().permute(1, 0, 2, 3),
        lambda w: w.to(memory_format=torch.channels_last),
        lambda w: torch.cat([w, w])[8:],
        lambda w: w.requires_grad_(),
    ],
)
def test_a_kernel_may_lie_in_memory_as_it_likes(tmp_path, make):
    match = matched({**GOOD, "proj.weight": make(KERNEL.clone())}, tmp_path / "a.pt")
    assert match.error is None
    assert torch.equal(match.tensors["proj.weight"], KERNEL)


def test_tensors_may_share_their_memory(tmp_path):
    match = matched({**GOOD, "proj.bias": KERNEL.view(-1)[:8]}, tmp_path / "a.pt")
    assert torch.equal(match.tensors["proj.bias"], KERNEL.view(-1)[:8])


# ---- kernels for images of other channels ------------------------------------------------------


def stem_of(channels):
    return patchify_stem(4, 8, image_size=8, in_channels=channels)


def test_kernels_of_three_channels_are_summed_for_one(tmp_path):
    """A grey image stands in red, green and blue alike: w1·x + w2·x + w3·x = (w1 + w2 + w3)·x."""
    error = matched(GOOD, tmp_path / "a.pt", stem=stem_of(1)).error
    assert str(error) == (
        "weights = 'a.pt': proj.weight is 8 x 3 x 4 x 4 in the file and 8 x 1 x 4 x 4 here. Use"
        " in_channels=3, or save the sum, proj.weight.sum(1, keepdim=True)."
    )
    summed = {**GOOD, "proj.weight": KERNEL.sum(1, keepdim=True)}
    match = matched(summed, tmp_path / "b.pt", stem=stem_of(1))
    grey, of_three, of_one = torch.randn(2, 1, 8, 8), build_stem(STEM), build_stem(stem_of(1))
    put_weights(of_one, match)
    of_three.load_state_dict(GOOD)
    assert torch.allclose(of_one(grey), of_three(grey.expand(-1, 3, -1, -1)), atol=1e-6)


def test_a_kernel_of_one_channel_is_repeated_for_three(tmp_path):
    """3·(w / 3)·x = w·x."""
    grey = dict(build_stem(stem_of(1), seed=3).state_dict())
    error = matched(grey, tmp_path / "a.pt").error
    assert str(error) == (
        "weights = 'a.pt': proj.weight is 8 x 1 x 4 x 4 in the file and 8 x 3 x 4 x 4 here. Use"
        " in_channels=1, or save it repeated, proj.weight.repeat(1, 3, 1, 1) / 3."
    )
    repeated = {**grey, "proj.weight": grey["proj.weight"].repeat(1, 3, 1, 1) / 3}
    match = matched(repeated, tmp_path / "b.pt")
    image, of_three, of_one = torch.randn(2, 1, 8, 8), build_stem(STEM), build_stem(stem_of(1))
    put_weights(of_three, match)
    of_one.load_state_dict(grey)
    assert torch.allclose(of_one(image), of_three(image.expand(-1, 3, -1, -1)), atol=1e-6)


def test_other_channels_are_named_and_other_kernels_are_no_matter_of_channels(tmp_path):
    path = tmp_path / "a.pt"
    four = {**GOOD, "proj.weight": torch.zeros(8, 4, 4, 4)}
    assert refused(four, path).endswith("8 x 3 x 4 x 4 here. Use in_channels=4.")
    wider = {**GOOD, "proj.weight": torch.zeros(8, 1, 5, 5)}
    assert refused(wider, path).endswith("Use a file saved from this stem.")
    empty = {**GOOD, "proj.weight": torch.zeros(8, 0, 4, 4)}
    assert refused(empty, path).endswith("Use a file saved from this stem.")
    second = parse_stem("3x3/2:4, 1x1:8", image_size=8)
    state = {**build_stem(second).state_dict(), "proj.weight": torch.zeros(8, 1, 1, 1)}
    error = matched(state, path, stem=second).error  # its channels are no image's
    assert str(error).endswith("Use a file saved from this stem.")


# ---- what is written -------------------------------------------------------------------------


def test_weights_that_share_memory_are_written_each(tmp_path):
    tied = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    tied[1].weight = tied[0].weight
    save_weights(tied, tmp_path / "a.safetensors")
    tensors = load_weights(tmp_path / "a.safetensors").tensors
    assert torch.equal(tensors["0.weight"], tied[0].weight)
    assert torch.equal(tensors["1.weight"], tied[0].weight)


class WithExtra(nn.Linear):
    def get_extra_state(self):
        return "version 3"


class WithSparse(nn.Linear):
    def __init__(self):
        super().__init__(2, 2)
        self.register_buffer("mask", torch.eye(2).to_sparse())


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (WithExtra(2, 2), "_extra_state in its state_dict is a str"),
        (WithSparse(), "mask in its state_dict is sparse (sparse_coo)"),
        (nn.Linear(2, 2, device="meta"), "weight in its state_dict is a shape without numbers"),
    ],
)
def test_what_no_file_can_hold_is_named(tmp_path, module, reason):
    with pytest.raises(SpecError) as caught:
        save_weights(module, tmp_path / "a.safetensors")
    assert caught.value.reason.startswith(reason)
    assert list(tmp_path.iterdir()) == []


# ---- what holds the weights, or is no file of weights ------------------------------------------


@pytest.mark.parametrize("wrap", ["net", "generator", "params_ema"])
def test_one_mapping_of_tensors_is_taken_whatever_its_name(tmp_path, wrap):
    match = matched({"epoch": 3, "arguments": {"lr": 1}, wrap: GOOD}, tmp_path / "a.pt")
    assert match.error is None
    assert match.notes == (f"The weights under {wrap} were taken.",)


def test_of_two_unknown_mappings_none_is_taken(tmp_path):
    assert refused({"student": GOOD, "teacher": GOOD}, tmp_path / "a.pt") == (
        "it holds weights under each of student, teacher. Save those of one model alone."
    )


def zipped(names, path):
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "x")


def written(content, path):
    Path(path).write_bytes(content)


def arrays(content, path):
    with open(path, "wb") as file:
        np.savez(file, **{name: value.numpy() for name, value in content.items()})


NOT_WEIGHTS = [
    (written, b"", "it is empty. "),
    (written, b"\x89HDF\r\n\x1a\n" + b"0" * 99, "it is an HDF5 file, as Keras writes. "),
    (written, b"version https://git-lfs.github.com/spec/v1\noid", "it is a Git LFS pointer and "),
    (written, b"<!DOCTYPE html><html>", "it is a web page. Download the file itself."),
    (written, b"\n <HTML>", "it is a web page. "),
    (written, b'{\n  "weight_map": {}}', "it is JSON, such as the index of a sharded checkpoint. "),
    (written, b"GGUF\3\0\0\0" + b"0" * 99, "it is a GGUF file. "),
    (written, gzip.compress(pickle.dumps(1), mtime=0), "it is compressed with gzip. Unpack it."),
    (written, pickle.dumps([1], protocol=0), "it is neither a safetensors file nor one of "),
    (arrays, GOOD, "it holds NumPy arrays. "),
    (zipped, ["a.txt"], "it is a zip archive not written by torch.save. "),
    (torch.save, build_stem(STEM), "it asks for einops.layers.torch.Rearrange, torch.nn."),
    (torch.save, {"proj.weight": np.zeros(3)}, "it asks for numpy."),
    (torch.save, [GOOD], "it holds no weights by name. "),
    (torch.save, {3: KERNEL}, "it holds no weights by name. "),
]


@pytest.mark.parametrize(("save", "content", "said"), NOT_WEIGHTS)
def test_what_is_no_file_of_weights_is_said_to_be_what_it_is(tmp_path, save, content, said):
    assert refused(content, tmp_path / "a.bin", save).startswith(said)


def test_what_to_save_is_said_in_code(tmp_path):
    assert refused(build_stem(STEM), tmp_path / "a.pt").endswith(f". {SAVE}.")
    asked = refused({"proj.weight": np.zeros(3)}, tmp_path / "a.pt")
    assert asked.endswith("Save torch.from_numpy(array) for each array.")
    scripted = torch.jit.script(nn.Linear(2, 2))
    said = refused(scripted, tmp_path / "a.pt", torch.jit.save)
    assert said == 'it is a TorchScript program. Save torch.jit.load(path).state_dict() as "model.pt".'  # noqa: E501  # fmt: skip


def test_what_is_no_plain_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(SpecError, match="it is no plain file"):
            load_weights(path)


@pytest.mark.parametrize("legacy", [False, True])
def test_the_format_is_read_from_the_content_and_not_from_the_name(tmp_path, legacy):
    torch.save(GOOD, tmp_path / "a.safetensors", _use_new_zipfile_serialization=not legacy)
    save_file(GOOD, tmp_path / "a.pt")
    for name in ("a.safetensors", "a.pt"):
        checkpoint = load_weights(tmp_path / name)
        assert torch.equal(checkpoint.tensors["proj.weight"], KERNEL)
        assert match_weights(checkpoint, STEM).error is None


@pytest.mark.parametrize("save", [torch.save, save_file])
@pytest.mark.parametrize("legacy", [False, True])
def test_a_name_need_not_be_utf_8(tmp_path, save, legacy, capsys):
    plain, odd = tmp_path / "a", os.fsencode(tmp_path) + b"/caf\xe9"
    if legacy and save is torch.save:
        torch.save(GOOD, plain, _use_new_zipfile_serialization=False)
    else:
        save(GOOD, plain)
    os.replace(plain, odd)
    checkpoint = load_weights(os.fsdecode(odd))
    assert checkpoint.file == r"caf\udce9"
    assert match_weights(checkpoint, STEM).error is None
    assert torch.equal(checkpoint.tensors["proj.weight"], KERNEL)
    code = cli.main(["4x4/4:8", "--image-size", "8", "--weights", os.fsdecode(odd), "--json"])
    assert (code, capsys.readouterr().err) == (0, "")
    Path(os.fsdecode(odd)).write_bytes(b"PK\3\4")
    with pytest.raises(SpecError) as caught:
        load_weights(os.fsdecode(odd))
    assert str(caught.value).startswith("weights = 'caf\\\\udce9': the file is cut short")
