"""`stepaudio models convert`: an official folder becomes one that can be loaded."""

from pathlib import Path
from typing import Annotated

import typer

from stepaudio.cli.common import Json, emit, tell


def convert(
    folder: Annotated[Path, typer.Argument(help="Official folder, e.g. Step-Audio-2-mini.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="New folder; it must not exist yet.")],
    json: Json = False,
) -> None:
    """Turn an official checkpoint folder into safetensors, configuration and a card."""
    from stepaudio.convert import convert_folder
    from stepaudio.hub import load_card

    if not json:
        tell(f"converting {folder}")
    made = convert_folder(folder, out)
    card = load_card(made)
    if json:
        emit({"folder": str(made), "name": card.name, "family": card.family, "measured": card.measured})
        return
    for what, value in card.measured.items():
        typer.echo(f"{what}: {value}")
    typer.echo(str(made))
