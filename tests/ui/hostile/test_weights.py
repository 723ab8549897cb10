"""Files of weights that are replaced by hostile ones under a running app, before a run."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.ui.hostile.client import SMALL, Client, sentence_of
from tests.ui.hostile.ordinary import still_right
from tests.ui.hostile.weights import GOOD, PICKLES, SAFETENSORS, clear, was_run, write_good

FILES = {**SAFETENSORS, **PICKLES}
_SEEDS = itertools.count(100)


def run_of(stems: Client) -> dict[str, object]:
    """A run with the file that no run before has made."""
    chosen = {"weights": "file:stem.safetensors", "seed": str(next(_SEEDS))}
    return stems.call("run", {**SMALL, **chosen})


def check_next(stems: Client, path: Path) -> None:
    """Check that a run without the file is right, and one with a good file."""
    assert not was_run()
    still_right(stems)
    clear(path)
    write_good(path)
    still_right(stems, weights="file:stem.safetensors", seed=str(next(_SEEDS)))


@pytest.mark.parametrize(("content", "said"), FILES.values(), ids=FILES)
def test_a_file(stems: Client, weights_file: Path, content: bytes, said: str) -> None:
    weights_file.write_bytes(content)
    answer = run_of(stems)
    assert "error" in answer or said == ""
    assert "error" not in answer or said in sentence_of(answer)
    check_next(stems, weights_file)


def leads_to(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


PLACES: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing": (lambda path: None, "there is no such file"),
    "a folder": (Path.mkdir, "it is a folder"),
    "a pipe": (os.mkfifo, "it is no plain file"),
    "a link to nothing": (leads_to("/nowhere/at/all"), "there is no such file"),
    "a link to itself": (leads_to("stem.safetensors"), ""),
    "a link to a folder": (leads_to("/"), "it is a folder"),
    "a link to a device without end": (leads_to("/dev/zero"), "it is no plain file"),
    "a link to random numbers": (leads_to("/dev/urandom"), "it is no plain file"),
    "a link to a text": (leads_to("/etc/passwd"), "neither"),
    "a link to a process": (leads_to("/proc/self/environ"), ""),
    "a file without end": (
        lambda path: (path.touch(), os.truncate(path, 2**42)),
        "bytes are more than",
    ),
    "a file of 3 GiB of nothing": (
        lambda path: (path.write_bytes(GOOD[:100]), os.truncate(path, 3 * 2**30)),
        "cut short or damaged",
    ),
}
"""By what they are, what stands in the place of the file, and a part of the sentence about it."""


@pytest.mark.parametrize(("put", "said"), PLACES.values(), ids=PLACES)
def test_a_place(
    stems: Client, weights_file: Path, put: Callable[[Path], object], said: str
) -> None:
    clear(weights_file)
    put(weights_file)
    assert said in sentence_of(run_of(stems))
    check_next(stems, weights_file)
