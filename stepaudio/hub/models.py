"""Pulling, finding and removing models: what the rest of the package and the CLI use."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from stepaudio.errors import ModelError
from stepaudio.hub.cache import Cache
from stepaudio.hub.card import Card, load_card
from stepaudio.hub.install import Installation, is_complete, lies_beside
from stepaudio.hub.progress import Bar, Meter, Progress


def is_present(card: Card, cache: Cache | None = None) -> bool:
    """Whether all files of a card, and of the cards it requires, are here and untouched since verified."""
    store = cache or Cache.default()
    return all(not each.checkpoint and is_complete(each, store) for each in with_required(card))


def folder(name: str | Path | Card, cache: Cache | None = None) -> Path:
    """The folder of a model that has been pulled; touches no network.

    Args:
        name: as for :func:`stepaudio.hub.load_card`, or a card.
        cache: where to look; the user's cache by default.

    Raises:
        ModelError: unknown model; it is not here (the message says what to type); it has no files of its own.
    """
    card = _card(name)
    if not card.files:
        raise ModelError(f"{card.name} has no files of its own: it stands for {', '.join(card.requires)}")
    return folders(card, cache)[card.name]


def folders(name: str | Path | Card, cache: Cache | None = None) -> dict[str, Path]:
    """The folders of a model and of what it requires, by card name; raises like :func:`folder`."""
    card, store = _card(name), cache or Cache.default()
    _fetchable(card)
    if not is_present(card, store):
        raise ModelError(f"model {card.name} is not here: run `stepaudio models pull {card.asked_as}`")
    return {each.name: _place(each, store) for each in with_required(card) if each.files}


def pull(
    name: str | Path | Card,
    progress: Progress | None = None,
    verify: bool = False,
    cache: Cache | None = None,
) -> dict[str, Path]:
    """Make sure that a model and what it requires are here: fetch, verify, convert what is missing.

    Quick, silent and offline when everything is here. Safe to interrupt, and to run twice at once.

    Args:
        name: as for :func:`stepaudio.hub.load_card`, or a card.
        progress: told about bytes; nothing is printed otherwise.
        verify: read every file again and compare it with its SHA-256, instead of trusting the stamp.
        cache: where to put it; the user's cache by default.

    Returns:
        The folders, by card name.

    Raises:
        ModelError: a file could not be had; the message names it and each source's reason.
    """
    card, store = _card(name), cache or Cache.default()
    _fetchable(card)
    wanted = [each for each in with_required(card) if verify or not is_complete(each, store)]
    meter = Meter(progress)
    try:
        with ExitStack() as locks:
            # Always in the same order, so that two pulls never wait for each other.
            for each in sorted(wanted, key=lambda each: each.key):
                locks.enter_context(_locked(each, store))
            plans = [Installation(each, store, meter, verify) for each in wanted]
            total = sum(plan.missing_bytes() for plan in plans)
            if total:
                meter.start(card.name, total)
            for plan in plans:
                plan.run()
            if total:
                meter.finish()
    except OSError as error:
        raise ModelError(
            f"{card.name}: cannot use the cache {store.root}: {error.strerror or error}"
        ) from error
    return folders(card, store)


_pull = pull  # `ensure` has an option of that name


def ensure(
    name: str | Path | Card,
    *,
    pull: bool = True,
    progress: Progress | None = None,
    cache: Cache | None = None,
) -> dict[str, Path]:
    """The folders of a model, pulled first when it is not here.

    Args:
        name: as for :func:`stepaudio.hub.load_card`, or a card.
        pull: whether the network may be used; otherwise an absent model is an error.
        progress: who is told about bytes; by default a bar on stderr.
        cache: where it lies; the user's cache by default.

    Raises:
        ModelError: as :func:`pull` and :func:`folders`.
    """
    card, store = _card(name), cache or Cache.default()
    if not pull or is_present(card, store):
        return folders(card, store)
    if progress is not None:
        return _pull(card, progress, cache=store)
    with Bar() as bar:
        return _pull(card, bar, cache=store)


def remove(name: str | Path | Card, cache: Cache | None = None) -> bool:
    """Delete a model's files (not those of what it requires) from the cache; whether there were any."""
    card, store = _card(name), cache or Cache.default()
    with _locked(card, store):
        there = store.model(card.key).exists()
        shutil.rmtree(store.work(card.key), ignore_errors=True)
        if there:
            shutil.rmtree(store.model(card.key))
    return there


def with_required(card: Card) -> list[Card]:
    """The card and all that it requires, each once, requirements first."""
    found: dict[str, Card] = {}

    def add(each: Card, above: tuple[str, ...]) -> None:
        if each.name in above:
            raise ModelError(f"{card.name}: the cards require each other: {' -> '.join([*above, each.name])}")
        for name in each.requires:
            if name not in found:
                add(load_card(name), (*above, each.name))
        found[each.name] = each

    add(card, ())
    return list(found.values())


def _fetchable(card: Card) -> None:
    for each in with_required(card):
        if each.checkpoint:
            raise ModelError(
                f"{each.name} is an official checkpoint, which is converted and not pulled: "
                f"run `{' && '.join(each.checkpoint.commands)}`, then use that folder as the model"
            )


def _card(name: str | Path | Card) -> Card:
    return name if isinstance(name, Card) else load_card(name)


def _place(card: Card, cache: Cache) -> Path:
    """Where the files of a card lie: beside the card when it is a folder of its own, else in the cache."""
    return card.location if card.location and lies_beside(card) else cache.model(card.key)


@contextmanager
def _locked(card: Card, cache: Cache) -> Iterator[None]:
    from filelock import FileLock

    path = cache.lock(card.key)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path):
        yield
