"""What several commands share: where output goes and the options they have in common."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from stepaudio.errors import InputError

Json = Annotated[bool, typer.Option("--json", help="Print one JSON value on stdout, nothing else.")]
Model = Annotated[str, typer.Option("--model", help="Model name or folder.")]
VoiceName = Annotated[str | None, typer.Option("--voice", help="Voice name, mix (ada*0.6+ben*0.4) or file.")]
StyleTags = Annotated[str | None, typer.Option("--style", help='Style tags, e.g. "slow".')]
Watermarked = Annotated[
    bool | None,
    typer.Option(
        "--watermark/--no-watermark", help="Mark the speech inaudibly; by default a cloned voice's is marked."
    ),
]
Seed = Annotated[int | None, typer.Option("--seed", help="Makes the speech repeatable.")]
Server = Annotated[
    str | None,
    typer.Option("--server", help="OpenAI-compatible server that has the chat model (http://…/v1)."),
]
HearingPath = Annotated[
    str | None,
    typer.Option("--path", help="unified: the model hears by itself; cascade: its ears write down first."),
]
Out = Annotated[
    str | None, typer.Option("-o", "--out", help="Where the speech goes (.wav .flac .ogg; - is stdout).")
]


def tell(message: str) -> None:
    """Say something to the person at the terminal (stderr), never to a program reading stdout."""
    typer.echo(message, err=True)


def emit(value: Any) -> None:
    """Print `value` as JSON on stdout."""
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2))


def read_input(name: str) -> str | bytes:
    """Return a path as it is, or the bytes of stdin for ``-``.

    Raises:
        InputError: ``-`` is given and stdin is a terminal.
    """
    if name != "-":
        return name
    if sys.stdin.isatty():
        raise InputError("- means stdin, but nothing is piped in")
    return sys.stdin.buffer.read()


def check_place(name: str) -> Path:
    """Return the path to write to; raises `InputError` when its folder does not exist or it is a folder."""
    path = Path(name)
    if path.is_dir() or not path.parent.is_dir():
        raise InputError(f"{name}: is a folder" if path.is_dir() else f"{name}: no such folder to write to")
    return path


def check_out(name: str | None) -> None:
    """Refuse an output that cannot be written before any work is done for it.

    Raises:
        InputError: the folder does not exist, the name is a folder, or the suffix is not a known format.
    """
    from stepaudio.audio.writing import FORMATS

    if name is None or name == "-":
        return
    path = check_place(name)
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"{name}: unknown audio format; use one of {' '.join(sorted(FORMATS))}")
