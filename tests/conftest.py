"""What several folders of tests share: one thread for torch, and one app for all of them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
import torch

from tests.served import Served, free_port, served

# Most of the stems that the tests run are tiny: of two threads one waits for the other, and on a
# machine with other work for a hundred times as long as the arithmetic takes. The programs that the
# tests start take the number from the environment.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The hundreds of programs that the tests start would each compile this package again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# The processes that share the tests ignore it, and so would every program that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

pytest.register_assert_rewrite(
    "tests.diagnosis.raised", "tests.diagnosis.runs", "tests.stem.specs", "tests.tracing.modules"
)


@pytest.fixture(scope="session")
def app() -> Iterator[Served]:
    """The app as it starts by itself, on a free port; it keeps nothing of its visitors."""
    with served("--port", str(free_port())) as running:
        yield running
