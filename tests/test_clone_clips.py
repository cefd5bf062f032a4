"""What a clip must be before it becomes a voice, on made sounds."""

import json

import clips
import numpy as np
import pytest
import torch
from sizes import size

from stepaudio.audio import Audio
from stepaudio.cloning.clip import best_stretch, bridged, check_clip, clipped_share
from stepaudio.cloning.people import halves_alike
from stepaudio.decoder.ge2e import CARD, SpeakerEncoder
from stepaudio.errors import AudioError, ModelError


@pytest.fixture(scope="module")
def anyone() -> SpeakerEncoder:
    """An encoder that has learned nothing: to it, all people are alike."""
    torch.manual_seed(0)
    return SpeakerEncoder().eval()


@pytest.fixture(scope="module")
def encoder() -> SpeakerEncoder:
    from stepaudio import hub

    try:
        return SpeakerEncoder.load(hub.folder(CARD))
    except ModelError:
        pytest.skip(f"the model {CARD} is not pulled")


def test_clean_speech_passes_untouched(anyone: SpeakerEncoder) -> None:
    clip = clips.speech(*clips.ADA)
    checked = check_clip(clip, anyone)
    assert checked.audio is clip
    assert checked.warnings == ()
    assert 4.0 < checked.speech_s <= clip.seconds


@pytest.mark.parametrize(
    ("clip", "reason"),
    [
        (Audio(np.zeros(0, np.float32), 16_000), "silent"),
        (Audio(np.zeros(64_000, np.float32), 16_000), "silent"),
        (Audio((1e-5 * clips.noise(4)).astype(np.float32), 16_000), "silent"),
        (clips.scaled(np.sin(2 * np.pi * 220 * np.arange(80_000) / 16_000)), "music or noise"),
        (clips.scaled(clips.chords()), "music or noise"),
        (clips.scaled(clips.noise()), "music or noise"),
        (Audio(clips.speech(1).samples[:20_000], 16_000), "only 1.* s of speech"),
    ],
    ids=["empty", "zeros", "hiss", "tone", "chords", "noise", "short"],
)
def test_what_cannot_be_a_voice_is_refused(anyone: SpeakerEncoder, clip: Audio, reason: str) -> None:
    with pytest.raises(AudioError, match=reason):
        check_clip(clip, anyone)


def test_what_is_not_good_is_warned_about(anyone: SpeakerEncoder) -> None:
    good = clips.speech(*clips.ADA)
    loud = Audio(np.clip(good.samples * 20, -1, 1), good.sample_rate)
    cases = {
        "noisy": clips.over(good, clips.noise(), 8),
        "overdriven": loud,
        "only 2": clips.speech(1),
    }
    for word, clip in cases.items():
        assert any(word in warning for warning in check_clip(clip, anyone).warnings), word


def test_a_long_clip_is_cut_to_its_best_stretch(anyone: SpeakerEncoder) -> None:
    pause = np.zeros(10 * clips.RATE, np.float32)
    talk = clips.speech(*clips.ADA).samples
    clip = Audio(np.concatenate([pause, talk, talk, talk]), clips.RATE)
    checked = check_clip(clip, anyone)
    assert checked.audio.seconds == pytest.approx(15, abs=0.05)
    assert checked.speech_s > 12
    assert any("longer than 15 s" in warning for warning in checked.warnings)
    assert check_clip(clip, anyone, cut=False).audio is clip


def test_rate_does_not_matter(anyone: SpeakerEncoder) -> None:
    clip = clips.speech(*clips.ADA).resample(44_100)
    checked = check_clip(clip, anyone)
    assert checked.audio.sample_rate == 44_100
    assert checked.warnings == ()


def test_flat_tops_count_and_clean_waves_do_not() -> None:
    wave = 0.5 * np.sin(2 * np.pi * 150 * np.arange(48_000) / 16_000).astype(np.float32)
    speech = clips.speech(1).samples
    assert clipped_share(speech) < 1e-3
    assert clipped_share(np.clip(speech * 10, -0.9, 0.9)) > 1e-3
    assert clipped_share(np.clip(wave, -0.3, 0.3)) > 0.3
    assert clipped_share(np.zeros(100, np.float32)) == 0.0


def test_pauses_between_words_are_speech_and_long_ones_are_not() -> None:
    speech = np.array([1, 0, 0, 1] + [0] * 20 + [1], bool)
    assert bridged(speech).tolist() == [True] * 4 + [False] * 20 + [True]
    assert not bridged(np.zeros(5, bool)).any()


def test_the_best_stretch_has_the_most_speech() -> None:
    speech = np.array([0, 1, 0, 0, 1, 1, 1, 0], bool)
    assert best_stretch(speech, 3) == (4, 7)
    assert best_stretch(speech, 99) == (0, 8)


def _around(center: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    rows = center + 0.02 * rng.standard_normal((count, center.size))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_two_groups_of_windows_are_told_apart_in_any_order() -> None:
    rng = np.random.default_rng(0)
    one, other = np.eye(64, dtype=np.float32)[:2]
    together = np.concatenate([_around(one, 10, rng), _around(other, 10, rng)])
    assert halves_alike(together) < 0.3
    assert halves_alike(together[rng.permutation(20)]) < 0.3
    assert halves_alike(_around(one, 20, rng)) > 0.9
    assert (
        halves_alike(np.concatenate([_around(one, 20, rng), _around(other, 1, rng)])) == 1.0
    )  # one odd word
    assert halves_alike(together[:5]) == 1.0  # too few to tell


@pytest.mark.slow
def test_two_people_are_found_and_one_is_not(encoder: SpeakerEncoder) -> None:
    assert check_clip(clips.speech(*clips.ADA), encoder).warnings == ()
    with pytest.raises(AudioError, match="two people"):
        check_clip(clips.speech(*clips.ADA, *clips.BEN), encoder)
    # In short turns most windows hold something of both.
    assert any("two people" in warning for warning in check_clip(clips.speech(1, 2, 5, 6), encoder).warnings)


@pytest.mark.slow
def test_real_recordings_of_one_person_pass(encoder: SpeakerEncoder, shared) -> None:
    refused = []
    for name in ("vctk_dev", "librispeech_251_speakers"):
        folder = shared / "data" / "speech" / name
        rows = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
        for row in [row for row in rows if row["dur"] >= 4][:: size(60, 12)]:
            try:
                warnings = check_clip(Audio.read(folder / row["audio"]), encoder).warnings
            except AudioError as error:
                warnings = (str(error),)
            refused += [(row["audio"], text) for text in warnings if "music" in text or "two people" in text]
    assert refused == []
