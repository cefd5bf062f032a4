"""Phonemes in time: the teacher's own, those of known words, and recordings that the teacher made before."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stepaudio.decoder.world import WIDTH
from stepaudio.training.align import Said, align_tokens, find_offset, tokens_of_frames
from stepaudio.training.recorded import pitch_from
from stepaudio.training.spelling import spell

SILENT = np.array([True, True, False, False, False, False])
"""0 and 1 are pauses, 2 to 4 sounds, 5 a mark of stress."""
MARKS = np.array([False] * 5 + [True])


def scores(heard: list[int], sure: float = 0.9) -> np.ndarray:
    """Log-probabilities of a classifier that hears these tokens, a frame each."""
    shares = np.full((len(heard), len(SILENT)), (1 - sure) / (len(SILENT) - 1))
    shares[np.arange(len(heard)), heard] = sure
    return np.log(shares)


def align(heard: list[int], said: list[int]) -> list[int]:
    return align_tokens(scores(heard), np.array(said), SILENT, MARKS).tolist()


def test_the_offset_of_a_cut_clip_is_found() -> None:
    random = np.random.default_rng(0)
    durations = random.integers(2, 8, 20)
    pitch = 120 + np.cumsum(random.normal(size=2 * int(durations.sum()))).astype(np.float32) * 3
    said = Said(durations, np.maximum(pitch, 60))
    frames = int(durations.sum()) * 100 // 40
    world = np.zeros((frames - 50, WIDTH), np.float32)
    at = (np.arange(len(world)) + 23) * 80 // 100
    world[:, 0], world[:, 1] = np.log(said.pitch[at]), 1
    offset, error = find_offset(said, world)
    assert abs(offset - 23) <= 1
    assert error < 0.02
    tokens = tokens_of_frames(durations, 0, frames)
    assert tokens[0] == 0
    assert tokens[-1] == 19
    np.testing.assert_allclose(np.bincount(tokens), durations * 2.5, atol=1)


def test_pitch_begins_where_the_clip_does() -> None:
    said = Said(np.array([5, 5]), np.arange(20, dtype=np.float32))
    assert pitch_from(said, 10).tolist() == list(range(8, 20))
    assert pitch_from(said, -5).tolist() == [0.0] * 4 + list(range(20))


def test_what_is_heard_is_kept_where_it_is_what_is_said() -> None:
    heard = [0, 2, 2, 3, 3, 3, 4, 0]
    assert align(heard, [0, 2, 3, 4, 0]) == heard


def test_words_that_are_known_overrule_a_slip_of_the_ear() -> None:
    assert align([0, 2, 2, 4, 3, 3, 0], [0, 2, 3, 0]) == [0, 2, 2, 3, 3, 3, 0] or (
        align([0, 2, 2, 4, 3, 3, 0], [0, 2, 3, 0]) == [0, 2, 2, 2, 3, 3, 0]
    )


def test_pauses_and_marks_may_take_no_time_and_a_pause_is_the_one_heard() -> None:
    assert align([2, 2, 3, 3], [0, 5, 2, 1, 0, 5, 3, 0]) == [2, 2, 3, 3]
    assert align([2, 0, 0, 3], [0, 2, 1, 5, 3, 0]) == [2, 0, 0, 3]
    assert align([2, 5, 3, 1], [0, 2, 1, 5, 3, 0]) == [2, 5, 3, 1]


def test_frames_too_few_for_what_must_be_said_have_no_alignment() -> None:
    assert align([2, 3], [2, 3, 4]) == []
    assert align([2, 3, 4], [2, 3, 4]) == [2, 3, 4]


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=12),
    st.lists(st.integers(0, 5), min_size=1, max_size=8),
)
@settings(max_examples=150)
def test_an_alignment_is_a_way_through_what_is_said(heard: list[int], said: list[int]) -> None:
    """Every sound has its time, in order; only pauses and marks are left out."""
    path = align(heard, said)
    sounds = [token for token in said if token in (2, 3, 4)]
    if len(heard) < len(sounds):
        assert path == []
        return
    if not path:  # as many frames as there are sounds are enough, unless only what takes no time is said
        assert not sounds or any(token not in (2, 3, 4) for token in said)
        return
    assert len(path) == len(heard)
    spoken = [token for before, token in zip([None, *path], path, strict=False) if token != before]
    spoken = [token for token in spoken if token in (2, 3, 4)]
    merged = [token for before, token in zip([None, *sounds], sounds, strict=False) if token != before]
    assert [t for b, t in zip([None, *spoken], spoken, strict=False) if t != b] == merged


def test_takes_are_spelled_of_their_text_or_by_ear() -> None:
    takes = [{"key": "a", "text": "Yes"}, {"key": "b", "text": ""}]
    vocab = {"j": 7, "ɛ": 8, "s": 9, "n": 10, "O": 11}
    first, second = spell(takes, vocab, {"b": "No"}.__getitem__, "en-us")
    assert first["ids"] == [7, 8, 9]
    assert (second["text"], second["ids"]) == ("No", [10, 11])


def test_recordings_of_known_words_are_labelled_with_their_phonemes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stepaudio.training import phonemes
    from stepaudio.training.clips import UNKNOWN, Clip

    silent = np.zeros(phonemes.PHONEMES, bool)
    silent[0] = True
    monkeypatch.setattr(phonemes, "read_signs", lambda: (silent, np.zeros_like(silent)))
    model = phonemes.PhonemeClassifier(features=8)
    with torch.no_grad():
        model.out.weight.zero_()
        model.out.bias.zero_()
        model.out.bias[[5, 6]] = 9.0  # either of the two, and no telling which
    (tmp_path / "runs" / "p").mkdir(parents=True)
    torch.save(model.state_dict(), tmp_path / "runs" / "p" / "best.pt")
    frames = np.random.default_rng(0).normal(size=(12, 8)).astype(np.float16)
    world, unknown = np.zeros((24, WIDTH), np.float32), np.full(24, UNKNOWN, np.int16)
    guessed = Clip("a/0", frames, world, np.zeros(256), unknown)
    told = Clip("a/1", frames, world, np.zeros(256), unknown, said=np.array([6, 5]))
    first, second = phonemes.label(tmp_path, "p", [guessed, told], features=8)
    assert set(first.phonemes) == {UNKNOWN}
    assert second.phonemes[0] == 6
    assert second.phonemes[-1] == 5
    assert (np.diff(second.phonemes) <= 0).all()
