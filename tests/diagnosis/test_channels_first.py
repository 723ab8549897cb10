"""Maps with channels first that reach a layer which reads the last axis."""

from __future__ import annotations

import re

import pytest
from torch import nn

from tests.diagnosis.runs import Made, best, cut, run, tokens


@pytest.mark.parametrize("kind", ["Linear", "LayerNorm"])
@pytest.mark.parametrize("flat", [False, True])
def test_a_map_of_other_channels_is_turned_and_the_layer_built_for_them(
    kind: str, flat: bool
) -> None:
    """No layer is built for the 7 columns or the 49 places of a map."""
    layer: nn.Module = nn.Linear(80, 10) if kind == "Linear" else nn.LayerNorm(80)
    model = Made(
        lambda m, x: m.layer(m.turn(m.stem(x))),
        stem=cut(8, 64),
        layer=layer,
        turn=nn.Flatten(2) if flat else nn.Identity(),
    )
    meaning = best(model, 2, 3, 56, 56)
    assert not re.search(r"Linear\((7|49),|LayerNorm\((7|49)\)", " ".join(meaning.fixes))
    built = re.findall(r"(?:Linear|LayerNorm)\([\d, ]+\)", meaning.fixes[0])[0]
    model.layer, model.turn = eval(f"nn.{built}", {"nn": nn}), Made(lambda m, x: tokens(x))
    assert run(model, 2, 3, 56, 56).failure is None
