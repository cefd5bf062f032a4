"""Streaming WORLD synthesis: any chunking gives the same sound, and pyworld's decoders and levels agree."""

import pickle
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepaudio.decoder.world import APERIODICITY, FFT, RATE, SPECTRUM, WorldFrames
from stepaudio.decoder.world_codec import WorldCodec
from stepaudio.decoder.world_stream import HOP, LATENCY_SAMPLES, WorldStream
from stepaudio.errors import InputError, ModelError

STREAM = WorldStream()
FLAT = np.log(1e-4)  # a white envelope whose noise has a standard deviation of 0.01


def frames(f0: list[float] | np.ndarray, *, level: float = FLAT, aperiodicity: float = -40.0) -> WorldFrames:
    spectrum = np.zeros((len(f0), SPECTRUM), np.float32)
    spectrum[:, 0] = level
    return WorldFrames(
        np.asarray(f0, np.float32),
        spectrum,
        np.full((len(f0), APERIODICITY), aperiodicity, np.float32),
    )


def lively(count: int, seed: int) -> WorldFrames:
    """Frames no speaker makes: every value jumps, voicing too."""
    rng = np.random.default_rng(seed)
    f0 = np.where(rng.random(count) > 0.4, rng.uniform(60, 800, count), 0.0)
    spectrum = rng.normal(0, 1, (count, SPECTRUM)) / np.arange(1, SPECTRUM + 1)
    spectrum[:, 0] += FLAT
    return WorldFrames(
        f0.astype(np.float32),
        spectrum.astype(np.float32),
        rng.uniform(-40, 0, (count, APERIODICITY)).astype(np.float32),
    )


def part(whole: WorldFrames, start: int, end: int) -> WorldFrames:
    return WorldFrames(whole.f0[start:end], whole.spectrum[start:end], whole.aperiodicity[start:end])


def sound(whole: WorldFrames, cuts: list[int] | None = None, seed: int = 0) -> np.ndarray:
    state = STREAM.start(seed)
    edges = [0, *sorted(cuts or []), len(whole)]
    pieces = [STREAM.push(state, part(whole, *pair)) for pair in pairwise(edges)]
    return np.concatenate([*pieces, STREAM.finish(state)])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 70), st.integers(0, 1000), st.data())
def test_every_chunking_gives_the_same_sound(count: int, seed: int, data: st.DataObject) -> None:
    whole = lively(count, seed)
    cuts = data.draw(st.lists(st.integers(0, count), max_size=8))
    expected = sound(whole, seed=seed)
    assert expected.shape == (count * HOP,)
    np.testing.assert_allclose(sound(whole, cuts, seed), expected, rtol=0, atol=1e-6)


def test_frame_by_frame_equals_the_whole_and_is_late_by_little_more_than_a_frame() -> None:
    whole = lively(40, 1)
    state = STREAM.start()
    pieces, given_out = [], 0
    for at in range(len(whole)):
        pieces.append(STREAM.push(state, part(whole, at, at + 1)))
        given_out += len(pieces[-1])
        assert (at + 1) * HOP - given_out <= LATENCY_SAMPLES
    pieces.append(STREAM.finish(state))
    np.testing.assert_allclose(np.concatenate(pieces), sound(whole), rtol=0, atol=1e-6)


def test_a_decoders_array_is_as_good_as_frames() -> None:
    whole = lively(12, 2)
    state = STREAM.start()
    pieces = [STREAM.push(state, whole.to_array()), STREAM.finish(state)]
    np.testing.assert_allclose(np.concatenate(pieces), sound(whole), atol=1e-4)


def test_the_codec_equals_pyworlds() -> None:
    pyworld = pytest.importorskip("pyworld")
    whole = lively(30, 3)
    codec = WorldCodec.build()
    spectrum, coded = whole.spectrum.astype(float), whole.aperiodicity.astype(float)
    coded[:3] = -0.2  # the frames that count as noise only
    np.testing.assert_allclose(
        codec.power(spectrum), pyworld.decode_spectral_envelope(spectrum, RATE, FFT), rtol=1e-9
    )
    np.testing.assert_allclose(
        codec.aperiodicity(coded), pyworld.decode_aperiodicity(coded, RATE, FFT), rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("f0", [60.0, 97.3, 240.0, 800.0])
def test_pulses_lie_f0_apart_and_carry_the_envelopes_power(f0: float) -> None:
    made = sound(frames([f0] * 200))[4800:-4800]
    spectrum = np.abs(np.fft.rfft(made * np.hanning(len(made)))) ** 2
    harmonics = np.arange(1, int(8_000 / f0)) * f0 * len(made) / RATE
    near = np.add.outer(np.rint(harmonics).astype(int), np.arange(-4, 5))
    tones = spectrum[near].sum(1)
    # In 10 * log10: every harmonic is equally strong, and nothing of weight lies between them.
    assert np.ptp(10 * np.log10(tones)) < 1.0
    assert tones.sum() > 0.98 * spectrum[: near.max() + 1].sum()
    assert np.std(made) == pytest.approx(0.01, rel=0.08)
    assert abs(np.mean(made)) < 1e-4


def test_unvoiced_frames_are_noise_of_the_envelopes_power_that_the_seed_decides() -> None:
    quiet = frames([0.0] * 100)
    made = sound(quiet)
    assert np.std(made) == pytest.approx(0.01, rel=0.05)
    assert np.array_equal(made, sound(quiet))
    assert abs(np.corrcoef(made, sound(quiet, seed=1))[0, 1]) < 0.05


def test_periodic_sound_equals_pyworlds_but_for_a_delay() -> None:
    pyworld = pytest.importorskip("pyworld")
    whole = lively(60, 4)
    rich = WorldFrames(
        np.linspace(90, 180, 60, dtype=np.float32),
        np.repeat(whole.spectrum[:1], 60, 0),
        np.full((60, APERIODICITY), -60, np.float32),
    )
    spectrum, coded = rich.spectrum.astype(float), rich.aperiodicity.astype(float)
    theirs = pyworld.synthesize(
        rich.f0.astype(float),
        pyworld.decode_spectral_envelope(spectrum, RATE, FFT),
        pyworld.decode_aperiodicity(coded, RATE, FFT),
        RATE,
        10.0,
    )
    ours = sound(rich)[2400:-2400]
    # Pulse trains may begin anywhere within a period.
    likeness = [np.corrcoef(ours, theirs[at : at + len(ours)])[0, 1] for at in range(2100, 2700)]
    assert max(likeness) > 0.9
    assert np.std(ours) == pytest.approx(np.std(theirs), rel=0.1)


def test_voicing_ends_halfway_between_frames() -> None:
    whole = frames([0.0] * 20 + [200.0] * 20 + [0.0] * 20, aperiodicity=-60.0)
    made = np.abs(sound(whole))
    voiced = np.flatnonzero(made > 0.05)
    assert 19.5 * HOP <= voiced[0] <= 19.5 * HOP + 2
    assert 39.5 * HOP - RATE / 200 <= voiced[-1] <= 39.5 * HOP


@pytest.mark.parametrize(
    "f0", [[], [100.0], [0.0], [0.0, 300.0, 0.0], [60.0, 800.0] * 10, [5_000.0] * 3, [1.0] * 3]
)
def test_odd_streams_make_finite_sound(f0: list[float]) -> None:
    made = sound(frames(f0))
    assert made.shape == (len(f0) * HOP,)
    assert made.dtype == np.float32
    assert np.isfinite(made).all()


def test_loud_frames_are_limited() -> None:
    made = sound(frames([120.0, 0.0] * 20, level=50.0, aperiodicity=-3.0))
    assert np.abs(made).max() == 1.0


def test_a_long_stream_does_not_grow() -> None:
    state = STREAM.start()
    whole = lively(32, 5)
    sizes = []
    for _ in range(6):
        STREAM.push(state, whole)
        sizes.append(len(pickle.dumps(state)))
    assert max(sizes[1:]) - min(sizes[1:]) < 64


def test_bad_frames_and_finished_streams_are_refused() -> None:
    state = STREAM.start()
    with pytest.raises(ModelError, match="45 values"):
        STREAM.push(state, np.zeros((3, 44)))
    bad = frames([100.0])
    bad.spectrum[0, 3] = np.nan
    with pytest.raises(ModelError, match="finite"):
        STREAM.push(state, bad)
    with pytest.raises(ModelError, match="finite"):
        STREAM.push(state, np.full((2, 45), np.inf))
    STREAM.push(state, frames([100.0]))
    assert STREAM.finish(state).shape == (HOP,)
    assert STREAM.finish(state).shape == (0,)
    with pytest.raises(InputError, match="finished"):
        STREAM.push(state, frames([100.0]))
    with pytest.raises(InputError, match="negative"):
        STREAM.start(-1)
