"""The one folder where weights lie, and the stamps that say what was verified there."""

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

from stepaudio.errors import ModelError

_STAMP = ".stamp.json"
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Cache:
    """A cache folder; it need not exist yet.

    Attributes:
        root: the folder that holds ``models``, ``work`` and ``locks``.
    """

    root: Path

    @classmethod
    def default(cls, environ: Mapping[str, str] | None = None, platform: str = sys.platform) -> Self:
        """The user's cache: ``STEPAUDIO_HOME``, else ``stepaudio`` in the platform's cache folder."""
        env = os.environ if environ is None else environ
        if home := env.get("STEPAUDIO_HOME"):
            return cls(Path(home).expanduser().absolute())
        # The XDG rule: a path that is not absolute is to be ignored.
        if (xdg := env.get("XDG_CACHE_HOME")) and Path(xdg).is_absolute():
            return cls(Path(xdg) / "stepaudio")
        try:
            user = Path(env["HOME"]) if env.get("HOME") else Path.home()
        except RuntimeError as error:
            raise ModelError("no home folder for the model cache: set STEPAUDIO_HOME to a folder") from error
        if platform == "darwin":
            return cls(user / "Library" / "Caches" / "stepaudio")
        if platform == "win32":
            return cls(Path(env.get("LOCALAPPDATA") or user / "AppData" / "Local") / "stepaudio" / "cache")
        return cls(user / ".cache" / "stepaudio")

    def model(self, key: str) -> Path:
        """The folder of a model's verified files."""
        return self.root / "models" / key

    def work(self, key: str) -> Path:
        """The folder of what an unfinished pull has fetched."""
        return self.root / "work" / key

    def lock(self, key: str) -> Path:
        """The lock file of a model."""
        return self.root / "locks" / f"{key}.lock"


@dataclass(frozen=True)
class Entry:
    """A file as it was when its contents were verified.

    Attributes:
        size: bytes.
        mtime_ns: time of modification in nanoseconds; a file that was touched since is not trusted.
        sha256: of the contents, in hex.
        recipe: fingerprint of the recipe that made a derived file; empty for a fetched one.
    """

    size: int
    mtime_ns: int
    sha256: str
    recipe: str = ""


@dataclass
class Stamp:
    """What was verified in one model's folder: card path -> entry."""

    folder: Path
    entries: dict[str, Entry] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the stamp of a folder; a missing or damaged one counts as empty (all is verified anew)."""
        try:
            data = json.loads((folder / _STAMP).read_text(encoding="utf-8"))
            return cls(folder, {path: Entry(**entry) for path, entry in data["files"].items()})
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return cls(folder)

    def write(self) -> None:
        """Write it atomically."""
        text = json.dumps({"files": {path: asdict(entry) for path, entry in self.entries.items()}}, indent=1)
        temporary = self.folder / f"{_STAMP}.{os.getpid()}"
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(self.folder / _STAMP)

    def record(self, path: str, sha256: str, recipe: str = "") -> None:
        """Remember that the file's contents are verified as they are now."""
        stat = (self.folder / path).stat()
        self.entries[path] = Entry(stat.st_size, stat.st_mtime_ns, sha256, recipe)

    def untouched(self, path: str) -> Entry | None:
        """The entry of a file that is as it was when verified; ``None`` if it is gone or was touched."""
        entry = self.entries.get(path)
        try:
            stat = (self.folder / path).stat()
        except OSError:
            return None
        if entry is None or (stat.st_size, stat.st_mtime_ns) != (entry.size, entry.mtime_ns):
            return None
        return entry


def sha256_of(path: Path) -> str:
    """SHA-256 of a file in hex; empty when there is no such file."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while block := stream.read(_BLOCK):
                digest.update(block)
    except OSError:
        return ""
    return digest.hexdigest()
