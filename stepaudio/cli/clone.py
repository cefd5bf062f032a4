"""`stepaudio clone`: a clip becomes a voice."""

from typing import Annotated

import typer

from stepaudio.cli.common import Json, Model, Server, check_place, emit, read_input, tell
from stepaudio.errors import InputError


def clone(
    clip: Annotated[str, typer.Argument(help="A few seconds of one speaker; - is stdin.")],
    out: Annotated[str, typer.Option("-o", "--out", help="The voice file, *.safetensors.")],
    transcript: Annotated[
        str | None, typer.Option("--transcript", help="Exactly what is said; otherwise the model listens.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="What the voice is called.")] = None,
    consent: Annotated[
        str, typer.Option("--consent", help="How the speaker agreed; kept in the voice.")
    ] = "",
    model: Model = "nano",
    server: Server = None,
    json: Json = False,
) -> None:
    """Make a voice of CLIP, to speak with: stepaudio speak TEXT --voice VOICE.safetensors."""
    from stepaudio.api import load
    from stepaudio.voices import SUFFIX

    path = check_place(out)
    if path.suffix != SUFFIX:
        raise InputError(f"{out}: a voice is a {SUFFIX} file")
    sa = load(model, server=server)
    voice = sa.clone(read_input(clip), transcript=transcript, name=name or path.stem, consent=consent)
    voice.save(path)
    if json:
        emit(
            {
                "voice": out,
                "name": voice.name,
                "family": voice.info.family,
                "transcript": voice.info.transcript,
                "consent": voice.info.consent,
            }
        )
        return
    tell(f"{out}: voice {voice.name} for {voice.info.family}")
