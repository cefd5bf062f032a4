"""`stepaudio bench`: how fast it is on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from stepaudio.cli.common import Json, emit, tell


def bench(
    suite: Annotated[str, typer.Argument(help="Which suite to run.")] = "turn",
    repeats: Annotated[
        int, typer.Option("--repeats", min=3, help="Runs per figure; the median is shown.")
    ] = 3,
    model: Annotated[str, typer.Option("--model", help="Which to judge (but turn, lm).")] = "nano",
    data: Annotated[
        Path | None, typer.Option("--data", help="Recordings with manifest.jsonl (listening, speech).")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Sentences, questions or clips.")] = 100,
    json: Json = False,
) -> None:
    """Measure speed, memory and speech: medians with their spread."""
    from stepaudio.bench import run_suite, table

    result = run_suite(suite, repeats=repeats, progress=tell, model=model, data=data, limit=limit)
    if json:
        emit(result.as_dict())
    else:
        typer.echo(table(result))
