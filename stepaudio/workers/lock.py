"""One process at a time on a folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stepaudio.errors import InputError


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Hold a folder, made if it is not there, so that two processes cannot work in it.

    It is free again however the process ends.

    Raises:
        InputError: another process holds it, or the folder cannot be made.
    """
    from filelock import FileLock, Timeout

    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock", timeout=0)
        lock.acquire()
    except Timeout:
        raise InputError(f"{folder}: another process is working on this run") from None
    except OSError as error:
        raise InputError(f"{folder}: cannot be used as a run folder ({error.strerror})") from None
    try:
        yield
    finally:
        lock.release()
