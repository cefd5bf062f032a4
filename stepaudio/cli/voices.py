"""`stepaudio voices`: the voices that can speak, consent to new ones, and what a file says of itself."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stepaudio.cli.common import Json, emit, tell
from stepaudio.errors import AudioError

if TYPE_CHECKING:
    from stepaudio.voices import VoiceInfo

app = typer.Typer(help="The voices that can speak.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """The voices that can speak."""


@app.command("list")
def list_(
    family: Annotated[str | None, typer.Option("--family", help="Only those of this family.")] = None,
    json: Json = False,
) -> None:
    """List the voices by name."""
    from stepaudio.voice_folder import own_voices
    from stepaudio.voices import list_voices

    own = set(own_voices())
    voices = [(info, "yours" if info.name in own else "shipped") for info in list_voices(family)]
    if json:
        emit([_brief(info) | {"place": place} for info, place in voices])
        return
    for info, place in voices:
        typer.echo(
            f"{info.name:12} {info.family:14} {info.language:6} {info.gender:8} {place:8} {info.licence}"
        )


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="Voice name, mix (ada*0.6+ben*0.4) or file.")],
    json: Json = False,
) -> None:
    """Show all that is known of a voice."""
    from stepaudio.voices import find_voice

    voice = find_voice(name)
    tensors = {key: list(array.shape) for key, array in voice.tensors.items()}
    facts = asdict(voice.info) | {"consent_kind": voice.info.consent_kind, "tensors": tensors}
    if json:
        emit(facts)
        return
    for key, value in facts.items():
        if value:
            typer.echo(f"{key.replace('_', ' '):12} {value}")


@app.command("add")
def add(
    file: Annotated[Path, typer.Argument(help="A voice file, *.safetensors.")],
    name: Annotated[str | None, typer.Option("--name", help="Another name for it.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Even where the name is taken.")] = False,
    json: Json = False,
) -> None:
    """Copy a voice file into your folder: its name is then enough to speak with it."""
    from stepaudio.voice_folder import add_voice

    voice = add_voice(file, name, force=force)
    if json:
        emit(_brief(voice.info))
        return
    tell(f"{voice.name}: added, for {voice.info.family}")


@app.command("remove")
def remove(
    name: Annotated[str, typer.Argument(help="The name of a voice in your folder.")], json: Json = False
) -> None:
    """Delete a voice from your folder; those that ship with stepaudio stay."""
    from stepaudio.voice_folder import remove_voice

    remove_voice(name)
    if json:
        emit({"name": name, "removed": True})
        return
    tell(f"{name}: removed")


@app.command("consent")
def consent(
    language: Annotated[str, typer.Option("--language", help="Of the sentence: en or zh.")] = "en",
    json: Json = False,
) -> None:
    """Print a fresh sentence; its reading, recorded, is what `clone --consent` takes. Good for 30 minutes."""
    from stepaudio.cloning.consent import VALID_S, Challenges

    asked = Challenges.default().ask(language)
    if json:
        emit({"sentence": asked.sentence, "language": asked.language, "valid_s": VALID_S})
        return
    tell("Let the speaker read this aloud, and record it:")
    typer.echo(asked.sentence)
    minutes = f"{VALID_S / 60:.0f} minutes"
    tell(f"Within {minutes}: stepaudio clone CLIP.wav -o VOICE.safetensors --consent RECORDING.wav")


@app.command("verify")
def verify(
    file: Annotated[Path, typer.Argument(help="A voice file, or a sound.")], json: Json = False
) -> None:
    """Tell how the speaker of a voice file agreed, or whether a sound carries stepaudio's watermark.

    A voice file's record is as trustworthy as whoever wrote it. A watermark tells where speech comes from
    when nobody tried to remove it; its absence tells nothing.
    """
    from stepaudio.voices import SUFFIX, Voice

    if file.suffix == SUFFIX:
        info = Voice.load(file).info
        found: dict[str, Any] = {
            "file": str(file),
            "voice": info.name,
            "family": info.family,
            "consent_kind": info.consent_kind,
            "consent": info.consent,
        }
        words = f"{file}: voice {info.name} for {info.family}; consent {info.consent_kind}: {info.consent}"
    else:
        found, words = _verify_sound(file)
    if json:
        emit(found)
        return
    typer.echo(words)


def _verify_sound(file: Path) -> tuple[dict[str, Any], str]:
    from stepaudio.audio import Audio
    from stepaudio.watermark.mark import Watermark, load_watermark

    audio = Audio.read(file)
    if not audio.samples.size:
        raise AudioError(f"{file}: holds no sound")
    found = load_watermark().detect(audio)
    facts = {
        "file": str(file),
        "watermark": Watermark.name if found.marked else None,
        "score": round(found.score, 3),
        "share": round(found.share, 3),
        "seconds": round(audio.seconds, 3),
    }
    if not found.marked:
        return facts, f"{file}: no watermark found (score {found.score:.2f})"
    return facts, f"{file}: carries the watermark (score {found.score:.2f}, {found.share:.0%} of it)"


def _brief(info: "VoiceInfo") -> dict[str, str]:
    return {
        "name": info.name,
        "family": info.family,
        "language": info.language,
        "gender": info.gender,
        "licence": info.licence,
        "consent_kind": info.consent_kind,
    }
