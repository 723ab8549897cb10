"""A position table of another image size is kept: PyTorch's own words, and nothing left behind."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vitc_inspect import explain_error
from vitc_inspect.inspection.stem_inspection import prepare
from vitc_inspect.probes.kept_table import error_with_table
from vitc_inspect.stem.notation import parse_stem


@pytest.mark.parametrize(
    ("size", "table", "tokens", "rows"), [((64, 64), (32, 32), 17, 5), ((48, 32), (64, 64), 7, 17)]
)
def test_the_error_is_that_of_pytorch_and_its_explanation_names_both_sizes(
    size: tuple[int, int], table: tuple[int, int], tokens: int, rows: int
) -> None:
    spec = parse_stem("16x16/16:8", image_size=size)
    prepared = prepare(spec, device="cpu")
    own = prepared.module.get_submodule("pos_embed").get_parameter("table")
    message = error_with_table(
        prepared.module, prepared.batch, replace(spec, image_size=table).seq_len
    )
    assert message is not None
    assert f"({tokens})" in message
    assert f"({rows})" in message
    explained = explain_error(message, spec=spec)[0]
    assert explained.kind == "position table"
    assert explained.numbers["table_image_height"] == table[0]
    assert prepared.module.get_submodule("pos_embed").get_parameter("table") is own
    prepared.module(prepared.batch)


def test_a_table_of_the_same_length_raises_nothing() -> None:
    prepared = prepare(parse_stem("16x16/16:8", image_size=(64, 64)), device="cpu")
    assert error_with_table(prepared.module, prepared.batch, 17) is None
