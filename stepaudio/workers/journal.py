"""An append-only file of JSON lines that survives being killed at any moment."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from stepaudio.errors import InputError


def read_journal(path: Path) -> list[dict[str, Any]]:
    """Return the whole lines of a journal; a torn last line is left out, a missing file is empty.

    Raises:
        InputError: a line that is not the last is damaged.
    """
    return _parse(path)[0]


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file that appears whole or not at all, and is on the disk when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


def write_journal(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    """Replace a journal as a whole, atomically."""
    write_atomically(path, b"".join(map(_line, lines)))


def sync_folder(folder: Path) -> None:
    """Put a folder's entries on the disk, where the system allows it."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return  # Windows cannot open folders
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Journal:
    """A journal open for appending; a torn last line is cut off first.

    Raises:
        InputError: a line that is not the last is damaged.
    """

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        self.lines, whole = _parse(path)
        self._stream = path.open("ab")
        if self._stream.tell() != whole:
            self._stream.truncate(whole)
            os.fsync(self._stream.fileno())
        sync_folder(path.parent)

    def append(self, line: dict[str, Any]) -> None:
        """Add a line; it is on the disk when this returns."""
        self._stream.write(_line(line))
        self._stream.flush()
        os.fsync(self._stream.fileno())

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _parse(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The whole lines, and the bytes they take."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return [], 0
    lines: list[dict[str, Any]] = []
    whole = 0
    while (end := data.find(b"\n", whole)) >= 0:
        try:
            value = json.loads(data[whole:end])
            if not isinstance(value, dict):
                raise ValueError("not an object")
        except ValueError as error:
            # A crash of the machine can leave zeros in place of the last lines.
            if not data[end + 1 :].strip(b"\0\n"):
                break
            raise InputError(f"{path}: line {len(lines) + 1} is damaged ({error})") from None
        lines.append(value)
        whole = end + 1
    return lines, whole
