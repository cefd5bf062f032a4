"""Verdicts kept on disk under the hash of everything that went into them."""

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class VerdictCache:
    """A folder of JSON files, one a question; safe to share between processes.

    Attributes:
        folder: where; it need not exist yet.
    """

    folder: Path

    @classmethod
    def default(cls) -> "VerdictCache":
        """The folder ``judge`` of the user's cache."""
        from stepaudio.hub import Cache

        return cls(Cache.default().root / "judge")

    def get(self, question: dict[str, Any]) -> str | None:
        """Return the answer that was kept for `question`, or ``None``."""
        with suppress(OSError, ValueError, KeyError, TypeError):
            entry = json.loads(self._path(question).read_text(encoding="utf-8"))
            if entry["question"] == question:
                return str(entry["answer"])
        return None

    def put(self, question: dict[str, Any], answer: str) -> None:
        """Keep an answer."""
        path = self._path(question)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.write_text(
            json.dumps({"question": question, "answer": answer}, ensure_ascii=False), "utf-8"
        )
        temporary.replace(path)

    def _path(self, question: dict[str, Any]) -> Path:
        canonical = json.dumps(question, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        key = hashlib.sha256(canonical.encode()).hexdigest()
        return self.folder / key[:2] / f"{key}.json"
