"""The terminal's way in: the table, the JSON, the exit codes, and one line for any bad input."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from vitc_inspect import cli, module_csv, module_markdown
from vitc_inspect.cli import options, output
from vitc_inspect.common.errors import SpecError
from vitc_inspect.common.guard import STRICT_RULES
from vitc_inspect.common.validation import MAX_CHANNELS, parse_image_size
from vitc_inspect.inspection import module_inspection
from vitc_inspect.inspection.stem_inspection import inspect_stem
from vitc_inspect.model.modules import MAX_SEED
from vitc_inspect.stem.notation import parse_stem
from vitc_inspect.stem.paper import QUANTITIES
from vitc_inspect.stem.presets import PRESETS
from vitc_inspect.tracing import hooks
from vitc_inspect.views.report_table import report_page

STEM = "3x3/2:8 bn relu, 1x1:12"
SMALL = (STEM, "--image-size", "32x40", "--device", "cpu")


@pytest.fixture
def run(capsys):
    """Calls main and returns the exit code, the output and the complaints."""

    def call(*arguments):
        try:
            code = cli.main(arguments)
        except SystemExit as end:  # argparse ends the program by itself
            code = end.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def run_json(run):
    """Calls main with --json and returns what it printed."""

    def call(*arguments):
        code, out, err = run(*arguments, "--json")
        assert (code, err, out.count("\n")) == (0, "", 1)
        return json.loads(out)

    return call


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
    Image.new("L", (10, 8), 50).save(path)
    options = ["--in-channels", "5", "--no-class-token", "--dtype", "bfloat16", "--seed", "17"]
    options += ["--norm-statistics", "stored", "--init", "trunc_normal"]
    report = inspect_stem(
        parse_stem(STEM, image_size=(32, 40), in_channels=5, class_token=False),
        path,
        device="cpu",
        dtype="bfloat16",
        seed=17,
        norm_statistics="stored",
        init="trunc_normal",
    )
    printed = run_json(*SMALL, *options, "--image", str(path))
    assert printed == json.loads(json.dumps(report.to_dict()))
    assert printed["notes"] == ["Greyscale was converted to RGB."]


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


BAD = [
    # arguments, what the one line begins with
    (["3x3/2:48 bn relu, 3x"], "stem = "),
    (["3x3/2:48 bn re"], "stem = "),
    (["3x3/2:48 bn,"], "stem = "),
    (["3x3/2"], "stem = "),
    ([""], "stem = "),
    ([" "], "stem = "),
    (["hello"], "stem = "),
    (["3x3/2:48\nbn relu, 1x"], "stem = "),
    (["3x3/2:48 bn\trelu relu"], "stem = "),
    (["3x3/-2:48"], "stem = "),
    (["3x3/2:-48"], "stem = "),
    (["3x3/1.5:48"], "stem = "),
    (["3x3/2:4.8e1"], "stem = "),
    (["3x5:48"], "stem = "),
    ([",".join(["1x2:3"] * 600)], "stem = "),
    (["3x3:" + "9" * 5000], "stem = "),
    (["3x3/0:48"], "proj.stride = 0: "),
    (["3x3/2:0"], "proj.out_channels = 0: "),
    (["0x0/2:8"], "proj.kernel_size = 0: "),
    (["3x3:8 d0"], "proj.dilation = 0: "),
    (["3x3/2:8, 3x3:0, 1x1:4"], "conv2.out_channels = 0: "),
    (["300x300p0:8"], "proj.kernel_size = 300: "),
    (["16x16/16:8, 15x15p0:8"], "proj.kernel_size = 15: "),
    (["3x3:8 g3"], "proj.groups = 3: "),
    (["3x3:8 g2"], "proj.groups = 2: "),
    (["3x3:9, 3x3:8 g8"], "proj.groups = 8: "),
    ([",".join(["1x1:3"] * 65)], "convs = '65 layers': "),
    (["1x1:70000"], "proj.out_channels = 70000: "),
    ([STEM, "--image-size", "0"], "image_size = 0 x 0: "),
    ([STEM, "--image-size", "0x32"], "image_size = 0 x 32: "),
    (["16x16/16:8", "--image-size", "1"], "proj.kernel_size = 16: "),
    (["16x16/16:8", "--image-size", "15x16"], "proj.kernel_size = 16: "),
    ([STEM, "--image-size", "100000x100000"], "image_size = 100000 x 100000: "),
    ([STEM, "--image-size", "9" * 5000], "image_size = "),
    ([STEM, "--image-size", "16384"], "image_size = 16384 x 16384: the run would take about"),
    ([STEM, "--image-size", "abc"], "image_size = 'abc': "),
    ([STEM, "--image-size", "-32"], "image_size = '-32': "),
    ([STEM, "--image-size", "32.5"], "image_size = '32.5': "),
    ([STEM, "--image-size", "32x"], "image_size = '32x': "),
    ([STEM, "--image-size", "32x32x3"], "image_size = '32x32x3': "),
    ([STEM, "--image-size", "32,32"], "image_size = '32,32': "),
    ([STEM, "--image-size", "²"], "image_size = '²': "),
    ([STEM, "--image-size", ""], "image_size = '': "),
    ([STEM, "--in-channels", "0"], "in_channels = 0: "),
    ([STEM, "--in-channels", "three"], "in_channels = 'three': "),
    ([STEM, "--in-channels", ""], "in_channels = '': "),
    ([STEM, "--seed", "-1"], "seed = -1: "),
    ([STEM, "--seed", "1.5"], "seed = '1.5': "),
    ([STEM, "--seed", str(2**63)], "seed = 9223372036854775808: "),
    ([STEM, "--seed", "9" * 5000], "seed = "),
    ([STEM, "--device", "mps"], "device = 'mps': "),
    ([STEM, "--device", "cuda:0"], "device = 'cuda:0': "),
    ([STEM, "--device", "tpu"], "device = 'tpu': "),
    ([STEM, "--device", "cpu:"], "device = 'cpu:': "),
    ([STEM, "--dtype", "float64"], "dtype = 'float64': "),
    ([STEM, "--dtype", ""], "dtype = '': it is not one of float32, bfloat16, float16"),
    ([STEM, "--init", ""], "init = '': "),
    ([STEM, "--norm-statistics", "batch"], "norm_statistics = 'batch': "),
    (["vit_c_4gf"], "stem = 'vit_c_4gf': it is the name of a preset, not a notation. Use --preset"),
    (
        ["3x3/2\x1b:8"],
        "stem = '3x3/2\\x1b:8': column 6: expected a colon and the channels, found “\\x1b”",
    ),
    ([STEM, "--mlp-ratio", "1_0"], "mlp_ratio = '1_0': it is not a number"),
    (["--preset", "pit_s", "--encoder"], "encoder = 'on': the preset pit_s is a stem alone"),
    (["--explain", "x", "--class-token"], "class_token = True: neither a stem nor --preset says"),
    (["--explain", "x", "--in-channels", "5"], "in_channels = '5': neither a stem nor --preset"),
    (["--preset", "vit_c_5gf"], "preset = 'vit_c_5gf': "),
    ([STEM, "--preset", ""], "preset = '': "),
    ([STEM, "--preset", "vit_c_4gf"], "preset = 'vit_c_4gf': a stem was given as well"),
    ([], "stem = '': neither a stem nor --preset was given"),
    (["--json"], "stem = '': neither a stem nor --preset was given"),
    ([STEM, "--image", "nobody.png"], "image = 'nobody.png': there is no such file"),
    ([STEM, "--image", ""], "image = '': there is no such file"),
    ([STEM, "--image", "http://a.org/b.png"], "image = 'http://a.org/b.png': it is an address"),
    ([STEM, "--image", "a" * 5000], "image = 'aaa"),
    ([STEM, "--image", "a\nb.png"], "image = 'a\\nb.png': "),
    (
        [STEM, "--image", "letter.png"],
        "image = 'letter.png': it is no PNG, JPEG, GIF, WebP, BMP, TIFF, AVIF, JPEG 2000",
    ),
    ([STEM, "--image", "."], "image = '.': it is a folder"),
    ([STEM, "--colour"], "python -m vitc_inspect: unrecognized arguments: --colour"),
    ([STEM, "1x1:8"], "python -m vitc_inspect: unrecognized arguments: 1x1:8"),
    ([STEM, "--seed"], "python -m vitc_inspect: argument --seed: expected one argument"),
]


@pytest.mark.parametrize(("arguments", "start"), BAD, ids=lambda value: str(value)[:40])
def test_bad_input_gets_one_line_and_exit_code_2(run, monkeypatch, tmp_path, arguments, start):
    (tmp_path / "letter.png").write_text("Dear reader, this is no picture.")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith(start)
    assert len(err.splitlines()) == 1
    assert err.endswith(".\n")
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["3x3/2:48, 9x9p0:8", "--image-size", "16"],
            "proj.kernel_size = 9: the padded input is only 8 pixels long. Use 8 or less.",
        ),
        (["3x3/0:48"], "proj.stride = 0: the least is 1. Use 1 or more."),
        (
            [STEM, "--image-size", "0"],
            "image_size = 0 x 0: a side of 0 pixels cannot be used, the least is 1. Use 224 x 224.",
        ),
        ([STEM, "--seed", "x"], "seed = 'x': it is not a whole number. Use 0."),
        (
            [STEM, "--init", "trunk_normal"],
            "init = 'trunk_normal': it is not one of torch, trunc_normal. Use trunc_normal.",
        ),
        (
            ["--preset", "levit-256", "--init", "Torch"],
            f"preset = 'levit-256': it is not one of {', '.join(PRESETS)}. Use levit_256.",
        ),
        (
            [STEM, "--norm-statistics", "images"],
            "norm_statistics = 'images': it is not one of image, stored. Use image.",
        ),
        (
            [STEM, "--wide"],
            "python -m vitc_inspect: unrecognized arguments: --wide. Use --help to see what works.",
        ),
        *(
            (
                [STEM, *given.split()],
                f"python -m vitc_inspect: unrecognized arguments: {given}. {fix}.",
            )
            for given, fix in (
                ("--size 224", "Use --image-size, or --help to see what works"),
                ("--image_size=224", "Use --image-size, or --help to see what works"),
                ("--channels 1", "Use --in-channels, or --help to see what works"),
                ("-preset vit_c_4gf", "Use --preset, or --help to see what works"),
                ("-v", "Use --help to see what works"),
                ("bn relu, 1x1:384", "Put the whole stem in quotes"),
                ("1x1:384", "Put the whole stem in quotes"),
            )
        ),
        (
            ["--explain", "The", "size", "of", "tensor"],
            "python -m vitc_inspect: unrecognized arguments: of tensor."
            " Put the whole error in quotes.",
        ),
        *(
            (
                [stem],
                f"stem = '{stem}': it is no notation, and much like the name of a preset."
                f" Use --preset {preset}.",
            )
            for stem, preset in (("ViT_C-4GF", "vit_c_4gf"), ("swin", "swin_t"))
        ),
        *(
            ([stem], f"stem = '{stem}': it is the name of a file, not a notation. Use {fix}.")
            for stem, fix in (
                ("stem.py", "--module stem.py"),
                ("stem.py:Stem", "--module stem.py:Stem"),
                ("Cat.PNG", "--image Cat.PNG"),
                ("a/best.pth", "--weights a/best.pth"),
            )
        ),
        (
            [STEM, "--dtype", "fp16"],
            "dtype = 'fp16': it is not one of float32, bfloat16, float16. Use float16.",
        ),
    ],
)
def test_the_line_says_what_was_given_why_it_fails_and_what_to_do(run, arguments, line):
    assert run(*arguments) == (2, "", line + "\n")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--explain", "x", "--time"], "--time goes with a stem, not with --explain. Leave one"),
        (["--explain", "x", "--heads", "6"], "--heads goes with a stem, not with --explain"),
        (["--explain", "x", "--csv"], "--csv goes with a stem or --module, not with --explain"),
        (["--explain", "x", "--strict"], "--strict goes with a stem or --module, not with --exp"),
        (["--explain", "", "--paper"], "--paper does not go with --explain"),
        (["--explain", "x", "--module", "a.py:b"], "--module does not go with --explain"),
        (["--paper", STEM], "a stem goes with --explain, not with --paper"),
        (["--paper", "--preset", "vit_c_4gf"], "--preset goes with a stem or --explain, not with"),
        (["--paper", "--no-class-token"], "--class-token goes with a stem or --explain, not with"),
        (["--paper", "--module", "a.py:b"], "--paper does not go with --module"),
        (["--module", "a.py:b", "--witnesses"], "--witnesses goes with a stem, not with --module"),
        ([STEM, "--ignore", "bias"], "--ignore goes with --module, not with a stem. Give --module"),
        ([STEM, "--csv", "--html"], "--csv was given as well, and a report is printed once"),
        ([STEM, "--csv", "--time"], "CSV holds the rows of the report alone. Use --json --time"),
    ],
)
def test_an_option_that_would_be_ignored_is_refused(run, arguments, says):
    code, out, err = run(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert says in err


def test_every_option_is_of_use_somewhere():
    names = vars(options.parser().parse_args([]))
    assert {name for taken in options._TAKES.values() for name in taken} == set(names)


def test_help_names_every_preset(run):
    code, out, err = run("--help")
    assert (code, err) == (0, "")
    assert all(name in out for name in PRESETS)


@pytest.mark.parametrize("text", ["", "x", "1x2x3", "1.5", "-1", "1 2"])
def test_an_image_size_that_cannot_be_read_suggests_one_that_can(text):
    with pytest.raises(SpecError) as caught:
        parse_image_size(text)
    assert caught.value.field == "image_size"
    assert replace(parse_stem(STEM), image_size=caught.value.suggestion).image_size == (224, 224)


ROOT = Path(__file__).parents[2]


def program(*arguments, encoding="utf-8"):
    """Runs the program as a user does, at a terminal of that encoding."""
    return subprocess.run(
        [sys.executable, "-m", "vitc_inspect", *arguments],
        capture_output=True,
        cwd=ROOT,
        encoding=encoding,
        env={**os.environ, "PYTHONIOENCODING": encoding},
    )


def test_the_program_runs_end_to_end():
    ended = program(*SMALL, "--strict")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "conv1" in ended.stdout
    assert "321 tokens = 16 × 20 + 1 class token" in ended.stdout


def test_the_program_complains_in_one_line():
    ended = program("3x3/2:48 bn relu, 3x")
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)


def shell(command, program=("-m", "vitc_inspect"), unbuffered=""):
    """Runs a line of the shell in which "$@" is the program."""
    return subprocess.run(
        ["bash", "-c", command, "bash", sys.executable, *program],
        capture_output=True,
        cwd=ROOT,
        encoding="utf-8",
        env={**os.environ, "PYTHONIOENCODING": "utf-8:strict", "PYTHONUNBUFFERED": unbuffered},
    )


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("options", ["--paper", "--paper --json", "--help"])
def test_who_stops_reading_gets_no_traceback(options, unbuffered):
    ended = shell(f'"$@" {options} | true; exit ${{PIPESTATUS[0]}}', unbuffered=unbuffered)
    assert (ended.returncode, ended.stderr) == (141, "")


NO_ROOM = (
    "output = 'standard output': it cannot be written, no space left on device."
    " Send it elsewhere.\n"
)


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("program", [("-m", "vitc_inspect"), ("app.py",)])
def test_what_cannot_be_printed_ends_the_program_in_one_sentence(program, unbuffered):
    ended = shell('"$@" --help >/dev/full', program=program, unbuffered=unbuffered)
    assert (ended.returncode, ended.stderr) == (2, NO_ROOM)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--paper"],
        ["--paper", "--json"],
        ["--explain", "no error"],
        SMALL,
        [*SMALL, "--json"],
        ["--module", "torch.nn:Identity", "--input", "2"],
        ["--module", "torch.nn:Identity", "--input", "2", "--json"],
        ["--module", "torch.nn:Identity", "--input", "2", "--csv"],
        ["--module", "torch.nn:Identity", "--input", "2", "--markdown"],
    ],
)
def test_every_form_of_output_may_find_no_room(arguments, monkeypatch, capsys):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert cli.main(arguments) == output.EXIT_BAD_INPUT
        assert capsys.readouterr().err == NO_ROOM


def test_what_comes_by_standard_input_need_not_be_text():
    ended = shell("printf '\\xff embed_dim must be divisible by num_heads' | \"$@\" --explain -")
    assert (ended.returncode, ended.stderr) == (0, "")
    ended = shell('"$@" --explain - <&-')
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "explain = '-': standard input is closed. Give the error itself.\n"


@pytest.mark.parametrize("encoding", ["ascii", "cp437"])
def test_the_program_prints_to_a_terminal_without_its_signs(encoding):
    ended = program(*SMALL, encoding=encoding)
    assert (ended.returncode, ended.stderr) == (0, "")


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


TOO_LARGE_FOR_ITS_TABLE = """
import torch
from torch import nn

class Stem(nn.Module):
    def __init__(self):
        super().__init__()
        self.proj = nn.Conv2d(3, 8, 16, 16)
        self.pos_embed = nn.Parameter(torch.zeros(1, 196, 8))

    def forward(self, x):
        x = self.proj(x).flatten(2).transpose(1, 2)
        return x + self.pos_embed
"""


def test_a_module_that_raises_is_shown_up_to_there_and_its_error_explained(
    tmp_path, capsys, monkeypatch
):
    path = tmp_path / "stem.py"
    path.write_text(TOO_LARGE_FOR_ITS_TABLE)
    named = ["--module", f"{path}:Stem", "--input", "1,3,256,256"]
    assert cli.main(named) == output.EXIT_RAISED
    printed, complaint = capsys.readouterr()
    assert re.search(r"^transpose +function +1×8×256 +1×256×8 ", printed, re.MULTILINE)
    assert "add was given 1×256×8 float32 and 1×196×8 float32" in printed
    assert "256 = 16×16 tokens for a position table of 196 = 14×14" in printed
    assert "Resize the image to 224×224 pixels" in printed
    assert "return x + self.pos_embed" in complaint  # the traceback of the user's own code
    assert cli.main([*named, "--json"]) == output.EXIT_RAISED
    plain = json.loads(capsys.readouterr().out)
    assert plain["explanations"][0]["numbers"]["table"] == 196
    assert cli.main([*named[:2], "--input", "1,3,224,224", "--strict"]) == 0

    def ends(*args):
        raise MemoryError("no room")

    monkeypatch.setattr(module_inspection, "audit_module", ends)
    monkeypatch.delenv(STRICT_RULES, raising=False)
    assert cli.main([*named[:2], "--input", "1,3,224,224"]) == 0
    assert cli.main([*named[:2], "--input", "1,3,224,224", "--strict"]) == 1
    assert "the audit ended with MemoryError: no room." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flag", "write"),
    [("--csv", module_csv), ("--markdown", module_markdown), ("--html", report_page)],
)
def test_a_stem_is_printed_in_every_format(run, flag, write):
    report = inspect_stem(parse_stem(STEM, image_size=(32, 40)), device="cpu")
    assert run(*SMALL, flag) == (0, write(report) + "\n", "")


@pytest.mark.parametrize("flag", ["--markdown", "--html"])
def test_other_counts_follow_the_report_in_every_format_of_text(run, flag):
    code, out, err = run(*SMALL, "--witnesses", flag)
    assert (code, err) == (0, "")
    assert "MACs by every witness" in out


@pytest.mark.parametrize("flag", ["--csv", "--markdown", "--html"])
def test_a_module_is_printed_in_every_format(run, flag):
    code, out, _ = run("--module", "tests/faulty.py:Sized", "--input", "1,3,32,32", flag)
    assert code == 0
    assert "LayerNorm" in out


def test_two_formats_at_once_are_refused_before_the_module_is_run(run):
    code, out, err = run("--module", "nowhere.py:Any", "--input", "1,3", "--json", "--html")
    assert (code, out) == (2, "")
    assert err == (
        "html = True: --json was given as well, and a report is printed once."
        " Give one of the two.\n"
    )
