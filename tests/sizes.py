"""How large the long tests are: a part of the cases as a rule, all of them in ``make test-full``."""

import os
from typing import Any

import pytest

FULL = os.environ.get("STEPAUDIO_TESTS") == "full"
full_only = pytest.mark.skipif(not FULL, reason="long: only in make test-full")


def long(*cases: Any) -> list[Any]:
    """Return cases of a parametrised test that only ``make test-full`` runs."""
    return [pytest.param(case, marks=full_only) for case in cases]


def size(part: int, full: int) -> int:
    """Return how many cases to run."""
    return full if FULL else part
