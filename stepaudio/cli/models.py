"""`stepaudio models`: which models there are, getting them, and what is known about each."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stepaudio.cli.common import Json, emit

if TYPE_CHECKING:
    from stepaudio.hub import Card
    from stepaudio.hub.upstream import Checkpoint

app = typer.Typer(
    help="The models: which there are, getting them, what is known of each.", no_args_is_help=True
)
Name = Annotated[str, typer.Argument(help="Model name, or the path of a card or of a folder with card.yaml.")]


@app.callback()
def _group() -> None:
    """The models: which there are, getting them, what is known of each."""


@app.command("list")
def list_(json: Json = False) -> None:
    """List the models that come with cards, and which of them are here."""
    from stepaudio.hub import is_present, list_cards

    rows = [(card, _size(card), is_present(card)) for card in list_cards()]
    if json:
        emit([{**_summary(card), "bytes": size, "present": here} for card, size, here in rows])
        return
    width = max(len(card.name) for card, _, _ in rows)
    for card, size, here in rows:
        typer.echo(f"{card.name:{width}}  {_megabytes(size):>9}  {'here' if here else '-':4}  {card.title}")


@app.command("pull")
def pull(
    name: Name = "nano",
    verify: Annotated[bool, typer.Option("--verify", help="Read and check every file again.")] = False,
    json: Json = False,
) -> None:
    """Fetch a model and what it requires; quick and offline when it is here."""
    from stepaudio import hub

    with hub.Bar() as bar:
        folders = hub.pull(name, bar, verify=verify)
    if json:
        emit({key: str(path) for key, path in folders.items()})
    else:
        for key, path in folders.items():
            typer.echo(f"{key}: {path}")


@app.command("show")
def show(name: Name, json: Json = False) -> None:
    """Show a model's licence, attribution, files, sources, and what it needs."""
    from stepaudio.hub import Cache, folders, is_present, load_card

    card = load_card(name)
    cache = Cache.default()
    here = is_present(card, cache)
    places = {key: str(path) for key, path in folders(card, cache).items()} if here else {}
    if json:
        emit(
            {
                **_summary(card),
                "attribution": card.attribution,
                "description": card.description,
                "needs": card.needs,
                "measured": card.measured,
                "requires": list(card.requires),
                "files": [file.model_dump(exclude_none=True, mode="json") for file in card.files],
                "derived": [recipe.model_dump(mode="json") for recipe in card.derived],
                "checkpoint": card.checkpoint.model_dump(mode="json") if card.checkpoint else None,
                "commands": list(card.checkpoint.commands) if card.checkpoint else [],
                "serve": [way.model_dump(mode="json") for way in card.serve],
                "bytes": _size(card),
                "present": here,
                "folders": places,
            }
        )
        return
    for label, text in _facts(card, here, places):
        typer.echo(f"{label + ':':13}{text}")


def _facts(card: "Card", here: bool, places: dict[str, str]) -> Iterator[tuple[str, str]]:
    """What a person wants to know about a model, as (label, text)."""
    yield "name", card.name
    yield "title", card.title
    yield "description", card.description
    yield "licence", card.licence
    yield "attribution", card.attribution
    if card.needs:
        yield "needs", card.needs
    for what, value in card.measured.items():
        yield "measured", f"{what}: {value}"
    if card.requires:
        yield "requires", ", ".join(card.requires)
    if card.checkpoint:
        yield from _official(card.checkpoint)
    for way in card.serve:
        yield "serve with", way.program
        yield "machine", way.machine
        yield "command", way.command
    if card.checkpoint:
        return
    yield "download", _megabytes(_size(card))
    for file in card.files:
        parts = f", {len(file.pieces)} parts" if file.parts else ""
        yield "file", f"{file.path} ({file.size:,} bytes{parts}{'' if file.keep else ', converted'})"
    for recipe in card.derived:
        yield "makes", f"{', '.join(recipe.outputs)} from {', '.join(recipe.inputs)} ({recipe.converter})"
    packages = {source.origin: None for source in card.sources()}
    for origin in packages:
        yield "source", origin
    yield "here", "yes" if here else f"no: stepaudio models pull {card.asked_as}"
    for key, path in places.items():
        yield "folder", path if key == card.name else f"{path} ({key})"


def _official(checkpoint: "Checkpoint") -> Iterator[tuple[str, str]]:
    """How to get an official checkpoint."""
    pin = checkpoint.revision if checkpoint.pinned else "no revision pinned"
    yield "checkpoint", f"{checkpoint.repository} ({pin}; sizes as published, not verified)"
    yield "size", f"about {checkpoint.bytes / 1e9:.1f} GB"
    for path, size in checkpoint.files.items():
        yield "file", f"{path} ({f'{size:,} bytes' if size else 'size not known'})"
    for command in checkpoint.commands:
        yield "get it", command


def _summary(card: "Card") -> dict[str, Any]:
    return {"name": card.name, "title": card.title, "family": card.family, "licence": card.licence}


def _size(card: "Card") -> int:
    """Bytes of the model's fetched files and of those that it requires."""
    from stepaudio.hub.models import with_required

    published = (each.checkpoint.bytes for each in with_required(card) if each.checkpoint)
    return sum(each.download_bytes for each in with_required(card)) + sum(published)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
