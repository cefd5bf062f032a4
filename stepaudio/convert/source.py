"""Reading files of a folder that is not trusted: nothing outside it, nothing huge, one clear error."""

import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from stepaudio.errors import ModelError

MAX_TEXT = 64 * 2**20


@dataclass(frozen=True)
class SourceFolder:
    """An official checkpoint folder.

    Attributes:
        root: the folder.
    """

    root: Path

    @classmethod
    def open(cls, folder: str | Path) -> "SourceFolder":
        """Open a folder.

        Raises:
            ModelError: it is not there or not a folder.
        """
        path = Path(folder).expanduser()
        if not path.is_dir():
            raise ModelError(f"{folder}: no such folder")
        return cls(path)

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.root.resolve().name

    def sub(self, name: str) -> "SourceFolder":
        """A folder inside this one.

        Raises:
            ModelError: it is missing or lies elsewhere.
        """
        path = self._inside(name)
        if not path.is_dir():
            raise ModelError(f"{self.root}: folder {name} is missing")
        return SourceFolder(self.root / name)

    def has(self, name: str) -> bool:
        """Whether a file or folder of that name is there."""
        return (self.root / name).exists()

    def file(self, name: str) -> Path:
        """The path of a file.

        Raises:
            ModelError: it is missing, empty, no regular file, or its name or a link leads out of the folder.
        """
        path = self._inside(name)
        if not path.is_file():
            raise ModelError(f"{self.root}: {name} is missing")
        if path.stat().st_size == 0:
            raise ModelError(f"{self.root}: {name} is empty")
        return path

    def text(self, name: str) -> str:
        """A text file in UTF-8.

        Raises:
            ModelError: as for `file`, or it is not text, or too large to be a configuration.
        """
        path = self.file(name)
        if path.stat().st_size > MAX_TEXT:
            raise ModelError(f"{self.root}: {name} is too large ({path.stat().st_size} bytes)")
        try:
            return path.read_text(encoding="utf-8")
        except (UnicodeDecodeError, OSError) as error:
            raise ModelError(f"{self.root}: {name} cannot be read as text: {error}") from None

    def json(self, name: str) -> dict[str, Any]:
        """A JSON object.

        Raises:
            ModelError: as for `text`, or it is not a JSON object.
        """
        try:
            value = json.loads(self.text(name))
        except (ValueError, RecursionError) as error:
            raise ModelError(f"{self.root}: {name} is not valid JSON: {error}") from None
        if not isinstance(value, dict):
            raise ModelError(f"{self.root}: {name} is not a JSON object")
        return value

    def _inside(self, name: str) -> Path:
        pure = PurePosixPath(name)
        if not name or pure.is_absolute() or ".." in pure.parts or "\\" in name or "\0" in name:
            raise ModelError(f"{self.root}: the path {name!r} leads out of the folder")
        try:
            root, target = self.root.resolve(), (self.root / name).resolve()
        except (OSError, RuntimeError) as error:
            raise ModelError(f"{self.root}: {name} cannot be followed: {error}") from None
        if not any(target.is_relative_to(home) for home in (root, *_blobs(root))):
            raise ModelError(f"{self.root}: {name} is a link that leads out of the folder")
        return target


def _blobs(root: Path) -> tuple[Path, ...]:
    """The store that the links of a Hugging Face cache snapshot point into (REPO/snapshots/REVISION)."""
    for folder in (root, *root.parents):
        if folder.parent.name == "snapshots" and folder.parent.parent.name.startswith("models--"):
            return (folder.parent.parent / "blobs",)
    return ()
