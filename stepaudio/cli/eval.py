"""`stepaudio eval`: measure a system on a suite, compare two runs, check a judge."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from stepaudio.cli.common import Json, emit, tell
from stepaudio.errors import InputError

if TYPE_CHECKING:
    from stepaudio.workers.work import Executor


class _SuiteFirst(TyperGroup):
    """Takes a first word that is not a command for a suite: ``eval asr`` is ``eval run asr``."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            args = ["run", *args]
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=_SuiteFirst,
    help="Measure systems: stepaudio eval SUITE --data DIR, compare two runs, check a judge.",
    no_args_is_help=True,
)


@app.callback()
def _group() -> None:
    """Measure systems: stepaudio eval SUITE --data DIR, compare two runs, check a judge."""


@app.command("run")
def run(
    suite: Annotated[str, typer.Argument(help="Suite name (stepaudio eval suites) or YAML file.")],
    model: Annotated[
        str, typer.Option("--model", help="Model, folder, URL#MODEL, cascade[:EARS,MIND,MOUTH] or world.")
    ] = "nano",
    data: Annotated[
        Path | None, typer.Option("--data", help="Data folder; without it the hub is asked.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Only so many items.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Run folder; an unfinished run in it is continued.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Processes (with --ray: actors).")
    ] = None,
    ray: Annotated[
        str | None, typer.Option("--ray", help="Ray cluster: auto, HOST:PORT, ray://HOST:PORT or local.")
    ] = None,
    judge: Annotated[
        str | None, typer.Option("--judge", help="Language model that judges: http://HOST/v1#MODEL.")
    ] = None,
    votes: Annotated[int, typer.Option("--votes", min=1, help="Votes of the judge on each question.")] = 3,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try failed items again.")] = False,
    json: Json = False,
) -> None:
    """Measure a system on SUITE; killed at any moment, the same command goes on where it was."""
    from stepaudio.evaluation.report.make import markdown
    from stepaudio.evaluation.runner.folder import RunFolder
    from stepaudio.evaluation.runner.jobs import JudgeSpec
    from stepaudio.evaluation.runner.steps import Plan, forget_failures, run_all
    from stepaudio.evaluation.suites.hub import data_folder
    from stepaudio.evaluation.suites.registry import load_suite

    loaded = load_suite(suite)
    if judge and votes % 2 == 0:
        raise InputError(f"{votes} votes can tie: use an odd number")
    plan = Plan(
        suite=suite,
        system=model,
        data=data_folder(loaded.config, data),
        limit=limit,
        judge=JudgeSpec(judge or "", votes),
    )
    folder = RunFolder((out or Path("runs") / f"{loaded.name}-{_slug(model)}").absolute())
    if retry_failed:
        with folder.locked():
            forget_failures(folder)
    with _bars() as progress:
        report = run_all(plan, folder, _executor(workers, ray), progress)
    if json:
        emit({**report, "out": str(folder.root)})
        return
    typer.echo(markdown(report))
    tell(f"report: {folder.root / 'report.html'}")


@app.command("compare")
def compare(
    a: Annotated[Path, typer.Argument(metavar="RUN_A", help="Run folder.")],
    b: Annotated[Path, typer.Argument(metavar="RUN_B", help="Run folder of the same suite.")],
    json: Json = False,
) -> None:
    """Tell whether RUN_B is better than RUN_A, on the items that both have."""
    from stepaudio.evaluation.report.compare import compare_runs

    found = compare_runs(a, b)
    if json:
        emit([each.as_dict() for each in found])
        return
    typer.echo("| metric | A | B | B - A | 95 % interval | p (Holm) | better | n |")
    typer.echo("|---|---|---|---|---|---|---|---|")
    for each in found:
        scale, unit = (100, " %") if each.metric.percent else (1, "")
        one = each.difference
        figures = [f"{scale * value:.4g}{unit}" for value in (one.a, one.b, one.difference)]
        interval = f"{scale * one.low:.3g} to {scale * one.high:.3g}"
        cells = [
            each.metric.title,
            *figures,
            interval,
            f"{each.adjusted:.3g}",
            each.winner or "-",
            str(one.n),
        ]
        typer.echo("| " + " | ".join(cells) + " |")


@app.command("suites")
def suites(json: Json = False) -> None:
    """List the suites."""
    from stepaudio.evaluation.suites.registry import list_suites, load_suite

    found = [load_suite(name).config for name in list_suites()]
    if json:
        emit([{"name": each.name, "title": each.title, "dataset": each.dataset} for each in found])
        return
    width = max(len(each.name) for each in found)
    for each in found:
        typer.echo(f"{each.name:{width}}  {each.title}")


@app.command("agreement")
def agreement(
    labels: Annotated[Path, typer.Argument(help="Labelled answers, e.g. evals/judge_labels.jsonl.")],
    judge: Annotated[str, typer.Option("--judge", help="Language model that judges: http://HOST/v1#MODEL.")],
    votes: Annotated[int, typer.Option("--votes", min=1, help="Votes on each question.")] = 3,
    json: Json = False,
) -> None:
    """Tell how far a judge agrees with people."""
    from dataclasses import asdict

    from stepaudio.evaluation.judges.agreement import agreement as measure
    from stepaudio.evaluation.judges.agreement import read_labels
    from stepaudio.evaluation.judges.llm import LlmJudge

    found = measure(read_labels(labels), LlmJudge(judge, votes=votes))
    if json:
        emit([asdict(each) for each in found])
        return
    for each in found:
        same = each.same
        typer.echo(
            f"{each.rubric} {each.field}: {100 * same.value:.1f} % the same "
            f"({100 * same.low:.1f} to {100 * same.high:.1f}, n={same.n}), kappa {each.kappa:.2f}"
        )


def _executor(workers: int | None, ray: str | None) -> "Executor":
    if ray:
        from stepaudio.workers.cluster import RayCluster

        return RayCluster(ray, workers)
    from stepaudio.workers.local import InProcess, Processes

    return Processes(workers) if workers and workers > 1 else InProcess()


@contextmanager
def _bars() -> Iterator[Callable[[str, int, int, int], None]]:
    """Show a bar with the time left for every step, on stderr."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns: list[Any] = [TextColumn("{task.description:6}"), BarColumn(), MofNCompleteColumn()]
    columns += [TextColumn("left"), TimeRemainingColumn(), TextColumn("{task.fields[note]}")]
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, Any] = {}

        def show(step: str, done: int, total: int, failed: int) -> None:
            note = f"{failed} failed" if failed else ""
            if step not in tasks:
                tasks[step] = bars.add_task(step, total=total, completed=done, note=note)
            bars.update(tasks[step], completed=done, total=total, note=note)

        yield show


def _slug(model: str) -> str:
    return (
        "".join(char if char.isalnum() or char in "._-" else "-" for char in model).strip("-")[:80] or "model"
    )
