"""How large the long tests are: a part of the cases as a rule, all of them in ``make test-full``."""

import os

import pytest

FULL = os.environ.get("STEPAUDIO_TESTS") == "full"
full_only = pytest.mark.skipif(not FULL, reason="long: only in make test-full")


def size(part: int, full: int) -> int:
    """Return how many cases to run."""
    return full if FULL else part
