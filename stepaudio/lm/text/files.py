"""Reading the small text files of a checkpoint, with errors that name the file."""

import json
from pathlib import Path
from typing import Any

from stepaudio.errors import ModelError


def read_text(path: Path) -> str:
    """Return the text of a file of a checkpoint; raises `ModelError` in one line."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ModelError(f"{path}: not UTF-8 text") from None


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; raises `ModelError` in one line."""
    try:
        value = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise ModelError(f"{path}: not JSON ({error.msg} at {error.pos})") from None
    if not isinstance(value, dict):
        raise ModelError(f"{path}: a JSON object is expected")
    return value
