"""Variants of recordings that are made to train on."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from stepaudio.audio import Audio
from stepaudio.decoder.world import WIDTH, analyse
from stepaudio.training.clips import held_out, load_shards
from stepaudio.training.variants import KINDS, SPEEDS, Kind, at_speed, vary_shard

SECONDS = 2.0
GROUPS = 16


class CountingEncoder:
    """Features that tell how long the sound was."""

    def clip(self, samples: np.ndarray) -> np.ndarray:
        return np.full((-(-len(samples) // 320), 8), len(samples) / 100, np.float32)


def hum(hertz: float) -> Audio:
    """Harmonics in an envelope with a formant at 1 kHz."""
    times = np.arange(round(SECONDS * 24_000)) / 24_000
    orders = np.arange(1, int(6000 / hertz))
    gains = np.exp(-(((orders * hertz - 1000) / 400) ** 2)) + 0.01
    sound = (gains[:, None] * np.sin(2 * np.pi * hertz * orders[:, None] * times)).sum(0)
    return Audio((0.3 * sound / np.abs(sound).max()).astype(np.float32), 24_000)


def prepare(folder: Path, count: int) -> Path:
    random = np.random.default_rng(0)
    tensors: dict[str, np.ndarray] = {}
    for index in range(count):
        hum(120 + 5 * index).save(folder / f"clip{index}.wav")
        tensors[f"clip{index}.whisper"] = np.zeros((6 * GROUPS, 8), np.float16)
        tensors[f"clip{index}.world"] = random.normal(size=(12 * GROUPS, WIDTH)).astype(np.float32)
        tensors[f"clip{index}.speaker"] = np.full(256, 1 / 16, np.float32)
    save_file(tensors, folder / "set-000.st")
    return folder / "set-000.st"


@pytest.mark.parametrize("kind", KINDS)
def test_variants_have_features_of_other_sound_and_frames_that_fit(kind: Kind, tmp_path: Path) -> None:
    source = prepare(tmp_path, 40)
    kept = {clip.name.split("/")[1] for clip in load_shards(tmp_path, ["set-000"]) if held_out(clip)}
    made = vary_shard(source, tmp_path, kind, CountingEncoder())
    assert kept
    assert {name.split(".")[0] for name in made} == {f"clip{index}" for index in range(40)} - kept
    key = next(iter(made)).split(".")[0]
    groups = len(made[f"{key}.world"]) // 12
    assert made[f"{key}.whisper"].shape == (6 * groups, 8)
    # What was not prepared of a recording is in no variant either.
    seconds = GROUPS * 0.12 / SPEEDS.get(kind, 1.0)
    assert made[f"{key}.whisper"][0, 0] == pytest.approx(seconds * 160, rel=0.01)
    assert groups == pytest.approx(seconds / 0.12, abs=1)
    assert made[f"{key}.speaker"].any() == (kind == "noisy")
    save_file(made, tmp_path / f"set.{kind}-000.st")
    assert not any(held_out(clip) for clip in load_shards(tmp_path, [f"set.{kind}-000"]))


@pytest.mark.parametrize("ratio", SPEEDS.values())
def test_frames_at_a_speed_are_those_of_the_resampled_sound(ratio: float) -> None:
    sound = hum(130)
    own = analyse(sound, method="harvest").to_array()
    read = at_speed(own, ratio)
    true = analyse(Audio(sound.samples, round(24_000 * ratio)), method="harvest").to_array()
    assert len(read) == pytest.approx(len(true), abs=2)
    inside = slice(20, min(len(read), len(true)) - 20)
    assert np.abs(read[inside, 0] - true[inside, 0]).max() < 0.01
    assert (read[inside, 1] == true[inside, 1]).all()
    error = np.abs(read[inside, 2:14] - true[inside, 2:14]).mean()
    still = np.abs(own[20:40, 2:14].mean(0) - true[inside, 2:14]).mean()
    print(f"error {error:.3f}, without the change {still:.3f}")
    assert error < 0.6 * still


def test_frames_at_their_own_speed_keep_pitch_and_voicing() -> None:
    frames = np.random.default_rng(0).normal(size=(30, WIDTH)).astype(np.float32)
    frames[:, 1] = frames[:, 1] > 0
    assert np.allclose(at_speed(frames, 1.0)[:, :2], frames[:, :2])
