"""nano: ears, mind and mouth that run on any CPU."""

from pathlib import Path

from stepaudio.families.base import Family


def load_nano(folders: dict[str, Path]) -> Family:
    """Return nano with the weights in `folders` (by card name); they are read when first used."""
    from stepaudio.decoder.kokoro import KokoroMouth
    from stepaudio.lm.mind import NanoMind
    from stepaudio.recognition import WhisperEars

    return Family(
        name="nano",
        ears=WhisperEars(folders["whisper-tiny.en"]),
        mind=NanoMind(folders["smollm2-135m-instruct"]),
        mouth=KokoroMouth(folders["kokoro-82m"]),
    )
