"""Numbers of tokens read as grids, strides and image sizes."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.diagnosis.errors import stems
from vitc_inspect.diagnosis.grids import frames_of, sides_for, stride_of
from vitc_inspect.stem.spec import StemSpec


@settings(deadline=None, derandomize=True, max_examples=100, database=None)
@given(spec=stems(), positions=st.integers(1, 30))
def test_sides_for_are_those_that_give_so_many_positions(spec: StemSpec, positions: int) -> None:
    found = sides_for(spec.convs, positions)
    giving = []
    for side in range(1, 600):
        try:
            rows = StemSpec(image_size=(side, side), convs=spec.convs).grid_size[0]
        except ValueError:
            continue
        giving += [side] if rows == positions else []
    if found is None or found[1] >= 600:
        return
    assert (found[0], found[1]) == (giving[0], giving[-1])
    assert giving == list(range(giving[0], giving[-1] + 1))


def test_small_functions_of_readings() -> None:
    assert list(frames_of(8 * 14 * 14 + 1)) == [(8, 14, 1), (32, 7, 1), (2, 28, 1)]
    assert [stride_of(224, n) for n in (14, 16, 28, 224)] == [16, 14, 8, 1]
