"""Takes away whatever rules a test registers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from vitc_inspect import temporary_rules


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    with temporary_rules():
        yield
