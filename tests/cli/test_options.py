"""Options that cannot be used: one line that says what to do, and exit code 2."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.cli.stems import STEM
from vitc_inspect.cli import options
from vitc_inspect.common.errors import SpecError
from vitc_inspect.common.validation import parse_image_size
from vitc_inspect.stem.notation import parse_stem
from vitc_inspect.stem.presets import PRESETS

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
    ([STEM, "--fit", "fill"], "fit = 'fill': it is not one of crop, pad, stretch. Use "),
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
