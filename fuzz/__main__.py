"""Fuzz a target, `python -m fuzz TARGET`: by atheris where it is installed, or hypothesis."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz.seeds import SEEDS, WORDS
from fuzz.targets import TARGETS

_EXAMPLES = 100_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz the target that the command line names, until an input fails or the end.

    Returns:
        Exit code: 0 where nothing failed.
    """
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--examples", type=int, default=_EXAMPLES, help="how many inputs to try")
    options = parser.parse_args(arguments)
    try:
        import atheris
    except ImportError:
        by_hypothesis(options.target, options.examples)()
        return 0
    with tempfile.TemporaryDirectory() as folder:
        for number, seed in enumerate(SEEDS[options.target]):
            (Path(folder) / str(number)).write_bytes(seed)
        atheris.instrument_all()
        atheris.Setup([sys.argv[0], f"-runs={options.examples}", folder], TARGETS[options.target])
        atheris.Fuzz()
    return 0


def by_hypothesis(target: str, examples: int, *, derandomize: bool = False) -> Callable[[], None]:
    """A test of a target by hypothesis.

    Args:
        target: Its name.
        examples: How many inputs it gets.
        derandomize: Whether they are the same each time.
    """

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=derandomize,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(data=inputs(SEEDS[target]))
    def test(data: bytes) -> None:
        TARGETS[target](data)

    return test


@st.composite
def inputs(draw: st.DrawFn, seeds: Sequence[bytes]) -> bytes:
    """Any bytes, or a seed in which parts are cut out, repeated, overwritten or put in."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=300))
    data = draw(st.sampled_from(list(seeds)))
    for _ in range(draw(st.integers(1, 4))):
        # more often near the start, where headers are
        at = draw(st.one_of(st.integers(0, min(len(data), 80)), st.integers(0, len(data))))
        end = min(len(data), at + draw(st.integers(0, 40)))
        new = draw(
            st.one_of(
                st.just(b""),
                st.sampled_from(WORDS),
                st.binary(max_size=8),
                st.just(data[at:end] * 2),
                st.sampled_from(list(seeds)).map(lambda other, at=at: other[at : at + 40]),
            )
        )
        data = data[:at] + new + data[end:]
    return data


if __name__ == "__main__":
    sys.exit(main())
