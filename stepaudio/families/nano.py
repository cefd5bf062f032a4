"""nano: ears, mind and mouth that run on any CPU."""

from pathlib import Path

from stepaudio.families.base import Family

OWN_SPEECH = "nano-speech"
"""Card of nano's own speech models; where a card does not require it, the teacher speaks."""


def load_nano(name: str, folders: dict[str, Path]) -> Family:
    """Return nano with the weights in `folders` (by card name); they are read when first used.

    Args:
        name: of the card.
        folders: ears and mind, and either nano's own speech models or the teacher.
    """
    from stepaudio.lm.mind import NanoMind
    from stepaudio.recognition import WhisperEars

    ears = WhisperEars(folders["whisper-tiny.en"])
    mind = NanoMind(folders["smollm2-135m-instruct"])
    if OWN_SPEECH not in folders:
        from stepaudio.decoder.kokoro import KokoroMouth

        return Family(name=name, ears=ears, mind=mind, mouth=KokoroMouth(folders["kokoro-82m"]))
    from stepaudio.families.nano_codec import NanoCodec
    from stepaudio.families.nano_mouth import NanoMouth

    mouth = NanoMouth(folders[OWN_SPEECH])
    codec = NanoCodec(mouth, folders["whisper-tiny.en"], folders["speaker-ge2e"])
    return Family(name=name, ears=ears, mind=mind, mouth=mouth, codec=codec, cloner=codec)
