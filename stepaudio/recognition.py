"""Speech to text with Whisper through CTranslate2 (faster-whisper): nano's ears in the cascade."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stepaudio.audio import Audio
from stepaudio.errors import InputError, ModelError
from stepaudio.results import Segment

if TYPE_CHECKING:
    from faster_whisper import WhisperModel

WHISPER_RATE = 16_000
# Whisper was trained on windows of 30 s, and its cost grows with the square of the window. Half of one is
# five times cheaper and measures the same error rate; shorter ones begin to lose words.
SHORTEST_WINDOW = 1500  # log-mel frames: 15 s
WINDOW_MARGIN = 100  # frames of silence kept after the speech


def _short_window_model() -> "type[WhisperModel]":
    """Return a Whisper model that does not encode the padding of short clips."""
    from faster_whisper import WhisperModel

    class ShortWindowModel(WhisperModel):
        def encode(self, features: np.ndarray) -> Any:
            sounding = np.flatnonzero(features.any(axis=-2).reshape(-1, features.shape[-1]).any(axis=0))
            end = sounding[-1] + 1 + WINDOW_MARGIN if sounding.size else 0
            frames = min(features.shape[-1], max(SHORTEST_WINDOW, end + end % 2))
            return super().encode(np.ascontiguousarray(features[..., :frames]))

    return ShortWindowModel


class WhisperEars:
    """A Whisper checkpoint in CTranslate2 form, loaded when first used.

    Args:
        folder: holds ``model.bin``, ``config.json``, ``tokenizer.json`` and the vocabulary.
        threads: CPU threads; 0 lets CTranslate2 choose.
        beam_size: 1 is greedy, the fastest.
    """

    def __init__(self, folder: Path, *, threads: int = 0, beam_size: int = 1):
        self.folder = folder
        self.threads = threads
        self.beam_size = beam_size
        self._model: WhisperModel | None = None

    def load(self) -> "WhisperModel":
        """Load the weights if they are not in memory yet, and return the model.

        Raises:
            ModelError: the folder does not hold a Whisper model that CTranslate2 can read.
        """
        if self._model is None:
            try:
                self._model = _short_window_model()(
                    str(self.folder),
                    device="cpu",
                    compute_type="int8",
                    cpu_threads=self.threads,
                    local_files_only=True,
                )
            except (RuntimeError, ValueError, OSError) as error:
                raise ModelError(f"{self.folder}: not a usable Whisper model ({error})") from None
        return self._model

    def transcribe(self, audio: Audio, language: str | None = None) -> Iterator[Segment]:
        """Yield the recognised segments, lazily; silence yields none.

        Args:
            audio: any length and rate.
            language: ISO 639-1 code; ``None`` means English for an English-only checkpoint, else detection.

        Raises:
            InputError: the checkpoint does not know `language`.
        """
        model = self.load()
        if language is not None and language not in model.supported_languages:
            known = ", ".join(model.supported_languages)
            raise InputError(f"language {language!r} is not one this model hears; it knows: {known}")
        # Voice activity detection first: Whisper invents words on silence.
        segments, _ = model.transcribe(
            audio.resample(WHISPER_RATE).samples,
            language=language,
            beam_size=self.beam_size,
            vad_filter=True,
            condition_on_previous_text=False,
        )
        for segment in segments:
            text = segment.text.strip()
            if text:
                yield Segment(start=float(segment.start), end=float(segment.end), text=text)
