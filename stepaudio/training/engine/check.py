"""Whether a take is fit for training: its sound is plausible, and a recogniser understands it."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from stepaudio.audio import Audio
from stepaudio.decoder.kokoro_graph import SAMPLE_RATE
from stepaudio.evaluation.metrics.text import Errors, text_errors
from stepaudio.results import Segment
from stepaudio.training.engine.recipe import Check


class Ears(Protocol):
    """A recogniser, such as `WhisperEars`."""

    def transcribe(self, audio: Audio, language: str | None = None) -> Iterable[Segment]:
        """Yield the recognised segments."""
        ...


@dataclass(frozen=True)
class Finding:
    """What the check says.

    Attributes:
        reason: why the take is dropped; empty for one to keep.
        heard: by the recogniser; empty if it was not asked.
        wer: words wrong over the words of the text; ``None`` if the recogniser was not asked.
    """

    reason: str = ""
    heard: str = ""
    wer: float | None = None


@dataclass(frozen=True)
class Checker:
    """Checks takes.

    Attributes:
        rules: of the recipe.
        ears: the recogniser.
    """

    rules: Check
    ears: Ears

    def __call__(self, sound: np.ndarray, text: str, language: str, tokens: int) -> Finding:
        """Check one take.

        Args:
            sound: (n,) at 24 kHz.
            text: what it should say.
            language: of it, for example ``en-us``.
            tokens: phonemes and marks of it.
        """
        if reason := self._implausible(sound, tokens):
            return Finding(reason)
        base = language.split("-")[0]
        segments = self.ears.transcribe(Audio(np.clip(sound, -1, 1).astype(np.float32), SAMPLE_RATE), base)
        heard = " ".join(segment.text for segment in segments)
        errors = take_errors(text, heard, language)
        wer = round(errors.rate, 4)
        if not heard.strip():
            return Finding("nothing was heard", heard, wer)
        if errors.count > allowed(errors.length, self.rules.most_wer):
            return Finding("words are wrong", heard, wer)
        return Finding("", heard, wer)

    def _implausible(self, sound: np.ndarray, tokens: int) -> str:
        if not sound.size or not np.isfinite(sound).all():
            return "the sound is empty or not finite"
        level = 20 * math.log10(max(float(np.sqrt(np.mean(np.square(sound, dtype=np.float64)))), 1e-9))
        if level < self.rules.least_level_db:
            return "too quiet"
        seconds = len(sound) / SAMPLE_RATE / max(1, tokens)
        # Half a second of silence at the ends would make any short word long.
        if seconds > self.rules.longest_per_token + 1.5 / max(1, tokens):
            return "too long for its words"
        if seconds < self.rules.shortest_per_token:
            return "too short for its words"
        return ""


def take_errors(text: str, heard: str, language: str) -> Errors:
    """The word errors against the text as written or as read aloud, whichever is closer.

    A recogniser may write "8:05" or "eight oh five"; the scoring normaliser does not know all such pairs.
    """
    from stepaudio.speech.normalise import normalise

    base = language.split("-")[0]
    readings = (text, normalise(text, language))
    return min((text_errors(reading, heard, base) for reading in readings), key=lambda errors: errors.rate)


def allowed(words: int, most_wer: float) -> int:
    """Words that may be wrong: a share, rounded up, so that one of few words does not drop a take."""
    return math.ceil(most_wer * words)
