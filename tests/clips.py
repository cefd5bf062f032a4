"""Clips made for tests of cloning: speech out of the repository's miniatures, tones, chords and noise."""

from pathlib import Path

import numpy as np

from stepaudio.audio import Audio

RATE = 16_000
_MINIATURES = Path(__file__).parent.parent / "evals" / "miniatures" / "asr"
ADA, BEN = (1, 5), (2, 6)  # clips of one synthetic speaker each


def speech(*numbers: int) -> Audio:
    parts = [Audio.read(_MINIATURES / f"clip-{number:02d}.opus", sample_rate=RATE) for number in numbers]
    return Audio(np.concatenate([part.samples for part in parts]), RATE)


def scaled(samples: np.ndarray, peak: float = 0.5) -> Audio:
    return Audio((peak * samples / np.abs(samples).max()).astype(np.float32), RATE)


def note(frequency: float, seconds: float) -> np.ndarray:
    time = np.arange(int(seconds * RATE)) / RATE
    harmonics = sum(np.sin(2 * np.pi * k * frequency * time) / k for k in range(1, 8))
    return harmonics * np.minimum(time / 0.01, 1) * np.exp(-3 * time / seconds)


def chords(seconds: int = 6, seed: int = 0) -> np.ndarray:
    roots = 110 * 2 ** (np.random.default_rng(seed).integers(0, 24, 2 * seconds) / 12)
    return np.concatenate(
        [note(root, 0.5) + note(1.26 * root, 0.5) + note(1.5 * root, 0.5) for root in roots]
    )


def noise(seconds: int = 6, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(seconds * RATE)


def over(voice: Audio, background: np.ndarray, snr_db: float) -> Audio:
    power = float(np.mean(voice.samples**2))
    under = np.resize(background, voice.samples.size)
    under = under * np.sqrt(power / np.mean(under**2) / 10 ** (snr_db / 10))
    return scaled(voice.samples + under)
