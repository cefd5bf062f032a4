"""Workers on this machine: in this process, or in processes that end with it."""

import multiprocessing
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from stepaudio.errors import InputError, ModelError, StepAudioError
from stepaudio.workers.work import Factory, Result, Task, failure

MOST_DEATHS = 3
"""Workers that may die on one task before it is given up."""


@dataclass(frozen=True)
class InProcess:
    """One worker, in this process."""

    def run(self, factory: Factory, tasks: Sequence[Task]) -> Iterator[Result]:
        """Yield one result a task; see `Executor.run`."""
        if tasks:
            job = factory()
            yield from map(job, tasks)


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    ready: bool = False
    task: Task | None = None


class Processes:
    """A number of worker processes; one that dies is replaced, and its task given to another.

    The processes wait on pipes that close when this process ends, however it ends, and then end too.

    Args:
        workers: how many.
    """

    def __init__(self, workers: int):
        if workers < 1:
            raise InputError(f"{workers} workers cannot do anything")
        self.workers = workers

    def run(self, factory: Factory, tasks: Sequence[Task]) -> Iterator[Result]:
        """Yield one result a task; see `Executor.run`."""
        waiting = deque(tasks)
        deaths: dict[str, int] = {}
        pool = [_start(factory) for _ in range(min(self.workers, len(tasks)))]
        try:
            while pool:
                for pipe in wait([worker.pipe for worker in pool]):
                    worker = next(each for each in pool if each.pipe is pipe)
                    try:
                        kind, value = worker.pipe.recv()
                    except (EOFError, OSError):
                        pool.remove(worker)
                        yield from _bury(worker, waiting, deaths)
                        if waiting:
                            pool.append(_start(factory))
                        continue
                    if kind == "broken":
                        raise value
                    worker.ready = True
                    if kind == "done":
                        yield value
                    if not _give(worker, waiting):
                        pool.remove(worker)
                        _stop(worker)
        finally:
            for worker in pool:
                worker.process.kill()
                _stop(worker)


def _start(factory: Factory) -> _Worker:
    # Forking a process with threads (torch, onnxruntime) hangs.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, factory), daemon=True)
    process.start()
    theirs.close()
    return _Worker(process, ours)


def _serve(pipe: Connection, factory: Factory) -> None:
    """Do tasks until there are none or the other end is gone."""
    try:
        try:
            job = factory()
        except Exception as error:
            known = isinstance(error, StepAudioError)
            pipe.send(("broken", error if known else ModelError(f"a worker could not start: {error}")))
            return
        pipe.send(("ready", None))
        while (task := pipe.recv()) is not None:
            pipe.send(("done", job(task)))
    except (EOFError, BrokenPipeError, ConnectionResetError, KeyboardInterrupt):
        return


def _give(worker: _Worker, waiting: "deque[Task]") -> bool:
    """Hand the next task over, or say that there is none left."""
    worker.task = waiting.popleft() if waiting else None
    # One that died tells so at the next wait; the task is put back then.
    with suppress(BrokenPipeError, ConnectionResetError):
        worker.pipe.send(worker.task)
    return worker.task is not None


def _bury(worker: _Worker, waiting: "deque[Task]", deaths: dict[str, int]) -> Iterator[Result]:
    """Take a dead worker's task back, or give it up."""
    _stop(worker)
    if worker.task is None:
        if not worker.ready:
            raise ModelError(f"a worker process died at its start (exit code {worker.process.exitcode})")
        return
    died = deaths[worker.task.id] = deaths.get(worker.task.id, 0) + 1
    if died < MOST_DEATHS:
        waiting.appendleft(worker.task)
        return
    code: Any = worker.process.exitcode
    yield failure(worker.task.id, f"the worker process died (exit code {code})", attempts=died)


def _stop(worker: _Worker) -> None:
    worker.pipe.close()
    worker.process.join(timeout=5)
