"""Hub data sets whose parquet files hold the sounds themselves: rows read, sounds written beside them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stepaudio.errors import InputError
from stepaudio.evaluation.suites.layout import SOUNDS
from stepaudio.workers.journal import write_atomically

FOLDER = "sounds"
_BATCH = 256  # rows in memory at once


def read_sound_tables(data: Path, files: Sequence[Path], columns: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rows of parquet files, their ``audio`` replaced by the name of a file in the data folder.

    Sounds are written into ``sounds/`` on the way, those that are there already excepted.

    Args:
        data: the data folder.
        files: inside of it.
        columns: that must be there, besides ``audio`` (a structure of ``bytes`` and ``path``); others are
            left out.

    Raises:
        InputError: a file cannot be read or lacks a column, or a row holds no sound.
    """
    rows: list[dict[str, Any]] = []
    wanted = [*columns, "audio"]
    for path in files:
        part = "-".join(path.relative_to(data).with_suffix("").parts)
        table, unreadable = _open(path)
        found = table.schema_arrow.names
        if missing := [name for name in wanted if name not in found]:
            raise InputError(
                f"{path}: the column {missing[0]} is missing; expected {', '.join(wanted)}; "
                f"found {', '.join(found)}"
            )
        try:
            for batch in table.iter_batches(_BATCH, columns=wanted):
                for row in batch.to_pylist():
                    name = f"{part}-{len(rows):06}"
                    rows.append({**row, "audio": _unpack(data, name, row["audio"], f"{path}: {name}")})
        except unreadable as error:
            raise _damaged(path, error) from None
    return rows


def column_names(path: Path) -> list[str]:
    """Return the columns of a parquet file; raises as `read_sound_tables`."""
    return list(_open(path)[0].schema_arrow.names)


def _open(path: Path) -> tuple[Any, type[Exception]]:
    """Open a parquet file; returns it with the class of the errors that reading may raise."""
    try:
        import pyarrow.parquet as parquet
        from pyarrow.lib import ArrowException
    except ImportError:
        raise InputError("parquet files need the extra eval: pip install 'stepaudio[eval]'") from None
    try:
        return parquet.ParquetFile(path), ArrowException
    except (ArrowException, OSError, ValueError) as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> InputError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return InputError(f"{path}: not a readable parquet file ({reason})")


def _unpack(data: Path, name: str, sound: Any, where: str) -> str:
    content = sound.get("bytes") if isinstance(sound, dict) else None
    if not content:
        raise InputError(f"{where}: audio holds no bytes")
    suffix = Path(str(sound.get("path") or "")).suffix.lower()
    place = f"{FOLDER}/{name}{suffix if suffix in SOUNDS else '.wav'}"
    if not (data / place).is_file():
        write_atomically(data / place, content)
    return place
