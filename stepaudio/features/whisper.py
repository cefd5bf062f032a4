"""Features of a Whisper encoder at 50 Hz, by CTranslate2.

Several clips share one 30 s window of the encoder, which costs the same however full it is.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stepaudio.errors import ModelError

RATE = 16_000
WINDOW = 30 * RATE
HOP = RATE // 50
"""Samples of one encoder frame."""
GAP = 3 * RATE // 10
"""Silence between clips of one window."""


@dataclass(frozen=True, eq=False)
class Wanted:
    """A clip to be extracted: its name and its sound at 16 kHz, at most 30 s."""

    name: str
    samples: np.ndarray


class WhisperFeatures:
    """The encoder of a Whisper checkpoint in CTranslate2 form, loaded at once.

    Args:
        folder: of the card, for example ``whisper-tiny.en``.
        threads: of one window.
    """

    def __init__(self, folder: Path, threads: int = 1) -> None:
        import ctranslate2
        from faster_whisper.feature_extractor import FeatureExtractor

        try:
            self._model = ctranslate2.models.Whisper(
                str(folder), device="cpu", compute_type="int8", intra_threads=threads
            )
        except (RuntimeError, ValueError, OSError) as error:
            raise ModelError(f"{folder}: not a usable Whisper model ({error})") from None
        self._front: Any = FeatureExtractor()
        self._storage = ctranslate2.StorageView

    def __call__(self, samples: np.ndarray, size: int = WINDOW) -> np.ndarray:
        """Encode a window of sound, of which what is missing counts as silence.

        Args:
            samples: at 16 kHz.
            size: samples of the window, at most 30 s; a shorter one costs less.

        Returns:
            (size / 320, width) float32.
        """
        window = np.zeros(size, np.float32)
        window[: len(samples)] = samples[:size]
        mel = self._front(window)[:, : size * 2 // HOP]
        features = self._model.encode(self._storage.from_array(np.ascontiguousarray(mel[None])), to_cpu=True)
        out: np.ndarray = np.array(features, dtype=np.float32)[0]
        return out

    def clips(self, wanted: Iterable[Wanted]) -> Iterator[tuple[str, np.ndarray]]:
        """Yield name and features (50 Hz) of clips, as many to a window as fit."""
        for window in pack(wanted):
            encoded = self(lay_out(window))
            for clip, start in window:
                frames = -(-len(clip.samples) // HOP)
                yield clip.name, encoded[start // HOP : start // HOP + frames]


def pack(clips: Iterable[Wanted]) -> Iterator[list[tuple[Wanted, int]]]:
    """Put clips into windows in their order: lists of clips and first samples, on whole frames."""
    window: list[tuple[Wanted, int]] = []
    end = 0
    for clip in clips:
        if window and end + len(clip.samples) > WINDOW:
            yield window
            window, end = [], 0
        window.append((clip, end))
        end = -(-(end + len(clip.samples) + GAP) // HOP) * HOP
    if window:
        yield window


def lay_out(window: list[tuple[Wanted, int]]) -> np.ndarray:
    """The sound of one window, (480000,) float32."""
    samples = np.zeros(WINDOW, np.float32)
    for clip, start in window:
        part = clip.samples[: WINDOW - start]
        samples[start : start + len(part)] = part
    return samples
