"""The mouth that speaks with Kokoro: one clause of text in, speech at 24 kHz out."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stepaudio.audio import Audio
from stepaudio.decoder.kokoro_graph import SAMPLE_RATE, STYLE_SHAPE, Kokoro
from stepaudio.speech.normalise import can_say, check_language, normalise

if TYPE_CHECKING:
    from stepaudio.styles import Style
    from stepaudio.voices import Voice

FAMILY = "kokoro"


@dataclass
class KokoroMouth:
    """Speaks one clause at a time; deterministic, so a seed changes nothing.

    Attributes:
        model: the acoustic model.
    """

    model: Kokoro
    sample_rate: int = SAMPLE_RATE
    default_voice: str = "ada"
    languages: tuple[str, ...] = ("en",)

    @classmethod
    def from_folder(cls, folder: str | Path, threads: int | None = None) -> "KokoroMouth":
        """Return the mouth whose weights are in `folder`; they are read at first use."""
        return cls(Kokoro(Path(folder), threads))

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
