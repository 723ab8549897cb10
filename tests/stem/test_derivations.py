"""Every formula worked out again as Python: both sides agree, and with what was predicted."""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction
from math import floor

import pytest
from hypothesis import given, settings

from tests.strategies import stem_specs
from vitc_inspect.stem.derivations import explain_layer, explain_totals
from vitc_inspect.stem.notation import parse_stem
from vitc_inspect.stem.prediction import ITEM_BYTES, LayerPrediction, Prediction, predict
from vitc_inspect.stem.presets import PRESETS
from vitc_inspect.stem.spec import Stage, StemSpec, conv_stem, patchify_stem
from vitc_inspect.stem.vit import Attention


def worked_out(left: str) -> Fraction:
    """The value of a formula in exact fractions; only numbers, + − · / ( ) and floor may occur."""
    rest = left.replace("floor", "")
    assert re.fullmatch(r"[\d+−·/() ]+", rest), f"a sign of no formula in {left!r}"
    python = re.sub(r"\d+", r"Fraction(\g<0>)", left.replace("·", "*").replace("−", "-"))
    return Fraction(eval(python, {"__builtins__": {}, "floor": floor, "Fraction": Fraction}))


def two_sides(equation: str) -> tuple[Fraction, int]:
    left, equals, right = equation.rpartition(" = ")
    assert equals
    return worked_out(left), int(right)


def last_read(side: int, unread: tuple[int, ...]) -> int | None:
    """The last of `side` positions that is read, where some are and some are not."""
    read = set(range(side)) - set(unread)
    return max(read) if unread and read else None


def hangs_over(stage: Stage, side: int, out: int) -> bool:
    """Whether the last window ends beyond the last of `side` positions, or before the first."""
    conv = stage.conv
    end = (out - 1) * conv.stride - conv.padding + conv.dilation * (conv.kernel_size - 1)
    return not 0 <= end < side


def predicted_values(layer: LayerPrediction, stages: dict[str, Stage]) -> dict[str, int]:
    """What the row says of each quantity that a formula must be given for."""
    values = {"bytes": layer.bytes}
    if layer.params:
        values["params"] = layer.params
    if layer.kind == "conv":
        values |= {
            "height": layer.out_shape[1],
            "width": layer.out_shape[2],
            "macs": layer.macs,
            "activations": layer.activations,
            "receptive_field": layer.receptive_field,
            "jump": layer.jump,
        }
        last = {
            "last_row_read": last_read(layer.in_shape[1], layer.unread_rows),
            "last_column_read": last_read(layer.in_shape[2], layer.unread_columns),
        }
        axis = {"last_row_read": 1, "last_column_read": 2}
        values |= {
            name: position
            for name, position in last.items()
            if position is not None
            and not hangs_over(
                stages[layer.name], layer.in_shape[axis[name]], layer.out_shape[axis[name]]
            )
        }
    elif layer.kind in ("tokens", "class_token"):
        values["tokens"] = layer.out_shape[0]
    return values


def predicted_totals(prediction: Prediction) -> dict[str, int]:
    names = ("num_patches", "seq_len", "total_stride", "params", "stem_params", "macs")
    names += ("activations", "bytes")
    return {name: getattr(prediction, name) for name in names}


def assert_no_formula_lies(prediction: Prediction) -> None:
    stages = {stage.name: stage for stage in prediction.spec.stages}
    for layer in prediction.layers:
        values = predicted_values(layer, stages)
        assert_equations(explain_layer(prediction, layer.name), values, layer.name)
    assert_equations(explain_totals(prediction), predicted_totals(prediction), "totals")


def assert_equations(equations: dict[str, str], values: dict[str, int], of: str) -> None:
    for quantity, equation in equations.items():
        left, right = two_sides(equation)
        assert left == right, f"{of}, {quantity}: {equation}"
    claimed = {quantity: two_sides(equation)[1] for quantity, equation in equations.items()}
    assert claimed == values, of


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("dtype", ITEM_BYTES)
def test_no_formula_of_a_preset_lies(name: str, dtype: str) -> None:
    assert_no_formula_lies(predict(PRESETS[name].stem, dtype=dtype))


@settings(deadline=None, derandomize=True, max_examples=200)
@given(stem_specs())
def test_no_formula_of_a_random_stem_lies(stem: StemSpec) -> None:
    assert_no_formula_lies(predict(stem))


@pytest.mark.parametrize(
    ("stem", "layer", "quantity", "equation"),
    [
        (conv_stem(), "conv1", "height", "floor((224 + 2·1 − 3) / 2) + 1 = 112"),
        (conv_stem(), "conv1", "params", "48·3·3·3 = 1296"),
        (conv_stem(), "conv2", "macs", "96·56·56·48·3·3 = 130056192"),
        (conv_stem(), "conv2", "receptive_field", "3 + (3 − 1)·2 = 7"),
        (conv_stem(), "conv2", "jump", "2·2 = 4"),
        (conv_stem(), "norm1", "params", "2·48 = 96"),
        (conv_stem(), "act1", "bytes", "48·112·112·4 = 2408448"),
        (conv_stem(), "proj", "params", "384·384·1·1 + 384 = 147840"),
        (conv_stem(), "tokens", "tokens", "14·14 = 196"),
        (conv_stem(), "class_token", "tokens", "196 + 1 = 197"),
        (conv_stem(), "class_token", "params", "1·384 = 384"),
        (conv_stem(), "pos_embed", "params", "197·384 = 75648"),
        (
            parse_stem("3x3:6 g3 d2", image_size=(9, 7)),
            "proj",
            "width",
            "floor((7 + 2·1 − 2·(3 − 1) − 1) / 1) + 1 = 5",
        ),
        (
            parse_stem("3x3:6 g3 d2", image_size=(9, 7)),
            "proj",
            "params",
            "6·3/3·3·3 + 6 = 60",
        ),
        (
            patchify_stem(16, 8, image_size=(230, 224)),
            "proj",
            "last_row_read",
            "(14 − 1)·16 + (16 − 1) − 0 = 223",
        ),
    ],
)
def test_formulas_as_they_are_printed(
    stem: StemSpec, layer: str, quantity: str, equation: str
) -> None:
    assert explain_layer(predict(stem), layer)[quantity] == equation


def test_totals_as_they_are_printed() -> None:
    totals = explain_totals(predict(patchify_stem(16, 8, image_size=32)))
    assert totals == {
        "num_patches": "2·2 = 4",
        "seq_len": "4 + 1 = 5",
        "total_stride": "16 = 16",
        "params": "6152 + 8 + 40 = 6200",
        "stem_params": "6152 = 6152",
        "macs": "24576 = 24576",
        "activations": "32 = 32",
        "bytes": "128 + 128 + 160 + 160 = 576",
    }


def test_what_a_layer_leaves_as_it_was_has_no_formula() -> None:
    assert set(explain_layer(predict(conv_stem()), "act1")) == {"bytes"}
    assert "last_row_read" not in explain_layer(predict(conv_stem()), "conv1")


def test_a_layer_that_is_not_there() -> None:
    with pytest.raises(KeyError, match="conv9"):
        explain_layer(predict(conv_stem()), "conv9")


@pytest.mark.parametrize(
    ("notation", "side", "last_row"),
    [
        ("16x16/16:4", 230, 223),
        # The taps of the last window lie on 0 and 3: rows 1 and 2 are gaps, 3 is read.
        ("2x2:4 d3", 4, 3),
        # Windows over -1, 1 and 3: of the rows 0, 1, 2 only 1 is read.
        ("1x1/2p1:4", 3, None),
        # The taps of the last window lie on -2 + 4 + (0, 2, 4) = 2, 4, 6; there is no row 6.
        ("3x3/4p2:4 d2", 6, None),
    ],
)
def test_the_last_row_read_is_a_row_of_the_image(
    notation: str, side: int, last_row: int | None
) -> None:
    prediction = predict(parse_stem(notation, image_size=side))
    assert prediction.layer("proj").unread_rows
    equation = explain_layer(prediction, "proj").get("last_row_read")
    assert (two_sides(equation) if equation else None) == (last_row and (last_row, last_row))


@pytest.mark.parametrize("attention", ["softmax", "linear"])
@pytest.mark.parametrize("name", ["vit_c_1gf", "vit_p_36gf"])
def test_no_formula_of_an_encoder_lies(name: str, attention: Attention) -> None:
    vit = PRESETS[name].vit
    assert vit
    prediction = predict(replace(vit, attention=attention))
    for layer in prediction.layers:
        equations = explain_layer(prediction, layer.name)
        for quantity, equation in equations.items():
            left, right = two_sides(equation)
            assert left == right, f"{layer.name}, {quantity}: {equation}"
            if quantity in ("params", "macs", "activations", "bytes"):
                assert right == getattr(layer, quantity)
        counted = {name for name in ("params", "macs", "bytes") if getattr(layer, name)}
        assert counted <= equations.keys()
    assert_equations(explain_totals(prediction), predicted_totals(prediction), "totals")
