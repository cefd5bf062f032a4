"""`stepaudio transcribe`: speech to text, subtitles or JSON."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from stepaudio.cli.common import HearingPath, Json, Model, Server, emit, read_input, tell
from stepaudio.errors import AudioError

if TYPE_CHECKING:
    from stepaudio.results import Transcript


class Format(StrEnum):
    """How a transcript is written."""

    text = "text"
    json = "json"
    srt = "srt"
    vtt = "vtt"


def transcribe(
    audio: Annotated[list[str], typer.Argument(help="Audio files; - is stdin.")],
    format: Annotated[Format, typer.Option("--format", help="Output format.")] = Format.text,
    language: Annotated[str | None, typer.Option("--language", help="ISO 639-1 code, e.g. en.")] = None,
    model: Model = "nano",
    server: Server = None,
    path: HearingPath = None,
    json: Json = False,
) -> None:
    """Write down what is said in AUDIO. A file that cannot be read does not stop the others."""
    from dataclasses import asdict

    from stepaudio.api import load
    from stepaudio.subtitles import to_srt, to_vtt

    sa = load(model, server=server, path=path)
    rows = []
    failed: list[str] = []
    for name in audio:
        try:
            result: Transcript = sa.transcribe(read_input(name), language=language)
        except AudioError as error:
            failed.append(str(error))
            tell(f"stepaudio: {error}")
            continue
        if json or format is Format.json:
            row = asdict(result)
            rows.append(
                {
                    "file": name,
                    "text": result.text,
                    "language": result.language,
                    "segments": row["segments"],
                    "seconds": round(result.audio_seconds, 3),
                    "rtf": round(result.rtf, 4),
                }
            )
        elif format is Format.text:
            typer.echo(f"{name}: {result.text}" if len(audio) > 1 else result.text)
        else:
            typer.echo(to_srt(result) if format is Format.srt else to_vtt(result), nl=False)
    if json or format is Format.json:
        emit(rows)
    if failed:
        raise typer.Exit(2)
