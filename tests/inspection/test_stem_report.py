"""A report is a pure function of its arguments, says everything it holds, and goes into JSON."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from vitc_inspect.common.errors import SpecError
from vitc_inspect.common.images import SAMPLES, Picture, read_picture
from vitc_inspect.inspection.stem_inspection import inspect as run_bench
from vitc_inspect.inspection.stem_inspection import inspect_stem, prepare, read_input
from vitc_inspect.inspection.stem_report import QUANTITIES
from vitc_inspect.model.modules import build_stem
from vitc_inspect.stem.notation import parse_stem
from vitc_inspect.stem.prediction import predict
from vitc_inspect.stem.spec import ConvLayer, conv_stem, patchify_stem

SMALL = conv_stem((8, 16), embed_dim=12, image_size=(32, 40))

STEM = {
    "notation": "3x3/2:8 bn relu, 3x3/2:16 bn relu, 1x1:12",
    "image_size": [32, 40],
    "in_channels": 3,
    "class_token": True,
    "position_table": True,
    "encoder": None,
    "dtype": "float32",
    "grid_size": [32 // 4, 40 // 4],
    "num_patches": 8 * 10,
    "num_prefix_tokens": 1,
    "seq_len": 8 * 10 + 1,
    "embed_dim": 12,
    "total_stride": 2 * 2,
    "receptive_field": 1 + 2 * 1 + 2 * 2,
    "stem_params": 8 * 27 + 16 + 16 * 72 + 32 + 12 * 16 + 12,
    "params": 8 * 27 + 16 + 16 * 72 + 32 + 12 * 16 + 12 + 12 + 81 * 12,
    "macs": 8 * 16 * 20 * 27 + 16 * 8 * 10 * 72 + 12 * 8 * 10 * 16,
    "flops": 2 * (8 * 16 * 20 * 27 + 16 * 8 * 10 * 72 + 12 * 8 * 10 * 16),
    "activations": 8 * 16 * 20 + 16 * 8 * 10 + 12 * 8 * 10,
    "bytes": 4 * (3 * 8 * 16 * 20 + 3 * 16 * 8 * 10 + 12 * (80 + 80 + 81 + 81)),
    "stem_macs": 8 * 16 * 20 * 27 + 16 * 8 * 10 * 72 + 12 * 8 * 10 * 16,
}
WHOLE = {
    "target": "stem",
    "kind": "Sequential",
    "device": "cpu",
    "training": False,
    "seed": 5,
    "weights": None,
    "init": "torch",
    "norm_statistics": "image",
    "inputs": [{"path": "0", "shape": [1, 3, 32, 40], "dtype": "float32", "bytes": 15_360}],
    "outputs": [{"path": "", "shape": [1, 81, 12], "dtype": "float32", "bytes": 3_888}],
    "params": STEM["params"],
    "macs": STEM["macs"],
    "flops": STEM["flops"],
    "notes": [],
    "first_not_finite": None,
    "disagreements": [],
    "failure": None,
    "faults": [],
    "audited": False,
}


def inspect(spec=SMALL, image="ramp", **options):
    return inspect_stem(spec, image, **{"device": "cpu", **options})


def plain(report):
    """What is left of a report's dictionary after a journey through JSON."""
    return json.loads(json.dumps(report.to_dict()))


@pytest.mark.parametrize("key", WHOLE)
def test_the_dictionary_has_every_total(key):
    assert plain(inspect(seed=5))[key] == WHOLE[key]


def test_the_dictionary_has_what_was_predicted_of_the_stem():
    assert plain(inspect())["stem"] == STEM


def test_the_dictionary_has_both_witnesses_of_each_layer():
    report = inspect()
    rows = plain(report)["rows"]
    conv1 = report.trace.record("conv1")
    values = conv1.kept.values
    assert (conv1.low, conv1.high) == (float(values.min()), float(values.max()))
    names = " ".join(row["name"] for row in rows)
    assert names == "conv1 norm1 act1 conv2 norm2 act2 proj tokens class_token pos_embed"
    tensors = {"dtype": "float32"}
    assert rows[0] == {
        "name": "conv1",
        "kind": "Conv2d",
        "inside": "",
        "turn": 1,
        "inputs": [{**tensors, "path": "0", "shape": [1, 3, 32, 40], "bytes": 4 * 3 * 32 * 40}],
        "outputs": [{**tensors, "path": "", "shape": [1, 8, 16, 20], "bytes": 4 * 8 * 16 * 20}],
        "raised": False,
        "params": 8 * 27,
        "macs": 8 * 16 * 20 * 27,
        "bytes": 4 * 8 * 16 * 20,
        "low": conv1.low,
        "high": conv1.high,
        "uncounted": [],
        "unchecked": [],
        "source": None,
        "overwritten_by": None,
        "overwritten_at": None,
        "predicted": {
            "stage": "conv1",
            "in_shape": [1, 3, 32, 40],
            "out_shape": [1, 8, 16, 20],
            "params": 8 * 27,
            "macs": 8 * 16 * 20 * 27,
            "activations": 8 * 16 * 20,
            "bytes": 4 * 8 * 16 * 20,
            "receptive_field": 3,
            "jump": 2,
            "unread_rows": [],
            "unread_columns": [],
            "block": None,
            "rule": None,
        },
        "verdicts": dict.fromkeys(QUANTITIES, True),
        "verdict": "agrees",
    }
    assert {row["verdict"] for row in rows} == {"agrees"}
    assert rows[-1]["outputs"][0]["shape"] == [1, 81, 12]


def test_the_dictionary_says_what_is_missing_on_either_side():
    report = inspect()
    first, *others = report.trace.records
    odd = first._replace(name="head", kind="Linear")
    report = replace(report, trace=replace(report.trace, records=(*others, odd)))
    rows = {row["name"]: row for row in plain(report)["rows"]}
    assert (rows["conv1"]["outputs"], rows["conv1"]["verdict"]) == ([], "never ran")
    assert (rows["head"]["predicted"], rows["head"]["verdict"]) == (None, "not predicted")
    assert (rows["conv1"]["kind"], rows["head"]["kind"]) == ("conv", "Linear")
    assert rows["head"]["verdicts"] == dict.fromkeys(QUANTITIES)


def test_unread_rows_and_columns_are_in_the_dictionary():
    report = inspect(patchify_stem(16, 4, image_size=(35, 32)))
    predicted = plain(report)["rows"][0]["predicted"]
    assert (predicted["unread_rows"], predicted["unread_columns"]) == ([32, 33, 34], [])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("image", [None, *SAMPLES])
def test_the_same_arguments_give_the_same_report(dtype, image):
    first, second = (inspect(image=image, dtype=dtype, seed=9) for _ in range(2))
    assert first.to_dict() == second.to_dict()
    assert np.array_equal(first.input, second.input)
    for one, other in zip(first.trace.records, second.trace.records, strict=True):
        assert torch.equal(one.kept.values, other.kept.values)


def test_a_report_does_not_depend_on_what_ran_before_or_change_what_runs_after():
    before = inspect(seed=9).trace.record("pos_embed").kept.values
    torch.manual_seed(123)
    state = torch.get_rng_state()
    inspect(seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(inspect(seed=9).trace.record("pos_embed").kept.values, before)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"seed": 0}, {"seed": 1}),
        ({"image": "ramp"}, {"image": "impulse"}),
        ({"image": "photo"}, {"image": "edges"}),
        ({"spec": SMALL}, {"spec": replace(SMALL, image_size=(33, 40))}),
    ],
)
def test_each_argument_changes_what_is_seen(one, other):
    values = [inspect(**options).trace.record("conv1").kept.values for options in (one, other)]
    assert values[0].shape != values[1].shape or not torch.equal(*values)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"norm_statistics": "image"}, {"norm_statistics": "stored"}),
        ({"init": "torch"}, {"init": "trunc_normal"}),
    ],
)
def test_each_choice_for_the_norms_and_the_weights_changes_the_tokens(one, other):
    tokens = [inspect(**options).trace.record("tokens").kept.values for options in (one, other)]
    assert not torch.equal(*tokens)


def test_the_dtype_changes_what_is_stored():
    report = inspect(dtype="bfloat16")
    assert report.trace.record("conv1").dtype == "bfloat16"
    assert 2 * report.prediction.bytes == inspect().prediction.bytes
    assert 2 * report.trace.kept_bytes == inspect().trace.kept_bytes


@pytest.mark.parametrize("keep_bytes", [0, 2000])
def test_the_budget_for_copies_reaches_the_trace(keep_bytes):
    report = inspect(keep_bytes=keep_bytes)
    assert report.trace.kept_bytes <= keep_bytes
    assert report.bytes == report.trace.kept_bytes + 4 * 3 * 32 * 40
    assert report.disagreements == ()


def test_what_was_fed_gives_what_was_kept():
    report = inspect(image="photo", seed=7, norm_statistics="stored")
    with torch.no_grad():
        tokens = build_stem(SMALL, seed=7)(torch.from_numpy(report.input)[None])[0]
    assert torch.equal(report.trace.record("pos_embed").kept.values, tokens)


def test_batch_norm_normalises_by_the_image_unless_told_otherwise():
    report = inspect(image="photo", seed=7)
    module = build_stem(SMALL, seed=7).train()  # where torch itself does the same
    with torch.no_grad():
        tokens = module(torch.from_numpy(report.input)[None])[0]
    assert torch.equal(report.trace.record("pos_embed").kept.values, tokens)
    normed = report.trace.record("norm1").kept.values  # (c, h, w)
    assert normed.mean(dim=(1, 2)).abs().max() < 1e-5
    assert torch.allclose(normed.var(dim=(1, 2), correction=0), torch.ones(8), atol=0.01)
    assert (report.norm_statistics, report.disagreements) == ("image", ())


def test_stored_statistics_of_a_fresh_stem_change_nothing_but_by_their_epsilon():
    report = inspect(image="photo", norm_statistics="stored")
    before, after = (report.trace.record(name).kept.values for name in ("conv1", "norm1"))
    assert torch.allclose(after, before / (1 + 1e-5) ** 0.5, atol=1e-6)
    assert (report.norm_statistics, plain(report)["norm_statistics"]) == ("stored", "stored")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_batch_norm_over_one_position_uses_what_it_stores_and_says_so(dtype):
    spec = parse_stem("3x3/2:8 bn, 8x8p0:6 bn", image_size=16)
    report = inspect(spec, image="photo", dtype=dtype)
    before, after = (report.trace.record(name).kept.values for name in ("proj", "proj_norm"))
    assert torch.allclose(after, before, rtol=0.01)
    assert report.trace.record("norm1").kept.values.float().mean().abs() < 1e-3
    assert report.run_notes == (
        "proj_norm gets one value a channel, which has no spread: it used the statistics it"
        " stores.",
    )
    assert inspect(spec, dtype=dtype, norm_statistics="stored").notes == ()


def test_the_arguments_are_kept():
    report = inspect(seed=3, dtype="float16", init="trunc_normal")
    assert (report.spec, report.seed, report.device) == (SMALL, 3, "cpu")
    assert report.init == plain(report)["init"] == "trunc_normal"
    assert report.prediction == predict(SMALL, dtype="float16")
    assert report.device_title == plain(report)["device_title"] != ""


def test_auto_is_replaced_by_the_device_that_was_taken():
    assert inspect(device="auto").device.partition(":")[0] in ("cpu", "cuda", "mps")


@pytest.mark.parametrize("in_channels", [1, 2, 3, 4, 7])
def test_an_image_of_any_number_of_channels_is_inspected(in_channels):
    report = inspect(replace(SMALL, in_channels=in_channels), "photo")
    assert report.input.shape == (in_channels, 32, 40)
    assert report.disagreements == ()


def test_the_notes_of_a_converted_image_pass_through(tmp_path):
    path = tmp_path / "grey.png"
    Image.new("L", (40, 32), 90).save(path)
    note = "Greyscale was converted to RGB."
    for image in (path, str(path), read_picture(path), read_picture(path.read_bytes())):
        report = inspect(image=image)
        assert report.notes == (note,)
        assert plain(report)["notes"] == [note]
        assert note in str(report).splitlines()


def test_an_image_that_needs_no_conversion_has_no_notes(tmp_path):
    Image.new("RGB", (40, 32), "red").save(tmp_path / "red.png")
    assert inspect(image=tmp_path / "red.png").notes == ()
    (said,) = inspect(image=Picture(Image.new("RGB", (5, 4)))).notes
    assert said == "The image was resized from 4×5 to 32×40 pixels (height × width)."


def test_a_picture_that_was_cropped_is_told_with_what_was_kept(tmp_path):
    """For 32×40 pixels: 50 wide leaves 50 · 32 / 40 = 40 rows of 60."""
    note = "The image was cropped to its middle 40×50 of 60×50 pixels, then resized to 32×40"
    note += " (height × width)."
    report = inspect(image=Image.new("RGB", (50, 60), "red"))
    assert report.notes == (note,)
    assert note in str(report).splitlines()
    photo = "The image was cropped to its middle 410×512 of 600×512 pixels, then resized to 32×40"
    photo += " (height × width)."
    assert inspect(image="photo").notes == (photo,)  # 512 · 32 / 40 = 409.6


def test_how_a_picture_is_fitted_reaches_the_run_and_is_told():
    picture = Image.linear_gradient("L").rotate(90).resize((90, 30)).convert("RGB")
    reports = {fit: inspect(image=picture, fit=fit) for fit in ("crop", "pad", "stretch")}
    assert reports["crop"].input.tobytes() == inspect(image=picture).input.tobytes()
    assert len({report.input.tobytes() for report in reports.values()}) == 3
    for fit, word in {"crop": "cropped", "pad": "padded", "stretch": "stretched"}.items():
        (said,) = reports[fit].notes
        assert word in said
        assert reports[fit].disagreements == ()


@pytest.mark.parametrize("name", SAMPLES)
def test_each_sample_is_read_by_its_name(name):
    assert isinstance(read_input(name), Picture if name == "photo" else str)
    assert np.array_equal(inspect(image=name).input, inspect(image=read_input(name)).input)


BAD = [
    ("device", {"device": "gpu"}),
    ("device", {"device": ""}),
    ("device", {"device": "cpu:"}),
    ("dtype", {"dtype": "float64"}),
    ("dtype", {"dtype": "int8"}),
    ("dtype", {"dtype": torch.float32}),
    ("dtype", {"dtype": None}),
    ("init", {"init": "truncated"}),
    ("init", {"init": None}),
    ("norm_statistics", {"norm_statistics": "batch"}),
    ("norm_statistics", {"norm_statistics": None}),
    ("fit", {"fit": "fill"}),
    ("fit", {"fit": None}),
    ("seed", {"seed": -1}),
    ("seed", {"seed": 2**63}),
    ("seed", {"seed": 0.5}),
    ("seed", {"seed": "0"}),
    ("seed", {"seed": True}),
    ("seed", {"seed": None}),
    ("image", {"image": "nobody.png"}),
    ("image", {"image": ""}),
    ("image", {"image": "Ramp"}),
    ("image", {"image": "a\0b"}),
    ("image", {"image": "a" * 5000}),
    ("image", {"image": 7}),
]


@pytest.mark.parametrize(("field", "options"), BAD, ids=lambda value: str(value)[:40])
def test_a_value_that_cannot_be_used_is_named_with_one_that_can(field, options):
    with pytest.raises(SpecError) as caught:
        inspect(**options)
    assert caught.value.field == field
    assert "\n" not in str(caught.value)
    assert inspect(**{field: caught.value.suggestion}).disagreements == ()


@pytest.mark.parametrize("content", [b"a letter, not a picture", b"\x89PNG\r\n\x1a\n"])
def test_a_file_that_is_no_image_is_refused(tmp_path, content):
    path = tmp_path / "letter.png"
    path.write_bytes(content)
    with pytest.raises(
        SpecError,
        match=r"image = 'letter\.png': it is no PNG, JPEG, GIF, WebP, BMP",
    ):
        inspect(image=path)
    with pytest.raises(SpecError, match="it is a folder"):
        inspect(image=tmp_path)


@pytest.mark.parametrize("kind", [np.int64, np.uint8])
def test_whole_numbers_of_numpy_are_whole_numbers(kind):
    """numpy's numbers are not JSON's, and its small ones overflow: 16 · 16 is 0 in uint8."""
    layer = ConvLayer(
        out_channels=kind(12), kernel_size=kind(16), stride=kind(16), padding=kind(0), bias=True
    )
    spec = replace(SMALL, in_channels=kind(3), image_size=(kind(48), kind(64)), convs=(layer,))
    report = inspect(spec, seed=kind(3))
    assert plain(report) == plain(inspect(parse_stem("16x16/16:12", image_size=(48, 64)), seed=3))


def test_the_first_layer_that_overflows_is_named():
    """65,504 is the largest number of float16: a bright image through large weights passes it."""
    report = inspect()
    assert report.first_not_finite is None
    bench = prepare(SMALL, "ramp", device="cpu", dtype="float16", norm_statistics="stored")
    bench.module.conv2.weight.data.fill_(6e4)
    broken = run_bench(bench)
    assert broken.first_not_finite.name == "conv2"
    assert broken.disagreements == ()
    said = "conv2 is the first layer with values that are not finite"
    assert any(line.startswith(said) for line in str(broken).splitlines())
    assert all(sentence.endswith(".") for sentence in broken.sentences())
    assert json.loads(json.dumps(broken.to_dict()))["first_not_finite"] == "conv2"
    assert {row["high"] for row in plain(broken)["rows"]} & {"inf", "nan"}
