"""The cards of terms: each is short and used, and its formula gives what is computed here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from math import floor, prod
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vitc_inspect
from tests.strategies import conv_layers, stem_specs
from vitc_inspect.probes.similarity import cosines, token_norms
from vitc_inspect.stem import arithmetic
from vitc_inspect.stem.geometry import audit_pixels
from vitc_inspect.stem.prediction import predict
from vitc_inspect.stem.spec import ConvLayer, Stage, StemSpec, patchify_stem
from vitc_inspect.stem.vit import ViTSpec
from vitc_inspect.views.glossary import GLOSSARY, cards, term
from vitc_inspect.views.glossary_entries import TERMS, Term

PACKAGE = Path(vitc_inspect.__file__).parent

WAITING = frozenset(
    {
        *("stem", "patchify", "embed_dim", "class_token", "sequence_length", "groups"),
        *("pointwise", "norm", "layer_norm", "activation_function", "jump", "attention"),
        *("linear_attention", "heads", "mlp_ratio", "dtype", "seed"),
    }
)
"""Terms of the controls, the summary and the table, where none has a card yet."""

NOT_ARITHMETIC = {
    "cell": "test_cells: a cell is the sum of a window times a kernel",
    "batch_norm": "what torch documents",
    "layer_norm": "what torch documents",
    "activation_function": "what torch documents",
    "correlation": "what numpy documents",
    "gradient": "what autograd finds",
    "vector_norm": "below, on vectors",
    "cosine": "below, on vectors",
}
"""Formulas that no test evaluates as they are written."""


def used() -> set[str]:
    """Keys of the terms that the page's Python and HTML name."""
    sources = [path.read_text() for path in sorted(PACKAGE.rglob("*.py"))]
    pages = [path.read_text() for path in sorted(PACKAGE.rglob("*.html"))]
    found = re.findall(r'\bterm\(\s*"(\w+)"', "\n".join(sources).replace('>>> print(term("', ""))
    return {*found, *re.findall(r'data-term="(\w+)"', "\n".join(pages))}


def test_every_term_that_is_used_has_a_card_and_every_card_is_used() -> None:
    assert used() - set(GLOSSARY) == set()
    assert set(GLOSSARY) - used() == WAITING


@pytest.mark.parametrize("one", TERMS, ids=lambda one: one.key)
def test_a_card_is_short_and_in_whole_sentences(one: Term) -> None:
    assert one.key.isidentifier()
    assert 1 <= len(one.title.split()) <= 4
    assert len(one.text.split()) >= 8
    assert len(" ".join((one.title, one.text, one.formula, one.source)).split()) <= 60
    assert one.text[0].isupper()
    assert one.text[-1] in ".:"
    assert not one.text.endswith(":") or one.formula


def test_no_two_cards_are_alike() -> None:
    assert len(GLOSSARY) == len(TERMS)
    for name in ("title", "text"):
        assert len({getattr(one, name) for one in TERMS}) == len(TERMS)


def test_the_page_is_given_every_card() -> None:
    assert cards()["flops"]["formula"] == "FLOPs = 2 × MACs"
    assert set(cards()) == set(GLOSSARY)


def test_a_term_is_a_button_with_its_words_and_nothing_else_is_a_term() -> None:
    assert ">a < b</button>".replace(" < ", " &lt; ") in term("macs", "a < b")
    with pytest.raises(KeyError, match="mac"):
        term("mac")


# ---- the formulas, as they are written ---------------------------------------------------------


def value(key: str, **values: float) -> Fraction:
    """What the right side of a term's formula comes to; names have "_" for their spaces."""
    right = GLOSSARY[key].formula.partition(" = ")[2]
    words = r"[A-Za-z]+(?: [A-Za-z]+)*"
    named = re.sub(words, lambda name: f"v[{name[0].replace(' ', '_')!r}]", right)
    for sign, python in {"×": "*", "−": "-", "²": "**2", "⌊": "floor(", "⌋": ")"}.items():
        named = named.replace(sign, python)
    exact = {name: Fraction(number) for name, number in values.items()}
    return Fraction(eval(named, {"floor": floor, "v": exact}))


def shared(key: str) -> str:
    return GLOSSARY[key].formula


EVALUATED = frozenset(
    {
        *("patchify", "grid", "flattening", "class_token", "position_table", "sequence_length"),
        *("convolution", "kernel", "window", "stride", "padding", "dilation", "groups"),
        *("feature_map", "pointwise", "norm", "macs", "flops", "params", "activations", "dtype"),
        *("receptive_field", "jump", "overlap", "coverage", "attention", "linear_attention"),
        *("heads", "mlp_ratio"),
    }
)


def test_every_formula_is_evaluated_or_the_reason_why_not() -> None:
    written = {one.key for one in TERMS if one.formula}
    assert written == EVALUATED | set(NOT_ARITHMETIC)
    assert not EVALUATED & set(NOT_ARITHMETIC)
    source = Path(__file__).read_text()
    called = set(re.findall(r'value\(\s*"(\w+)"', source))
    alike = {one.key for one in TERMS if one.formula in {shared(key) for key in called}}
    assert EVALUATED - called - alike == set()


@given(stem_specs())
def test_the_formulas_of_convolutions_are_those_of_the_prediction(spec: StemSpec) -> None:
    prediction = predict(spec)
    field, jump = 1, 1
    for stage in spec.stages:
        layer, conv = prediction.layer(stage.name), stage.conv
        window = value("window", dilation=conv.dilation, kernel=conv.kernel_size)
        assert layer.out_shape[1:] == tuple(
            value(
                "stride",
                input_size=side,
                padding=conv.padding,
                window=window,
                stride=conv.stride,
            )
            for side in stage.in_shape[1:]
        )
        field_now = value("receptive_field", field_before=field, window=window, stride_before=jump)
        jump_now = value("jump", stride_before=jump, stride=conv.stride)
        assert (layer.receptive_field, layer.jump) == (field_now, jump_now)
        field, jump = layer.receptive_field, layer.jump
        assert counted(stage) == (layer.macs, layer.params, layer.activations)
        if conv.norm != "none":
            norm = prediction.layer(stage.norm_name)
            assert norm.params == value("norm", channels=conv.out_channels)


def counted(stage: Stage) -> tuple[Fraction, ...]:
    """MACs, params and activations of a convolution by the cards."""
    conv: ConvLayer = stage.conv
    out_channels, height, width = stage.out_shape
    inputs: Mapping[str, int] = {
        "out_channels": out_channels,
        "in_channels": stage.in_shape[0],
        "groups": conv.groups,
        "kernel": conv.kernel_size,
    }
    size = {"out_height": height, "out_width": width}
    biases = out_channels if conv.bias else 0
    weights = value("kernel", **inputs)
    assert value("params", **inputs, biases=biases) == out_channels * weights + biases
    assert value("groups", **inputs) * conv.groups == stage.in_shape[0]
    assert value("flops", MACs=value("macs", **inputs, **size)) == 2 * value(
        "macs", **inputs, **size
    )
    return (
        value("macs", **inputs, **size),
        value("params", **inputs, biases=biases),
        value("activations", **inputs, **size),
    )


@given(stem_specs())
def test_the_formulas_of_the_tokens_are_those_of_the_prediction(spec: StemSpec) -> None:
    prediction = predict(spec)
    rows, columns = spec.grid_size
    class_tokens = int(spec.class_token)
    grid = {"rows": rows, "columns": columns}
    assert value("grid", **grid) == prediction.num_patches
    assert value("sequence_length", **grid, class_tokens=class_tokens) == prediction.seq_len
    table = value("position_table", **grid, class_tokens=class_tokens)
    if spec.position_table:
        assert prediction.layer("pos_embed").params == table * spec.embed_dim
    last = prediction.layer(spec.stages[-1].name)
    overlap = value("overlap", receptive_field=last.receptive_field, total_stride=last.jump)
    audit = audit_pixels(spec)
    assert audit.overlap == overlap
    most = value(
        "coverage",
        reads_of_its_row=max(audit.row_reads),
        reads_of_its_column=max(audit.column_reads),
    )
    assert audit.most_reads == most
    numbers = prod(last.out_shape)
    assert value("dtype", numbers=numbers, bytes_each=4) == last.bytes
    height, width = last.out_shape[1:]
    assert value("feature_map", height=height, width=width) * last.out_shape[0] == numbers


@given(st.integers(1, 9), st.integers(1, 200), st.integers(1, 200))
def test_patches_are_counted_and_numbered_as_the_cards_say(
    patch: int, height: int, width: int
) -> None:
    height, width = max(height, patch), max(width, patch)
    spec = patchify_stem(patch, 8, image_size=(height, width))
    tokens = value("patchify", height=height, width=width, patch_size=patch)
    assert tokens == spec.grid_size[0] * spec.grid_size[1]
    numbers = np.arange(int(tokens)).reshape(spec.grid_size)
    row, column = (side - 1 for side in spec.grid_size)
    columns = spec.grid_size[1]
    assert numbers[row, column] == value("flattening", row=row, column=column, columns=columns)


@given(conv_layers(), st.integers(8, 64))
def test_padding_by_its_card_keeps_the_size(conv: ConvLayer, size: int) -> None:
    kernel = conv.kernel_size | 1
    padding = value("padding", kernel=kernel)
    assert padding.denominator == 1
    kept = arithmetic.output_size(size, kernel_size=kernel, stride=1, padding=int(padding))
    assert kept == size
    shape = (conv.out_channels, size, size)
    one = value("pointwise", height=size, width=size, in_channels=3, out_channels=shape[0])
    assert one == arithmetic.conv_macs(3, shape, kernel_size=1, groups=1)


@given(st.integers(1, 12), st.integers(1, 64), st.integers(1, 8), st.integers(1, 400))
def test_the_formulas_of_the_encoder_are_those_of_the_prediction(
    heads: int, head_width: int, ratio: int, tokens: int
) -> None:
    width = heads * head_width
    vit = ViTSpec(stem=patchify_stem(16, width), depth=1, num_heads=heads, mlp_ratio=ratio)
    assert value("heads", width=width, heads=heads) == vit.head_dim
    assert value("mlp_ratio", MLP_ratio=ratio, width=width) == vit.hidden_dim
    soft = value("attention", tokens=tokens, width=width)
    assert soft == arithmetic.softmax_attention_macs(tokens, width)
    linear = value("linear_attention", tokens=tokens, width=width, head_width=head_width)
    assert linear == arithmetic.linear_attention_macs(tokens, width, head_width)


def test_the_cosine_and_the_norm_of_vectors() -> None:
    vectors = np.random.default_rng(0).normal(size=(2, 3, 8))
    a, b = vectors[1, 2], vectors[0, 1]
    length = {"a": np.sqrt((a**2).sum()), "b": np.sqrt((b**2).sum())}
    assert token_norms(vectors)[1, 2] == pytest.approx(length["a"])
    assert cosines(vectors, a)[0, 1] == pytest.approx((a @ b) / (length["a"] * length["b"]))
