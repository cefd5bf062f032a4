"""Workers on a Ray cluster: actors that do what local worker processes do."""

import os
import socket
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from stepaudio.errors import InputError, ModelError, StepAudioError
from stepaudio.workers.local import MOST_DEATHS
from stepaudio.workers.work import Factory, Job, Result, Task, failure

_REACH_SECONDS = 10.0


class _Actor:
    """Lives in a Ray worker process and holds the job."""

    def __init__(self) -> None:
        self._job: Job | None = None

    def start(self, factory: Factory) -> str:
        """Load the job; returns what went wrong, as text, so that no class needs to travel."""
        try:
            self._job = factory()
        except Exception as error:
            return str(error) if isinstance(error, StepAudioError) else f"{type(error).__name__}: {error}"
        return ""

    def perform(self, task: Task) -> Result:
        """Perform one task."""
        assert self._job is not None
        return self._job(task)


class RayCluster:
    """Actors on a Ray cluster; one that dies is replaced, and its task given to another.

    The nodes need stepaudio installed and must see the data folder under the same path; the bytes of the
    results travel back through Ray, so the run folder stays here.

    Args:
        address: ``auto``, ``host:port``, ``ray://host:port``, or ``local`` to start one.
        workers: number of actors; ``None`` is one for each CPU of the cluster.
        cpus: CPUs that an actor claims.
    """

    def __init__(self, address: str, workers: int | None = None, *, cpus: float = 1.0):
        if workers is not None and workers < 1:
            raise InputError(f"{workers} workers cannot do anything")
        self.address = address
        self.workers = workers
        self.cpus = cpus

    def run(self, factory: Factory, tasks: Sequence[Task]) -> Iterator[Result]:
        """Yield one result a task; see `Executor.run`."""
        if not tasks:
            return
        ray = _ray()
        mine = _connect(ray, self.address)
        try:
            yield from self._run(ray, factory, tasks)
        finally:
            if mine:
                ray.shutdown()

    def _run(self, ray: Any, factory: Factory, tasks: Sequence[Task]) -> Iterator[Result]:
        capacity = int(ray.cluster_resources().get("CPU", 1) // self.cpus) or 1
        count = min(self.workers or capacity, len(tasks))
        # No restarts by Ray: a new actor is made here, so that a task is never run behind our back.
        actor_class = ray.remote(num_cpus=self.cpus, max_restarts=0, max_task_retries=0)(_Actor)
        waiting, deaths = deque(tasks), dict[str, int]()
        running: dict[Any, tuple[Any, Task | None]] = {}
        try:
            for _ in range(count):
                actor = actor_class.remote()
                running[actor.start.remote(factory)] = (actor, None)
            while running:
                ready, _ = ray.wait(list(running), num_returns=1)
                actor, task = running.pop(ready[0])
                try:
                    value = ray.get(ready[0])
                except ray.exceptions.RayError as error:
                    _kill(ray, actor)
                    if task is None:
                        raise ModelError(f"a Ray worker could not start: {_last_line(error)}") from None
                    deaths[task.id] = deaths.get(task.id, 0) + 1
                    if deaths[task.id] < MOST_DEATHS:
                        waiting.appendleft(task)
                    else:
                        reason = f"the Ray worker died ({type(error).__name__})"
                        yield failure(task.id, reason, attempts=deaths[task.id])
                    if waiting:
                        actor = actor_class.remote()
                        running[actor.start.remote(factory)] = (actor, None)
                    continue
                if task is None and value:
                    raise ModelError(value)
                if task is not None:
                    yield value
                if waiting:
                    following = waiting.popleft()
                    running[actor.perform.remote(following)] = (actor, following)
                else:
                    _kill(ray, actor)
        finally:
            for actor, _ in running.values():
                _kill(ray, actor)


def _connect(ray: Any, address: str) -> bool:
    """Connect; whether the connection is ours to close."""
    if ray.is_initialized():
        return False
    _reach(address)
    try:
        # Ray knows "local" too; without an address it would join whatever cluster runs on this machine.
        ray.init(
            address=address, log_to_driver=False, logging_level="ERROR", runtime_env=_environment(address)
        )
    except Exception as error:  # Ray raises a bare one when a node of its own does not start within 30 s
        raise InputError(f"--ray {address}: no Ray cluster there ({_first_line(error)})") from None
    return True


def _environment(address: str) -> dict[str, Any]:
    """What workers get to see: on this machine, the modules that this process can import."""
    return {"env_vars": {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}} if address == "local" else {}


def _reach(address: str) -> None:
    """Refuse an address where nobody listens; Ray itself would wait for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=_REACH_SECONDS).close()
    except OSError as error:
        raise InputError(f"--ray {address}: no Ray cluster there ({error.strerror or error})") from None


def _kill(ray: Any, actor: Any) -> None:
    with suppress(Exception):  # it may be dead already
        ray.kill(actor)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]


def _last_line(error: Exception) -> str:
    """What went wrong on a node: the end of the traceback that Ray sends."""
    return (str(error).strip() or type(error).__name__).splitlines()[-1][:300]


def _ray() -> Any:
    try:
        import ray
    except ImportError:
        raise ModelError("--ray needs the extra ray: pip install 'stepaudio[ray]'") from None
    return ray
