"""The fuzz targets on a few inputs, the same each time; more by `python -m fuzz TARGET`."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from fuzz.__main__ import by_hypothesis, main
from fuzz.seeds import SEEDS
from fuzz.targets import TARGETS

EXAMPLES = 150


@pytest.fixture(autouse=True)
def _bounded() -> Iterator[None]:
    """End a target that does not end; each takes seconds."""
    signal.alarm(120)
    yield
    signal.alarm(0)


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_takes_any_bytes(target: str) -> None:
    by_hypothesis(target, EXAMPLES, derandomize=True)()


@pytest.mark.parametrize("target", TARGETS)
def test_its_seeds_are_right(target: str) -> None:
    for seed in SEEDS[target]:
        TARGETS[target](seed)


def test_a_target_that_fails_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(data: bytes) -> None:
        raise RecursionError

    monkeypatch.setattr("fuzz.__main__.TARGETS", {**TARGETS, "notation": failing})
    with pytest.raises(RecursionError):
        by_hypothesis("notation", 5)()


def test_the_command_runs_a_target() -> None:
    assert main(["call", "--examples", "5"]) == 0
