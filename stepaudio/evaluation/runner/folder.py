"""A run folder: what was asked, the items, the outputs with their sounds, the verdicts.

run.json                what was asked: suite, model, data
plan.jsonl              the items
outputs.jsonl           one line an item: what the system gave, or why it failed or could not
audio/…                 the sounds of the outputs, FLAC; their SHA-256 stands in the line
verdicts-KEY.jsonl      one line an item, for each judge that was used
report.json .md .html
"""

import hashlib
import json
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepaudio.errors import InputError
from stepaudio.evaluation.items import Item
from stepaudio.workers.journal import read_journal, write_atomically, write_journal
from stepaudio.workers.lock import only_one


@dataclass(frozen=True)
class RunFolder:
    """A folder of one run.

    Attributes:
        root: where.
    """

    root: Path

    @property
    def outputs(self) -> Path:
        """The journal of outputs."""
        return self.root / "outputs.jsonl"

    def verdicts(self, key: str) -> Path:
        """The journal of verdicts of the judge that `key` stands for."""
        return self.root / f"verdicts-{key}.jsonl"

    def sound(self, name: str) -> Path:
        """The file of an output's sound."""
        return self.root / "audio" / name

    def save_plan(self, request: dict[str, Any], items: list[Item]) -> None:
        """Write down what was asked and the items; `request` last, so that a plan with it is whole."""
        lines = ({"id": item.id, "group": item.group, "content": item.content} for item in items)
        write_journal(self.root / "plan.jsonl", lines)
        text = json.dumps(request, ensure_ascii=False, indent=2)
        write_atomically(self.root / "run.json", text.encode() + b"\n")

    def request(self) -> dict[str, Any] | None:
        """Return what was asked, or ``None`` when nothing is planned here.

        Raises:
            InputError: the file is damaged.
        """
        path = self.root / "run.json"
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: cannot be read ({error})") from None
        if not isinstance(value, dict):
            raise InputError(f"{path}: not a run")
        return value

    def items(self) -> list[Item]:
        """Return the planned items."""
        lines = read_journal(self.root / "plan.jsonl")
        return [Item(line["id"], line["group"], line["content"]) for line in lines]

    def save_sound(self, id: str, data: bytes) -> dict[str, str]:
        """Write an output's sound and return what its line says about it."""
        # Ids may hold slashes and anything else; their hash cannot.
        name = f"{hashlib.sha256(id.encode()).hexdigest()[:24]}.flac"
        write_atomically(self.sound(name), data)
        return {"file": name, "sha256": hashlib.sha256(data).hexdigest()}

    def read_sound(self, line: dict[str, Any]) -> bytes | None:
        """Return the sound of an output's line; ``None`` when it has none, or when it is not what it was."""
        if not line.get("audio"):
            return None
        try:
            data = self.sound(line["audio"]["file"]).read_bytes()
        except OSError:
            return None
        return data if hashlib.sha256(data).hexdigest() == line["audio"]["sha256"] else None

    def intact(self, line: dict[str, Any]) -> bool:
        """Whether the sound of an output's line is there as it was written, if it has one."""
        return not line.get("audio") or self.read_sound(line) is not None

    def locked(self) -> AbstractContextManager[None]:
        """Hold the folder, so that two processes cannot work on one run; freed however the process ends.

        Raises:
            InputError: another process holds it, or the folder cannot be made.
        """
        return only_one(self.root)
