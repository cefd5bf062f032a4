"""What a Whisper checkpoint hears in a clip: the words its decoder expects, their rivals, and how it sounds.

The language model's adaptor starts from here, so that nano need not learn from hours of speech what Whisper
learned from 680,000: W. Held et al., "Distilling an End-to-End Voice Assistant Without Instruction Training
Data" (arXiv 2410.02678) starts its adaptor from Whisper's decoder in the same way.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stepaudio.errors import ModelError
from stepaudio.features.whisper import RATE, WINDOW
from stepaudio.recognition import SHORTEST_WINDOW, WINDOW_MARGIN

if TYPE_CHECKING:
    from tokenizers import Tokenizer

RIVALS = 4
"""Words kept at each place, likeliest first."""
MELS = 80
WORDS_A_SECOND, FIRST_WORDS = 10, 8
"""More tokens than anybody says: a loop ends there."""
NOBODY_SPEAKS, UNSURE = 0.6, -1.0
"""A clip has no words if silence is this likely and its words (in nats) are this unlikely."""
QUIET_SHARE = 10.0
"""Percentile of a band over time that tells what is behind the speech."""
FLOOR_HZ, CEILING_HZ = 60.0, 600.0
LETTERS_A_DIGIT = 4
"""A digit is said as a word of about so many letters."""
TAIL = 6
"""Values at the end of `Heard.manner`: F0 (median, range, voicing), length, letters a second, certainty."""


@dataclass(frozen=True, eq=False)
class Heard:
    """A clip as it was heard.

    Attributes:
        words: (n, RIVALS) int32, tokens of Whisper's vocabulary, likeliest first.
        shares: (n, RIVALS) float32, their probabilities.
        manner: (d,) float32, how it sounds; see `manner_size`.
    """

    words: np.ndarray
    shares: np.ndarray
    manner: np.ndarray

    @property
    def median_hz(self) -> float:
        """Median F0."""
        return float(np.exp(self.manner[-TAIL]))


def manner_size(width: int) -> int:
    """Values that tell how a clip sounds, for an encoder of `width`: log-mels, features, pitch, pace."""
    return 3 * MELS + 2 * width + TAIL


class Hearing:
    """Encoder and decoder of an English Whisper checkpoint in CTranslate2 form, loaded at once.

    Args:
        folder: of the card, for example ``whisper-tiny.en``.
        threads: of one clip.

    Raises:
        ModelError: not such a checkpoint.
    """

    def __init__(self, folder: Path, threads: int = 1) -> None:
        import ctranslate2
        from faster_whisper.feature_extractor import FeatureExtractor

        self.tokenizer = load_tokenizer(folder)
        try:
            self._model = ctranslate2.models.Whisper(
                str(folder), device="cpu", compute_type="int8", intra_threads=threads
            )
        except (RuntimeError, ValueError, OSError) as error:
            raise ModelError(f"{folder}: not a usable Whisper model ({error})") from None
        marks = ("<|startoftranscript|>", "<|notimestamps|>")
        self._start = [self.tokenizer.token_to_id(mark) for mark in marks]
        self._front: Any = FeatureExtractor()
        self._storage = ctranslate2.StorageView

    def __call__(self, samples: np.ndarray) -> Heard:
        """Hear at most 30 s, (n,) float32 at 16 kHz; what is longer is cut off."""
        samples = samples[:WINDOW]
        sounding = max(1, len(samples) // self._front.hop_length)
        window = min(3000, max(SHORTEST_WINDOW, sounding + WINDOW_MARGIN + (sounding + WINDOW_MARGIN) % 2))
        mel = np.zeros((MELS, window), np.float32)
        found = self._front(samples, padding=WINDOW_MARGIN * self._front.hop_length)[:, :window]
        mel[:, : found.shape[1]] = found
        encoded = self._model.encode(self._storage.from_array(mel[None]))
        words, shares = self._words(encoded, len(samples) / RATE)
        features = np.array(encoded, np.float32)[0, : max(1, sounding // 2)]
        said = self.tokenizer.decode(words[:, 0].tolist())
        return Heard(words, shares, _manner(samples, mel[:, :sounding], features, letters(said), shares))

    def _words(self, encoded: Any, seconds: float) -> tuple[np.ndarray, np.ndarray]:
        most = FIRST_WORDS + round(WORDS_A_SECOND * seconds)
        (found,) = self._model.generate(
            encoded,
            [self._start],
            beam_size=1,
            max_length=min(448, most + len(self._start)),
            return_logits_vocab=True,
            return_no_speech_prob=True,
        )
        count = len(found.sequences_ids[0])
        words = np.zeros((count, RIVALS), np.int32)
        shares = np.zeros((count, RIVALS), np.float32)
        for place, view in enumerate(found.logits[0][:count]):
            logits = np.array(view, np.float32)
            best = np.argpartition(logits, -RIVALS)[-RIVALS:]
            best = best[np.argsort(-logits[best])]
            words[place] = best
            shares[place] = np.exp(logits[best] - logits[best[0]]) / np.exp(logits - logits[best[0]]).sum()
        if count and found.no_speech_prob > NOBODY_SPEAKS and np.log(shares[:, 0]).mean() < UNSURE:
            return words[:0], shares[:0]
        return words, shares


def load_tokenizer(folder: Path) -> "Tokenizer":
    """The vocabulary of what is heard.

    Raises:
        ModelError: the card's folder does not hold one.
    """
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:  # the library raises nothing narrower
        raise ModelError(f"{folder}: no tokenizer of Whisper's ({error})") from None


def letters(text: str) -> int:
    """How much there is to say: the letters of a text, digits counted as the words they are."""
    return sum(LETTERS_A_DIGIT if letter.isdigit() else letter.isalpha() for letter in text)


def _manner(
    samples: np.ndarray, mel: np.ndarray, features: np.ndarray, length: int, shares: np.ndarray
) -> np.ndarray:
    """How it sounds: log-mels and features over time, F0, and how fast and surely letters follow."""
    import pyworld

    double = np.pad(samples, (0, max(0, RATE // 10 - len(samples)))).astype(np.float64)
    f0, times = pyworld.dio(double, RATE, f0_floor=FLOOR_HZ, f0_ceil=CEILING_HZ, frame_period=10.0)
    f0 = pyworld.stonemask(double, f0, times, RATE)
    logs = np.log(f0[f0 > 0]) if (f0 > 0).any() else np.array([np.log(150.0)])
    low, median, high = np.percentile(logs, (10, 50, 90))
    seconds = len(double) / RATE
    pace = [
        np.log(seconds),
        np.log((length + 1) / seconds),
        np.log(shares[:, 0]).mean() if len(shares) else UNSURE,
    ]
    mel = mel - mel.max()
    parts = (
        mel.mean(1),
        mel.std(1),
        np.percentile(mel, QUIET_SHARE, axis=1),
        features.mean(0),
        features.std(0),
        [median, high - low, (f0 > 0).mean(), *pace],
    )
    return np.concatenate(parts).astype(np.float32)
