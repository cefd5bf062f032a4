"""A folder of data sets to a work folder that training reads; every step goes on where it was stopped.

A data set is a folder with ``manifest.jsonl`` (one object a clip, with ``audio``). The teacher's own set also
has ``phonemes``, ``voices`` (weights by name) and ``speed`` in it, from which its timing is made again.

    work/features/SET/NAME.st   Whisper features and WORLD frames
    work/speakers/SET.npz       GE2E embeddings
    work/timing/SET.json        ids, durations and offset of the teacher's clips
    work/phonemes/SET.json      the phoneme of every WORLD frame of them
    work/scale.npz              how far the values of the training clips spread
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stepaudio.audio import Audio
from stepaudio.training.align import WORST, TeacherTiming, find_offset, tokens_of_frames
from stepaudio.training.clips import Clip, Scale, held_out, load_clips
from stepaudio.training.extract import SUFFIX, WhisperFeatures, extract

LONGEST = 6
"""Seconds of a clip that its speaker embedding is made of."""


@dataclass(frozen=True)
class Work:
    """The work folder."""

    folder: Path

    def features(self, name: str) -> Path:
        """Folder of a set's features."""
        return self.folder / "features" / name

    def speakers(self, name: str) -> Path:
        """File of a set's speaker embeddings."""
        return self.folder / "speakers" / f"{name}.npz"

    def timing(self, name: str) -> Path:
        """File of a set's timing."""
        return self.folder / "timing" / f"{name}.json"

    def phonemes(self, name: str) -> Path:
        """File of a set's phonemes by frame."""
        return self.folder / "phonemes" / f"{name}.json"

    def clips(self, name: str) -> list[Clip]:
        """The clips of a set that are prepared."""
        phonemes = self.phonemes(name)
        known = phonemes if phonemes.is_file() else None
        return load_clips(self.features(name), self.speakers(name), known)

    def split(self, names: Sequence[str]) -> tuple[list[Clip], list[Clip]]:
        """Clips of sets to train on, and those held out."""
        clips = [clip for name in names for clip in self.clips(name)]
        kept = [clip for clip in clips if held_out(clip)]
        return [clip for clip in clips if not held_out(clip)], kept

    def scale(self, clips: Sequence[Clip] | None = None) -> Scale:
        """The scale, measured on `clips` if it is not written yet."""
        path = self.folder / "scale.npz"
        if clips is not None and not path.is_file():
            scale = Scale.measure(clips)
            np.savez(
                path,
                frames=scale.frames,
                voice_mean=scale.voice_mean,
                voice_deviation=scale.voice_deviation,
            )
        held = np.load(path)
        return Scale(held["frames"], held["voice_mean"], held["voice_deviation"])


def read_manifest(folder: Path) -> dict[str, dict[str, Any]]:
    """The rows of a set by file name without suffix."""
    lines = (folder / "manifest.jsonl").read_text("utf-8").splitlines()
    rows = (json.loads(line) for line in lines if line.strip())
    return {Path(row["audio"]).stem: row for row in rows}


def prepare_features(data: Path, work: Work, encoder: WhisperFeatures) -> Iterator[str]:
    """Make the features of the set in `data`; yields names as they are done."""
    return extract(data / "manifest.jsonl", work.features(data.name), encoder)


def prepare_speakers(data: Path, work: Work, folder: Path) -> None:
    """Embed the speakers of the set in `data` by the model of the card ``speaker-ge2e`` in `folder`."""
    from stepaudio.decoder.ge2e import SpeakerEncoder

    out = work.speakers(data.name)
    out.parent.mkdir(parents=True, exist_ok=True)
    known = dict(np.load(out)) if out.is_file() else {}
    encoder = SpeakerEncoder.load(folder)
    for name, row in read_manifest(data).items():
        if name not in known:
            audio = Audio.read(data / row["audio"])
            samples = audio.samples[: LONGEST * audio.sample_rate]
            known[name] = encoder.embed(Audio(samples, audio.sample_rate))
    np.savez(out, **known)


def prepare_timing(
    data: Path, work: Work, timing: TeacherTiming, vocab: Mapping[str, int], voices: Path
) -> tuple[int, int]:
    """Time the teacher's clips again and write the phoneme of every frame.

    Args:
        data: the teacher's set.
        work: where its features are already.
        timing: the teacher's first half.
        vocab: its token ids by phoneme.
        voices: folder of its voices, ``NAME.bin`` of float32 (510, 1, 256).

    Returns:
        How many clips could be aligned, and how many there are.
    """
    from safetensors.numpy import load_file

    tables: dict[str, np.ndarray] = {}
    timings: dict[str, dict[str, Any]] = {}
    phonemes: dict[str, list[int]] = {}
    rows = read_manifest(data)
    for name, row in rows.items():
        path = work.features(data.name) / (name + SUFFIX)
        if not path.is_file():
            continue
        ids = [vocab[char] for char in row["phonemes"] if char in vocab]
        for voice in row["voices"]:
            if voice not in tables:
                tables[voice] = np.fromfile(voices / f"{voice}.bin", np.float32).reshape(510, 256)
        style = sum(weight * tables[voice][len(ids) - 1] for voice, weight in row["voices"].items())
        said = timing(ids, np.asarray(style), row["speed"])
        world = load_file(path)["world"]
        offset, error = find_offset(said, world)
        if error < WORST:
            tokens = [0, *ids, 0]
            timings[name] = {"ids": tokens, "durations": said.durations.tolist(), "offset": offset}
            spoken = tokens_of_frames(said.durations, offset, len(world))
            phonemes[name] = [tokens[index] for index in spoken]
    for out, content in ((work.timing(data.name), timings), (work.phonemes(data.name), phonemes)):
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(content), "utf-8")
    return len(timings), len(rows)
