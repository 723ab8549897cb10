"""The contract of a model's parts: which numbers it takes."""

from __future__ import annotations

import pytest

from vitc_inspect.common.errors import SpecError
from vitc_inspect.diagnosis import Contract
from vitc_inspect.stem.spec import conv_layer


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"patch_size": 0}, "patch_size"),
        ({"strides": (2, 0)}, "strides"),
        ({"num_heads": -1}, "num_heads"),
        ({"table_length": 10**12}, "table_length"),
        ({"image_size": (0, 4)}, "image_size"),
        ({"convs": (conv_layer(4, 3),), "strides": (1,)}, "strides"),
        ({"convs": (conv_layer(4, 3),), "embed_dim": 4}, "embed_dim"),
    ],
)
def test_numbers_that_cannot_be_are_refused(values: dict[str, object], field: str) -> None:
    with pytest.raises(SpecError) as caught:
        Contract(**values)  # type: ignore[arg-type]
    assert caught.value.field == field
