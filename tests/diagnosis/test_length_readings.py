"""Two lengths that differ, read as grids and tokens before them."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from vitc_inspect.diagnosis.length_readings import read_lengths


@settings(deadline=None, derandomize=True, max_examples=100, database=None)
@given(tokens=st.integers(1, 2000), table=st.integers(1, 2000))
def test_every_reading_has_the_two_lengths_it_reads(tokens: int, table: int) -> None:
    readings = read_lengths(tokens, table)
    assert [r.doubt for r in readings] == sorted(r.doubt for r in readings)
    for reading in readings:
        assert (reading.tokens.count, reading.table.count) == (tokens, table)
        for layout in (reading.tokens, reading.table):
            assert layout.image_size == tuple(n * layout.total_stride for n in layout.grid_size)
    assert bool(readings) is False if tokens == table else True
