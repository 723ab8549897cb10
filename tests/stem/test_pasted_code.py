"""Stems pasted as PyTorch code or as a printout: what is read, and the sentence about the rest."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.strategies import stem_specs
from vitc_inspect.common.errors import SpecError
from vitc_inspect.model.modules import build, build_stem
from vitc_inspect.stem.notation import format_convs, format_stem, parse_convs, parse_stem
from vitc_inspect.stem.presets import PRESETS, Preset
from vitc_inspect.stem.spec import StemSpec

NORMS = {"batch": "nn.BatchNorm2d({})", "layer": "nn.LayerNorm({})"}
ACTIVATIONS = {"relu": "ReLU", "gelu": "GELU", "silu": "SiLU", "hardswish": "Hardswish"}


def lines_of(stem: StemSpec, *, by_name: bool, pairs: bool) -> list[str]:
    """The layers of a stem as PyTorch code, one in a line."""
    lines = []
    for stage in stem.stages:
        conv = stage.conv
        values: dict[str, Any] = {"in_channels": stage.in_shape[0]}
        for name in ("out_channels", "kernel_size", "stride", "padding", "dilation", "groups"):
            value = getattr(conv, name)
            both = pairs and name not in ("out_channels", "groups")
            values[name] = (value, value) if both else value
        values["bias"] = conv.bias
        written = [f"{name}={value}" if by_name else str(value) for name, value in values.items()]
        lines.append(f"nn.Conv2d({', '.join(written)})")
        if conv.norm != "none":
            lines.append(NORMS[conv.norm].format(conv.out_channels))
        if conv.activation != "none":
            lines.append(f"nn.{ACTIVATIONS[conv.activation]}()")
    return lines


@pytest.fixture(autouse=True)
def _bounded() -> Iterator[None]:
    """End a reading that does not end; each takes less than a second."""
    signal.alarm(120)
    yield
    signal.alarm(0)


FORMS = {
    "lines": "\n".join,
    "trailing commas": lambda lines: "".join(f"    {line},\n" for line in lines),
    "first line not indented": lambda lines: ",\n        ".join(lines),
    "assignments": lambda lines: "\n".join(f"  self.a{i} = {x}" for i, x in enumerate(lines)),
    "comments": lambda lines: "# a\n" + "\n\n".join(f"{line}  # (c, h" for line in lines),
    "list": lambda lines: f"layers = [{', '.join(lines)}]",
    "Sequential": lambda lines: "stem = nn.Sequential(\n    " + ",\n    ".join(lines) + ",\n)",
    "nested": lambda lines: f"nn.Sequential(nn.Sequential({', '.join(lines)}), nn.Flatten(2))",
    "pairs": lambda lines: (
        "OrderedDict([" + ", ".join(f"('l{i}', {x})" for i, x in enumerate(lines)) + "])"
    ),
    "dictionary": lambda lines: (
        "nn.ModuleDict({" + ", ".join(f"'l{i}': {x}" for i, x in enumerate(lines)) + "})"
    ),
    "full names": lambda lines: "\n".join(lines).replace("nn.", "torch.nn."),
    "prompts": lambda lines: ">>> " + ",\n... ".join(lines),
    "class": lambda lines: (
        "import torch\nfrom torch import nn\n\nclass Stem(nn.Module):\n    '''A stem.'''\n"
        "    def __init__(self):\n        super().__init__()\n"
        + "".join(f"        self.a{i} = {line}\n" for i, line in enumerate(lines))
    ),
    "function": lambda lines: f"def stem():\n    return nn.Sequential({', '.join(lines)})",
    "Windows": lambda lines: ",\r\n".join(lines),
}


def read(text: str, stem: StemSpec) -> StemSpec:
    """The stem that a text is read as, with what stands beside it as in another."""
    return parse_stem(
        text,
        image_size=stem.image_size,
        class_token=stem.class_token,
        position_table=stem.position_table,
    )


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_every_form_of_code_is_read(preset: Preset, form: Any) -> None:
    text = form(lines_of(preset.stem, by_name=False, pairs=False))
    assert read(text, preset.stem) == preset.stem


@settings(deadline=None, derandomize=True, max_examples=150, database=None)
@given(stem_specs(), st.sampled_from(list(FORMS.values())), st.booleans(), st.booleans())
def test_any_stem_reads_back_from_its_code(
    stem: StemSpec, form: Any, by_name: bool, pairs: bool
) -> None:
    text = form(lines_of(stem, by_name=by_name, pairs=pairs))
    assert read(text, stem) == stem


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_a_preset_reads_back_from_its_printout(preset: Preset) -> None:
    assert read(str(build_stem(preset.stem)), preset.stem) == preset.stem


@settings(deadline=None, derandomize=True, max_examples=100, database=None)
@given(stem_specs(max_side=32))
def test_any_stem_reads_back_from_its_printout(stem: StemSpec) -> None:
    module = build_stem(stem)
    assert read(str(module), stem) == stem
    assert read(str(nn.ModuleDict({"a": nn.Sequential(module)})), stem) == stem
    indented = "\n".join(f"    {line}" for line in str(module).split("\n")[1:-1])
    assert read(indented, stem) == stem


def test_the_layers_in_code_run_as_the_stem_is_predicted() -> None:
    stem = PRESETS["vit_c_4gf"].stem
    lines = lines_of(stem, by_name=True, pairs=True)
    module = eval(f"nn.Sequential({', '.join(lines)})", {"nn": nn})
    with torch.no_grad():
        shape = module.eval()(torch.zeros(1, 3, *stem.image_size)).shape
    assert tuple(shape) == (1, *stem.stages[-1].out_shape)
    assert read(str(module), stem) == stem


def test_the_printout_of_a_whole_model_is_read_to_its_tokens() -> None:
    vit = PRESETS["vit_c_1gf"].vit
    assert vit is not None
    assert read(str(build(vit)), vit.stem) == vit.stem


PRINTED = {
    "timm": (
        """VisionTransformer(
          (patch_embed): PatchEmbed(
            (proj): Conv2d(3, 768, kernel_size=(16, 16), stride=(16, 16))
            (norm): Identity()
          )
          (pos_drop): Dropout(p=0.0, inplace=False)
          (blocks): Sequential(
            (0-11): 12 x Block(
              (norm1): LayerNorm((768,), eps=1e-06, elementwise_affine=True)
              (attn): Attention(
                (qkv): Linear(in_features=768, out_features=2304, bias=True)
              )
            )
          )
          (norm): LayerNorm((768,), eps=1e-06, elementwise_affine=True)
          (head): Linear(in_features=768, out_features=1000, bias=True)
        )""",
        "16x16/16:768",
    ),
    "torchvision": (
        """VisionTransformer(
          (conv_proj): Sequential(
            (conv_bn_relu_0): Conv2dNormActivation(
              (0): Conv2d(3, 64, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), bias=False)
              (1): BatchNorm2d(64, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)
              (2): ReLU(inplace=True)
            )
            (conv_last): Conv2d(64, 384, kernel_size=(1, 1), stride=(1, 1))
          )
          (encoder): Encoder(
            (dropout): Dropout(p=0.0, inplace=False)
            (layers): Sequential(
              (encoder_layer_0): EncoderBlock(
                (ln_1): LayerNorm((384,), eps=1e-06, elementwise_affine=True)
                (mlp): MLPBlock(
                  (0): Linear(in_features=384, out_features=1536, bias=True)
        """,  # cut off
        "3x3/2:64 bn relu, 1x1:384",
    ),
    "Swin": (
        """SwinTransformer(
          (features): Sequential(
            (0): Sequential(
              (0): Conv2d(3, 96, kernel_size=(4, 4), stride=(4, 4))
              (1): Permute()
              (2): LayerNorm((96,), eps=1e-05, elementwise_affine=True)
            )
            (1): Sequential(
              (0): SwinTransformerBlock(
                (norm1): LayerNorm((96,), eps=1e-05, elementwise_affine=True)
                (attn): ShiftedWindowAttention(
                  (qkv): Linear(in_features=96, out_features=288, bias=True)""",
        "4x4/4:96 ln bias",
    ),
    "repeated": (
        """Sequential(
          (0): Conv2d(3, 8, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1))
          (1-2): 2 x Sequential(
            (0): Conv2d(8, 8, kernel_size=(3, 3), stride=(1, 1), padding=same)
            (1): SiLU()
          )
          (3-5): 3 x Conv2d(8, 8, kernel_size=(1, 1), stride=(1, 1))
        )""",
        "3x3/2:8, 3x3:8 silu, 3x3:8 silu, 1x1:8, 1x1:8, 1x1:8",
    ),
    "one layer": ("Conv2d(3, 768, kernel_size=(16, 16), stride=(16, 16))", "16x16/16:768"),
    "a line of it": ("  (0): Conv2d(1, 8, kernel_size=(2, 2), stride=(2, 2))", "2x2/2:8"),
}


@pytest.mark.parametrize(("text", "notation"), PRINTED.values(), ids=PRINTED)
def test_printouts_that_are_read(text: str, notation: str) -> None:
    assert format_convs(parse_convs(text)) == notation


@pytest.mark.parametrize(
    ("text", "notation"),
    [
        ("nn.Conv2d(3, 48, 3, stride=2, padding=1)", "3x3/2:48"),
        ("nn.Conv2d(in_channels=3, out_channels=48, kernel_size=3)", "3x3p0:48"),
        ("nn.Conv2d(3, 48, 3, padding='same')", "3x3:48"),
        ("nn.Conv2d(3, 48, 3, padding='same', dilation=2)", "3x3p2:48 d2"),
        ("nn.Conv2d(3, 48, (3, 3), 2, padding='valid')", "3x3/2p0:48"),
        ("nn.Conv2d(3, 48, [3, 3], (2,), (1, 1), bias=False)", "3x3/2:48 nobias"),
        ("dim: int = 384\nself.p = 16\nnn.Conv2d(3, dim, self.p, self.p)", "16x16/16:384"),
        ("nn.Conv2d(3, 8, 1), nn.Dropout(0.1), nn.ReLU(True), nn.Identity()", "1x1:8 relu"),
        ("nn.Conv2d(3, 8, 1); nn.Conv2d(8, 8, 3, padding=1, groups=8)", "1x1:8, 3x3:8 g8"),
        ("Conv2dNormActivation(3, 8, 3, 2), nn.Conv2d(8, 9, 1)", "3x3/2:8 bn relu, 1x1:9"),
        (
            "ops.Conv2dNormActivation(3, 8, kernel_size=5, norm_layer=None, "
            "activation_layer=nn.GELU)",
            "5x5:8 gelu",
        ),
        (
            "nn.Conv2d(3, 8, 2, 2), Rearrange('b c h w -> b h w c'), nn.LayerNorm(8), "
            "Rearrange('b h w c -> b (h w) c'), nn.Linear(8, 8)",
            "2x2/2:8 ln bias",
        ),
    ],
)
def test_code_that_is_read(text: str, notation: str) -> None:
    assert format_convs(parse_convs(text)) == notation


@pytest.mark.parametrize(
    ("text", "reason", "suggestion"),
    [
        (
            "nn.Conv2d(3, 48, (3, 5))",
            "line 1: kernel_size of proj is (3, 5), not the same for height and width",
            "3x3p0:48",
        ),
        (
            "nn.Conv2d(3, 48, 3, padding_mode='reflect')",
            "line 1: padding_mode of proj is 'reflect', and a stem pads with zeros",
            "3x3p0:48",
        ),
        (
            "nn.Conv2d(3, 48, 3, padding='same', stride=2)",
            "line 1: padding='same' of proj goes with stride 1 alone, not with 2",
            "3x3/2:48",
        ),
        (
            "nn.Conv2d(3, 48, 4, padding='same')",
            "line 1: padding='same' of proj with kernel_size 4 pads 3 pixels in all, one more on "
            "one side than on the other",
            "4x4:48",
        ),
        (
            "nn.Conv2d(3, 64, 7, 2, 3),\nnn.BatchNorm2d(64),\nnn.ReLU(),\nnn.MaxPool2d(3, 2, 1)",
            "line 4: MaxPool2d cannot be read, a stem has Conv2d, BatchNorm2d or LayerNorm, and "
            "ReLU, GELU, SiLU or Hardswish, until Flatten or Rearrange",
            "7x7/2:64 bn relu bias",
        ),
        (
            "nn.Conv2d(3, 48, 3)\nnn.Conv2d(64, 96, 3)",
            "line 2: proj takes 64 channels, the convolution before gives 48",
            "3x3p0:48, 3x3p0:96",
        ),
        (
            "self.proj = nn.Conv2d(3, 48, patch_size)",
            "line 1: kernel_size of proj is “patch_size”, not a whole number",
            "3x3p0:48",
        ),
        (
            "nn.Conv2d(3, 48, 2 * 8)",
            "line 1: kernel_size of proj is “2 * 8”, not a whole number",
            "3x3p0:48",
        ),
        ("nn.Conv2d(3, 48)", "line 1: kernel_size of proj is missing", "3x3p0:48"),
        (
            "nn.Conv2d(3, 48, 3, strides=2)",
            "line 1: Conv2d has no argument strides, perhaps stride is meant",
            "3x3p0:48",
        ),
        (
            "nn.Conv2d(3, 48, 3, 2",
            "line 1: it is not Python, '(' was never closed",
            "3x3/2p0:48",
        ),
        (
            "nn.Conv2d(3, 48, 3), nn.ReLU(), nn.BatchNorm2d(48)",
            "line 1: BatchNorm2d stands after the activation of proj, not before it",
            "3x3p0:48 bn relu bias",
        ),
        (
            "nn.BatchNorm2d(3)\nnn.Conv2d(3, 48, 3)",
            "line 1: BatchNorm2d stands before the first convolution",
            "3x3p0:48",
        ),
        (
            "nn.Conv2d(3, 48, 3)\nnn.BatchNorm2d(64)",
            "line 2: BatchNorm2d normalises 64, and proj has 48 channels",
            "3x3p0:48 bn bias",
        ),
        (
            "nn.Conv2d(3, 48, 3)\nnn.ReLU()\nnn.GELU()",
            "line 3: GELU is a second activation of proj",
            "3x3p0:48 relu",
        ),
        (
            "nn.Conv2d(3, 48, 3)\nnn.GELU(approximate='tanh')",
            "line 2: GELU of proj is approximated by 'tanh', a stem's is exact",
            "3x3p0:48 gelu",
        ),
        (
            "layers = []\nfor i in range(4):\n    layers.append(nn.Conv2d(3, 48, 3))",
            "line 2: “for i in range(4):” would have to be run, and pasted code is only read",
            "16x16/16:768",
        ),
        (
            "class S(nn.Module):\n  def __init__(self):\n    self.c = nn.Conv2d(3, 8, 1)\n"
            "  def forward(self, x):\n    return self.c(x)",
            "line 4: what forward does is not read, only the lines that create layers",
            "1x1:8",
        ),
        (
            "nn.Conv2d(__import__('os').system('true'), 48, 3)",
            "line 1: in_channels of proj is “__import__('os').system('true')”, not a number",
            "3x3p0:48",
        ),
        (
            "nn.ReLU()",
            "line 1: ReLU stands before the first convolution",
            "16x16/16:768",
        ),
        (
            "Sequential(\n  (0): ReLU()\n  (1): Conv2d(3, 8, kernel_size=(1, 2), stride=(1, 1))\n)",
            "line 2: ReLU stands before the first convolution",
            "1x1:8",
        ),
    ],
)
def test_what_a_stem_cannot_have_is_told_with_its_line(
    text: str, reason: str, suggestion: str
) -> None:
    with pytest.raises(SpecError) as raised:
        parse_stem(text)
    assert (raised.value.field, raised.value.value) == ("stem", text)
    assert raised.value.reason == reason
    assert raised.value.suggestion == suggestion
    assert raised.value.fix == f"Use {suggestion}"
    assert parse_stem(suggestion)


def test_numbers_out_of_bounds_are_named_as_in_a_notation() -> None:
    with pytest.raises(SpecError, match=r"conv1.stride = 0: the least is 1. Use 1 or more."):
        parse_stem("nn.Conv2d(3, 8, 3, 0), nn.Conv2d(8, 8, 1)")
    with pytest.raises(SpecError, match=r"proj.groups = 5: it does not divide the 8 output"):
        parse_stem("nn.Conv2d(3, 8, 3, groups=5)")


def test_the_channels_that_code_says_are_taken_or_compared() -> None:
    grey = "nn.Conv2d(1, 8, 3)"
    assert parse_stem(grey).in_channels == 1
    assert parse_stem(grey, in_channels=1).in_channels == 1
    assert parse_stem("3x3:8").in_channels == 3
    with pytest.raises(SpecError) as raised:
        parse_stem(grey, in_channels=3)
    assert str(raised.value) == (
        "in_channels = 3: the first convolution of the code takes 1. Use 1."
    )
    assert raised.value.suggestion == 1


HOSTILE = {
    "system": "nn.Conv2d(3, 8, __import__('os').system('touch /tmp/vitc_inspect_was_here'))",
    "open": "nn.Conv2d(*open('/etc/passwd')), nn.ReLU()",
    "walrus": "nn.Conv2d(x := 3, 8, 3)",
    "f-string": "nn.Conv2d(f'{exit()}', 8, 3)",
    "keywords": "nn.Conv2d(**{'in_channels': exit()})",
    "lambda": "nn.Conv2d((lambda: exit())(), 8, 3)",
    "decorator": "@exit\nclass A(nn.Module): pass",
    "brackets": "nn.Conv2d" + "(" * 40_000,
    "mixed brackets": "nn.Conv2d" + "([{" * 13,
    "minus signs": "nn.Conv2d(" + "-" * 40_000 + "3)",
    "calls": "nn.Conv2d" + "(1)" * 15_000,
    "dots": "nn" + ".a" * 20_000,
    "sums": "nn.Conv2d(3, " + "+".join("1" * 20_000) + ")",
    "not": "nn.Conv2d(" + "not " * 9_000 + "1)",
    "lambdas": "nn.Conv2d(" + "lambda:" * 6_000 + "1)",
    "blocks": "\n".join(" " * i + "class A(nn.B):" for i in range(95)),
    "elif": "nn.A()\nif 1: 1\n" + "elif 1: 1\n" * 4_000,
    "layers": "nn.Conv2d(3, 3, 1)\n" * 2_000,
    "digits": f"nn.Conv2d(3, {'9' * 20_000}, 3)",
    "hexadecimal": f"nn.Conv2d(3, 0x{'f' * 20_000}, 3)",
    "exponent": "nn.Conv2d(3, 1e999, 3)",
    "complex": "nn.Conv2d(3, 1j, nan)",
    "negative": "nn.Conv2d(-3, -8, -3)",
    "nothing": "nn.Conv2d()",
    "flags": "nn.Conv2d(True, False, None)",
    "sets": "nn.Conv2d({1}, b'3', ...)",
    "empty tuple": "nn.Conv2d(3, 8, ())",
    "many arguments": f"nn.Conv2d({'3,' * 20_000})",
    "many keywords": f"nn.Conv2d({','.join(f'a{i}=1' for i in range(5_000))})",
    "backslashes": "nn.Conv2d(3, 8, '\\d\\N{x}')",
    "NUL": "nn.Conv2d(3, 8, 3)\0",
    "half of a character": "nn.Conv2d(3, 8, 3)\ud800",
    "half of a character in a name": "nn.Conv2d(\ud800, 8, 3)",
    "right to left": "nn.Conv2d(3, \u202e8, 3)",
    "other letters": "nn.Сonv2d(3, 8, 3)",
    "letters of the source": "nn.Conv2d(é, (ü := 3), ß)",
    "open text": "nn.Conv2d(3, 8, '''",
    "form feed": "nn.Conv2d(3, 8,\f3)\x0b",
    "modules": "(a): A(\n" * 6_000,
    "repeated modules": "(0-59): 60 x A(\n" * 20 + "(0): ReLU()",
    "repeated layers": "(0): 999999999 x Conv2d(3, 3, kernel_size=(1, 1), stride=(1, 1))",
    "closing": "(a): Conv2d(3)\n" + ")\n" * 20_000,
    "printed code": "(a): Conv2d(exit(), 3, 3)",
    "no printout": "(a): Conv2d(3, 8, 3)\nexit()",
    "HTML": "(a): Conv2d(3, 8, '<script>alert(1)</script>')",
    "too long": "nn.Conv2d(3, 8, 3)\n" * 100_000,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_code_is_answered_in_one_sentence(text: str) -> None:
    with pytest.raises(SpecError) as raised:
        parse_stem(text)
    said = str(raised.value)
    assert said.isprintable()
    assert len(said) < 5_000
    if raised.value.field == "stem":
        assert parse_stem(raised.value.suggestion)


PIECES = (
    *("nn.Conv2d(", "3", ", ", "8", ")", "\n", "nn.ReLU()", "nn.BatchNorm2d(8)", "kernel_size="),
    *("(0): ", "Conv2d(3, 8, kernel_size=(1, 1), stride=(1, 1))", "Sequential(", "[", "]", "*"),
    *(
        "  ",
        "self.a = ",
        "'same'",
        "-",
        "0",
        "9999999999",
        "x",
        "#",
        ":",
        "lambda",
        "\\",
        "é",
        "\0",
    ),
)


def refusal_of(parse: Callable[[str], object], text: str) -> SpecError | None:
    """Why a text is refused, if it is."""
    try:
        parse(text)
    except SpecError as error:
        return error
    return None


@settings(deadline=None, derandomize=True, max_examples=400, database=None)
@given(st.lists(st.sampled_from(PIECES), max_size=25).map("".join))
def test_any_mixture_of_code_is_a_stem_or_one_sentence(text: str) -> None:
    error = refusal_of(parse_stem, text)
    if error:
        assert str(error).isprintable()
        assert error.field != "stem" or parse_stem(error.suggestion)
        return
    stem = parse_stem(text)
    assert parse_stem(format_stem(stem), in_channels=stem.in_channels) == stem


@settings(deadline=None, derandomize=True, max_examples=100, database=None)
@given(stem_specs(), st.data())
def test_every_cut_of_code_and_printout_is_read_or_mended(
    stem: StemSpec, data: st.DataObject
) -> None:
    code = "\n".join(lines_of(stem, by_name=True, pairs=False))
    text = data.draw(st.sampled_from((code, str(build_stem(stem)))))
    cut = text[: data.draw(st.integers(0, len(text)))]
    error = refusal_of(parse_convs, cut)
    if error and error.field == "stem" and error.suggestion is not None:
        assert parse_convs(error.suggestion)
