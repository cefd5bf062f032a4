"""How something is said, in numbers: rate, F0, level, brightness, voicing, timing and tune of one clip.

All of them are pure functions of samples or of an F0 track; `measure` puts them together.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stepaudio.audio import Audio

RATE = 16_000
FRAME = 160  # samples: 10 ms
F0_RATE = 100  # frames a second of the F0 track
SILENT_DB = -100.0
_SPEECH_DB = 35.0  # a frame that far below the loudest is a pause
_NOISE_ONLY = -0.5  # dB of aperiodicity: WORLD's mark for a frame without a periodic part
_BRIGHT_HZ = 1000.0
_HOLD_SEMITONES = 0.4
_HOLD_FRAMES = 12  # 120 ms: spoken F0 seldom rests that long
_BEATS = np.geomspace(0.15, 0.75, 240)  # seconds: syllables of a quick rap to beats of a slow song


@dataclass(frozen=True)
class Prosody:
    """One clip in numbers.

    Attributes:
        seconds: from the first sound to the last.
        pitch: median F0 in Hz; 0 where nothing is voiced.
        range: from the 10th to the 90th percentile of F0, in semitones.
        level: RMS level of the speech without its pauses, in dB full scale.
        brightness: share of the power above 1 kHz, in dB.
        voiced: share of the speech that is voiced, 0 to 1.
        beat: how far onsets keep to one beat, 0 to 1.
        held: share of the voiced time that stays on a note, 0 to 1.
    """

    seconds: float
    pitch: float
    range: float
    level: float
    brightness: float
    voiced: float
    beat: float
    held: float


def measure(audio: Audio) -> Prosody:
    """Measure a clip.

    Args:
        audio: any rate; at least 50 ms.

    Raises:
        AudioError: it is too short to analyse.
        ModelError: pyworld is not installed.
    """
    from stepaudio.features.normalise import sound_span

    samples = audio.resample(RATE).samples
    start, stop = sound_span(samples)
    f0 = f0_track(audio)
    spoken = f0[start * F0_RATE // RATE : -(-stop * F0_RATE // RATE)]
    return Prosody(
        seconds=max((stop - start) / RATE, 1e-3),
        pitch=float(np.median(f0[f0 > 0])) if np.any(f0 > 0) else 0.0,
        range=f0_range(f0),
        level=speech_level(samples),
        brightness=brightness(samples),
        voiced=float(np.mean(spoken > 0)) if spoken.size else 0.0,
        beat=beat_strength(onsets(samples)),
        held=held_share(f0),
    )


def f0_track(audio: Audio) -> np.ndarray:
    """Return (T,) F0 in Hz at 100 frames a second, 0 where there is no periodic part (so in whispers)."""
    from stepaudio.decoder.world import analyse
    from stepaudio.errors import ModelError

    try:
        frames = analyse(audio)
    except ImportError:
        raise ModelError("measuring F0 needs the extra train: pip install 'stepaudio[train]'") from None
    return np.where(frames.aperiodicity.mean(axis=1) < _NOISE_ONLY, frames.f0, 0.0)


def f0_range(f0: np.ndarray) -> float:
    """Return the distance from the 10th to the 90th percentile of the voiced F0, in semitones."""
    voiced = f0[f0 > 0]
    if not voiced.size:
        return 0.0
    low, high = np.quantile(voiced, [0.1, 0.9])
    return float(12 * np.log2(high / low))


def speech_level(samples: np.ndarray) -> float:
    """Return the RMS level of the frames that are not pauses, in dB full scale; -100 for silence."""
    power = _frames(samples).mean(axis=1)
    if not power.size or power.max() <= 0:
        return SILENT_DB
    speech = power[power > power.max() * 10 ** (-_SPEECH_DB / 10)]
    return max(SILENT_DB, float(10 * np.log10(speech.mean())))


def brightness(samples: np.ndarray) -> float:
    """Return the share of the power above 1 kHz, in dB (at most 0); -100 where there is none.

    Args:
        samples: (n,) at 16 kHz.
    """
    power = np.abs(np.fft.rfft(samples)) ** 2
    total = power.sum()
    high = power[np.fft.rfftfreq(len(samples), 1 / RATE) >= _BRIGHT_HZ].sum() if samples.size else 0.0
    return max(SILENT_DB, float(10 * np.log10(high / total))) if high > 0 else SILENT_DB


def onsets(samples: np.ndarray) -> np.ndarray:
    """Return (n,) times in seconds at which sounds begin: peaks of the rise of the log spectrum.

    Source: S. Dixon, "Onset detection revisited" (2006), spectral flux with a local threshold.

    Args:
        samples: (n,) at 16 kHz.
    """
    size = 512
    padded = np.pad(samples, (size // 2, size))
    starts = np.arange(0, len(samples) or 1, FRAME)
    windows = padded[starts[:, None] + np.arange(size)] * np.hanning(size)
    spectrum = np.log1p(1000 * np.abs(np.fft.rfft(windows, axis=1)) / size)
    flux = np.zeros(len(starts))
    # Over 20 ms, so that a consonant and its vowel are one rise.
    flux[2:] = np.maximum(spectrum[2:] - spectrum[:-2], 0).sum(axis=1)
    flux = np.convolve(flux, np.hanning(7) / np.hanning(7).sum(), mode="same")
    if flux.max() <= 0:
        return np.zeros(0)
    reach = 6  # frames: two onsets are at least 60 ms apart
    around = np.lib.stride_tricks.sliding_window_view(np.pad(flux, reach), 2 * reach + 1)
    wide = np.lib.stride_tricks.sliding_window_view(np.pad(flux, 25, mode="edge"), 51)
    peaks = (flux >= around.max(axis=1)) & (flux > wide.mean(axis=1) + 0.1 * flux.max())
    return starts[peaks] / RATE


def beat_strength(times: np.ndarray, period: float | None = None) -> float:
    """Return how far events keep to one beat: the length of their mean direction on the circle of a beat.

    1 is a metronome; even spacing by chance gives about 1 over the root of the number of events.

    Args:
        times: (n,) in seconds.
        period: of the beat in seconds; ``None`` takes the one that fits best, from 0.15 to 0.75 s.
    """
    if len(times) < 3:
        return 0.0
    periods = _BEATS if period is None else np.array([period])
    turns = np.exp(2j * np.pi * np.asarray(times)[None, :] / periods[:, None])
    return float(np.abs(turns.mean(axis=1)).max())


def held_share(f0: np.ndarray) -> float:
    """Return the share of the voiced frames that lie in a stretch of 120 ms on one note (+-0.4 semitones).

    Args:
        f0: (T,) in Hz at 100 frames a second, 0 where unvoiced.
    """
    voiced = f0 > 0
    if not voiced.any():
        return 0.0
    pitch = np.where(voiced, 12 * np.log2(np.maximum(f0, 1e-3)), np.nan)
    held = np.zeros(len(f0), bool)
    for start in range(len(f0) - _HOLD_FRAMES + 1):
        stretch = pitch[start : start + _HOLD_FRAMES]
        # NaN compares false, so a stretch with a gap is none.
        if np.ptp(stretch) <= 2 * _HOLD_SEMITONES:
            held[start : start + _HOLD_FRAMES] = True
    return float(held.sum() / voiced.sum())


def melody_error(f0: np.ndarray, notes: Sequence[tuple[float, float, float]], edge: float = 0.05) -> float:
    """Return the mean distance of sung F0 from the notes, in semitones; NaN where no note is voiced.

    Args:
        f0: (T,) in Hz at 100 frames a second, 0 where unvoiced.
        notes: (start in s, end in s, frequency in Hz) each.
        edge: seconds at both ends of a note that may glide.
    """
    errors = []
    for start, end, hz in notes:
        part = f0[round((start + edge) * F0_RATE) : round((end - edge) * F0_RATE)]
        errors.append(np.abs(12 * np.log2(part[part > 0] / hz)))
    together = np.concatenate(errors) if errors else np.zeros(0)
    return float(together.mean()) if together.size else float("nan")


def _frames(samples: np.ndarray) -> np.ndarray:
    """(n,) to (frames, 160) of squares; a tail is filled up with silence."""
    padded = np.pad(samples.astype(np.float64), (0, -len(samples) % FRAME))
    squares: np.ndarray = padded.reshape(-1, FRAME) ** 2
    return squares
