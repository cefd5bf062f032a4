"""Disturbances of recordings on their way into training: rooms, colours, noise and music, on any device.

So that hours of speech teach what a thousand would: nothing but the words stays the same.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from stepaudio.features.whisper import RATE

Background = Literal["any", "none", "noise", "music"]
"""What lies behind a voice; ``any`` is mostly nothing, else noise or music, quietly."""

COLOUR_DB, NOISE_COLOUR_DB = 5.0, 9.0
"""Deviations of the gain of a band of the frequencies."""
BANDS = 9
HEARD_DB, HINTED_DB = (2.0, 16.0), (8.0, 32.0)
"""Distances of speech to a background that is asked for, and to one that just happens to be there."""
SHARES = {"colour": 0.5, "room": 0.25, "noise": 0.25, "music": 0.1}
ROOM_S = 0.4


def disturb(
    sound: Tensor, lengths: Tensor, backgrounds: Sequence[Background], music: Tensor, random: torch.Generator
) -> Tensor:
    """Disturb a batch.

    Args:
        sound: (batch, n) at 16 kHz, zeros behind each row's end.
        lengths: (batch,) samples.
        backgrounds: of each row; with ``none`` it is but coloured.
        music: (pieces, n or more), see `make_music`.
        random: of the device of `sound`.

    Returns:
        (batch, n), silent behind the end as before.
    """
    batch, size = sound.shape

    def chance(share: float) -> Tensor:
        return torch.rand(batch, 1, generator=random, device=sound.device) < share

    def between(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(batch, 1, generator=random, device=sound.device)

    quiet = torch.tensor([[kind == "none"] for kind in backgrounds], device=sound.device)
    asked = torch.tensor([[kind in ("noise", "music")] for kind in backgrounds], device=sound.device)
    noisy = torch.tensor([[kind == "noise"] for kind in backgrounds], device=sound.device)
    played = torch.tensor([[kind == "music"] for kind in backgrounds], device=sound.device)

    out = torch.where(chance(SHARES["colour"]), _coloured(sound, COLOUR_DB, random), sound)
    out = torch.where(chance(SHARES["room"]) & ~quiet, _in_a_room(out, random), out)
    power = (out.square().sum(1, keepdim=True) / lengths[:, None]).clamp(min=1e-8)
    distance = torch.where(asked, between(*HEARD_DB), between(*HINTED_DB))
    noise = _coloured(
        torch.randn(batch, size, generator=random, device=sound.device), NOISE_COLOUR_DB, random
    )
    noise = noise * _swell(batch, size, random, sound.device)
    rows = torch.randint(len(music), (batch,), generator=random, device=sound.device)
    with_noise = noisy | (~asked & ~quiet & chance(SHARES["noise"]))
    with_music = played | (~asked & ~quiet & ~with_noise & chance(SHARES["music"]))
    behind = noise * with_noise + music[rows, :size] * with_music
    level = behind.square().mean(1, keepdim=True).clamp(min=1e-8)
    out = out + behind * (power / level).sqrt() * 10 ** (-distance / 20)
    out = out * 10 ** (between(-14, 6) / 20)
    inside = torch.arange(size, device=sound.device)[None] < lengths[:, None]
    return (out * inside).clamp(-1, 1)


def make_music(pieces: int, seconds: float, seed: int = 0) -> Tensor:
    """Invented music (pieces, n) at 16 kHz: chords and a melody, plucked or held, some with drums."""
    size = round(seconds * RATE)
    return torch.from_numpy(np.stack([_piece(size, np.random.default_rng((seed, i))) for i in range(pieces)]))


def _piece(size: int, random: np.random.Generator) -> np.ndarray:
    out = np.zeros(size, np.float32)
    beat = int(RATE * random.uniform(0.22, 0.7))
    root, scale = random.uniform(90, 260), np.array([0, 2, 4, 5, 7, 9, 11, 12])
    decay = random.choice([0.0, 2.0, 6.0])
    strengths = random.uniform(0.2, 1.0, 6) / np.arange(1, 7) ** random.uniform(0.6, 1.6)
    drums = random.random() < 0.4
    for number, start in enumerate(range(0, size, beat)):
        notes = [2 * root * 2 ** (random.choice(scale) / 12)]
        if number % 4 == 0 or random.random() < 0.3:
            first = int(random.integers(5))
            notes += [root * 2 ** (scale[(first + step) % 8] / 12) for step in (0, 2, 4)]
        length = min(size - start, beat * int(random.choice([1, 1, 2])))
        time = np.arange(length) / RATE
        shape = np.exp(-decay * time) * np.minimum(1, time * 80) * np.minimum(1, (length / RATE - time) * 40)
        for note in notes:
            for order, strength in enumerate(strengths, 1):
                if note * order < RATE / 2:
                    tone = np.sin(2 * np.pi * note * order * time + random.uniform(0, 6))
                    out[start : start + length] += (strength * shape * tone).astype(np.float32)
        if drums:
            hit = min(size - start, RATE // 8)
            burst = random.standard_normal(hit) * np.exp(-np.arange(hit) / (RATE * 0.02))
            out[start : start + hit] += burst.astype(np.float32)
    return out / (np.sqrt((out**2).mean()) + 1e-6)


def _coloured(sound: Tensor, deviation: float, random: torch.Generator) -> Tensor:
    batch, size = sound.shape
    gains = deviation * torch.randn(batch, 1, BANDS, generator=random, device=sound.device)
    curve = F.interpolate(gains, size // 2 + 1, mode="linear", align_corners=True)[:, 0]
    return torch.fft.irfft(torch.fft.rfft(sound) * 10 ** (curve / 20), size)


def _in_a_room(sound: Tensor, random: torch.Generator) -> Tensor:
    batch, size = sound.shape
    length = round(ROOM_S * RATE)
    time = torch.arange(length, device=sound.device) / RATE
    fall = 8 + 25 * torch.rand(batch, 1, generator=random, device=sound.device)
    echo = torch.randn(batch, length, generator=random, device=sound.device) * torch.exp(-fall * time)
    echo = echo / echo.square().sum(1, keepdim=True).sqrt()
    share = 0.1 + 0.6 * torch.rand(batch, 1, generator=random, device=sound.device)
    whole = size + length
    wet = torch.fft.irfft(torch.fft.rfft(sound, whole) * torch.fft.rfft(echo, whole), whole)[:, :size]
    return sound + share * wet


def _swell(batch: int, size: int, random: torch.Generator, device: torch.device) -> Tensor:
    """How loud a noise is over time: steady in half of the rows."""
    curve = 0.15 + torch.rand(batch, 1, 12, generator=random, device=device)
    steady = torch.rand(batch, 1, generator=random, device=device) < 0.5
    return torch.where(steady, 1.0, F.interpolate(curve, size, mode="linear")[:, 0])
