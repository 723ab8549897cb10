"""Explanations of texts alone: what wraps an error, what a stem leaves, and worlds of no pixels."""

from __future__ import annotations

import re
import time
import traceback
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from vitc_inspect.diagnosis import Explanation, explain_error
from vitc_inspect.diagnosis.error_text import read_text
from vitc_inspect.diagnosis.explanation import RunFacts
from vitc_inspect.diagnosis.grids import frames_of, stride_of
from vitc_inspect.stem.notation import parse_stem
from vitc_inspect.stem.presets import PRESETS
from vitc_inspect.stem.spec import StemSpec

zeros = torch.zeros
SUM = "The size of tensor a ({}) must match the size of tensor b ({}) at non-singleton dimension {}"


def explain(faulty: Callable[[], Any], spec: StemSpec | None = None) -> tuple[Explanation, ...]:
    """What is made of the text of what a faulty call raises."""
    with pytest.raises(Exception) as raised:  # noqa: PT011  # whatever it raises is pasted
        faulty()
    return explain_error(str(raised.value), spec=spec)


def words(explanations: tuple[Explanation, ...]) -> str:
    return " ".join(e.sentence + " " + " ".join(e.fixes) for e in explanations)


# ---- a stem that was given -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stem", "image", "pair", "says"),
    [
        # 12·16 + 1 = 193 at stride 8; 180 = 12·15 is one of several grids
        (
            "8x8/8:64",
            (96, 128),
            (193, 181),
            "193 = 12×16 + 1 tokens for a position table of 181 = 12×15 + 1: at stride 8"
            " the image is 96×128 pixels, and the table was made for 96×120, or for another grid"
            " of 180",
        ),
        ("14x14/14:384", (224, 224), (257, 197), "at stride 14 the image is 224×224 pixels"),
        ("16x16/16:768", (224, 224), (577, 197), "at stride 16 the image is 384×384 pixels"),
    ],
)
def test_readings_of_the_stem_that_was_given_leave_no_others(
    stem: str, image: tuple[int, int], pair: tuple[int, int], says: str
) -> None:
    spec = parse_stem(stem, image_size=image)
    found = explain_error(SUM.format(*pair, 1), spec=spec)
    assert says in found[0].sentence
    assert found[0].likelihood != "certain"
    for each in found:
        strides = each.numbers["total_stride"], each.numbers["table_stride"]
        assert spec.total_stride in strides
        if strides != (spec.total_stride, spec.total_stride):
            assert "another stem" in each.sentence
            assert "another stem" in each.because


@settings(deadline=None, derandomize=True, max_examples=120, database=None)
@given(
    name=st.sampled_from(("vit_c_4gf", "vit_p_18gf", "dinov2_s14", "blog_2021")),
    rows=st.integers(3, 40),
    columns=st.integers(3, 40),
    made=st.integers(3, 40),
)
def test_every_image_a_stem_is_to_be_given_gives_the_table_s_length(
    name: str, rows: int, columns: int, made: int
) -> None:
    """So do both ends of the range of sides that is named."""
    stem = PRESETS[name].stem
    step, prefix = stem.total_stride, stem.num_prefix_tokens

    def of(height: int, width: int) -> StemSpec:
        return StemSpec(image_size=(height, width), convs=stem.convs, class_token=stem.class_token)

    spec = of(rows * step, columns * step)
    if spec.seq_len == made**2 + prefix:
        return
    for each in explain_error(SUM.format(spec.seq_len, made**2 + prefix, 1), spec=spec):
        numbers = each.numbers
        if {numbers["total_stride"], numbers["table_stride"]} != {step}:
            continue
        table = of(numbers["table_image_height"], numbers["table_image_width"])
        assert table.seq_len - prefix == numbers["table"] - numbers["table_prefix_tokens"]
        came = of(numbers["image_height"], numbers["image_width"])
        assert came.seq_len - prefix == numbers["tokens"] - numbers["num_prefix_tokens"]
        for low, high, positions in re.findall(
            r"every side from (\d+) to (\d+) gives (\d+)\.", each.fixes[0]
        ):
            assert of(int(low), int(high)).grid_size == (int(positions),) * 2


def test_each_reading_has_the_range_of_its_own_stride() -> None:
    """At stride 14 patchify gives 14 rows for 14·14 = 196 to 15·14 − 1 = 209 pixels."""
    found = explain_error(SUM.format(577, 197, 1), spec=PRESETS["vit_c_4gf"].stem)
    assert "every side from 209 to 224 gives 14." in found[0].fixes[0]
    for each in found:
        stride = each.numbers["table_stride"]
        if "from 209 to 224" in each.fixes[0]:
            assert stride == 16
    # the stem has 14 rows as the table has, and 785 = 28·28 + 1 may be stride 8
    found = explain_error(SUM.format(785, 197, 1), spec=PRESETS["vit_c_4gf"].stem)
    assert any("another stem" in each.sentence for each in found)


def test_a_width_that_the_stem_does_not_have_is_not_spoken_of() -> None:
    """Tokens are 768 wide, so 32 and 64 are no widths: 512 = 32·16 pixels, 1024 = 64·16."""
    text = SUM.format(32, 64, 2)
    best, *others = explain_error(text, spec=parse_stem("16x16/16:768"))
    assert "channels-last map 32 wide" in best.sentence
    assert "an image 512 pixels wide for a model of 1024" in best.sentence
    assert (best.numbers["side"], best.numbers["table_side"]) == (512, 1024)
    assert "width" not in [each.kind for each in others]
    of_width = explain_error(text, spec=parse_stem("16x16/16:32"))
    assert [each.kind for each in of_width] == ["width"]


@pytest.mark.parametrize("stem", ["4x4/4:96", "3x3/2:48, 3x3/2:96"])
def test_the_strides_of_a_reshape_are_those_of_the_stem(stem: str) -> None:
    """64 pixels at stride 4 are 16·16 places; 8·8 need a stride of 8."""
    spec = parse_stem(stem, image_size=64)
    best = explain(lambda: zeros(2, 96, 16, 16).reshape(2, 96, 64), spec)[0]
    assert "the strides multiply to 4, and 8 is needed" in best.sentence
    assert best.fixes[0] == "Multiply one stride by 2: the product must be 8."


# ---- worlds that are no pixels ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("faulty", "kind", "says"),
    [
        (lambda: zeros(1, 1569, 8) + zeros(1, 197, 8), "frames", "1569 = 8·14×14 + 1"),
        (
            lambda: zeros(1, 1568, 8) + zeros(1, 784 * 4, 8),
            "frames",
            "8 frames, or tubelets",
        ),
        (
            lambda: zeros(1, 3137, 8) + zeros(1, 1569, 8),
            "frames",
            "16 frames, or tubelets",
        ),
        (lambda: zeros(1, 785, 8) + zeros(1, 197, 8), "position table", "785 = 28×28 + 1"),
        (lambda: zeros(1, 394, 8) + zeros(1, 197, 8), "images", "394 = 2·197 and 197 = 14×14 + 1"),
        (lambda: zeros(1, 8, 257) + zeros(1, 8, 197), "position table", "257 = 16×16 + 1"),
        (lambda: zeros(1, 3, 64, 64) - zeros(3), "channels", "mean.view(3, 1, 1)"),
        (lambda: zeros(3, 64, 64) - zeros(3), "channels", "mean.view(3, 1, 1)"),
        (lambda: zeros(64, 64, 3) - zeros(3, 1, 1), "channels last", "image.permute(2, 0, 1)"),
        (lambda: zeros(4, 64, 64) - zeros(3, 1, 1), "channels", "image[:3]"),
        (lambda: zeros(1, 64, 64).sub_(zeros(3, 1, 1)), "channels", "Normalize((0.5,), (0.5,))"),
        (lambda: zeros(1, 1, 8).add_(zeros(1, 197, 8)), "in place", "x = x + table"),
        (lambda: zeros(1, 85, 8) + zeros(1, 77, 8), "text length", "85 tokens where 77"),
        (lambda: zeros(1, 600, 8) + zeros(1, 512, 8), "text length", "600 tokens where 512"),
        (lambda: zeros(1, 7, 8) + zeros(1, 13, 8), "not known", "7 and 13 along axis 1"),
        (lambda: zeros(1, 16, 8) + zeros(1, 8, 8), "not known", "16 and 8 along axis 1"),
        (lambda: zeros(8, 3, 49, 49) + zeros(3, 64, 64), "attention", "Scores of 7×7 = 49 tokens"),
        (
            lambda: zeros(1, 4, 3, 144, 144) + zeros(4, 1, 49, 49),
            "attention",
            "relative position table for 7×7",
        ),
        (lambda: zeros(1, 12, 197, 197) + zeros(1, 1, 196, 196), "attention", "197 = 14×14 + 1"),
        (lambda: zeros(1, 8, 56, 56) + zeros(1, 8, 28, 28), "map size", "2 times as large"),
        (lambda: zeros(1, 9, 9, 768) + zeros(1, 9, 9, 512), "width", "768 and 512 channels"),
        (lambda: zeros(1, 14, 14, 8) + zeros(1, 16, 16, 8), "position table", "channels-last map"),
        (
            lambda: zeros(1, 60, 60, 96).reshape(1, 8, 7, 8, 7, 96),
            "windows",
            "60 = 8·7 + 4",
        ),
        (
            lambda: zeros(72, 7, 7, 96).view(1, 8, 8, 7, 7, 96),
            "windows",
            "72 windows of 7×7, and the target has 1·8·8 = 64",
        ),
        (
            lambda: zeros(1, 1569, 768).reshape(1, 768, 8, 14, 14),
            "class token",
            "1569 = 8×14×14 + 1",
        ),
        (
            lambda: zeros(1, 197, 2304).reshape(1, 196, 3, 12, 64),
            "tokens",
            "197 = 14×14 + 1 tokens of 3·768 numbers, and the target has 196",
        ),
        (
            lambda: torch.cat([zeros(1, 8, 15, 15), zeros(1, 8, 14, 14)], 1),
            "map size",
            "sides of 15 and 14",
        ),
        (lambda: zeros(1, 514).expand(1, 600), "text length", "longer than the 514"),
        (
            lambda: zeros(1, 197, 8).copy_(zeros(1, 257, 8)),
            "position table",
            "257 = 16×16 + 1",
        ),
        (
            lambda: F.pad(zeros(1, 1, 196, 196), (0, 0)).expand(1, 12, 197, 197),
            "attention",
            "196 = 14×14 tokens was to become 197",
        ),
        (lambda: nn.Conv2d(3, 8, 8)(zeros(4, 197, 384)), "tokens", "(batch, tokens, width)"),
        (lambda: nn.Conv2d(3, 8, 8)(zeros(3, 1, 64, 64)), "batch", "after the channels"),
        (lambda: nn.Conv2d(3, 8, 8)(zeros(1, 6, 64, 64)), "channels", "the image has 6"),
        (lambda: nn.GroupNorm(1, 16)(zeros(2, 64, 16)), "norm", "channels-last"),
        (lambda: torch.bmm(zeros(12, 9, 4), zeros(6, 4, 9)), "batch", "12 matrices"),
        (lambda: torch.mv(zeros(197, 384), zeros(768)), "width", "384 numbers"),
        (lambda: torch.dot(zeros(384), zeros(768)), "width", "384 numbers"),
        (
            lambda: torch.einsum("bhwc,hkc->bhwk", zeros(1, 14, 14, 64), zeros(16, 27, 64)),
            "einsum",
            "the letter h is 14 long in an operand before and 16 in operand 1",
        ),
        (lambda: zeros(1, 1, 8).expand(4, -1), "expand", "expand(4, -1, -1)"),
        (lambda: nn.BatchNorm3d(8)(zeros(1, 8, 4, 4)), "norm", "BatchNorm3d reads"),
        (lambda: nn.BatchNorm1d(8)(zeros(1, 8, 4, 4)), "norm", "BatchNorm1d reads"),
    ],
)
def test_what_is_no_image_is_not_told_in_pixels(
    faulty: Callable[[], Any], kind: str, says: str
) -> None:
    best = explain(faulty)[0]
    assert best.kind == kind
    assert says in words((best,))
    if says != "expand(4, -1, -1)" and kind != "einsum":
        assert best.likelihood != "certain"


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (
            "Given groups=1, weight of size [384, 3, 8, 8], expected input[1, 0, 512, 585] to have"
            " 3 channels, but got 0 channels instead",
            "in_channels=0",
        ),
        ("mat1 and mat2 shapes cannot be multiplied (1x50176 and 768x1000)", "Linear(50176"),
        ("mat1 and mat2 shapes cannot be multiplied (3x50176 and 768x384)", "Linear(50176"),
        ("mat1 and mat2 shapes cannot be multiplied (1x50176 and 256x10)", "Linear(50176"),
        ("mat1 and mat2 shapes cannot be multiplied (8x150528 and 768x1000)", "Linear(150528"),
        ("mat1 and mat2 shapes cannot be multiplied (4x12544 and 512x10)", "Linear(12544"),
        ("shape '[0, 16384, 48]' is invalid for input of size 4194304", "786,432"),
    ],
)
def test_no_layer_is_built_for_what_can_not_be_meant(text: str, wrong: str) -> None:
    found = explain_error(text)
    assert found
    assert wrong not in words(found)
    assert len(found[0].fixes) >= 2


def test_a_depthwise_convolution_gets_its_groups_too() -> None:
    """Its fix is built, and takes the map."""
    best = explain(lambda: nn.Conv2d(8, 8, 3, groups=8)(zeros(1, 16, 9, 9)))[0]
    numbers = dict(re.findall(r"(\w+)=(\d+)", best.fixes[0]))
    built = nn.Conv2d(kernel_size=3, **{name: int(number) for name, number in numbers.items()})
    assert built(zeros(1, 16, 9, 9)).shape == (1, 16, 7, 7)


@settings(deadline=None, derandomize=True, max_examples=60, database=None)
@given(
    image=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    kernel=st.tuples(st.integers(1, 14), st.integers(1, 14)),
    padding=st.integers(0, 2),
)
def test_a_kernel_and_a_padding_that_are_named_fit(
    image: tuple[int, int], kernel: tuple[int, int], padding: int
) -> None:
    conv = nn.Conv2d(1, 1, kernel, padding=padding)
    if all(side + 2 * padding >= k for side, k in zip(image, kernel, strict=True)):
        assert conv(zeros(1, 1, *image)).numel() > 0
        return
    best = explain(lambda: conv(zeros(1, 1, *image)))[0]
    assert best.likelihood == "certain"
    smaller = int(re.findall(r"kernel of (\d+)", best.fixes[1])[0])
    more = int(re.findall(r"pad by (\d+) more", best.fixes[2])[0])
    longer = int(re.findall(r"must be (\d+) longer", best.fixes[0])[0])
    assert nn.Conv2d(1, 1, smaller, padding=padding)(zeros(1, 1, *image)).numel() > 0
    assert nn.Conv2d(1, 1, kernel, padding=padding + more)(zeros(1, 1, *image)).numel() > 0
    assert conv(zeros(1, 1, image[0] + longer, image[1] + longer)).numel() > 0


def test_an_oblong_image_is_not_resized_to_a_square() -> None:
    best = explain(lambda: zeros(1, 3, 100, 130).reshape(1, 3, 6, 16, 8, 16))[0]
    assert best.fixes[0] == "Resize the image to 96×128 or 112×144 pixels."
    for height, width in re.findall(r"(\d+)×(\d+)", best.fixes[0]):
        rows, columns = int(height) // 16, int(width) // 16
        image = zeros(1, 3, int(height), int(width))
        assert image.reshape(1, 3, rows, 16, columns, 16).numel() == image.numel()


# ---- what wraps an error ---------------------------------------------------------------------


class Embedding(nn.Module):
    """Adds a table to tokens, or does something else that fails."""

    def __init__(self) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, 16, 16, 16)
        self.pos_embed = nn.Parameter(zeros(1, 197, 16))
        self.norm, self.head = nn.LayerNorm(32), nn.Linear(40, 8)

    def forward(self, x: Tensor, how: str = "sum") -> Tensor:
        x = self.proj(x).flatten(2).transpose(1, 2)
        if how == "table first":
            return self.pos_embed + x
        if how == "head":
            return self.head(x)
        if how == "norm":
            return self.norm(x)
        if how == "reshape":
            return x.transpose(1, 2).reshape(1, 16, 14, 14)
        if how == "join":
            return torch.cat([x, zeros(2, 1, 16)], 1)
        return x + self.pos_embed


@pytest.mark.parametrize(
    ("how", "kind"),
    [
        ("sum", "position table"),
        ("table first", "position table"),
        ("head", "width"),
        ("norm", "width"),
        ("reshape", "grid"),
        ("join", "batch"),
    ],
)
def test_what_torch_compile_says_is_read_as_what_it_wraps(how: str, kind: str) -> None:
    model, image = Embedding(), zeros(1, 3, 256, 256)
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="eager")
    found = explain(lambda: compiled(image, how))
    eager = explain(lambda: model(image, how))
    assert found[0].kind == eager[0].kind == kind
    assert found[0].numbers == eager[0].numbers or how == "table first"
    if kind == "position table":  # the table is a parameter, whatever side of the sum it stands
        assert {e.numbers["tokens"] for e in found} == {256}
        assert "operand is a parameter" in found[0].because


def test_operands_of_torch_compile_are_read_unless_their_sizes_are_symbols() -> None:
    text = (
        "Failed running call_function <built-in function add>(*(FakeTensor(..., size=({}, 257,"
        " 768)), Parameter(FakeTensor(..., size=(1, 197, 768), requires_grad=True))), **{{}}):\n"
        + SUM.format(257, 197, 1)
    )
    told = read_text(text.format(1), None)
    assert told.operands == ((1, 257, 768), (1, 197, 768))
    assert told.parameters == (False, True)
    assert read_text(text.format("s0"), None).operands == ()
    assert explain_error(text.format("s0"))[0].numbers["tokens"] == 257


def test_torch_script_marks_the_line() -> None:
    class Scripted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pos_embed = nn.Parameter(zeros(1, 197, 16))

        def forward(self, x: Tensor) -> Tensor:
            x = x * 2
            return self.pos_embed + x

    with warnings.catch_warnings(action="ignore"):  # jit is to go
        scripted = torch.jit.script(Scripted())
    best = explain(lambda: scripted(zeros(1, 257, 16)))[0]
    assert (best.numbers["tokens"], best.numbers["table"]) == (257, 197)
    assert "return self.pos_embed + x" in best.because


@pytest.mark.parametrize(
    "around",
    [
        "Caught RuntimeError in replica 0 on device 0.\nOriginal Traceback (most recent call last):"
        '\n  File "vit.py", line 3, in forward\n    x = x + self.pos_embed\nRuntimeError: {}',
        "RuntimeError: {}\nCUDA kernel errors might be asynchronously reported at some other API"
        " call, so the stacktrace below might be incorrect.\nFor debugging consider passing"
        " CUDA_LAUNCH_BLOCKING=1.",
        "torch._dynamo.exc.TorchRuntimeError: Failed running call_function <built-in function"
        " add>(*(FakeTensor(..., device='cuda:0', size=(1, 257, 768), dtype=torch.float16),"
        " Parameter(FakeTensor(..., device='cuda:0', size=(1, 197, 768)))), **{{}}):\n{}\n\nfrom"
        ' user code:\n   File "vit.py", line 3, in forward\n    x = x + self.pos_embed',
    ],
    ids=["replica", "cuda", "dynamo"],
)
def test_wrappings_change_nothing(around: str) -> None:
    best = explain_error(around.format(SUM.format(257, 197, 1)))[0]
    assert (best.numbers["tokens"], best.numbers["table"]) == (257, 197)
    assert best.numbers["table_image_height"] == 224


def test_marks_under_a_line_say_which_of_its_sums_failed() -> None:
    """Python 3.11 and later underline the operation; the line has two sums."""
    names = {"x": zeros(1, 257, 8), "a": zeros(1, 257, 8), "pos": zeros(1, 197, 8)}
    line = "    y = f(pos + x) + (x + a)"
    frame = '  File "vit.py", line 1, in forward\n{}\n{}\nRuntimeError: {}'
    marks = line.replace("pos + x", "~~~~^~~").translate(
        {ord(c): " " for c in set(line) - set("~^")}
    )
    text = frame.format(line, marks, SUM.format(197, 257, 1))
    assert read_text(text, None).marked == "pos + x"
    assert explain_error(text)[0].numbers["table"] == 197
    try:
        eval("(x + a) + (pos + x)", names)
    except RuntimeError:
        assert explain_error(traceback.format_exc())[0].numbers


@pytest.mark.parametrize(
    ("line", "tokens"),
    [
        ("x = torch.add(x, self.pos_embed)", 257),
        ("x = x.add(self.pos_embed)", 257),
        ("x = self.pos_embed.add(x)", 197),
        ("x.add_(self.pos_embed)", 257),
    ],
)
def test_sums_that_are_called_name_their_operands_too(line: str, tokens: int) -> None:
    text = f'  File "vit.py", line 1, in forward\n    {line}\nRuntimeError: '
    found = explain_error(text + SUM.format(257, 197, 1))
    assert {each.numbers["tokens"] for each in found} == {tokens}


@pytest.mark.parametrize(
    "text",
    [
        "call_function add *(" * 10_000,
        "call_function <built-in function add>(*(FakeTensor(..., size=(1, " * 4_000,
        "Attempting to broadcast a dimension of length 1 at -1! " * 4_000,
        "    ~~~~ <--- HERE\n" * 10_000,
        '  File "a.py", line 1\n' + "~" * 150_000 + "\n" + "^" * 40_000,
        SUM.format(999_999_999, 999_999_998, 1),
        SUM.format(999_999_999, 999_999_998, 2),
        f"shape '[1, 8, 7, 8, 7, 96]' is invalid for input of size {10**14}",
        "shape '[1, 99999999, 99999999, 99999999, 99999999, 3]' is invalid for input of size 12",
        f"shape '[1, {10**11}, 16]' is invalid for input of size {16 * 10**12}",
        f"mat1 and mat2 shapes cannot be multiplied (1x{10**11} and {10**11 - 1}x9)",
    ],
)
def test_absurd_texts_take_little_time(text: str) -> None:
    for each in explain_error(text):
        assert each.fixes
    start = time.perf_counter()
    explain_error(text, spec=parse_stem("16x16/16:768"))
    assert time.perf_counter() - start < 2


# ---- facts given by hand ---------------------------------------------------------------------


def test_facts_may_be_given_without_a_run() -> None:
    """64 pixels at stride 16 are 4·4 tokens, so 17 came; no reading speaks of another image."""
    text = SUM.format(17, 50, 1)
    assert explain_error(text)[0].numbers["image_height"] != 96
    facts = RunFacts(inputs=((1, 3, 64, 64),))
    for each in explain_error(text, facts=facts):
        assert each.numbers.get("image_height", 64) == 64


def test_the_operand_of_a_linear_layer_says_which_of_its_axes_is_which() -> None:
    """256 = 8·32 rows of 16 = 4·4 numbers: only the shape says that there are 256 tokens."""
    text = "mat1 and mat2 shapes cannot be multiplied (256x16 and 32x8)"
    weight = (8, 32)

    def first(*operand: int) -> str:
        return explain_error(text, operation="linear", operands=(operand, weight))[0].kind

    assert explain_error(text)[0].kind == "transpose"
    assert first(1, 256, 16) == "width"
    assert first(8, 32, 16) == "transpose"
    assert first(2, 32, 4, 16) == "flatten"


def test_small_functions_of_readings() -> None:
    assert list(frames_of(8 * 14 * 14 + 1)) == [(8, 14, 1), (32, 7, 1), (2, 28, 1)]
    assert [stride_of(224, n) for n in (14, 16, 28, 224)] == [16, 14, 8, 1]
