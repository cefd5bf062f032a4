"""What made speech is worth: words understood, likeness of the voice, predicted opinion, pitch kept.

The judges are other models than those that nano is made of: Whisper base, GE2E, DNSMOS.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from stepaudio.audio import Audio
from stepaudio.decoder.world import analyse


@dataclass(frozen=True)
class Take:
    """One clip to judge.

    Attributes:
        audio: what was made.
        text: what it should say.
        voice: a recording of whom it should sound like; without, likeness is not judged.
        melody: a recording whose pitch it should follow; without, that is not judged.
    """

    audio: Audio
    text: str
    voice: Audio | None = None
    melody: Audio | None = None


@dataclass(frozen=True)
class Verdict:
    """Figures of several takes.

    Attributes:
        wer: word errors over all words.
        similarity: mean GE2E cosine.
        mos: mean DNSMOS OVRL.
        pitch: mean correlation of log-F0 where both are voiced.
        takes: how many.
    """

    wer: float
    similarity: float
    mos: float
    pitch: float
    takes: int

    def __str__(self) -> str:
        return (
            f"WER {self.wer:.3f}  similarity {self.similarity:.3f}  DNSMOS {self.mos:.2f}  "
            f"pitch {self.pitch:.2f}  (n={self.takes})"
        )


@dataclass
class Judge:
    """The three models, read at first use.

    Attributes:
        recogniser: folder of the card ``whisper-base``.
        speaker: folder of the card ``speaker-ge2e``.
        opinion: folder of the card ``dnsmos``.
        language: of the texts.
    """

    recogniser: Path
    speaker: Path
    opinion: Path
    language: str = "en"
    _models: tuple[Any, ...] = field(default=(), repr=False)

    def __call__(self, takes: Sequence[Take]) -> Verdict:
        """Judge `takes` together."""
        from stepaudio.decoder.ge2e import similarity
        from stepaudio.evaluation.metrics.text import text_errors

        _, _, opinions = self._load()
        wrong, words, likeness, mos, pitch = 0, 0, [], [], []
        for take in takes:
            errors = text_errors(take.text, self.hear(take.audio), self.language)
            wrong, words = wrong + errors.count, words + errors.length
            mos.append(opinions.rate(take.audio).overall)
            if take.voice is not None:
                likeness.append(similarity(self.embed(take.audio), self.embed(take.voice)))
            if take.melody is not None:
                pitch.append(pitch_correlation(take.audio, take.melody))
        return Verdict(wrong / max(1, words), _mean(likeness), _mean(mos), _mean(pitch), len(takes))

    def hear(self, audio: Audio) -> str:
        """What the recogniser understands."""
        ears, _, _ = self._load()
        return " ".join(segment.text for segment in ears.transcribe(audio, self.language))

    def embed(self, audio: Audio) -> np.ndarray:
        """The speaker embedding of a clip, (256,) float32."""
        _, speakers, _ = self._load()
        embedding: np.ndarray = speakers.embed(audio)
        return embedding

    def _load(self) -> tuple[Any, ...]:
        if not self._models:
            from stepaudio.decoder.ge2e import SpeakerEncoder
            from stepaudio.evaluation.metrics.dnsmos import Dnsmos
            from stepaudio.recognition import WhisperEars

            self._models = (
                WhisperEars(self.recogniser, threads=1),
                SpeakerEncoder.load(self.speaker),
                Dnsmos(self.opinion),
            )
        return self._models


def pitch_correlation(made: Audio, wanted: Audio) -> float:
    """Correlation of log-F0 over the frames that are voiced in both; NaN where there are fewer than ten."""
    a, b = analyse(made).f0, analyse(wanted).f0
    length = min(len(a), len(b))
    both = (a[:length] > 0) & (b[:length] > 0)
    if both.sum() < 10:
        return float("nan")
    return float(np.corrcoef(np.log(a[:length][both]), np.log(b[:length][both]))[0, 1])


def _mean(values: Sequence[float]) -> float:
    return float(np.nanmean(values)) if values else float("nan")
