"""Shards put to workers until there are hours enough; what is finished is never done again."""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stepaudio.errors import InputError, ModelError
from stepaudio.training.corpus import Extracting, describe, features_path
from stepaudio.training.engine.jobs import Checking, Making
from stepaudio.training.engine.plan import Planner
from stepaudio.training.engine.recipe import Recipe
from stepaudio.training.engine.shards import (
    claim,
    finished,
    read_facts,
    read_takes,
    write_facts,
    write_shard,
    write_takes,
)
from stepaudio.workers.journal import write_atomically
from stepaudio.workers.lock import only_one
from stepaudio.workers.work import Executor, Factory, Task

GUESS = 4.2
"""Seconds of a take, before any was made."""
PORTION = 200
"""Shards that are planned at once."""


@dataclass
class Progress:
    """How far a run is.

    Attributes:
        done: seconds of speech, or shards.
        goal: the same when it ends.
        unit: which.
        dropped: takes so far, in this run.
        failed: why a shard failed, by name.
    """

    done: float
    goal: float
    unit: str
    dropped: int = 0
    failed: dict[str, str] = field(default_factory=dict)


Tell = Callable[[Progress], None]


def silent(progress: Progress) -> None:
    """Tell nobody."""


def make(
    planner: Planner,
    job: Making,
    facts: dict[str, Any],
    out: Path,
    hours: float,
    executor: Executor,
    tell: Tell = silent,
) -> Progress:
    """Make shards until `out` holds `hours` of speech; goes on where it was stopped.

    Args:
        planner: of the takes.
        job: makes them.
        facts: provenance, written to each shard.
        out: the corpus.
        hours: of kept takes; the last shards may exceed it.
        executor: the workers.
        tell: told after every shard.

    Raises:
        InputError: `out` holds another corpus, or another process works there, or `hours` is not positive.
        ModelError: the models cannot be loaded, or nothing comes of the shards.
    """
    if not hours > 0:
        raise InputError(f"{hours} hours of speech cannot be made")
    with only_one(out):
        claim(out, planner.recipe)
        seconds = {number: _seconds(read_takes(folder)) for number, folder in finished(out)}
        progress = Progress(sum(seconds.values()), hours * 3600, "s")
        failed: set[int] = set()
        tell(progress)
        while progress.done < progress.goal:
            numbers = _next(seconds, failed, progress, planner.recipe.takes_per_shard)
            before = progress.done
            for result in executor.run(job, [_task(planner, number) for number in numbers]):
                number = int(result.id)
                if not result.record["ok"]:
                    failed.add(number)
                    progress.failed[result.id] = result.record["error"]
                    continue
                rows, dropped = result.record["rows"], result.record["dropped"]
                made = {**facts, **_counts(rows, dropped), "spent_s": result.record["spent_s"]}
                write_shard(out, number, rows, made, result.data or b"")
                seconds[number] = _seconds(rows)
                progress.done += seconds[number]
                progress.dropped += len(dropped)
                tell(progress)
            if progress.done == before:
                raise ModelError(f"no take of {len(numbers)} shards could be used: {_why(out, progress)}")
        return progress


def check(recipe: Recipe, job: Checking, out: Path, executor: Executor, tell: Tell = silent) -> Progress:
    """Check the finished shards that were not, and take out what is dropped; their sounds stay.

    Raises:
        InputError: another process works there, or the recipe has no check.
    """
    if recipe.check is None:
        raise InputError(f"the recipe {recipe.name} has no check")
    rules = recipe.check.model_dump(mode="json")
    with only_one(out):
        folders = {
            folder.name: folder for _, folder in finished(out) if read_facts(folder).get("check") != rules
        }

        def keep(name: str, record: dict[str, Any], data: bytes | None) -> int:
            facts = read_facts(folders[name])
            dropped = {row["id"]: row for row in [*facts.get("dropped", []), *record["dropped"]]}
            counts = _counts(record["rows"], list(dropped.values()))
            # Killed between any two of these, the shard is checked again and nothing is lost.
            write_facts(folders[name], {**facts, **counts})
            write_takes(folders[name], record["rows"])
            write_facts(folders[name], {**facts, **counts, "check": rules})
            return len(record["dropped"])

        return _each(folders, job, executor, keep, tell)


def extract(out: Path, features: Path, job: Extracting, executor: Executor, tell: Tell = silent) -> Progress:
    """Make the features of the finished shards that have none yet."""
    with only_one(features):
        folders = {
            folder.name: folder
            for _, folder in finished(out)
            if not features_path(features, folder.name).exists()
        }

        def keep(name: str, record: dict[str, Any], data: bytes | None) -> int:
            path = features_path(features, name)
            takes = json.dumps(describe(read_takes(folders[name])), ensure_ascii=False)
            write_atomically(path.with_suffix(".json"), takes.encode())
            write_atomically(path, data or b"")
            return 0

        return _each(folders, job, executor, keep, tell)


def _each(
    folders: dict[str, Path],
    job: Factory,
    executor: Executor,
    keep: Callable[[str, dict[str, Any], bytes | None], int],
    tell: Tell,
) -> Progress:
    tasks = [Task(name, {"folder": str(folder.absolute())}) for name, folder in folders.items()]
    progress = Progress(0, len(tasks), "shards")
    tell(progress)
    for result in executor.run(job, tasks):
        if result.record["ok"]:
            progress.dropped += keep(result.id, result.record, result.data)
        else:
            progress.failed[result.id] = result.record["error"]
        progress.done += 1
        tell(progress)
    return progress


def _next(seconds: dict[int, float], failed: set[int], progress: Progress, takes: int) -> list[int]:
    """The first shards that are neither finished nor failed, about as many as are missing."""
    mean = progress.done / len(seconds) if progress.done else takes * GUESS
    count = min(PORTION, math.ceil((progress.goal - progress.done) / mean))
    numbers: list[int] = []
    number = 0
    while len(numbers) < count:
        if number not in seconds and number not in failed:
            numbers.append(number)
        number += 1
    return numbers


def _task(planner: Planner, number: int) -> Task:
    takes = [take.model_dump(mode="json", exclude_none=True) for take in planner.shard(number)]
    return Task(str(number), {"takes": takes})


def _counts(rows: Sequence[dict[str, Any]], dropped: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {"takes": len(rows), "seconds": round(_seconds(rows), 3), "dropped": list(dropped)}


def _seconds(rows: Iterable[dict[str, Any]]) -> float:
    return sum(row["seconds"] for row in rows)


def _why(out: Path, progress: Progress) -> str:
    if progress.failed:
        return list(progress.failed.values())[-1]
    last = [read_facts(folder) for _, folder in finished(out)][-1]
    return last["dropped"][-1]["reason"] if last.get("dropped") else "the takes are empty"
