"""The WORLD vocoder as nano's last step: 45 interpretable values a frame to sound, and back.

Source: M. Morise et al., "WORLD: a vocoder-based high-quality speech synthesis system" (2016), by way of
pyworld. A frame holds log-F0, voicing, 40 coded spectral values and 3 coded aperiodicities, so that pitch,
formants and whisper are plain edits of the frames.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from stepaudio.audio import Audio
from stepaudio.errors import AudioError, ModelError

RATE = 24_000
FRAME_RATE = 100  # Hz
SPECTRUM = 40
APERIODICITY = 3  # WORLD's own band count at 24 kHz
FFT = 1024  # what CheapTrick uses at 24 kHz with the default F0 floor
F0_FLOOR, F0_CEIL = 60.0, 800.0
WIDTH = 2 + SPECTRUM + APERIODICITY
SPECTRAL = slice(2, 2 + SPECTRUM)
"""Where the spectrum is in the array of a frame."""

PitchMethod = Literal["dio", "harvest"]


@dataclass(frozen=True, eq=False)
class WorldFrames:
    """Analysed speech at 100 frames a second.

    Attributes:
        f0: (T,) float32 fundamental frequency in Hz; 0 where unvoiced.
        spectrum: (T, 40) float32 coded spectral envelope (mel-cepstral, natural-log power).
        aperiodicity: (T, 3) float32 coded band aperiodicity in dB, at most 0.
    """

    f0: np.ndarray
    spectrum: np.ndarray
    aperiodicity: np.ndarray

    def __post_init__(self) -> None:
        frames = len(self.f0)
        if self.spectrum.shape != (frames, SPECTRUM) or self.aperiodicity.shape != (frames, APERIODICITY):
            raise ModelError(
                f"WORLD frames do not fit together: f0 {self.f0.shape}, spectrum {self.spectrum.shape}, "
                f"aperiodicity {self.aperiodicity.shape}"
            )

    def __len__(self) -> int:
        return len(self.f0)

    def pitched(self, ratio: float) -> "WorldFrames":
        """Return the frames with F0 multiplied by `ratio`."""
        return replace(self, f0=(self.f0 * ratio).astype(np.float32))

    def to_array(self) -> np.ndarray:
        """Return (T, 45) float32: log-F0 (bridged where unvoiced), voicing, spectrum, aperiodicity."""
        voiced = self.f0 > 0
        if voiced.any():
            log_f0 = np.interp(np.arange(len(self)), np.flatnonzero(voiced), np.log(self.f0[voiced]))
        else:
            log_f0 = np.full(len(self), np.log(150.0))
        return np.concatenate(
            [log_f0[:, None], voiced[:, None], self.spectrum, self.aperiodicity], axis=1
        ).astype(np.float32)

    @classmethod
    def from_array(cls, array: np.ndarray) -> "WorldFrames":
        """Return the frames of a (T, 45) array, such as a decoder's output; values are brought into range."""
        if array.ndim != 2 or array.shape[1] != WIDTH:
            raise ModelError(f"WORLD frames need {WIDTH} values each, got an array of shape {array.shape}")
        f0 = np.exp(np.clip(array[:, 0], np.log(F0_FLOOR), np.log(F0_CEIL)))
        f0 = np.where(array[:, 1] > 0.5, f0, 0.0).astype(np.float32)
        spectrum = array[:, SPECTRAL].astype(np.float32)
        return cls(f0, spectrum, np.minimum(array[:, 2 + SPECTRUM :], 0.0).astype(np.float32))


def analyse(audio: Audio, *, method: PitchMethod = "dio") -> WorldFrames:
    """Return the WORLD frames of `audio`.

    Args:
        audio: any rate; at least 50 ms.
        method: ``dio`` (with StoneMask) is about ten times faster, ``harvest`` misses fewer voiced frames.

    Raises:
        AudioError: the clip is too short to analyse.
    """
    import pyworld

    samples = audio.resample(RATE).samples.astype(np.float64)
    if len(samples) < RATE // 20:
        raise AudioError(f"{audio.seconds * 1000:.0f} ms is too short to analyse; 50 ms is the least")
    period = 1000.0 / FRAME_RATE
    options: dict[str, Any] = {"f0_floor": F0_FLOOR, "f0_ceil": F0_CEIL, "frame_period": period}
    if method == "dio":
        f0, times = pyworld.dio(samples, RATE, **options)
        f0 = pyworld.stonemask(samples, f0, times, RATE)
    else:
        f0, times = pyworld.harvest(samples, RATE, **options)
    envelope = pyworld.cheaptrick(samples, f0, times, RATE, fft_size=FFT)
    aperiodicity = pyworld.d4c(samples, f0, times, RATE, fft_size=FFT)
    return WorldFrames(
        f0.astype(np.float32),
        pyworld.code_spectral_envelope(envelope, RATE, SPECTRUM).astype(np.float32),
        pyworld.code_aperiodicity(aperiodicity, RATE).astype(np.float32),
    )


def synthesise(frames: WorldFrames) -> Audio:
    """Return the sound of `frames`: 24 kHz, 240 samples a frame, limited to [-1, 1]."""
    import pyworld

    envelope = pyworld.decode_spectral_envelope(_double(frames.spectrum), RATE, FFT)
    aperiodicity = pyworld.decode_aperiodicity(_double(frames.aperiodicity), RATE, FFT)
    samples = pyworld.synthesize(_double(frames.f0), envelope, aperiodicity, RATE, 1000.0 / FRAME_RATE)
    length = len(frames) * RATE // FRAME_RATE
    samples = np.pad(samples[:length], (0, max(0, length - len(samples))))
    return Audio(np.clip(samples, -1.0, 1.0).astype(np.float32), RATE)


def shift_formants(frames: WorldFrames, ratio: float) -> WorldFrames:
    """Return the frames with the spectral envelope stretched by `ratio` (above 1: a smaller speaker)."""
    import pyworld

    envelope = pyworld.decode_spectral_envelope(_double(frames.spectrum), RATE, FFT)
    bins = np.arange(envelope.shape[1])
    source = np.clip(bins / ratio, 0, bins[-1])
    low = np.floor(source).astype(int)
    high = np.minimum(low + 1, bins[-1])
    part = source - low
    # Between bins in the log domain, where an envelope is smooth.
    logs = np.log(envelope)
    warped = np.exp(logs[:, low] * (1 - part) + logs[:, high] * part)
    coded = pyworld.code_spectral_envelope(np.ascontiguousarray(warped), RATE, SPECTRUM)
    return replace(frames, spectrum=coded.astype(np.float32))


def _double(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, dtype=np.float64)
