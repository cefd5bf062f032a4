"""`convert_folder`: which official folder is this, and which parts does it have."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stepaudio.convert.draft import Draft, drafting
from stepaudio.convert.source import SourceFolder
from stepaudio.decoder.files import MUSIC_FOLDER, SPEECH_FOLDER
from stepaudio.errors import ModelError

TOKENIZER, TTS, CHAT = "Step-Audio-Tokenizer", "Step-Audio-TTS-3B", "Step-Audio-Chat"
SPEECH, MUSIC = "CosyVoice-300M-25Hz", "CosyVoice-300M-25Hz-Music"
TOKEN2WAV = "token2wav"


@dataclass(frozen=True)
class _Kind:
    name: str
    family: str
    convert: Callable[[SourceFolder, Draft, str], None]
    needs: str = ""


def convert_folder(folder: str | Path, out: str | Path) -> Path:
    """Convert an official checkpoint folder, once.

    Understood are Step-Audio-Tokenizer, Step-Audio-TTS-3B, Step-Audio-Chat, a folder that holds these side by
    side, and the Step-Audio 2 folders (mini, Base, Think) with their `token2wav`.

    Args:
        folder: the official folder; it is only read.
        out: the new folder; it must not exist, and appears only when all of it is written. Shards and ONNX
            files are hard links where the disk allows it.

    Returns:
        The new folder: safetensors, JSON configuration and a `card.yaml`.

    Raises:
        ModelError: a file is missing, damaged, hostile or not what the configuration says. No code of the
            folder is ever run.
    """
    source = SourceFolder.open(folder)
    parts = _parts(source)
    with drafting(out) as draft:
        for kind, part, into in parts:
            kind.convert(part, draft, into)
        _voices(source, draft)
        first = parts[0][0]
        together = len(parts) > 1
        name = "step-audio" if together else first.name or _slug(source.name)
        draft.card(
            name=name,
            title=f"{source.name} (converted)",
            family=first.family,
            licence="see the official model card (Apache-2.0 when this was written)",
            attribution="StepFun; converted by stepaudio from the official folder.",
            description="Weights of the official release as safetensors and ONNX, checked key by key.",
            needs="; ".join(kind.needs for kind, _, _ in parts if kind.needs),
        )
    return Path(out)


def _parts(source: SourceFolder) -> list[tuple[_Kind, SourceFolder, str]]:
    kind = _recognise(source)
    if kind is not None:
        return [(kind, source, "")]
    found = [name for name in (TOKENIZER, TTS, CHAT) if source.has(name)]
    if not found:
        raise ModelError(
            f"{source.root}: not an official folder: no {TOKENIZER}, {TTS}, {CHAT} or Step-Audio 2 in it"
        )
    parts = []
    for name in found:
        inner = source.sub(name)
        kind = _recognise(inner)
        if kind is None:
            raise ModelError(f"{inner.root}: not an official folder: no config.json and no tokenizer")
        parts.append((kind, inner, f"{kind.name}/"))
    return parts


def _recognise(source: SourceFolder) -> _Kind | None:
    from stepaudio.convert.linguistic import CENTROIDS, PARAFORMER, convert_tokenizer

    if source.has(CENTROIDS) or source.has(PARAFORMER):
        return _Kind("step-audio-tokenizer", "step-audio", convert_tokenizer, "1.5 GB for the tokenizer")
    if source.has(TOKEN2WAV):
        return _Kind("", "step-audio-2", _step_audio_2, "20 GB of GPU memory")
    if source.has(SPEECH) or source.has(MUSIC):
        return _Kind("step-audio-tts-3b", "step-audio", _tts, "8 GB of GPU memory for TTS-3B")
    if source.has("config.json"):
        model_type = source.json("config.json").get("model_type")
        if model_type == "step1":
            return _Kind("step-audio-chat", "step-audio", _chat, "265 GB of GPU memory for Chat")
        if model_type == "step_audio_2":
            raise ModelError(f"{source.root}: folder {TOKEN2WAV} is missing")
        raise ModelError(
            f"{source.root}/config.json: model type {str(model_type)[:80]!r} is not one we convert"
        )
    return None


def _tts(source: SourceFolder, draft: Draft, into: str) -> None:
    from stepaudio.convert.decoder import convert_cosyvoice
    from stepaudio.convert.language import convert_language_model

    convert_language_model(source, draft, into)
    convert_cosyvoice(source.sub(SPEECH), draft, f"{into}{SPEECH_FOLDER}/")
    convert_cosyvoice(source.sub(MUSIC), draft, f"{into}{MUSIC_FOLDER}/")


def _chat(source: SourceFolder, draft: Draft, into: str) -> None:
    from stepaudio.convert.language import convert_language_model

    convert_language_model(source, draft, into)


def _step_audio_2(source: SourceFolder, draft: Draft, into: str) -> None:
    from stepaudio.convert.decoder import convert_token2wav
    from stepaudio.convert.language import convert_language_model

    convert_language_model(source, draft, into)
    convert_token2wav(source.sub(TOKEN2WAV), draft, f"{into}{SPEECH_FOLDER}/")


def _voices(source: SourceFolder, draft: Draft) -> None:
    """Bring over the named voices: Step-Audio's `speakers`, if put there, and Step-Audio 2's default ones."""
    for name, pattern in (("speakers", "*.wav"), ("assets", "default_*.wav")):
        if source.has(name):
            folder = source.sub(name)
            files = sorted(path.name for path in folder.root.glob(pattern))
            listed = [each for each in ("speakers_info.json",) if folder.has(each)]
            for file in [*files, *listed]:
                draft.link(folder.file(file), f"speakers/{file}")


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:80] or "step-audio-2"
