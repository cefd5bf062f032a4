"""WORLD synthesis frame by frame: sound comes out 11 ms behind the frames, whatever the chunking.

Source: M. Morise et al., "WORLD: a vocoder-based high-quality speech synthesis system" (2016), section II-D:
minimum-phase responses of the periodic part, one a glottal pulse, plus noise shaped by the aperiodic part.
Three things differ from pyworld's synthesiser, which needs the whole utterance: noise is shaped on a fixed
grid of 5 ms instead of from pulse to pulse, so that no future pulse is awaited; F0 is held up to the edge of
a voiced stretch instead of gliding to zero; DC is removed by a causal high-pass instead of a window around
each pulse, which would need look-ahead.
"""

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from stepaudio.decoder.world import FFT, FRAME_RATE, RATE, WorldFrames
from stepaudio.decoder.world_codec import BINS, WorldCodec
from stepaudio.errors import InputError, ModelError

HOP = RATE // FRAME_RATE
LEAD = 16  # samples before a pulse that its band-limited response may ring
LATENCY_SAMPLES = HOP + LEAD
_SEGMENT = HOP // 2  # voicing changes halfway between frames, so half a hop is one kind of sound
_FADE = 64  # samples at the end of a response, where the FFT wraps around
_BLOCK = 32  # frames rendered at once: bounds the memory of a long push and fits the cache
_HIGHEST_F0 = RATE / 8
_CORNER = 40.0  # Hz: envelopes reach down to 0 Hz, speech does not
_LEAST_SHARE = 1e-12  # of either part in the power: its log stays finite


@dataclass(frozen=True, eq=False)
class _Decoded:
    """Frames as float64 spectra: F0 (T,) in Hz, power (T, 513), noise share of the amplitude (T, 513)."""

    f0: np.ndarray
    power: np.ndarray
    share: np.ndarray

    def then(self, other: "_Decoded") -> "_Decoded":
        return _Decoded(
            np.concatenate([self.f0, other.f0]),
            np.concatenate([self.power, other.power]),
            np.concatenate([self.share, other.share]),
        )

    def last(self) -> "_Decoded":
        return _Decoded(self.f0[-1:].copy(), self.power[-1:].copy(), self.share[-1:].copy())


@dataclass(eq=False)
class WorldState:
    """What one stream remembers between pushes: of one size however long the stream lasts.

    Attributes:
        seed: of the noise.
        hops: stretches between two frames rendered so far, 10 ms each.
        phase: of the pulse train at the last frame, in cycles, 0 to 1.
        last: the last frame, decoded; None before the first.
        tail: (1040,) float64 sound that later pulses may still add to.
        finished: nothing may follow.
    """

    seed: int
    hops: int = 0
    phase: float = 0.0
    last: _Decoded | None = field(default=None, repr=False)
    tail: np.ndarray = field(default_factory=lambda: np.zeros(FFT + LEAD), repr=False)
    finished: bool = False


def high_pass() -> np.ndarray:
    """(513,) complex response of a second-order Butterworth high-pass (bilinear transform) at 40 Hz."""
    ratio = 1j * np.tan(np.pi * np.arange(BINS) / FFT) / np.tan(np.pi * _CORNER / RATE)
    response: np.ndarray = ratio**2 / (ratio**2 + np.sqrt(2) * ratio + 1)
    return response


@dataclass(frozen=True, eq=False)
class WorldStream:
    """Synthesise WORLD frames as they come; one object serves any number of streams.

    240 samples of sound belong to each frame; the last `LATENCY_SAMPLES` are held back until the next frame
    or `finish`. The sound depends on the frames, their positions and the seed only, not on the chunking.

    Attributes:
        codec: the tables that decode frames.
        high_pass: (513,) complex response that all sound passes.
    """

    codec: WorldCodec = field(default_factory=WorldCodec.build)
    high_pass: np.ndarray = field(default_factory=high_pass, repr=False)

    def start(self, seed: int = 0) -> WorldState:
        """Begin a stream; the same seed gives the same noise.

        Raises:
            InputError: the seed is negative.
        """
        if seed < 0:
            raise InputError(f"a seed must not be negative, got {seed}")
        return WorldState(seed)

    def push(self, state: WorldState, frames: WorldFrames | np.ndarray) -> np.ndarray:
        """Add frames and return the sound that is now final.

        Args:
            state: the stream's state, changed in place.
            frames: any number of frames, or a decoder's (T, 45) array of them.

        Returns:
            (n,) float32 at 24 kHz, limited to [-1, 1].

        Raises:
            InputError: the stream is finished.
            ModelError: the frames have a wrong shape or hold values that are not finite.
        """
        if state.finished:
            raise InputError("this stream is finished; start another one")
        if not isinstance(frames, WorldFrames):
            _check_finite(frames)
            frames = WorldFrames.from_array(frames)
        _check_finite(frames.f0, frames.spectrum, frames.aperiodicity)
        pieces = [np.zeros(0, np.float32)]
        for at in range(0, len(frames), _BLOCK):
            part = slice(at, at + _BLOCK)
            decoded = _Decoded(
                np.clip(frames.f0[part].astype(np.float64), 0.0, _HIGHEST_F0),
                self.codec.power(frames.spectrum[part]),
                self.codec.aperiodicity(frames.aperiodicity[part]),
            )
            pieces.append(_advance(state, decoded, self.high_pass))
        return np.concatenate(pieces)

    def finish(self, state: WorldState) -> np.ndarray:
        """Return the rest of the sound, (n,) float32: the last frame is held for its 10 ms."""
        if state.last is None or state.finished:
            state.finished = True
            return np.zeros(0, np.float32)
        state.finished = True
        return np.concatenate([_advance(state, state.last, self.high_pass), _limited(state.tail[:LEAD])])


def _advance(state: WorldState, decoded: _Decoded, colour: np.ndarray) -> np.ndarray:
    """Render from the state's last frame to the last one of `decoded`."""
    if state.last is not None:
        decoded = state.last.then(decoded)
    state.last = decoded.last()
    hops, at = len(decoded.f0) - 1, state.hops
    if hops == 0:
        return np.zeros(0, np.float32)
    # Index 0 lies LEAD before the first frame, where a pulse on that frame begins to ring.
    buffer = np.concatenate([state.tail, np.zeros(hops * HOP)])
    white = np.fft.rfft(_noise(state.seed, at, hops), FFT)
    rows, starts, state.phase = _responses(decoded, white * colour, colour, state.phase)
    # Hop by hop, so that sums round alike for every chunking.
    for index in np.argsort(starts // HOP, kind="stable").tolist():
        buffer[starts[index] : starts[index] + FFT] += rows[index]
    state.tail = buffer[hops * HOP :].copy()
    state.hops += hops
    return _limited(buffer[0 if at else LEAD : hops * HOP])


def _pulses(f0: np.ndarray, phase: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Place pulses between the first and the last frame of `f0`, where the phase passes whole cycles.

    Returns:
        Times in samples after the first frame, F0 in Hz at those times, and the phase at the last frame. A
        voiced stretch begins with a pulse.
    """
    found: list[tuple[int, float, float, float]] = []
    for hop, (left, right) in enumerate(pairwise(f0.tolist())):
        middle = (left + right) / 2 if left > 0 and right > 0 else 0.0
        for half, (low, high) in enumerate([(left, middle or left), (middle or right, right)]):
            if low <= 0:
                phase = 0.0
                continue
            reached = phase + (low + high) / 2 * _SEGMENT / RATE
            for cycle in range(0 if phase == 0 else 1, int(np.ceil(reached))):
                found.append((2 * hop + half, cycle - phase, low, high))
            phase = reached % 1.0
    segment, cycles, low, high = np.array(found, np.float64).reshape(-1, 4).T
    slope = (high - low) / _SEGMENT
    # The phase of a glide is quadratic; this form of its root is stable for slope 0 too.
    distance = cycles * RATE
    within = 2 * distance / (low + np.sqrt(np.maximum(low**2 + 2 * slope * distance, 0.0)))
    within = np.minimum(within, _SEGMENT)
    return segment * _SEGMENT + within, low + slope * within, phase


def _responses(
    decoded: _Decoded, noise: np.ndarray, pulse: np.ndarray, phase: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """Shape the sound between the first and the last frame.

    Args:
        decoded: T frames.
        noise: (2 * (T - 1), 513) complex spectra of the noise to shape.
        pulse: (513,) complex spectrum of the pulses to shape.
        phase: of the pulse train at the first frame.

    Returns:
        Pieces of sound (R, 1024), each ringing in for `LEAD` samples; where they begin to sound, (R,) samples
        after the first frame; and the phase of the pulse train at the last frame.
    """
    times, pitch, phase = _pulses(decoded.f0, phase)
    segments = len(noise)
    middles = _SEGMENT * (np.arange(segments) + 0.5)
    place = np.concatenate([middles, times]) / HOP
    frame = np.minimum(place.astype(int), len(decoded.f0) - 2)
    weight = (place - frame)[:, None]
    power = decoded.power[frame]
    power += (decoded.power[frame + 1] - power) * weight
    share = decoded.share[frame]
    share += (decoded.share[frame + 1] - share) * weight
    share *= share
    share[:segments][decoded.f0[np.rint(middles / HOP).astype(int)] <= 0] = 1.0
    np.subtract(1.0, share[segments:], out=share[segments:])
    power *= np.maximum(share, _LEAST_SHARE)
    # A train of pulses of this height has the power of white noise of variance 1.
    power[segments:] *= (RATE / pitch)[:, None]
    starts = np.concatenate([_SEGMENT * np.arange(segments), np.floor(times).astype(int)])
    delay = LEAD + np.concatenate([np.zeros(segments), times - starts[segments:]])
    spectra = _minimum_phase(power, delay)
    spectra[:segments] *= noise
    spectra[segments:] *= pulse
    rows = np.fft.irfft(spectra, FFT)
    rows[:, -_FADE:] *= 0.5 + 0.5 * np.cos(np.pi * (np.arange(_FADE) + 1) / _FADE)
    return rows, starts, phase


def _minimum_phase(power: np.ndarray, delay: np.ndarray) -> np.ndarray:
    """(P, 513) power to the spectrum of minimum phase that has it, `delay` (P,) samples late."""
    cepstrum = np.fft.irfft(0.5 * np.log(power), FFT)[:, :BINS]
    cepstrum[:, 1 : BINS - 1] *= 2.0
    angle = np.fft.rfft(cepstrum, FFT).imag - (2 * np.pi / FFT) * delay[:, None] * np.arange(BINS)
    # Sine and cosine are ten times faster in float32, and exact to -110 dB.
    angle = angle.astype(np.float32)
    height = np.sqrt(power)
    spectrum = np.empty(power.shape, np.complex128)
    np.multiply(height, np.cos(angle), out=spectrum.real)
    np.multiply(height, np.sin(angle), out=spectrum.imag)
    return spectrum


def _noise(seed: int, at: int, hops: int) -> np.ndarray:
    """(2 * hops, 120) standard normal noise that depends on the seed and the place in the stream only."""
    rows = [np.random.default_rng([seed, hop]).standard_normal(HOP) for hop in range(at, at + hops)]
    return np.stack(rows).reshape(2 * hops, _SEGMENT)


def _limited(sound: np.ndarray) -> np.ndarray:
    return np.clip(sound, -1.0, 1.0).astype(np.float32)


def _check_finite(*arrays: np.ndarray) -> None:
    if not all(np.isfinite(array).all() for array in arrays):
        raise ModelError("WORLD frames hold values that are not finite")
