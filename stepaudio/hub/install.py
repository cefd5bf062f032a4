"""One card on its way into the cache: what is missing, fetching it, converting it, stamping it."""

import hashlib
import importlib
import shutil
from pathlib import Path

from stepaudio.errors import ModelError, StepAudioError
from stepaudio.hub.cache import Cache, Stamp, sha256_of
from stepaudio.hub.card import Card, CardFile, Derived
from stepaudio.hub.fetch import Fetcher
from stepaudio.hub.progress import Meter


def is_complete(card: Card, cache: Cache) -> bool:
    """Whether a card's own files are all here, by ``stat`` and the stamp alone."""
    if not card.files or lies_beside(card):
        return True
    stamp = Stamp.read(cache.model(card.key))
    return not _stale_files(card, stamp) and not _stale_recipes(card, stamp)


def lies_beside(card: Card) -> bool:
    """Whether a user's own card describes files that lie in its folder, to be used where they are."""
    if card.key == card.name or card.location is None or card.derived or not card.files:
        return False
    for file in card.files:
        path = card.location / file.path
        if not path.is_file() or path.stat().st_size != file.size:
            return False
    return True


class Installation:
    """Brings one card's files into the cache; the caller holds the card's lock."""

    def __init__(self, card: Card, cache: Cache, meter: Meter, verify: bool) -> None:
        self._card = card
        self._meter = meter
        self._folder = cache.model(card.key)
        self._work = cache.work(card.key)
        self._beside = lies_beside(card)
        if self._beside:
            self._verify_beside()
            return
        self._stamp = Stamp.read(self._folder)
        self._check(verify)
        self._recipes = _stale_recipes(card, self._stamp)
        stale = {file.path for file in _stale_files(card, self._stamp)}
        inputs = {path for recipe in self._recipes for path in recipe.inputs}
        self._wanted = [file for file in card.files if file.path in (stale if file.keep else inputs)]

    def missing_bytes(self) -> int:
        """How much is to be fetched."""
        if self._beside:
            return 0
        with Fetcher(self._card, self._work, self._meter) as fetcher:
            return fetcher.missing_bytes(self._wanted)

    def run(self) -> None:
        """Fetch and convert what is missing, and tidy up."""
        if self._beside or not self._card.files:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        raw: dict[str, Path] = {}
        with Fetcher(self._card, self._work, self._meter) as fetcher:
            fetcher.missing_bytes(self._wanted)
            for file in self._wanted:
                if file.keep:
                    self._settle(fetcher.fetch(file), file.path, file.sha256)
                else:
                    raw[file.path] = fetcher.fetch(file)
        for recipe in self._recipes:
            self._convert(recipe, raw)
        self._forget_others()
        self._stamp.write()
        shutil.rmtree(self._work, ignore_errors=True)

    def _check(self, verify: bool) -> None:
        """Hash the files that were touched since they were verified (all of them, to verify)."""
        for file in self._card.files:
            if file.keep and (verify or _sha256(self._stamp, file.path) != file.sha256):
                self._look_again(file.path, file.sha256, "")
        for recipe in self._card.derived:
            for path in recipe.outputs:
                entry = self._stamp.entries.get(path)
                if entry and (verify or self._stamp.untouched(path) is None):
                    self._look_again(path, entry.sha256, entry.recipe)

    def _look_again(self, path: str, sha256: str, recipe: str) -> None:
        """Hash a file and adopt it, or strike it from the stamp."""
        self._stamp.entries.pop(path, None)
        if sha256_of(self._folder / path) == sha256:
            self._stamp.record(path, sha256, recipe)

    def _settle(self, source: Path, path: str, sha256: str, recipe: str = "") -> None:
        """Move a finished file into the model's folder and remember it at once."""
        target = self._folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        source.replace(target)
        self._stamp.record(path, sha256, recipe)
        self._stamp.write()

    def _convert(self, recipe: Derived, raw: dict[str, Path]) -> None:
        self._meter.note = f"converting {', '.join(recipe.inputs)}"
        self._meter.on_the_way(0)
        out = self._work / "derived"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        module, _, function = recipe.converter.partition(":")
        where = f"{self._card.name}: {recipe.converter}"
        try:
            converter = getattr(importlib.import_module(module), function)
        except (ImportError, AttributeError) as error:
            raise ModelError(f"{where}: no such converter: {error}") from error
        try:
            converter({path: raw.get(path, self._folder / path) for path in recipe.inputs}, out)
        except StepAudioError as error:
            raise ModelError(f"{where}: {error}") from error
        for path in recipe.outputs:
            if not (out / path).is_file():
                raise ModelError(f"{where} did not write {path}")
        for path in recipe.outputs:
            self._settle(out / path, path, sha256_of(out / path), _fingerprint(self._card, recipe))

    def _forget_others(self) -> None:
        """Delete files that an earlier version of the card had put here."""
        outputs = {path for recipe in self._card.derived for path in recipe.outputs}
        known = {file.path for file in self._card.files if file.keep} | outputs
        for path in self._stamp.entries.keys() - known:
            (self._folder / path).unlink(missing_ok=True)
            del self._stamp.entries[path]

    def _verify_beside(self) -> None:
        for file in self._card.files:
            if sha256_of((self._card.location or Path()) / file.path) != file.sha256:
                raise ModelError(f"{self._card.name}: {file.path} is not what its card describes (SHA-256)")


def _stale_files(card: Card, stamp: Stamp) -> list[CardFile]:
    return [file for file in card.files if file.keep and _sha256(stamp, file.path) != file.sha256]


def _stale_recipes(card: Card, stamp: Stamp) -> list[Derived]:
    stale = []
    for recipe in card.derived:
        entries = [stamp.untouched(path) for path in recipe.outputs]
        if any(entry is None or entry.recipe != _fingerprint(card, recipe) for entry in entries):
            stale.append(recipe)
    return stale


def _sha256(stamp: Stamp, path: str) -> str | None:
    entry = stamp.untouched(path)
    return entry.sha256 if entry else None


def _fingerprint(card: Card, recipe: Derived) -> str:
    """Changes when the recipe or what goes into it changes."""
    inputs = "".join(file.sha256 for file in card.files if file.path in recipe.inputs)
    return hashlib.sha256((recipe.model_dump_json() + inputs).encode()).hexdigest()
