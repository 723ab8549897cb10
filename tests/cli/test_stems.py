"""Reports on stems: what the options choose, exit codes, and the other tables."""

from __future__ import annotations

import json
import re

import pytest
from PIL import Image

from tests.cli.stems import SMALL, STEM
from vitc_inspect import cli
from vitc_inspect.common.validation import MAX_CHANNELS, parse_image_size
from vitc_inspect.inspection.stem_inspection import inspect_stem
from vitc_inspect.model.modules import MAX_SEED
from vitc_inspect.stem.notation import parse_stem
from vitc_inspect.stem.paper import QUANTITIES
from vitc_inspect.stem.presets import PRESETS
from vitc_inspect.tracing import hooks


def test_a_notation_prints_the_table(run):
    code, out, err = run(*SMALL)
    report = inspect_stem(parse_stem(STEM, image_size=(32, 40)), device="cpu")
    assert (code, err) == (0, "")
    assert out == str(report) + "\n"
    assert "321 tokens = 16 × 20 + 1 class token" in out


def test_json_is_the_dictionary_of_the_report(run_json):
    report = inspect_stem(parse_stem(STEM, image_size=(32, 40)), device="cpu")
    assert run_json(*SMALL) == json.loads(json.dumps(report.to_dict()))


def test_every_option_reaches_the_report(run_json, tmp_path):
    path = tmp_path / "grey.png"
    Image.new("L", (10, 10), 50).save(path)
    options = ["--in-channels", "5", "--no-class-token", "--dtype", "bfloat16", "--seed", "17"]
    options += ["--norm-statistics", "stored", "--init", "trunc_normal", "--fit", "pad"]
    report = inspect_stem(
        parse_stem(STEM, image_size=(32, 40), in_channels=5, class_token=False),
        path,
        device="cpu",
        dtype="bfloat16",
        seed=17,
        norm_statistics="stored",
        init="trunc_normal",
        fit="pad",
    )
    printed = run_json(*SMALL, *options, "--image", str(path))
    assert printed == json.loads(json.dumps(report.to_dict()))
    assert printed["notes"] == [
        "Greyscale was converted to RGB.",
        "The image was resized from 10×10 to 32×32 pixels, then padded to 32×40 with its mean"
        " colour (height × width).",
    ]


def test_what_is_not_said_has_its_default(run_json):
    printed = run_json("16x16/16:8")
    stem = printed["stem"]
    assert (stem["image_size"], stem["in_channels"]) == ([224, 224], 3)
    assert (stem["class_token"], stem["dtype"], printed["seed"]) == (True, "float32", 0)
    assert (printed["norm_statistics"], printed["init"]) == ("image", "torch")


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_has_its_own_image_and_class_token(run_json, name):
    stem, printed = PRESETS[name].stem, run_json("--preset", name, "--device", "cpu")
    said = printed["stem"]
    assert tuple(said["image_size"]) == stem.image_size
    assert said["class_token"] == stem.class_token
    assert said["position_table"] == stem.position_table
    assert parse_stem(said["notation"]).convs == stem.convs
    assert said["seq_len"] == stem.seq_len
    assert printed["disagreements"] == []


@pytest.mark.parametrize(
    ("options", "field", "value"),
    [
        (["--image-size", "128"], "image_size", [128, 128]),
        (["--no-class-token"], "class_token", False),
        (["--no-position-table"], "position_table", False),
        (["--in-channels", "1"], "in_channels", 1),
    ],
)
def test_what_stands_beside_a_preset_may_be_changed(run_json, options, field, value):
    assert run_json("--preset", "vit_p_1gf", *options)["stem"][field] == value


def test_a_class_token_may_be_put_before_a_preset_without_one(run_json):
    assert run_json("--preset", "swin_t")["stem"]["class_token"] is False
    assert run_json("--preset", "swin_t", "--class-token")["stem"]["class_token"] is True


def test_a_position_table_may_be_added_to_a_preset_without_one(run_json):
    without, table = run_json("--preset", "swin_t"), "--position-table"
    with_table = run_json("--preset", "swin_t", table)
    assert [each["stem"]["position_table"] for each in (without, with_table)] == [False, True]
    # 4·4·3·96 + 96 and 2·96 of the norm; then 56·56 places of 96 numbers
    assert without["params"] == 4_608 + 96 + 192
    assert with_table["params"] == 4_608 + 96 + 192 + 56 * 56 * 96


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("64", (64, 64)),
        ("64x48", (64, 48)),
        ("64X48", (64, 48)),
        ("64×48", (64, 48)),
        (" 64 x 48 ", (64, 48)),
        ("064", (64, 64)),
    ],
)
def test_an_image_size_is_one_side_or_height_by_width(run_json, text, size):
    assert parse_image_size(text) == size
    assert run_json("8x8/8:4", "--image-size", text)["stem"]["image_size"] == list(size)


def test_the_most_that_a_stem_can_have_can_be_asked_for(run_json):
    options = ("--image-size", "1", "--in-channels", str(MAX_CHANNELS), "--seed", str(MAX_SEED))
    printed = run_json("1x1:1", *options)
    assert (printed["stem"]["in_channels"], printed["seed"]) == (MAX_CHANNELS, MAX_SEED)


@pytest.mark.parametrize("image", ["photo", "impulse", "checkerboard", "edges", "ramp"])
def test_a_sample_is_asked_for_by_its_name(run, image):
    assert run(*SMALL, "--image", image)[0] == 0


def test_strict_is_content_when_all_agree(run):
    assert run(*SMALL, "--strict")[0] == 0


@pytest.mark.parametrize(("options", "code"), [(["--strict"], 1), ([], 0)])
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_strict_tells_of_a_disagreement_by_its_exit_code(run, monkeypatch, options, code, form):
    monkeypatch.setattr(hooks, "count_macs", lambda module, given, output: 1)
    ended, out, err = run(*SMALL, *options, *form)
    assert (ended, err) == (code, "")
    assert "conv1.macs: predicted 69120, observed 1" in out


def test_strict_tells_of_what_could_not_be_observed(run, monkeypatch):
    monkeypatch.setattr(hooks, "count_macs", lambda module, given, output: None)
    assert run(*SMALL, "--strict")[0] == 1


def test_witnesses_and_times_are_part_of_the_json(capsys):
    assert cli.main([*SMALL, "--json", "--witnesses", "--time"]) == 0
    plain = json.loads(capsys.readouterr().out)
    names = [witness["name"] for witness in plain["witnesses"]]
    assert names[:4] == ["closed form", "hooks", "PyTorch dispatcher", "torchinfo"]
    assert names[4] == "FlopCounterMode as it comes"
    assert plain["witnesses"][0]["macs"] == plain["macs"]
    assert sum(plain["witnesses"][2]["layers"].values()) == plain["macs"]
    assert plain["timing"]["rounds"] == 20
    assert {layer["name"] for layer in plain["timing"]["layers"]} >= {"conv1", "proj"}


def test_times_are_printed_with_their_spread(capsys):
    assert cli.main([*SMALL, "--time"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"^conv1 +[\d.]+ [mµ]s  [\d.]+ [mµ]s to [\d.]+ [mµ]s$", printed, re.MULTILINE)
    assert "20 runs on" in printed


def test_the_papers_tables_need_no_stem(capsys):
    assert cli.main(["--paper"]) == 0
    printed = capsys.readouterr().out
    assert "Table 1  ViT_P-18GF  17,563,828,224  about 17.5 G" in printed
    assert "not 0.8 M" in printed
    assert "with 52 it costs the 422 M printed" in printed


def test_the_papers_tables_are_json_too(run_json):
    """42 and 52 channels: the misprint of S1. 17,563,828,224 is printed 17.5 G."""
    printed = run_json("--paper")
    assert printed["source"].startswith("Xiao et al. 2021")
    rows = {(row["table"], row["row"]): row for row in printed["rows"]}
    assert len(rows) == len(printed["rows"]) == 14
    macs = {"printed": "17.5 G", "exact": 17_563_828_224, "verdict": "about"}
    assert rows["Table 1", "ViT_P-18GF"]["macs"] == macs
    assert rows["Table 3", "P"]["activations"]["verdict"] == "misprint"
    assert "with 52 it costs the 422 M printed" in rows["Table 3", "S1"]["misprint"]
    assert set(rows["Table 3", "C"]) == {"table", "row", "preset", *QUANTITIES, "misprint"}
