"""Model cards: strict YAML that says what a model is, which files it has and where they can be had."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Self

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    PrivateAttr,
    StringConstraints,
    ValidationError,
    model_validator,
)

from stepaudio.errors import ModelError
from stepaudio.hub.source import Source, parse_source
from stepaudio.hub.upstream import Checkpoint, Serve

CARD_FILE = "card.yaml"
CARDS = Path(__file__).resolve().parent.parent / "cards"


def _safe_path(text: str) -> str:
    """A relative POSIX path that stays inside the model's folder on every platform."""
    path = PurePosixPath(text)
    odd = re.search(r'[\\:*?"<>|\x00-\x1f]', text) or path.is_absolute() or str(path) != text
    if odd or any(piece.startswith(".") for piece in path.parts):
        raise ValueError(f"path {text!r} does not stay inside the model's folder")
    return text


def _known_source(text: str) -> str:
    parse_source(text)
    return text


_Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=80)]
_Path = Annotated[str, AfterValidator(_safe_path)]
_Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
_Sources = Annotated[tuple[Annotated[str, AfterValidator(_known_source)], ...], Field(min_length=1)]
# Only code of this package may be named: a card is data, and data from elsewhere must not run code.
_Converter = Annotated[str, StringConstraints(pattern=r"^stepaudio(\.\w+)+:\w+$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Part(_Strict):
    """One of several pieces whose concatenation is the file; each is fetched and verified by itself."""

    size: PositiveInt
    sha256: _Sha256
    sources: _Sources


class CardFile(_Strict):
    """A file to fetch: either from ``sources`` (tried in order) or put together from ``parts``.

    ``keep: false`` marks raw material for ``derived``: it does not stay in the model's folder.
    """

    path: _Path
    size: PositiveInt
    sha256: _Sha256
    sources: _Sources | None = None
    parts: Annotated[tuple[Part, ...], Field(min_length=2)] | None = None
    keep: bool = True

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if (self.sources is None) == (self.parts is None):
            raise ValueError(f"{self.path}: give either sources or parts")
        if self.parts and sum(part.size for part in self.parts) != self.size:
            raise ValueError(f"{self.path}: the sizes of the parts do not add up to {self.size}")
        return self

    @property
    def pieces(self) -> tuple[Part, ...]:
        """The parts in order; a file that is one piece counts as its own only part."""
        if self.parts is not None:
            return self.parts
        return (Part(size=self.size, sha256=self.sha256, sources=self.sources or ()),)


class Derived(_Strict):
    """Files that are made from fetched ones, once, while pulling.

    ``converter`` is ``module:function`` in this package, called as ``function(inputs, folder)`` with
    ``inputs: dict[str, Path]`` (card path -> file) and ``folder: Path``, an empty folder in which it
    must write every name in ``outputs``. Raise ``version`` when what it writes changes: the next pull
    then makes the files anew.
    """

    converter: _Converter
    inputs: Annotated[tuple[_Path, ...], Field(min_length=1)]
    outputs: Annotated[tuple[_Path, ...], Field(min_length=1)]
    version: PositiveInt = 1


class Card(_Strict):
    """A model: what it is, who made it, and how to get it."""

    name: _Name
    title: str
    family: str
    licence: str
    attribution: str
    description: str
    files: tuple[CardFile, ...] = ()
    derived: tuple[Derived, ...] = ()
    requires: tuple[_Name, ...] = ()
    checkpoint: Checkpoint | None = None
    serve: tuple[Serve, ...] = ()
    measured: dict[str, str] = Field(default_factory=dict)
    needs: str = ""

    _read_from: Path | None = PrivateAttr(default=None)
    _own: bool = PrivateAttr(default=False)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        fetched = {file.path for file in self.files}
        made = [output for recipe in self.derived for output in recipe.outputs]
        used = {path for recipe in self.derived for path in recipe.inputs}
        names = [file.path.lower() for file in self.files] + [path.lower() for path in made]
        if len(set(names)) != len(names):
            raise ValueError("two files have the same path")
        if used - fetched:
            raise ValueError(f"derived from a file that is not in files: {', '.join(sorted(used - fetched))}")
        if idle := sorted(file.path for file in self.files if not file.keep and file.path not in used):
            raise ValueError(f"keep: false, but nothing is derived from it: {', '.join(idle)}")
        if not self.files and not self.requires and not self.checkpoint:
            raise ValueError("a card needs files or requires, or a checkpoint")
        if self.files and self.checkpoint:
            raise ValueError("a card has either files or a checkpoint to convert")
        return self

    @property
    def key(self) -> str:
        """The folder name in the cache; somebody's own card can never take a built-in model's place."""
        if not self._own:
            return self.name
        return f"{self.name}-{hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]}"

    @property
    def location(self) -> Path | None:
        """The folder the card was read from: where its ``file:`` sources start."""
        return self._read_from.parent if self._read_from else None

    @property
    def asked_as(self) -> str:
        """What to type to get this card: its name, or the path of somebody's own."""
        return str(self._read_from) if self._own else self.name

    @property
    def download_bytes(self) -> int:
        """Size in bytes of everything this card fetches (without what it requires)."""
        return sum(file.size for file in self.files)

    def sources(self) -> Iterator[Source]:
        """Every source that the card names, in order, with repeats."""
        for file in self.files:
            for piece in file.pieces:
                yield from map(parse_source, piece.sources)


def list_cards() -> list[Card]:
    """The cards that come with the package, by name."""
    return [_read(path, own=False) for path in sorted(CARDS.glob("*.yaml"))]


def load_card(name: str | Path) -> Card:
    """Find a card.

    Args:
        name: the name of a built-in model, the path of a card, or of a folder with a ``card.yaml``.

    Raises:
        ModelError: there is no such card (the message lists the built-in ones), or it is not valid.
    """
    text = str(name)
    built_in = {path.stem: path for path in CARDS.glob("*.yaml")}
    if text in built_in:
        return _read(built_in[text], own=False)
    path = Path(text).expanduser()
    if path.is_dir() and (path / CARD_FILE).is_file():
        return _read(path / CARD_FILE, own=True)
    if path.is_file() and path.suffix in {".yaml", ".yml"}:
        return _read(path, own=True)
    if path.is_dir():
        raise ModelError(f"{text}: the folder has no {CARD_FILE}")
    raise ModelError(f"unknown model {text!r}; known: {', '.join(sorted(built_in))}, or the path of a card")


def _read(path: Path, *, own: bool) -> Card:
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)
        if not isinstance(data, dict):
            raise ModelError(f"{path}: not a model card: a mapping is expected")
        card = Card.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(piece) for piece in first["loc"])
        reason = first["msg"].removeprefix("Value error, ")
        raise ModelError(
            f"{path}: not a valid model card: {where + ': ' if where else ''}{reason}"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise ModelError(f"{path}: cannot read the card: {' '.join(str(error).split())}") from error
    card._read_from = path.resolve()
    card._own = own
    return card
