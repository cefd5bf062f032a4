"""The mouth that speaks with Kokoro: one clause of text in, speech at 24 kHz out."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from stepaudio.audio import Audio
from stepaudio.decoder.kokoro_graph import SAMPLE_RATE, STYLE_SHAPE, Kokoro
from stepaudio.speech.normalise import can_say, check_language, normalise

if TYPE_CHECKING:
    from stepaudio.styles import Style
    from stepaudio.voices import Voice

FAMILY = "kokoro"


class KokoroMouth:
    """Speaks one clause at a time; deterministic, so a seed changes nothing.

    The weights are read at first use.

    Args:
        folder: of the model card ``kokoro-82m``.
        threads: for one synthesis; ``None`` takes the cores the process may use, at most four.
    """

    sample_rate = SAMPLE_RATE
    default_voice = "ada"
    languages: tuple[str, ...] = ("en",)

    def __init__(self, folder: str | Path, threads: int | None = None):
        self.model = Kokoro(Path(folder), threads)

    def load(self) -> "KokoroMouth":
        """Read the weights and start the text front end, which otherwise happens at first use."""
        from stepaudio.speech.g2p import phonemize

        self.model.load()
        phonemize(normalise("Ready at 10:05.", "en-us"), "en-us")
        return self

    def voice(self, name: str) -> "Voice":
        """Return the voice called `name`, a mix such as ``ada*0.6+ben*0.4``, or a voice file.

        Raises:
            InputError: there is no such voice, or it is not for this mouth.
        """
        from stepaudio.voices import find_voice

        return find_voice(name, FAMILY)

    def speak(self, text: str, *, voice: "Voice", style: "Style", seed: int | None = None) -> Iterator[Audio]:
        """Yield the speech of one clause of at most 400 characters at 24 kHz.

        Raises:
            InputError: nothing in the text can be said, or it is not in the voice's language.
        """
        from stepaudio.errors import InputError
        from stepaudio.speech.g2p import phonemize
        from stepaudio.voices import check_tensor

        language = voice.info.language
        if not can_say(text):
            raise InputError("there is nothing to say: the text has no words")
        check_language(text, language)
        table = check_tensor(voice, "style", STYLE_SHAPE)
        phonemes = phonemize(normalise(text, language), language)
        for samples in self.model.synthesize(phonemes, table, style.speed):
            yield Audio(samples, SAMPLE_RATE)
