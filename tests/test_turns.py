"""Turn detection on real-model scores, with speech made of recordings where the data is at hand."""

import numpy as np
import pytest

from stepaudio.audio import Audio
from stepaudio.dialogue.turns import (
    RATE,
    WINDOW,
    TurnConfig,
    TurnDetector,
    TurnEnded,
    TurnStarted,
    find_turns,
)


class Scripted(TurnDetector):
    """A detector whose model is a rule: loud is speech."""

    def probability(self, state, window):
        return float(np.abs(window).max() > 0.1)


def clip(*stretches: tuple[float, float]) -> Audio:
    """Loudness and seconds of each stretch."""
    return Audio(
        np.concatenate([np.full(round(s * RATE), level, np.float32) for level, s in stretches]), RATE
    )


def chunked(audio: Audio, size: int):
    for at in range(0, len(audio.samples), size):
        yield Audio(audio.samples[at : at + size], audio.sample_rate)


@pytest.mark.parametrize("size", [160, 512, 1000, 48_000])
def test_finds_both_turns_whatever_the_chunk_size(size):
    sound = clip((0, 1.0), (0.5, 1.5), (0, 1.5), (0.5, 0.8), (0, 1.2))
    found = list(find_turns(chunked(sound, size), Scripted()))
    assert [type(event) for event in found] == [TurnStarted, TurnEnded, TurnStarted, TurnEnded]
    assert abs(found[0].at - 1.0) < 2 * WINDOW / RATE
    assert abs(found[2].at - 4.0) < 2 * WINDOW / RATE
    config = TurnConfig()
    for event, spoken in ((found[1], 1.5), (found[3], 0.8)):
        assert abs(event.audio.seconds - (spoken + 2 * config.pad_s)) < 4 * WINDOW / RATE


def test_a_click_is_not_a_turn():
    assert list(find_turns([clip((0, 1), (0.9, 0.03), (0, 2))], Scripted())) == []


def test_a_pause_shorter_than_the_limit_does_not_split():
    found = list(find_turns([clip((0.5, 1), (0, 0.4), (0.5, 1), (0, 1))], Scripted()))
    assert [type(event) for event in found] == [TurnStarted, TurnEnded]


def test_an_open_turn_ends_with_the_stream_and_loses_nothing():
    found = list(find_turns([clip((0, 0.5), (0.5, 1.0))], Scripted()))
    assert isinstance(found[-1], TurnEnded)
    assert np.count_nonzero(found[-1].audio.samples) == RATE


def test_a_turn_never_grows_past_its_limit_and_memory_stays_bounded():
    detector = Scripted(TurnConfig(max_s=2.0))
    state = detector.start()
    ended = [e for e in detector.push(state, clip((0.5, 7.0))) if isinstance(e, TurnEnded)]
    assert len(ended) == 3
    assert all(event.audio.seconds <= 2.1 for event in ended)
    detector.push(state, clip((0, 30.0)))
    assert len(state.kept) < 40


def test_states_are_independent():
    detector = Scripted()
    one, two = detector.start(), detector.start()
    detector.push(one, clip((0.5, 1.0)))
    assert one.speaking
    assert not two.speaking


def test_silero_hears_a_recording_between_silences(shared):
    folder = shared / "data" / "speech" / "vctk_dev"
    spoken = Audio.read(sorted(folder.glob("*.opus"))[0]).resample(RATE)
    silence = np.zeros(2 * RATE, np.float32)
    sound = Audio(np.concatenate([silence, spoken.samples, silence]), RATE)
    found = list(find_turns(chunked(sound, 800), TurnDetector()))
    assert isinstance(found[0], TurnStarted)
    assert 1.8 < found[0].at < 3.5
    total = sum(event.audio.seconds for event in found if isinstance(event, TurnEnded))
    assert total > 0.6 * spoken.seconds


def test_silero_ignores_noise():
    noise = np.random.default_rng(0).normal(0, 0.02, 4 * RATE).astype(np.float32)
    assert list(find_turns([Audio(noise, RATE)], TurnDetector())) == []
