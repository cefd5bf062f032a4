"""How something was said, in numbers: rate, pitch, its range, level, brightness, voicing, beat and notes.

Two takes of the same text, one plain and one in a style, give the `changes` that the bounds of
`stepaudio.style_tags` speak of. Nothing here knows how the speech was made.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log2, nan

import numpy as np

from stepaudio.audio import Audio
from stepaudio.effects import Bound, Measure
from stepaudio.errors import AudioError

RATE = 16_000
_FRAME, _HOP = 512, 160
FRAME_RATE = RATE / _HOP
_PERIODIC = 0.6  # correlation of voiced speech with itself a period later
_ACTIVE_DB = 30.0  # frames so far below the loud ones are pauses
_AUDIBLE_DB = 40.0  # faint consonants at the ends count as speech
_BRIGHT_HZ = 1000.0
_ONSET_BAND = (300.0, 3500.0)  # where vowels are and rumble is not
_ONSET_DB = 25.0
# A note is held where F0 stays within so many semitones for so many seconds; a vibrato fits in.
_HELD_SEMITONES, _HELD_S = 1.1, 0.2


@dataclass(frozen=True)
class Prosody:
    """One take.

    Attributes:
        seconds: from the first sound to the last.
        pitch: median F0 in Hz; NaN where nothing is voiced.
        range: 10th to 90th percentile of F0 in semitones; NaN where nothing is voiced.
        level: of the speech without its pauses, in dB of full scale.
        brightness: power above 1 kHz over all power, in dB.
        voiced: share of the speech without its pauses that is voiced.
        beat: how far onsets keep to the grid that was asked about, 0 to 1; NaN if none was.
        held: share of the voiced time in which a note is held.
    """

    seconds: float
    pitch: float
    range: float
    level: float
    brightness: float
    voiced: float
    beat: float
    held: float


def measure(audio: Audio, *, f0: np.ndarray | None = None, slot: float | None = None) -> Prosody:
    """Measure a take.

    Args:
        audio: speech of one voice, at least 100 ms.
        f0: (T,) Hz at 100 Hz, 0 where unvoiced, if it is known; it is analysed otherwise.
        slot: seconds between two places of a rap's grid (`stepaudio.speech.rhythm.slot_of`).

    Raises:
        AudioError: there is too little sound.
    """
    samples = audio.resample(RATE).samples.astype(np.float64)
    if len(samples) < RATE // 10 or not np.abs(samples).max() > 1e-5:
        raise AudioError(f"{audio.seconds * 1000:.0f} ms of sound or silence have no prosody to measure")
    f0 = track_pitch(audio) if f0 is None else f0
    power = _spectrogram(samples)
    level = 10 * np.log10(power.sum(1) + 1e-12)
    active = level > np.quantile(level, 0.95) - _ACTIVE_DB
    spoken = np.flatnonzero(level > np.quantile(level, 0.95) - _AUDIBLE_DB)
    bright = np.fft.rfftfreq(_FRAME, 1 / RATE) >= _BRIGHT_HZ
    total = power[active].sum()
    length = min(len(f0), len(active))
    low, middle, high = pitch_quantiles(f0)
    return Prosody(
        seconds=float(spoken[-1] - spoken[0] + 1) / FRAME_RATE,
        pitch=middle,
        range=12 * log2(high / low),
        level=float(10 * np.log10(power[active].sum(1).mean())),
        brightness=float(10 * np.log10((power[active][:, bright].sum() + 1e-12) / total)),
        voiced=float((f0[:length][active[:length]] > 0).mean()) if active[:length].any() else 0.0,
        beat=nan if slot is None else beat_strength(onsets(power), slot),
        held=held_share(f0),
    )


def changes(plain: Prosody, styled: Prosody) -> dict[Measure, float]:
    """Return each measure of a styled take against the plain one, in the terms of `effects.Measure`."""
    return {
        "rate": plain.seconds / styled.seconds,
        "pitch": 12 * log2(styled.pitch / plain.pitch),
        "range": styled.range / max(plain.range, 0.1),
        "level": styled.level - plain.level,
        "brightness": styled.brightness - plain.brightness,
        "voiced": styled.voiced,
        "beat": styled.beat - plain.beat,
        "held": styled.held - plain.held,
    }


def broken(bounds: Sequence[Bound], measured: dict[Measure, float]) -> list[str]:
    """Return what a take lacks of the effect of a tag, a line for each bound that does not hold."""
    return [
        f"{bound.measure} {measured[bound.measure]:.3g}, wanted {bound.low:g} to {bound.high:g}"
        for bound in bounds
        if not bound.holds(measured[bound.measure])
    ]


def track_pitch(audio: Audio) -> np.ndarray:
    """Return F0 in Hz at 100 Hz, (T,), 0 where unvoiced: WORLD's DIO with StoneMask, checked by periodicity.

    A frame counts as voiced if the sound a period later is like it: DIO alone finds pitch in whispers.
    """
    import pyworld

    samples = audio.resample(RATE).samples.astype(np.float64)
    f0, times = pyworld.dio(samples, RATE, f0_floor=55.0, f0_ceil=800.0, frame_period=1000 / FRAME_RATE)
    f0 = pyworld.stonemask(samples, f0, times, RATE)
    checked: np.ndarray = np.where(periodicity(samples, f0) >= _PERIODIC, f0, 0.0)
    return checked


def periodicity(samples: np.ndarray, f0: np.ndarray) -> np.ndarray:
    """Return the correlation, (T,), of 30 ms about each frame with the sound one period of `f0` later.

    Args:
        samples: at 16 kHz.
        f0: (T,) Hz at 100 Hz; frames of 0 get 0.
    """
    low = np.convolve(
        samples, np.hanning(15) / np.hanning(15).sum(), "same"
    )  # below 2 kHz harmonics are clear
    width, found = round(0.03 * RATE), np.zeros(len(f0))
    padded = np.pad(low, RATE // 10)
    for place in np.flatnonzero(f0 > 0):
        lag = round(RATE / f0[place])
        start = place * _HOP + RATE // 10 - (width + lag) // 2
        one, other = padded[start : start + width], padded[start + lag : start + lag + width]
        if len(other) == width:
            found[place] = one @ other / np.sqrt((one @ one) * (other @ other) + 1e-12)
    return found


def pitch_quantiles(f0: np.ndarray) -> tuple[float, float, float]:
    """Return the 10th, 50th and 90th percentile of the voiced F0 in Hz; NaN where nothing is voiced."""
    voiced = f0[f0 > 0]
    if not voiced.size:
        return nan, nan, nan
    low, middle, high = np.quantile(voiced, [0.1, 0.5, 0.9])
    return float(low), float(middle), float(high)


def held_share(f0: np.ndarray) -> float:
    """Return the share of the voiced frames about which F0 keeps to a note for 200 ms."""
    half = round(_HELD_S * 100) // 2
    voiced = f0 > 0
    if not voiced.any() or len(f0) <= 2 * half:
        return 0.0
    # A frame without a voice is far below every note, so that no window with it is held.
    semitones = np.pad(12 * np.log2(np.where(voiced, f0, 1e-3)), half, constant_values=-120.0)
    windows = np.lib.stride_tricks.sliding_window_view(semitones, 2 * half + 1)
    held = voiced & (windows.max(1) - windows.min(1) <= _HELD_SEMITONES)
    # Every frame of a held window belongs to the note.
    grown = np.convolve(held, np.ones(2 * half + 1), "same") > 0
    return float((grown & voiced).sum() / voiced.sum())


def onsets(power: np.ndarray) -> np.ndarray:
    """Return the strength of onsets, (T,) at 100 Hz, from a power spectrogram (T, 257) at 16 kHz."""
    hertz = np.fft.rfftfreq(_FRAME, 1 / RATE)
    band = power[:, (hertz >= _ONSET_BAND[0]) & (hertz <= _ONSET_BAND[1])].sum(1)
    level = 10 * np.log10(band + 1e-12)
    level = np.maximum(level, np.quantile(level, 0.95) - _ONSET_DB)
    smooth = np.convolve(level, np.hanning(7) / np.hanning(7).sum(), "same")
    return np.maximum(np.gradient(smooth), 0.0)


def beat_strength(strength: np.ndarray, slot: float) -> float:
    """Return how far onsets keep to a grid whose phase is free: the mean resultant length, 0 to 1.

    Args:
        strength: (T,) at 100 Hz.
        slot: seconds between places of the grid.
    """
    if not strength.sum() > 0:
        return 0.0
    phase = np.exp(2j * np.pi * np.arange(len(strength)) / (FRAME_RATE * slot))
    return float(abs(strength @ phase) / strength.sum())


def melody_error(f0: np.ndarray, notes: Sequence[float], *, shortest_s: float = 0.05) -> float:
    """Return the mean distance in semitones of the voiced F0 from a melody that it should follow.

    Notes are aligned to the pitch in their order so that the distance is least, each at least `shortest_s`
    long (dynamic programming); so timing does not count.

    Args:
        f0: (T,) Hz at 100 Hz, 0 where unvoiced.
        notes: Hz, in order; several of the same pitch one after another count as one.
        shortest_s: of a note.
    """
    voiced = f0[f0 > 0]
    heights = [note for place, note in enumerate(notes) if place == 0 or note != notes[place - 1]]
    least = max(1, round(shortest_s * 100))
    if len(voiced) < least * max(1, len(heights)) or not heights:
        return nan
    cost = np.abs(12 * np.log2(voiced[:, None] / np.asarray(heights)[None]))
    sums = np.vstack([np.zeros(len(heights)), np.cumsum(cost, 0)])
    # best[t] = least cost of the first t frames over the notes so far
    best = sums[:, 0].copy()
    best[:least] = np.inf
    for note in range(1, len(heights)):
        entered = np.full(len(best), np.inf)
        entered[least:] = (best - sums[:, note])[:-least]
        best = np.minimum.accumulate(entered) + sums[:, note]
    return float(best[-1] / len(voiced))


def _spectrogram(samples: np.ndarray) -> np.ndarray:
    """(T, 257) power at 100 Hz; the sum of a frame is its mean square."""
    window = np.hanning(_FRAME)
    padded = np.pad(samples, _FRAME // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FRAME)[::_HOP]
    scale = 2 / (np.square(window).sum() * _FRAME)
    power: np.ndarray = np.square(np.abs(np.fft.rfft(frames * window))) * scale
    return power
