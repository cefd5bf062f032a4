"""A sentence in WORLD frames made of formulas: five vowels, three kinds of consonants, a pause; any pitch."""

from dataclasses import dataclass

import numpy as np

from stepaudio.decoder.envelope import encode_log, frequencies
from stepaudio.decoder.world import WIDTH

SYMBOLS = list("bˈanə sˈitə, nˈosə dˈana sˈuni bəsˈata nˈesə.")
_FORMANTS = {
    "a": (750, 1200, 2500),
    "i": (300, 2200, 3000),
    "u": (320, 800, 2300),
    "e": (480, 1900, 2600),
    "o": (480, 900, 2400),
    "ə": (500, 1500, 2500),
    "n": (270, 1100, 2100),
    "b": (250, 1000, 2200),
    "d": (250, 1700, 2600),
}
_SECONDS = {"s": 0.1, "t": 0.075, "b": 0.06, "d": 0.05, "n": 0.06, " ": 0.025, ",": 0.25, ".": 0.2, "ˈ": 0.03}


@dataclass(frozen=True, eq=False)
class Spoken:
    """Phonemes, their seconds, the frames and the phoneme of each."""

    symbols: list[str]
    durations: np.ndarray
    frames: np.ndarray
    index: np.ndarray
    centre: float


def spoken(hertz: float, level: float = -24.0, seed: int = 0) -> Spoken:
    """Say the sentence about `hertz` at `level` dB of full scale."""
    random = np.random.default_rng(seed)
    lengths = np.array([_SECONDS.get(symbol, 0.085) * random.uniform(0.85, 1.2) for symbol in SYMBOLS])
    counts = np.maximum(1, np.rint(lengths * 100).astype(int))
    index = np.repeat(np.arange(len(SYMBOLS)), counts)
    frames = np.zeros((len(index), WIDTH), np.float32)
    curves = {symbol: encode_log(_curve(symbol, level)) for symbol in sorted(set(SYMBOLS))}
    time = np.arange(len(index)) / 100
    # Falls by five semitones over the sentence, and rises and falls with the words.
    melody = np.interp(time, [0, time[-1]], [2.5, -2.5]) + 3 * np.sin(2 * np.pi * time / 0.6 + seed)
    frames[:, 0] = np.log(hertz) + (melody - np.median(melody)) * np.log(2) / 12
    for place, symbol_index in enumerate(index):
        symbol = SYMBOLS[symbol_index]
        symbol = SYMBOLS[symbol_index + 1] if symbol == "ˈ" else symbol
        voiced = symbol in _FORMANTS
        frames[place, 1] = voiced
        frames[place, 2:42] = curves[symbol]
        frames[place, 42:] = (-25.0, -12.0, -8.0) if voiced else 0.0
    return Spoken(SYMBOLS, counts / 100, frames, index, float(np.log(hertz)))


def _curve(symbol: str, level: float) -> np.ndarray:
    hertz = frequencies()
    if symbol in _FORMANTS:
        sound = np.zeros(len(hertz), complex)
        for number, centre in enumerate(_FORMANTS[symbol]):
            width = 80 + 40 * number
            sound += (
                10 ** (-number * 0.35) * 1j * centre * width / (centre**2 - hertz**2 + 1j * hertz * width)
            )
        curve = 20 * np.log10(np.abs(sound) + 1e-3) - 3 * np.log2(np.maximum(hertz, 150) / 150)
        below = 4.0 if symbol in "nbd" else 0.0
    elif symbol in "st":
        curve, below = -np.abs(np.log2(np.maximum(hertz, 100) / 5500)) * 12, 12.0
    else:
        return np.full(len(hertz), -85.0)
    power = np.mean(10 ** (curve / 10))
    lowered: np.ndarray = curve - 10 * np.log10(power) + level - below
    return lowered
