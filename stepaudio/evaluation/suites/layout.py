"""Reading published layouts: tables with exactly the expected columns, sounds where they belong."""

import json
import shutil
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from stepaudio.errors import InputError
from stepaudio.evaluation.suites.base import inside

SOUNDS = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a")


def wrong(data: Path, expected: str) -> InputError:
    """Return the error for a folder of another layout."""
    return InputError(f"{data}: not the expected layout; it should hold {expected}")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: it cannot be read or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error})") from None


def read_json_lines(path: Path) -> list[Any]:
    """Read a file of one JSON value a line; empty lines are skipped.

    Raises:
        InputError: it cannot be read, or a line is not JSON; the line is named.
    """
    values = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                values.append(json.loads(line))
            except ValueError as error:
                raise InputError(f"{path}: line {number} is not JSON ({error})") from None
    return values


def check_fields(
    row: Any,
    required: dict[str, type | tuple[type, ...]],
    where: str,
    optional: Iterable[str] | None = (),
) -> dict[str, Any]:
    """Return `row` when it is an object with the required fields, of the required types, and no others.

    Args:
        row: what was read.
        required: types by field.
        where: file and line, for the error.
        optional: fields that may be there too; ``None`` allows any.

    Raises:
        InputError: a field is missing, unknown or of another type.
    """
    if not isinstance(row, dict):
        raise InputError(
            f"{where}: expected an object with {', '.join(required)}, found {type(row).__name__}"
        )
    for name, kind in required.items():
        if name not in row:
            found = ", ".join(map(str, row)) or "nothing"
            raise InputError(f"{where}: the field {name} is missing (found: {found})")
        if not isinstance(row[name], kind):
            raise InputError(f"{where}: the field {name} is of the wrong type ({type(row[name]).__name__})")
    if optional is not None and (unknown := set(row) - set(required) - set(optional)):
        raise InputError(f"{where}: unknown field {sorted(unknown)[0]}; expected {', '.join(required)}")
    return row


def check_sound(data: Path, name: str, where: str) -> str:
    """Return `name` when there is such a file in the data folder.

    Raises:
        InputError: there is none, or the name leads out of the folder.
    """
    if not inside(data, name).is_file():
        raise InputError(f"{where}: there is no sound {name} in {data}")
    return name


def read_parquet(files: Sequence[Path], columns: Sequence[str]) -> list[dict[str, Any]]:
    """Read the rows of parquet files that have exactly these columns.

    Raises:
        InputError: a file cannot be read, or has other columns.
    """
    try:
        import pyarrow.parquet as parquet
        from pyarrow.lib import ArrowException
    except ImportError:
        raise InputError("parquet files need the extra eval: pip install 'stepaudio[eval]'") from None
    rows: list[dict[str, Any]] = []
    for path in files:
        try:
            table = parquet.read_table(path)
        except (ArrowException, OSError, ValueError) as error:
            raise InputError(f"{path}: not a readable parquet file ({str(error).splitlines()[0]})") from None
        if set(table.column_names) != set(columns):
            found = ", ".join(table.column_names)
            raise InputError(f"{path}: expected the columns {', '.join(columns)}; found {found}")
        rows += table.to_pylist()
    return rows


def unpack_beside(archive: Path, folder: Path) -> None:
    """Unpack an archive of a dataset into `folder` unless that is there; its members cannot leave it.

    Raises:
        InputError: it is damaged, holds something that is not a plain file, or the place cannot be written.
    """
    if folder.is_dir() or not archive.is_file():
        return
    temporary = folder.with_name(f".{folder.name}.partial")
    try:
        with tarfile.open(archive) as members:
            for member in members:
                _extract(members, member, temporary)
        inner = [path for path in temporary.iterdir() if not path.name.startswith(".")]
        # Archives hold either the files or one folder of that name.
        same = len(inner) == 1 and inner[0].is_dir() and inner[0].name == folder.name
        (inner[0] if same else temporary).rename(folder)
    except (tarfile.TarError, OSError, EOFError, InputError) as error:
        raise InputError(f"{archive}: cannot be unpacked ({error})") from None


def _extract(archive: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    """Write one plain file below `folder`; tarfile's own filter for that is missing before Python 3.11.4."""
    if member.isdir():
        return
    target = inside(folder, member.name)
    content = archive.extractfile(member) if member.isfile() else None
    if content is None:
        raise tarfile.TarError(f"{member.name} is not a plain file")
    target.parent.mkdir(parents=True, exist_ok=True)
    with content, target.open("wb") as file:
        shutil.copyfileobj(content, file)
