"""The outermost arguments: whatever is given, a function works or says in a sentence what it is."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import vitc_inspect
from vitc_inspect import (
    PRESETS,
    Contract,
    ConvLayer,
    SpecError,
    StemSpec,
    ViTSpec,
    build_stem,
    conv_layer,
    conv_stem,
    explain_error,
    faults,
    inspect_stem,
    parse_stem,
    patchify_stem,
    predict,
)
from vitc_inspect.common.errors import shown
from vitc_inspect.common.validation import check_int
from vitc_inspect.inspection.module_inspection import inspect_call
from vitc_inspect.inspection.stem_inspection import prepare
from vitc_inspect.tracing.hooks import trace


class Silent:
    """What raises whatever it is asked."""

    def __repr__(self) -> str:
        raise RuntimeError("no")

    __str__ = __index__ = __float__ = __eq__ = __bool__ = __len__ = __iter__ = __repr__  # type: ignore[assignment]
    __hash__ = None  # type: ignore[assignment]

    @property
    def shape(self) -> tuple[int, ...]:
        raise RuntimeError("no")


ODD: dict[str, Any] = {
    "None": None,
    "text": "x",
    "empty text": "",
    "surrogate": "\ud800",
    "signs": "\x1b[31m\n\0",
    "long text": "x" * 100_000,
    "bytes": b"x",
    "integer": 3,
    "huge": 10**5_000,
    "huge and negative": -(10**5_000),
    "nan": float("nan"),
    "inf": float("inf"),
    "large float": 1e308,
    "small float": 1e-320,
    "complex": 1j,
    "True": True,
    "list": [],
    "nested": [[[]]],
    "tuple": (),
    "dict": {},
    "set": set(),
    "object": object(),
    "class": object,
    "function": len,
    "unwritable": Silent(),
    "tensor": torch.zeros(3),
    "meta tensor": torch.zeros((), device="meta"),
    "array": np.zeros(3),
    "fraction": Fraction(1, 3),
}
FUNCTIONS = [
    name
    for name in vitc_inspect.__all__
    if inspect.isfunction(function := getattr(vitc_inspect, name))
    and inspect.signature(function).parameters
    and name != "inspect_module"
]
BESIDE: dict[str, tuple[Any, ...]] = {  # what a function needs besides its first argument
    "explain_layer": ("proj",),
    "match_weights": (PRESETS["vit_c_4gf"].stem,),
    "put_weights": (None,),
    "save_weights": ("never.safetensors",),
    "conv_layer": (3,),
}


def is_one_sentence(error: SpecError) -> bool:
    """Whether what is printed of an error is short, on one line and printable."""
    said = str(error)
    repr(error)
    return said.isprintable() and len(said) < 5_000 and said.endswith(".") and bool(said.encode())


def works_or_says_why(call: Callable[[], Any]) -> bool:
    """Whether a call returns or raises one sentence; any other exception is let through."""
    try:
        call()
    except SpecError as error:
        return is_one_sentence(error)
    return True


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_works_or_says_what_is_wrong_with_its_first_argument(
    name: str, odd: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    function = getattr(vitc_inspect, name)
    assert works_or_says_why(lambda: function(ODD[odd], *BESIDE.get(name, ())))


@pytest.mark.parametrize("odd", ODD)
def test_what_is_no_module_is_not_inspected(odd: str) -> None:
    with pytest.raises(SpecError) as caught:
        vitc_inspect.inspect_module(ODD[odd])
    assert is_one_sentence(caught.value)


LAYER = {"out_channels": 8, "kernel_size": 3, "stride": 2, "padding": 1, "bias": True}
STEM = {"image_size": (32, 32), "convs": (ConvLayer(**LAYER),)}
VIT = {"stem": StemSpec(**STEM), "depth": 1, "num_heads": 2, "mlp_ratio": 4}
BUILDS: dict[str, tuple[Any, dict[str, Any], tuple[str, ...]]] = {
    "ConvLayer": (ConvLayer, LAYER, ("dilation", "groups", "norm", "activation", *LAYER)),
    "conv_layer": (
        conv_layer,
        {"out_channels": 8, "kernel_size": 3},
        ("out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "bias", "norm"),
    ),
    "StemSpec": (StemSpec, STEM, ("in_channels", "class_token", *STEM)),
    "ViTSpec": (ViTSpec, VIT, ("attention", "num_classes", *VIT)),
    "Contract": (Contract, {}, tuple(Contract.__dataclass_fields__)),
    "conv_stem": (conv_stem, {}, tuple(inspect.signature(conv_stem).parameters)),
    "patchify_stem": (patchify_stem, {}, tuple(inspect.signature(patchify_stem).parameters)),
    "parse_stem": (
        parse_stem,
        {"text": "3x3/2:8"},
        ("text", "image_size", "in_channels", "class_token"),
    ),
    "predict": (predict, {"spec": StemSpec(**STEM)}, ("spec", "dtype")),
    "build_stem": (build_stem, {"spec": StemSpec(**STEM)}, ("spec", "seed", "init")),
    "prepare": (
        prepare,
        {"spec": StemSpec(**STEM), "device": "cpu"},
        (
            *("spec", "image", "device", "dtype", "seed", "init", "norm_statistics"),
            *("fit", "weights"),
            *("memory_budget", "keep_bytes"),
        ),
    ),
    "explain_error": (
        explain_error,
        {"text": "shape '[2, 64, 196]' is invalid for input of size 100352"},
        ("text", "spec", "operation", "operands"),
    ),
    "trace": (
        trace,
        {"module": nn.ReLU(), "input": torch.zeros(1, 3)},
        ("module", "input", "keep_bytes"),
    ),
    "inspect_call": (inspect_call, {"module": nn.ReLU()}, ("module", "inputs", "kwargs")),
}
FIELDS = [(name, field) for name, (_, _, fields) in BUILDS.items() for field in fields]


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_every_field_takes_a_value_or_says_what_is_wrong_with_it(
    name: str, field: str, odd: str
) -> None:
    build, fields, _ = BUILDS[name]
    assert works_or_says_why(lambda: build(**{**fields, field: ODD[odd]}))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: predict(None), "spec = None: it is no StemSpec or ViTSpec. "),  # type: ignore[arg-type]
        (lambda: inspect_stem("x"), "spec = 'x': it is a str, no StemSpec. "),  # type: ignore[arg-type]
        (lambda: ViTSpec(**{**VIT, "stem": "x"}), "stem = 'x': it is a str, no StemSpec. "),
        (lambda: explain_error(None), "text = None: it is no str. "),  # type: ignore[arg-type]
        (lambda: StemSpec(**{**STEM, "convs": None}), "convs = None: it is no tuple or list. "),
        (lambda: StemSpec(**{**STEM, "convs": [3]}), "convs = 3: it is an int, no ConvLayer. "),
        (
            lambda: ConvLayer(**{**LAYER, "kernel_size": "3"}),
            "kernel_size = '3': it is not a whole number. Use 3.",
        ),
    ],
)
def test_the_sentence_names_the_field_and_what_came(build: Any, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        build()
    assert str(caught.value).startswith(message)


UNFIT = {  # takes no single number, is no value to compare, or has no room for windows of 16
    *(("StemSpec", "image_size"), ("Contract", "image_size")),
    *(("prepare", "seed"), ("patchify_stem", "image_size")),
}


@pytest.mark.parametrize(
    "three", [3, np.int64(3), np.uint8(3), np.array(3), torch.tensor(3), torch.tensor(3).short()]
)
@pytest.mark.parametrize(
    ("name", "field"),
    [
        (name, field)
        for name, field in FIELDS
        if field
        in {
            *("out_channels", "kernel_size", "stride", "padding", "dilation", "in_channels"),
            *("depth", "mlp_ratio", "num_classes", "image_size", "patch_size", "embed_dim"),
            *("num_prefix_tokens", "table_length", "table_width", "seed"),
        }
        and (name, field) not in UNFIT
    ],
)
def test_a_number_of_numpy_or_torch_is_the_number_it_holds(
    name: str, field: str, three: Any
) -> None:
    build, fields, _ = BUILDS[name]
    built, of_python = (build(**{**fields, field: number}) for number in (three, 3))
    if isinstance(built, nn.Module):
        assert all(map(torch.equal, built.parameters(), of_python.parameters()))
        return
    assert built == of_python
    assert pickle.dumps(built) == pickle.dumps(of_python)  # Python's own, all through


@pytest.mark.parametrize("true", [True, np.True_, np.array(True), torch.tensor(True)])
def test_true_is_true_and_no_number(true: Any) -> None:
    assert ConvLayer(**{**LAYER, "bias": true}).bias is True
    assert StemSpec(**STEM, class_token=true).class_token is True
    for build, fields in ((ConvLayer, {**LAYER, "stride": true}), (StemSpec, STEM)):
        with pytest.raises(SpecError, match="it is not a whole number"):
            build(**{**fields, **({} if build is ConvLayer else {"in_channels": true})})
    with pytest.raises(SpecError, match="it is not a number"):
        ViTSpec(**{**VIT, "mlp_ratio": true})


@pytest.mark.parametrize("one", [1.0, np.float32(1), torch.tensor(1.0), np.array([1]), "1"])
def test_what_is_no_integer_is_no_stride(one: Any) -> None:
    with pytest.raises(SpecError, match=r"stride = .*: it is not a whole number"):
        ConvLayer(**{**LAYER, "stride": one})


@pytest.mark.parametrize("ratio", [2.5, np.float32(2.5), np.float64(2.5), torch.tensor(2.5)])
def test_a_ratio_may_be_any_float(ratio: Any) -> None:
    vit = ViTSpec(**{**VIT, "mlp_ratio": ratio})
    assert type(vit.mlp_ratio) is float
    assert vit.hidden_dim == 8 * 5 // 2


def test_a_contract_of_numbers_of_numpy_is_held_against_itself() -> None:
    contract = Contract(patch_size=np.int64(16), strides=[np.int64(2), torch.tensor(4)])  # type: ignore[arg-type]
    assert contract.strides == (2, 4)
    assert [fault.kind for fault in faults(contract)] == ["stride"]  # 2·4 = 8, not 16


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (10**4_299, "an integer of about 4,300 digits"),
        (10**4_300, "an integer of about 4,301 digits"),  # more than Python writes
        (10**39, "1" + "0" * 39),
        ("a\nb\ud800", r"'a\nb\ud800'"),
        (Silent(), "a Silent that cannot be written"),
        (torch.zeros(2), "tensor([0., 0.])"),
    ],
    ids=range(6),
)
def test_whatever_a_value_is_it_is_written_on_one_line(value: Any, text: str) -> None:
    assert shown(value) == text
    error = SpecError("x", value, "it is\nodd", "Use 4")
    assert str(error) == f"x = {text}: it is\\nodd. Use 4."
    assert "SpecError" in repr(error)


def test_a_text_that_is_long_is_cut_in_the_message_alone() -> None:
    error = SpecError("x", "a" * 100, f"of {'b' * 10_000}", "Use 4")
    assert str(error).startswith("x = 'aaa")
    assert "aaa…: of bbb" in str(error)
    assert len(str(error)) < 2_200
    assert (len(error.value), len(error.reason)) == (100, 10_003)


def test_a_side_too_long_to_be_printed_is_said_to_be() -> None:
    with pytest.raises(SpecError, match="a side of an integer of about 5,001 digits pixels"):
        parse_stem("3x3:8", image_size=(10**5_000, 3))
    with pytest.raises(SpecError, match="an integer of about 5,001 digits: the most is 7"):
        check_int("x", 10**5_000, 0, 7)
