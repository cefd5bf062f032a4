"""`stepaudio clone`: a clip becomes a voice."""

import warnings
from typing import TYPE_CHECKING, Annotated

import typer

from stepaudio.cli.common import Json, Model, Server, check_place, emit, read_input, tell
from stepaudio.errors import InputError

if TYPE_CHECKING:
    from stepaudio.cloning.consent import Consent


def clone(
    clip: Annotated[str, typer.Argument(help="3 to 15 s of one speaker; - is stdin.")],
    out: Annotated[str, typer.Option("-o", "--out", help="The voice file, *.safetensors.")],
    transcript: Annotated[
        str | None, typer.Option("--transcript", help="Exactly what is said; otherwise the model listens.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="What the voice is called.")] = None,
    consent: Annotated[
        str | None,
        typer.Option("--consent", help="The speaker reads the sentence of `stepaudio voices consent`."),
    ] = None,
    i_have_consent: Annotated[
        bool, typer.Option("--i-have-consent", help="Take your word for it; the voice file says so.")
    ] = False,
    model: Model = "nano",
    server: Server = None,
    json: Json = False,
) -> None:
    """Make a voice of CLIP, to speak with: stepaudio speak TEXT --voice VOICE.safetensors."""
    from stepaudio.api import load
    from stepaudio.cloning.make import CloneWarning
    from stepaudio.voices import SUFFIX

    path = check_place(out)
    if path.suffix != SUFFIX:
        raise InputError(f"{out}: a voice is a {SUFFIX} file")
    agreed = _consent(consent, i_have_consent)
    sa = load(model, server=server)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", CloneWarning)
        voice = sa.clone(read_input(clip), transcript=transcript, name=name or path.stem, consent=agreed)
    notes = [str(each.message) for each in caught if issubclass(each.category, CloneWarning)]
    voice.save(path)
    for note in notes:
        tell(f"stepaudio: warning: {note}")
    if json:
        emit(
            {
                "voice": out,
                "name": voice.name,
                "family": voice.info.family,
                "transcript": voice.info.transcript,
                "consent": voice.info.consent,
                "consent_kind": voice.info.consent_kind,
                "warnings": notes,
            }
        )
        return
    tell(f"{out}: voice {voice.name} for {voice.info.family} (consent {voice.info.consent_kind})")


def _consent(recording: str | None, declared: bool) -> "str | Consent":
    from stepaudio.cloning.consent import HOW, Consent

    if recording is not None and declared:
        raise InputError("give either --consent RECORDING.wav or --i-have-consent, not both")
    if recording is not None:
        return recording
    if not declared:
        raise InputError(HOW)
    return Consent.declared("the user of stepaudio clone has the speaker's consent (--i-have-consent)")
