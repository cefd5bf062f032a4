"""Speed and memory on this machine: suites that measure, and a table that shows medians with their spread."""

from collections.abc import Callable

from stepaudio.bench.result import BenchResult, table
from stepaudio.errors import InputError

__all__ = ["BenchResult", "run_suite", "table"]


def run_suite(name: str, *, repeats: int, progress: Callable[[str], None]) -> BenchResult:
    """Run the suite called `name`.

    Raises:
        InputError: there is no such suite.
    """
    if name == "turn":
        from stepaudio.bench.turn import run_turn

        return run_turn(repeats, progress)
    if name == "lm":
        from stepaudio.bench.lm import run_lm

        return run_lm(repeats, progress)
    raise InputError(f"no bench suite {name!r}; there are: turn, lm")
