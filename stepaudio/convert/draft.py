"""The folder being written: built beside its place, and moved there only when all of it is good."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepaudio.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class Draft:
    """A converted model in the making.

    Attributes:
        root: the temporary folder.
        parameters: parameters of each part, for the card.
        files: what was written, relative to `root`.
    """

    root: Path
    parameters: dict[str, int] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)

    def text(self, name: str, text: str) -> None:
        """Write a text file."""
        self._place(name).write_text(text, encoding="utf-8")

    def tensors(self, name: str, tensors: "Mapping[str, Tensor]") -> None:
        """Write float32 tensors as safetensors.

        Raises:
            ModelError: a tensor is not floating point or holds an infinity or a NaN.
        """
        import torch
        from safetensors.torch import save_file

        plain: dict[str, torch.Tensor] = {}
        for key, value in tensors.items():
            if not value.is_floating_point():
                raise ModelError(f"{name}: {key} has dtype {value.dtype}, not a float's")
            if not bool(torch.isfinite(value).all()):
                raise ModelError(f"{name}: {key} holds a value that is not a finite number")
            plain[key] = value.to(torch.float32, copy=True).contiguous()
        save_file(plain, self._place(name))

    def link(self, path: Path, name: str) -> None:
        """Put an existing file here as it is: linked where the disk allows it, else copied."""
        target = self._place(name)
        try:
            os.link(path.resolve(), target)
        except OSError:
            shutil.copyfile(path, target)

    def card(self, **facts: Any) -> None:
        """Write `card.yaml`, which lists every file with its size and SHA-256."""
        import yaml

        from stepaudio.hub.cache import sha256_of
        from stepaudio.hub.card import CARD_FILE, Card

        files = [
            {
                "path": name,
                "size": (self.root / name).stat().st_size,
                "sha256": sha256_of(self.root / name),
                "sources": [f"file:{name}"],
            }
            for name in sorted(self.files)
        ]
        measured = {f"parameters of {part}": f"{count:,}" for part, count in self.parameters.items()}
        data = {**facts, "measured": measured, "files": files}
        Card.model_validate(data)
        self.text(CARD_FILE, yaml.safe_dump(data, sort_keys=False, allow_unicode=True))

    def _place(self, name: str) -> Path:
        target = self.root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        self.files.append(name)
        return target


@contextmanager
def drafting(out: str | Path) -> Iterator[Draft]:
    """Build a folder that appears at `out` when the block ends well, and leaves no trace otherwise.

    Raises:
        ModelError: there is something at `out` already, or it cannot be written.
    """
    target = Path(out).expanduser().absolute()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ModelError(f"{out}: is there already; give a folder that does not exist yet")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise ModelError(f"{out}: cannot be written: {error.strerror}") from None
    try:
        yield Draft(work)
        work.chmod(0o755)
        work.replace(target)
    except OSError as error:
        raise ModelError(f"{out}: cannot be written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
