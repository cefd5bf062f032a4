"""Speed and memory on this machine: suites that measure, and a table that shows medians with their spread."""

from collections.abc import Callable
from pathlib import Path

from stepaudio.bench.result import BenchResult, table
from stepaudio.errors import InputError

__all__ = ["BenchResult", "run_suite", "table"]


def run_suite(
    name: str,
    *,
    repeats: int,
    progress: Callable[[str], None],
    model: str = "nano",
    data: Path | None = None,
    limit: int = 100,
) -> BenchResult:
    """Run the suite called `name`.

    Args:
        name: of the suite.
        repeats: runs of what is timed.
        progress: told what is being done.
        model: which is judged (suites `listening`, `speech` and `styles`).
        data: recordings to judge with (suites `listening` and `speech`).
        limit: sentences, questions and recordings, at most (the same suites).

    Raises:
        InputError: there is no such suite.
    """
    if name == "turn":
        from stepaudio.bench.turn import run_turn

        return run_turn(repeats, progress)
    if name == "lm":
        from stepaudio.bench.lm import run_lm

        return run_lm(repeats, progress)
    if name == "speech":
        from stepaudio.bench.speech import run_speech

        return run_speech(repeats, progress, model=model, data=data, limit=limit)
    if name == "styles":
        from stepaudio.bench.styles import run_styles

        return run_styles(progress, model=model, limit=limit)
    if name == "listening":
        from stepaudio.bench.listening import run_listening

        return run_listening(repeats, progress, model=model, data=data, limit=limit)
    raise InputError(f"no bench suite {name!r}; there are: turn, lm, listening, speech, styles")
