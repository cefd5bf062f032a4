"""nano: ears, mind and mouth that run on any CPU."""

from pathlib import Path
from typing import TYPE_CHECKING

from stepaudio.families.base import Ears, Family, Mouth, Partner
from stepaudio.families.options import UNIFIED

if TYPE_CHECKING:
    from stepaudio.families.nano_codec import NanoCodec

EAR = "nano-ear"
"""Card of what lets the language model hear how something sounds; words it hears without."""
OWN_SPEECH = "nano-speech"
"""Card of nano's own speech models; where a card does not require it, the teacher speaks."""


def load_nano(name: str, folders: dict[str, Path], path: str | None = None) -> Family:
    """Return nano with the weights in `folders` (by card name); they are read when first used.

    Args:
        name: of the card.
        folders: ears and mind, maybe the ear of the mind, and either nano's own speech models or the teacher.
        path: ``unified``: the language model hears by itself; ``cascade``: Whisper writes down what it reads.
            By default the cascade, which is as good and earlier (table in the card ``nano``). With an ear,
            questions about how something sounds are answered by hearing on either path.
    """
    from stepaudio.families.cascade import CascadePartner
    from stepaudio.lm.hearing import HearingEars, HearingMind
    from stepaudio.lm.mind import NanoMind
    from stepaudio.recognition import WhisperEars

    whisper = folders["whisper-tiny.en"]
    ears: Ears = WhisperEars(whisper)
    mind = NanoMind(folders["smollm2-135m-instruct"])
    mouth, codec = _mouth(folders)
    if EAR not in folders and path != UNIFIED:
        return Family(name=name, ears=ears, mind=mind, mouth=mouth, codec=codec, cloner=codec)
    hearing = HearingMind(folders.get(EAR), whisper, mind)
    partner: Partner | None = None
    if path == UNIFIED:
        ears = HearingEars(hearing)
        partner = CascadePartner(hearing.stream, mouth, hearing.stream_with_tools, hearing.words)
    return Family(name, ears, hearing, mouth, codec, codec, partner)


def _mouth(folders: dict[str, Path]) -> "tuple[Mouth, NanoCodec | None]":
    if OWN_SPEECH not in folders:
        from stepaudio.decoder.kokoro import KokoroMouth

        return KokoroMouth(folders["kokoro-82m"]), None
    from stepaudio.families.nano_codec import NanoCodec
    from stepaudio.families.nano_mouth import NanoMouth

    mouth = NanoMouth(folders[OWN_SPEECH])
    return mouth, NanoCodec(mouth, folders["whisper-tiny.en"], folders["speaker-ge2e"])
