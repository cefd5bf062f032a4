"""`stepaudio bench`: how fast it is on this machine."""

from typing import Annotated

import typer

from stepaudio.cli.common import Json, emit, tell


def bench(
    suite: Annotated[str, typer.Argument(help="Which suite to run.")] = "turn",
    repeats: Annotated[
        int, typer.Option("--repeats", min=3, help="Runs per figure; the median is shown.")
    ] = 3,
    json: Json = False,
) -> None:
    """Measure speed and memory: medians with their spread."""
    from stepaudio.bench import run_suite, table

    result = run_suite(suite, repeats=repeats, progress=tell)
    if json:
        emit(result.as_dict())
    else:
        typer.echo(table(result))
