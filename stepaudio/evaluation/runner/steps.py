"""The four steps of a run. Each looks at what the folder holds already and does the rest."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stepaudio.errors import InputError
from stepaudio.evaluation.items import Item
from stepaudio.evaluation.runner.folder import RunFolder
from stepaudio.evaluation.runner.jobs import BY_RULES, JudgeSpec, Judging, Performing
from stepaudio.evaluation.suites.base import Suite
from stepaudio.evaluation.suites.registry import load_suite
from stepaudio.workers.journal import Journal, read_journal, write_journal
from stepaudio.workers.local import InProcess
from stepaudio.workers.work import PATIENCE, Executor, Patience, Result, Task

Progress = Callable[[str, int, int, int], None]
"""Told about a step: its name, items done, items in all, of the done ones how many failed."""


@dataclass(frozen=True)
class Plan:
    """What to evaluate.

    Attributes:
        suite: name or YAML file.
        system: what was given as ``--model``.
        data: the data folder.
        limit: only so many items, spread over the groups; ``None`` for all.
        judge: the language model that judges, if any.
        patience: how often to try again.
    """

    suite: str
    system: str
    data: Path
    limit: int | None = None
    judge: JudgeSpec = BY_RULES
    patience: Patience = PATIENCE


def silent(step: str, done: int, total: int, failed: int) -> None:
    """Tell nobody."""


def run_all(
    plan: Plan, folder: RunFolder, executor: Executor | None = None, progress: Progress = silent
) -> dict[str, Any]:
    """Do all four steps and return the report; started again after a kill, it goes on where it was.

    Raises:
        InputError: the data are not in the suite's layout, the system cannot do what the suite asks, the
            folder holds another run, or another process works on it.
        ModelError: the system or an instrument of the judge cannot be loaded.
    """
    from stepaudio.evaluation.report.make import make_report

    executor = executor or InProcess()
    with folder.locked():
        make_plan(plan, folder)
        perform(plan, folder, executor, progress)
        judge(plan, folder, executor, progress)
        return make_report(folder, judge_key(plan))


def make_plan(plan: Plan, folder: RunFolder) -> None:
    """Read the suite's items into the folder, unless the same plan is there already."""
    suite = load_suite(plan.suite)
    request = {
        "suite": suite.config.model_dump(mode="json"),
        "model": plan.system,
        "data": str(plan.data),
        "limit": plan.limit,
    }
    if (planned := folder.request()) is not None:
        for name, value in request.items():
            if planned.get(name) != value:
                raise InputError(f"{folder.root}: holds a run with another {name}; choose another --out")
        return
    from stepaudio.evaluation.report.provenance import provenance
    from stepaudio.evaluation.systems.registry import load_system

    if not plan.data.is_dir():
        raise InputError(f"{plan.data}: no such folder of data")
    items = _checked(suite, suite.read(plan.data))
    # A system that does not fit shows here, before any work is done.
    system = load_system(plan.system)
    if suite.needs not in system.abilities:
        able = ", ".join(sorted(system.abilities))
        raise InputError(f"{suite.name} needs a system that can {suite.needs}; {system.name} can: {able}")
    facts = {"system": system.describe(), "provenance": provenance()}
    folder.save_plan({**request, **facts}, _spread(items, plan.limit))


def perform(plan: Plan, folder: RunFolder, executor: Executor, progress: Progress = silent) -> None:
    """Put every item that has no output yet to the system."""
    lines = read_journal(folder.outputs)
    if damaged := [line for line in lines if not folder.intact(line)]:
        gone = {line["id"] for line in damaged}
        write_journal(folder.outputs, (line for line in lines if line["id"] not in gone))
    job = Performing(plan.suite, plan.system, plan.data, plan.patience)

    def tasks(items: Sequence[Item]) -> list[Task]:
        return [Task(item.id, {"item": asdict(item)}) for item in items]

    def keep(result: Result) -> dict[str, Any]:
        if result.data is None:
            return result.record
        return {**result.record, "audio": folder.save_sound(result.id, result.data)}

    items = folder.items()
    _work(folder.outputs, items, lambda todo: executor.run(job, tasks(todo)), keep, progress, "run")


def judge(plan: Plan, folder: RunFolder, executor: Executor, progress: Progress = silent) -> None:
    """Judge every output that has no verdict of this judge yet, but what failed or is not supported."""
    outputs = {line["id"]: line for line in read_journal(folder.outputs)}
    items = [item for item in folder.items() if _to_judge(outputs.get(item.id))]
    job = Judging(plan.suite, plan.data, plan.judge, plan.patience)

    def task(item: Item) -> Task:
        line = outputs[item.id]
        return Task(item.id, {"item": asdict(item), "output": line}, folder.read_sound(line))

    # In portions, so that not all sounds are in memory at once.
    def work(todo: Sequence[Item]) -> Iterator[Result]:
        for start in range(0, len(todo), _PORTION):
            yield from executor.run(job, [task(item) for item in todo[start : start + _PORTION]])

    path = folder.verdicts(judge_key(plan))
    _work(path, items, work, lambda result: result.record, progress, "judge")


_PORTION = 2000


def _to_judge(output: dict[str, Any] | None) -> bool:
    return output is not None and output["ok"] and "unsupported" not in output


def forget_failures(folder: RunFolder) -> int:
    """Drop the failed outputs and verdicts, so that the next run tries them again; returns how many."""
    dropped = 0
    for path in [folder.outputs, *sorted(folder.root.glob("verdicts-*.jsonl"))]:
        lines = read_journal(path)
        kept = [line for line in lines if line["ok"]]
        if len(kept) < len(lines):
            write_journal(path, kept)
            dropped += len(lines) - len(kept)
    return dropped


def judge_key(plan: Plan) -> str:
    """Return what tells verdicts of different judges, instruments and rubrics apart."""
    from stepaudio.evaluation.judges.rubrics import RUBRICS

    facts: dict[str, Any] = {"suite": load_suite(plan.suite).config.model_dump(mode="json")}
    if plan.judge.address:
        facts |= {"judge": plan.judge.address, "votes": plan.judge.votes}
        facts["rubrics"] = {rubric.name: rubric.version for rubric in RUBRICS}
    text = json.dumps(facts, sort_keys=True, ensure_ascii=False)
    return ("llm-" if plan.judge.address else "rules-") + hashlib.sha256(text.encode()).hexdigest()[:10]


def _work(
    path: Path,
    items: Sequence[Item],
    run: Callable[[Sequence[Item]], Iterator[Result]],
    keep: Callable[[Result], dict[str, Any]],
    progress: Progress,
    step: str,
) -> None:
    with Journal(path) as journal:
        done = {line["id"] for line in journal.lines}
        failed = sum(not line["ok"] for line in journal.lines)
        todo = [item for item in items if item.id not in done]
        progress(step, len(done), len(items), failed)
        for result in run(todo):
            if result.id in done:
                continue
            journal.append(keep(result))
            done.add(result.id)
            failed += not result.record["ok"]
            progress(step, len(done), len(items), failed)


def _checked(suite: Suite, items: list[Item]) -> list[Item]:
    if not items:
        raise InputError(f"{suite.name}: the data folder holds no items")
    seen: set[str] = set()
    for item in items:
        if item.id in seen:
            raise InputError(f"{suite.name}: two items are called {item.id}")
        seen.add(item.id)
    return items


def _spread(items: list[Item], limit: int | None) -> list[Item]:
    """Take `limit` items in turn from the groups, each in its order; all of them for ``None``."""
    if limit is None or limit >= len(items):
        return items
    ranks: dict[str, int] = {}
    ranked = []
    for at, item in enumerate(items):
        rank = ranks[item.group] = ranks.get(item.group, -1) + 1
        ranked.append((rank, at))
    chosen = sorted(at for _, at in sorted(ranked)[:limit])
    return [items[at] for at in chosen]
