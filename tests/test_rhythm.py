import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepaudio.errors import InputError
from stepaudio.speech.melody import Note, invent, parse_melody, transpose
from stepaudio.speech.rhythm import find_syllables, rap, rap_slot, sing, spoken, to_ticks

ALPHABET = [*"bdfɡhjklmnpstvwzðŋɹʃθʒʤʧaeiouæɑɔəɛɜɪʊʌᵻAIOWY", "ˈ", "ˌ", "ː", " ", ",", ".", "?", ""]
strings = st.lists(st.sampled_from(ALPHABET), min_size=1, max_size=60)


def durations_of(symbols: list[str]) -> np.ndarray:
    return np.random.default_rng(len(symbols)).uniform(0.025, 0.125, len(symbols))


def test_syllables_are_found() -> None:
    found = find_syllables("sˈɪŋɪŋ, ðə sˈɔːŋ.")
    assert len(found) == 4
    assert found.stressed.tolist() == [True, False, False, True]
    text = "sˈɪŋɪŋ, ðə sˈɔːŋ."
    groups = ["".join(text[at] for at in np.flatnonzero(found.of == number)) for number in range(4)]
    # Inside a word a consonant starts the next syllable; a word's end belongs to the word.
    assert groups == ["sˈɪ", "ŋɪŋ", "ðə", " sˈɔːŋ"]
    assert [text[at] for at in np.flatnonzero(found.of == -1)] == [",", " ", "."]
    assert found.pause_after.tolist() == [-1, 6, -1, 16]


@given(strings, st.floats(60, 200))
@settings(deadline=None, max_examples=40)
def test_a_rap_puts_every_vowel_on_the_grid(symbols: list[str], tempo: float) -> None:
    durations = durations_of(symbols)
    made, found = rap(symbols, durations, tempo=tempo), find_syllables(symbols)
    assert made.durations.min() >= 0
    assert not made.pitch.any()
    begins = (np.cumsum(made.durations) - made.durations)[found.start]
    slots = (begins - begins[:1]) / rap_slot(tempo)
    np.testing.assert_allclose(slots, np.rint(slots), atol=1e-6)
    assert not (np.rint(slots[found.stressed]) % 2).any()  # stressed syllables on every second place


@given(strings, st.sampled_from([(), parse_melody("C4 E4 G4:2")]))
@settings(deadline=None, max_examples=40)
def test_a_song_keeps_consonants_and_holds_vowels(symbols: list[str], melody: tuple[Note, ...]) -> None:
    durations = durations_of(symbols)
    made = sing(symbols, durations, centre_log_f0=math.log(150), melody=melody)
    found = find_syllables(symbols)
    assert np.isfinite(made.durations).all()
    free = np.ones(len(symbols), bool)
    for start, stop in zip(found.start, found.stop, strict=True):
        free[start:stop] = False
    assert (made.durations[free] <= durations[free] + 1e-9).all()
    assert (made.durations[free] >= 0.69 * durations[free]).all()
    assert (made.pitch[found.of >= 0] > 0).all()
    assert not made.pitch[found.of < 0].any()
    for number in range(len(found)):
        assert len(set(made.pitch[found.of == number])) == 1


def test_notes_last_their_beats() -> None:
    symbols, durations = list("lalala."), [0.06, 0.09] * 3 + [0.2]
    made = sing(symbols, durations, centre_log_f0=math.log(260), melody=parse_melody("C4 D4:2 E4"), tempo=120)
    begins = np.cumsum(made.durations) - made.durations
    assert np.diff(begins[[1, 3, 5]]) == pytest.approx([0.5, 1.0])
    assert made.pitch[[1, 3, 5]] == pytest.approx([261.63, 293.66, 329.63], abs=0.01)


def test_rap_is_about_as_fast_as_speech() -> None:
    symbols = list("ðɪs ɪz ə sˈɛntəns wɪð mˈɛni sˈɪləbəlz ɪn ɪt.")
    durations = np.full(len(symbols), 0.07)
    assert 0.7 < rap(symbols, durations).durations.sum() / durations.sum() < 1.5


def test_bad_durations_are_refused() -> None:
    with pytest.raises(InputError, match="fit together"):
        rap("la", [0.1])
    with pytest.raises(InputError, match="finite"):
        spoken("la", [0.1, float("nan")])


@given(st.lists(st.floats(0, 0.4), max_size=40))
@settings(deadline=None, max_examples=40)
def test_ticks_do_not_drift(durations: list[float]) -> None:
    ticks = to_ticks(durations)
    assert (ticks >= 0).all()
    np.testing.assert_allclose(np.cumsum(ticks) * 0.025, np.cumsum(durations), atol=0.0126)


def test_melodies_are_read_and_written() -> None:
    notes = parse_melody("c4 F#3:2 B♭4:0.5")
    assert [round(note.hz, 1) for note in notes] == [261.6, 185.0, 466.2]
    assert " ".join(map(str, notes)) == "C4 F#3:2 Bb4:0.5"
    assert parse_melody(" ".join(map(str, notes))) == notes


@pytest.mark.parametrize("text", ["", "H4", "C9", "C4:0", "C4:99", "4C", "C4-D4", "C4 " * 501])
def test_a_bad_melody_says_why(text: str) -> None:
    with pytest.raises(InputError, match="melody"):
        parse_melody(text)


@given(st.floats(4.2, 6.0))
@settings(deadline=None, max_examples=40)
def test_a_melody_comes_to_the_voice(centre: float) -> None:
    notes = transpose(parse_melody("C2 E2 G2"), centre)
    assert abs(np.mean([math.log(note.hz) for note in notes]) - centre) <= math.log(2) / 2 + 1e-9
    made = invent(9, [4], [True, False] * 4 + [True], centre)
    assert len(made) == 9
    assert all(abs(math.log(note.hz) - centre) < 0.55 for note in made)
    assert made[4].beats == made[8].beats == 2.0
