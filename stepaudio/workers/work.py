"""The unit of work that an executor hands to a worker, with retries; the same locally and on a cluster."""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from stepaudio.errors import StepAudioError
from stepaudio.serving.endpoint import RemoteError


@dataclass(frozen=True)
class Task:
    """One item on its way to a worker.

    Attributes:
        id: the item's.
        content: what the worker needs; JSON values only.
        data: bytes that belong to it, such as an encoded sound.
    """

    id: str
    content: dict[str, Any]
    data: bytes | None = None


@dataclass(frozen=True)
class Result:
    """What came of a task.

    Attributes:
        id: the task's.
        record: what goes into the journal; has ``ok``, and ``error`` where that is false.
        data: bytes to keep, such as an encoded sound.
    """

    id: str
    record: dict[str, Any]
    data: bytes | None = None


Job = Callable[[Task], Result]
"""Performs one task; raises what went wrong."""

Factory = Callable[[], Job]
"""Makes a job inside a worker, loading what it needs; must be picklable."""


class Executor(Protocol):
    """Runs tasks on workers and yields results in the order in which they are done."""

    def run(self, factory: Factory, tasks: Sequence[Task]) -> Iterator[Result]:
        """Yield one result a task.

        Raises:
            StepAudioError: a worker could not be set up (for example, its model is missing).
        """
        ...


@dataclass(frozen=True)
class Patience:
    """How often and how long to try again.

    Attributes:
        attempts: tries in all.
        backoff: seconds before the second try; doubles each time, times a random factor of 0.5 to 1.
        most_backoff: cap on that.
    """

    attempts: int = 3
    backoff: float = 1.0
    most_backoff: float = 30.0


PATIENCE = Patience()


@dataclass
class Patient:
    """A job that is tried again on errors that may pass; in the end a failed result, never an exception.

    Attributes:
        job: does the work.
        patience: how often.
        sleep: waits between tries.
    """

    job: Job
    patience: Patience = PATIENCE
    sleep: Callable[[float], None] = time.sleep
    _random: random.Random = field(default_factory=random.Random, repr=False)

    def __call__(self, task: Task) -> Result:
        """Perform `task`."""
        started = time.perf_counter()
        for attempt in range(1, self.patience.attempts + 1):
            try:
                done = self.job(task)
            # A system under test may raise anything; one item must not end the run.
            except Exception as error:
                if not passing(error) or attempt == self.patience.attempts:
                    return failure(task.id, error, attempts=attempt)
                wait = min(self.patience.backoff * 2 ** (attempt - 1), self.patience.most_backoff)
                self.sleep(wait * (0.5 + 0.5 * self._random.random()))
            else:
                spent = {"attempts": attempt, "seconds": round(time.perf_counter() - started, 4)}
                return Result(done.id, {**done.record, **spent}, done.data)
        raise AssertionError("unreachable")


def passing(error: Exception) -> bool:
    """Whether an error may be gone at the next try; bad input and missing models stay."""
    return isinstance(error, RemoteError) or not isinstance(error, StepAudioError)


def failure(id: str, error: Exception | str, *, attempts: int) -> Result:
    """Return the result of a task that could not be done."""
    text = str(error) if isinstance(error, str | StepAudioError) else f"{type(error).__name__}: {error}"
    return Result(id, {"id": id, "ok": False, "error": " ".join(text.split())[:500], "attempts": attempts})
