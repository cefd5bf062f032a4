"""Features of a Whisper encoder at 50 Hz, by CTranslate2."""

from pathlib import Path
from typing import Any

import numpy as np

from stepaudio.errors import ModelError

RATE = 16_000
WINDOW = 30 * RATE
HOP = RATE // 50
"""Samples of one encoder frame."""
GAP = 3 * RATE // 10
"""Silence behind a clip."""


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

    def clip(self, samples: np.ndarray) -> np.ndarray:
        """Encode a clip of at most 30 s at 16 kHz in a window of its own length.

        Features depend on how much silence fills the window, so whoever learns from them and whoever uses
        what was learned should ask for them alike. A window of the clip's length is the cheapest.

        Returns:
            (T, width) float32, a frame for every 20 ms that begins in the clip.
        """
        size = min(WINDOW, -(-(len(samples) + GAP) // (2 * HOP)) * 2 * HOP)
        window = np.zeros(size, np.float32)
        window[: len(samples)] = samples[:size]
        mel = self._front(window)[:, : size * 2 // HOP]
        features = self._model.encode(self._storage.from_array(np.ascontiguousarray(mel[None])), to_cpu=True)
        out: np.ndarray = np.array(features, dtype=np.float32)[0]
        return out[: -(-len(samples) // HOP)]
