"""No rule that a test registers outlives it."""

import pytest

from vitc_inspect import temporary_rules


@pytest.fixture(autouse=True)
def nothing_stays():
    with temporary_rules():
        yield
