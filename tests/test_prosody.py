import numpy as np
import pytest

from stepaudio.audio import Audio
from stepaudio.effects import Bound
from stepaudio.errors import AudioError
from stepaudio.evaluation.metrics.prosody import (
    beat_strength,
    broken,
    changes,
    held_share,
    measure,
    melody_error,
    pitch_quantiles,
    track_pitch,
)

RATE = 16_000


def tone(f0: np.ndarray, level: float = 0.1, harmonics: int = 12) -> np.ndarray:
    """A voice of harmonics that fall by 6 dB an octave; f0 in Hz at 100 Hz, 0 for noise."""
    track = np.repeat(f0, RATE // 100)
    phase = 2 * np.pi * np.cumsum(track) / RATE
    sound = sum(np.sin(phase * number) / number for number in range(1, harmonics + 1))
    noise = np.random.default_rng(0).normal(size=len(track)) * 0.5
    return (level * np.where(track > 0, sound, noise)).astype(np.float32)


def test_pitch_range_and_voicing_are_measured() -> None:
    f0 = np.concatenate([120 * 2 ** (np.linspace(-4, 4, 200) / 12), np.zeros(100)])
    found = measure(Audio(tone(f0), RATE))
    assert found.pitch == pytest.approx(120, rel=0.03)
    assert found.range == pytest.approx(8 * 0.8, abs=0.6)
    assert found.voiced == pytest.approx(2 / 3, abs=0.06)
    assert found.seconds == pytest.approx(3.0, abs=0.06)


def test_the_range_is_the_inner_80_per_cent_of_the_voiced_pitch() -> None:
    # An octave evenly in semitones: 9.6 of the 12.
    track = 100 * 2 ** np.linspace(0, 1, 101)
    low, middle, high = pitch_quantiles(np.concatenate([np.zeros(50), track]))
    assert 12 * np.log2(high / low) == pytest.approx(9.6)
    assert middle == pytest.approx(100 * 2**0.5)
    assert np.isnan(pitch_quantiles(np.zeros(10))).all()


def test_the_level_leaves_pauses_out() -> None:
    sine = (0.1 * np.sin(2 * np.pi * 200 * np.arange(RATE) / RATE)).astype(np.float32)
    alone = measure(Audio(sine, RATE)).level
    assert alone == pytest.approx(20 * np.log10(0.1 / np.sqrt(2)), abs=0.2)
    paused = Audio(np.concatenate([sine, np.zeros(RATE, np.float32), sine]), RATE)
    assert measure(paused).level == pytest.approx(alone, abs=0.2)
    assert measure(Audio(sine * 2, RATE)).level - alone == pytest.approx(6.02, abs=0.01)


def test_brightness_is_the_share_above_1_khz() -> None:
    time = np.arange(RATE) / RATE
    low, high = np.sin(2 * np.pi * 200 * time), np.sin(2 * np.pi * 3000 * time)
    for part, decibels in ((1.0, -3.01), (1 / 3, -10.0)):
        sound = (0.1 * (low + part * high)).astype(np.float32)
        assert measure(Audio(sound, RATE)).brightness == pytest.approx(decibels, abs=0.05)


def test_noise_has_no_voice() -> None:
    assert measure(Audio(tone(np.zeros(200)), RATE)).voiced < 0.05


def test_changes_are_those_that_were_made() -> None:
    f0 = np.full(150, 130.0) * 2 ** (np.sin(np.arange(150) / 12) * 3 / 12)
    plain = Audio(tone(f0), RATE)
    styled = Audio(tone(np.repeat(f0, 2) * 2 ** (3 / 12), 0.05), RATE)
    found = changes(measure(plain), measure(styled))
    assert found["rate"] == pytest.approx(0.5, abs=0.02)
    assert found["pitch"] == pytest.approx(3, abs=0.3)
    assert found["level"] == pytest.approx(-6, abs=0.3)
    assert found["range"] == pytest.approx(1, abs=0.1)
    assert not broken([Bound("pitch", low=2)], found)
    assert broken([Bound("pitch", high=-1), Bound("rate", high=0.8)], found) == [
        f"pitch {found['pitch']:.3g}, wanted -inf to -1"
    ]


def test_more_treble_is_brighter() -> None:
    f0 = np.full(100, 130.0)
    dull, bright = Audio(tone(f0, harmonics=5), RATE), Audio(tone(f0, harmonics=30), RATE)
    assert changes(measure(dull), measure(bright))["brightness"] > 3


def test_what_was_not_measured_breaks_its_bound() -> None:
    plain = measure(Audio(tone(np.full(100, 130.0)), RATE))
    assert broken([Bound("beat", low=0.1)], changes(plain, plain))


def test_a_whisper_has_no_pitch_and_breaks_bounds_of_pitch() -> None:
    plain, whisper = (
        measure(Audio(tone(np.full(100, 130.0)), RATE)),
        measure(Audio(tone(np.zeros(100)), RATE)),
    )
    found = changes(plain, whisper)
    assert np.isnan([found["pitch"], found["range"], changes(whisper, plain)["pitch"]]).all()
    assert (
        len(broken([Bound("pitch", low=-99), Bound("range", high=99), Bound("voiced", high=0.15)], found))
        == 2
    )


def test_sounds_that_begin_on_a_grid_have_its_beat() -> None:
    burst = np.hanning(RATE // 5)[RATE // 10 :] * np.sin(2 * np.pi * 500 * np.arange(RATE // 10) / RATE)
    sound = np.zeros(3 * RATE, np.float32)
    for at in np.arange(0.2, 2.8, 0.3):
        sound[round(at * RATE) : round(at * RATE) + len(burst)] += 0.3 * burst
    assert measure(Audio(sound, RATE), slot=0.3).beat > 0.8  # a rise takes a few frames
    assert measure(Audio(sound, RATE), slot=0.23).beat < 0.4


def test_onsets_on_a_grid_are_a_beat() -> None:
    strength = np.zeros(600)
    strength[7::15] = 1.0
    assert beat_strength(strength, 0.15) == pytest.approx(1.0, abs=1e-6)
    assert beat_strength(strength, 0.17) < 0.2
    random = np.random.default_rng(1).random(600)
    assert beat_strength(random, 0.15) < 0.2
    assert beat_strength(np.zeros(10), 0.15) == 0.0


def test_notes_are_held_and_speech_is_not() -> None:
    vibrato = 200 * 2 ** (0.3 * np.sin(np.arange(100) / 100 * 2 * np.pi * 5.5) / 12)
    assert held_share(vibrato) > 0.95
    assert held_share(200 * 2 ** (np.linspace(0, 8, 100) / 12)) == 0.0
    assert held_share(np.zeros(50)) == 0.0


def test_a_melody_is_compared_note_by_note() -> None:
    f0 = np.repeat([220.0, 0.0, 294.0, 392.0, 392.0], [40, 10, 20, 30, 30])
    assert melody_error(f0, [220, 294, 392, 392]) == pytest.approx(0, abs=1e-9)
    assert melody_error(f0 * 2 ** (1 / 12), [220, 294, 392]) == pytest.approx(1.0)
    assert melody_error(f0, [392, 294, 220]) > 3
    assert np.isnan(melody_error(np.zeros(20), [220]))


def test_tracked_pitch_of_a_tone_is_the_tone() -> None:
    f0 = track_pitch(Audio(tone(np.full(100, 180.0)), RATE))
    assert np.median(f0[f0 > 0]) == pytest.approx(180, rel=0.01)


@pytest.mark.parametrize("samples", [np.zeros(RATE, np.float32), np.ones(100, np.float32)])
def test_nothing_has_no_prosody(samples: np.ndarray) -> None:
    with pytest.raises(AudioError, match="no prosody"):
        measure(Audio(samples, RATE))
