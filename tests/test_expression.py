import math

import numpy as np
import pytest
from fake_speech import Spoken, spoken
from hypothesis import given, settings
from hypothesis import strategies as st
from sizes import long

from stepaudio.decoder import expression, stretch
from stepaudio.decoder.envelope import (
    DB,
    basis,
    encode_log,
    formant_shift,
    frame_level,
    frequencies,
    speech_level,
    tilt,
)
from stepaudio.decoder.expression import PLAIN_LEVEL, Speaker
from stepaudio.decoder.world import F0_CEIL, F0_FLOOR, WorldFrames, shift_formants, synthesise
from stepaudio.effects import Effect, Tag
from stepaudio.errors import ModelError
from stepaudio.evaluation.metrics import prosody
from stepaudio.speech import rhythm
from stepaudio.style_tags import TAGS
from stepaudio.styles import parse_style

EFFECTIVE = [tag for tag in TAGS if tag.bounds]


def render(said: Spoken, style: str, chunk: int | None = None, level: bool = True) -> np.ndarray:
    """Say a sentence in a style: durations, then frames; in chunks of so many frames."""
    asked = parse_style(style)
    score = rhythm.arrange(asked, said.symbols, said.durations, centre_log_f0=said.centre)
    speaker = Speaker(said.centre, speech_level(said.frames) if level else None)
    timing = stretch.start(said.durations, score.durations)
    state = expression.start(asked.effect, speaker, score)
    size = chunk or len(said.frames)
    parts = [stretch.push(timing, said.frames[at : at + size]) for at in range(0, len(said.frames), size)]
    parts.append(stretch.finish(timing))
    return np.concatenate([expression.push(state, frames, phonemes) for frames, phonemes in parts])


def sound_of(frames: np.ndarray) -> prosody.Prosody:
    return prosody.measure(synthesise(WorldFrames.from_array(frames)), slot=rhythm.rap_slot(rhythm.RAP_TEMPO))


@pytest.mark.parametrize("tag", EFFECTIVE, ids=lambda tag: tag.name)
def test_every_tag_has_the_effect_that_it_states(tag: Tag) -> None:
    said = spoken(140.0, level=-20.0)
    plain = sound_of(render(said, ""))
    styled = sound_of(render(said, tag.name))
    assert not prosody.broken(tag.bounds, prosody.changes(plain, styled))


@pytest.mark.slow
@pytest.mark.parametrize("tag", EFFECTIVE, ids=lambda tag: tag.name)
@pytest.mark.parametrize("hertz", long(85.0, 115.0, 190.0, 240.0))
def test_every_tag_has_its_effect_on_any_voice(tag: Tag, hertz: float) -> None:
    said = spoken(hertz, level=-17.0, seed=int(hertz))
    plain = sound_of(render(said, ""))
    assert not prosody.broken(tag.bounds, prosody.changes(plain, sound_of(render(said, tag.name))))


@pytest.mark.parametrize(
    "style", ["", "happy", "whisper", "afraid", "singing", "humming, slow", "rap", "deep"]
)
@pytest.mark.parametrize("chunk", [1, 7, 48])
def test_a_stream_of_frames_equals_the_whole(style: str, chunk: int) -> None:
    said = spoken(120.0)
    np.testing.assert_array_equal(render(said, style, chunk), render(said, style))


def test_a_neutral_style_leaves_the_frames_alone() -> None:
    said = spoken(120.0)
    state = expression.start(Effect(), Speaker(said.centre))
    assert expression.push(state, said.frames) is said.frames


@given(st.floats(-20, 6))
@settings(max_examples=10, deadline=None)
def test_a_gain_is_exact_in_the_sound(gain: float) -> None:
    said = spoken(150.0, level=-40.0)
    state = expression.start(Effect(level=gain), Speaker(said.centre))
    loud = synthesise(WorldFrames.from_array(expression.push(state, said.frames)))
    quiet = synthesise(WorldFrames.from_array(said.frames))
    assert loud.rms_db - quiet.rms_db == pytest.approx(gain, abs=0.2)


def test_the_level_of_a_frame_is_that_of_the_sound() -> None:
    frame = spoken(150.0).frames[3]
    frame[2:42] = encode_log(-40.0 - frequencies() / 1000)
    sound = synthesise(WorldFrames.from_array(np.repeat(frame[None], 100, 0)))
    middle = sound.samples[4800:19200].astype(float)
    assert 10 * np.log10(np.mean(middle**2)) == pytest.approx(frame_level(frame[2:42].astype(float)), abs=0.7)


def test_voices_of_any_level_are_said_at_one_level() -> None:
    for level in (-35.0, -25.0, -15.0):
        frames = render(spoken(120.0, level=level), "")
        assert speech_level(frames) == pytest.approx(PLAIN_LEVEL, abs=1.0)


def test_loud_frames_are_bounded() -> None:
    said = spoken(120.0, level=-12.0)
    frames = render(said, "very angry, energy=10", level=False)
    assert max(frame_level(row[2:42].astype(float)) for row in frames) <= -8.9


@given(st.floats(-12, 12), st.floats(0, 3), st.floats(60, 400))
@settings(max_examples=25, deadline=None)
def test_pitch_stays_where_world_can_make_it(pitch: float, factor: float, hertz: float) -> None:
    said = spoken(hertz)
    # What WORLD analysed lies within its range, which edits must not leave; the made speech swings beyond.
    frames = said.frames.copy()
    frames[:, 0] = frames[:, 0].clip(math.log(F0_FLOOR), math.log(F0_CEIL))
    state = expression.start(Effect(pitch=pitch, range=factor), Speaker(said.centre))
    log_f0 = expression.push(state, frames)[:, 0]
    assert np.isfinite(log_f0).all()
    assert math.log(F0_FLOOR) - 1e-5 <= log_f0.min() <= log_f0.max() <= math.log(F0_CEIL) + 1e-5


def test_pitch_and_range_are_exact_about_the_centre() -> None:
    said = spoken(150.0)
    state = expression.start(Effect(pitch=2.0, range=0.5), Speaker(said.centre))
    made = expression.push(state, said.frames)[:, 0]
    wanted = said.centre + (said.frames[:, 0] - said.centre) * 0.5 + 2 * math.log(2) / 12
    np.testing.assert_allclose(made, wanted, atol=1e-5)


def test_a_whisper_has_no_voice_and_a_hum_nothing_else() -> None:
    said = spoken(150.0)
    assert not render(said, "whisper")[:, 1].any()
    hummed = render(said, "humming")
    assert hummed[:, 1].mean() > 0.75
    # Words are gone: only the level of the murmur moves.
    voiced = hummed[hummed[:, 1] > 0.5]
    assert np.ptp(voiced[:, 3:42], axis=0).max() < 1e-5


@pytest.mark.parametrize("hertz", [90.0, 130.0, 210.0])
def test_a_song_follows_its_notes_in_the_octave_of_the_voice(hertz: float) -> None:
    said = spoken(hertz)
    style = "singing, melody=C4 D4 E4 G4:2"
    f0 = prosody.track_pitch(synthesise(WorldFrames.from_array(render(said, style))))
    score = rhythm.sing(
        said.symbols, said.durations, centre_log_f0=said.centre, melody=parse_style(style).melody
    )
    notes = [score.pitch[score.syllable == number].max() for number in range(score.syllable.max() + 1)]
    assert prosody.melody_error(f0, notes) < 0.6
    assert abs(12 * math.log2(np.median(f0[f0 > 0]) / hertz)) < 8
    names = {round(12 * math.log2(note / 261.626)) % 12 for note in notes}
    assert names == {0, 2, 4, 7}


def test_a_song_without_notes_is_an_error() -> None:
    with pytest.raises(ModelError, match="notes"):
        expression.start(Effect(delivery="singing"), Speaker(5.0))
    said = spoken(120.0)
    score = rhythm.sing(said.symbols, said.durations, centre_log_f0=said.centre)
    state = expression.start(Effect(delivery="singing"), Speaker(5.0), score)
    with pytest.raises(ModelError, match="phoneme of every frame"):
        expression.push(state, said.frames)
    with pytest.raises(ModelError, match="not among"):
        expression.push(state, said.frames, said.index - 1)
    with pytest.raises(ModelError, match="45 values"):
        expression.push(state, said.frames[:, :44])


def test_coding_is_linear_in_the_logarithm() -> None:
    assert basis()[0] == pytest.approx(1.0)
    slope = tilt(3.0) @ basis() / DB
    hertz = frequencies()
    at = [int(np.argmin(np.abs(hertz - wanted))) for wanted in (500, 1000, 2000, 4000)]
    assert slope[at] == pytest.approx([-3, 0, 3, 6], abs=0.7)
    np.testing.assert_allclose(encode_log(np.full(513, 10.0))[:2], [10 * DB, 0.0], atol=1e-9)
    frames = WorldFrames.from_array(spoken(120.0).frames)
    wanted = shift_formants(frames, 1.1).spectrum
    np.testing.assert_allclose(frames.spectrum @ formant_shift(1.1), wanted, atol=1e-3)


@given(st.lists(st.floats(0.02, 0.3), min_size=1, max_size=12), st.floats(0.4, 3.0), st.integers(1, 20))
@settings(max_examples=30, deadline=None)
def test_stretched_frames_have_the_length_asked_for(lengths: list[float], factor: float, chunk: int) -> None:
    old = np.rint(np.array(lengths) * 100) / 100
    frames = np.zeros((round(old.sum() * 100), 45), np.float32)
    frames[:, 0] = np.linspace(4, 6, len(frames))
    state = stretch.start(old, old * factor)
    parts = [stretch.push(state, frames[at : at + chunk])[0] for at in range(0, len(frames), chunk)]
    made = np.concatenate([*parts, stretch.finish(state)[0]])
    assert len(made) == round((old * factor).sum() * 100)
    assert (np.diff(made[:, 0]) >= -1e-6).all()


def test_a_held_phoneme_keeps_its_edges() -> None:
    frames = np.zeros((20, 45), np.float32)
    frames[:, 0] = np.arange(20)
    state = stretch.start([0.2], [0.6])
    made = np.concatenate([stretch.push(state, frames)[0], stretch.finish(state)[0]])[:, 0]
    np.testing.assert_allclose(made[:3], [0, 1, 2], atol=1e-4)
    np.testing.assert_allclose(made[-3:], [17, 18, 19], atol=1e-4)
