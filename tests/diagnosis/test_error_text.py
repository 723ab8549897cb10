"""Messages in tracebacks, wrapped by torch.compile, broken over lines or shortened."""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn, zeros

from tests.diagnosis.errors import SUM, Embedding, error_of, explain
from vitc_inspect.diagnosis import explain_error
from vitc_inspect.diagnosis.error_text import read_text


@pytest.mark.parametrize(
    ("line", "tokens"),
    [
        ("x = x + self.pos_embed", 257),
        ("x = self.pos_drop(x + self.pos_embed)", 257),
        ("x += self.position_embeddings[:, :n]", 257),
        ("return self.pos_embed + x", 197),
        ("x = self.drop(self.encoder.pos_embedding + x)", 197),
    ],
)
@pytest.mark.parametrize(
    "frame",
    [
        '  File "vit.py", line 12, in forward\n    {}\n        ~~^~~\n',
        "---> 12         {}\n     13         return x\n",
        ">       {}\nE       ",
    ],
    ids=["python", "ipython", "pytest"],
)
def test_the_line_of_code_in_a_traceback_says_which_is_the_table(
    frame: str, line: str, tokens: int
) -> None:
    message = error_of(lambda: zeros(1, 257, 8) + zeros(1, 197, 8))
    found = explain_error(f"Traceback\n{frame.format(line)}RuntimeError: {message}\n")
    assert {e.numbers["tokens"] for e in found if "tokens" in e.numbers} == {tokens}
    assert line in found[0].because


def test_a_whole_traceback_with_anything_around_it_is_read() -> None:
    try:
        Embedding()(zeros(1, 3, 256, 256))
    except RuntimeError:
        text = traceback.format_exc()
    found = explain_error(f"please help!!\n\n{text}\n\nI am on Linux, torch 2.13 (197 tokens?)")
    assert found[0].numbers["image_height"] == 256
    assert "return x + self.pos_embed" in found[0].because


def test_a_message_broken_over_lines_is_read() -> None:
    text = error_of(lambda: zeros(1, 257, 8) + zeros(1, 197, 8)).replace(" ", "\n   │ ")
    assert explain_error(text)[0].numbers["table"] == 197


@pytest.mark.parametrize(
    "text",
    [
        "The size of tensor a (257) must match the size of tensor b (197)",
        "size of tensor a (257) must match … (197)",
        "size of tensor a (257) must match ... (197)",
    ],
)
def test_a_message_that_was_shortened_is_still_known(text: str) -> None:
    whole = "The size of tensor a (257) must match the size of tensor b (197) at non-singleton"
    assert explain_error(text) == explain_error(f"{whole} dimension 1")


@pytest.mark.parametrize(
    "faulty",
    [
        lambda: zeros(1, 257, 8) + zeros(1, 197, 8),
        lambda: nn.Conv2d(3, 8, 3)(zeros(1, 1, 8, 8)),
        lambda: nn.LayerNorm(384)(zeros(1, 384, 14, 14)),
    ],
)
def test_an_error_that_torch_compile_wraps_is_read_as_it_stands(faulty: Callable[[], Any]) -> None:
    plain = error_of(faulty)
    wrapped = (
        "torch._dynamo.exc.TorchRuntimeError: Dynamo failed to run FX node with fake tensors:"
        f' call_function <built-in function add>: got RuntimeError("{plain}")\n\nfrom user code:\n'
        "Set TORCHDYNAMO_VERBOSE=1 for the internal stack trace"
    )
    assert explain_error(wrapped)[0].sentence == explain_error(plain)[0].sentence


class Failing(nn.Module):
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
    model, image = Failing(), zeros(1, 3, 256, 256)
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
