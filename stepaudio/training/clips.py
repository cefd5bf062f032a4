"""Prepared clips in memory, and random stretches of them as batches, with speakers made up on the way."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from stepaudio.decoder.envelope import formant_shift
from stepaudio.decoder.world import SPECTRAL, WIDTH
from stepaudio.decoder.world_voice import Scale, WorldVoice
from stepaudio.errors import InputError
from stepaudio.tokenizer.nano import WHISPER_PER_GROUP, WORLD_PER_GROUP
from stepaudio.training.align import FRAME_RATE, TICKS, tokens_of_frames

if TYPE_CHECKING:
    from stepaudio.training.heard import Recording

UNKNOWN = -1
"""Phoneme of a frame of which nobody knows it."""
FORMANTS = (0.84, 0.88, 0.92, 0.96, 1.04, 1.08, 1.13, 1.18)


@dataclass(frozen=True, eq=False)
class Clip:
    """One clip of whole groups.

    Attributes:
        name: set and file name.
        whisper: (6 G, width) float16 encoder features.
        world: (12 G, 45) float32.
        speaker: (256,) GE2E embedding, of length 1.
        phonemes: (12 G,) int16 phoneme of every WORLD frame, or UNKNOWN.
        who: the speaker, equal for clips of one voice; the clip's own name where nobody knows.
        taught: whether the teacher says it, and says how.
        said: (N,) int64 the phonemes, where it is known which they are but not when; else empty.
    """

    name: str
    whisper: np.ndarray
    world: np.ndarray
    speaker: np.ndarray
    phonemes: np.ndarray
    who: str = ""
    taught: bool = False
    said: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))

    @property
    def groups(self) -> int:
        """Groups of 120 ms."""
        return len(self.world) // WORLD_PER_GROUP


def load_shards(folder: Path, names: Sequence[str] = ("*",)) -> list[Clip]:
    """Read what the data engine prepared: ``SHARD.st`` with ``KEY.whisper``, ``KEY.world``, ``KEY.speaker``.

    Args:
        folder: of the shards' features; ``SHARD.json`` beside a file tells the takes' timing, if known.
        names: patterns of the shards to read.
    """
    from safetensors.numpy import load_file

    clips = []
    for path in sorted({path for name in names for path in folder.glob(f"{name}.st")}):
        data = load_file(path)
        takes = {take["key"]: take for take in read_takes(path)}
        for key in sorted({name.split(".")[0] for name in data}):
            world = data[f"{key}.world"]
            phonemes = np.full(len(world), UNKNOWN, np.int16)
            take = takes.get(key, {})
            if "durations" in take:
                ids = np.array([0, *take["ids"], 0])
                offset = round(take["offset"] * FRAME_RATE / TICKS)
                phonemes[:] = ids[tokens_of_frames(np.asarray(take["durations"]), offset, len(world))]
            name, who = f"{path.stem}/{key}", str(take.get("who", ""))
            clips.append(
                Clip(
                    name,
                    data[f"{key}.whisper"],
                    world,
                    data[f"{key}.speaker"],
                    phonemes,
                    who,
                    "durations" in take,
                    np.array([] if "durations" in take else take.get("ids", []), np.int64),
                )
            )
    return clips


def read_takes(features: Path) -> list[dict[str, Any]]:
    """The takes of a shard's features file.

    Each has ``key``, ``text`` and ``who`` speaks, and ``ids``, its phonemes, where `spell` has been; the
    teacher's also ``durations`` and ``offset`` of the clip in ticks, and ``speed``.
    """
    path = features.with_suffix(".json")
    return list(json.loads(path.read_text("utf-8"))) if path.is_file() else []


def held_out(clip: "Clip | Recording", every: int = 30) -> bool:
    """Whether a clip is kept from training: one in `every`, by its name; a variant as its recording."""
    import re
    import zlib

    recording = re.sub(r"\.\w+(?=-\d+/)", "", clip.name)
    return zlib.crc32(recording.encode()) % every == 0


@dataclass(frozen=True)
class Batch:
    """Stretches of equal length.

    Attributes:
        whisper: (batch, 6 G, width) float32.
        world: (batch, 12 G, 45) frames of the recording, relative to its voice, scaled.
        target: (batch, 12 G, 45) the same in the voice to decode to, relative to that voice.
        voice: (batch, 85 + 256) of that voice.
        phonemes: (batch, 12 G) int64.
        taught: (batch,) whether the teacher says it.
    """

    whisper: Tensor
    world: Tensor
    target: Tensor
    voice: Tensor
    phonemes: Tensor
    taught: Tensor

    def to(self, device: str | torch.device) -> "Batch":
        """The batch on another device."""
        return Batch(*(getattr(self, part.name).to(device) for part in fields(self)))


def measure_scale(clips: Sequence[Clip]) -> Scale:
    """The scale of a training set."""
    voices = [WorldVoice.of(clip.world) for clip in clips]
    total, count = np.zeros(WIDTH), 0
    for clip, voice in zip(clips, voices, strict=True):
        total += ((clip.world - voice.centre) ** 2).sum(0)
        count += len(clip.world)
    frames = np.sqrt(total / count)
    frames[1] = 1.0
    arrays = np.stack([voice.to_array() for voice in voices])
    return Scale(
        frames.astype(np.float32),
        arrays.mean(0).astype(np.float32),
        np.maximum(arrays.std(0), 1e-3).astype(np.float32),
    )


@dataclass
class Batches:
    """Random batches; the seed and the step decide everything, so that a resumed run sees what it would have.

    Attributes:
        clips: where stretches are cut from, in proportion to their length.
        scale: of the values.
        size: stretches in a batch.
        groups: their length.
        shifted: share of the stretches that are to be decoded in a made-up voice.
        other: share of the others whose voice is told by another clip of the speaker, as in cloning.
        seed: of the choices.
        people: share of the stretches that are of people and not of the teacher; by default as they come.
    """

    clips: Sequence[Clip]
    scale: Scale
    size: int = 32
    groups: int = 16
    shifted: float = 0.4
    other: float = 0.4
    seed: int = 0
    people: float | None = None
    _warps: list[np.ndarray] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.clips = [clip for clip in self.clips if clip.groups >= self.groups]
        if not self.clips:
            raise InputError(f"no clip has the {self.groups} groups of a stretch")
        weights = np.array([clip.groups - self.groups + 1 for clip in self.clips], float)
        taught = np.array([clip.taught for clip in self.clips])
        if self.people is not None and taught.any() and not taught.all():
            weights[taught] *= (1 - self.people) / weights[taught].sum()
            weights[~taught] *= self.people / weights[~taught].sum()
        self._shares = weights / weights.sum()
        self._voices = [WorldVoice.of(clip.world) for clip in self.clips]
        self._same: dict[str, list[int]] = {}
        for index, clip in enumerate(self.clips):
            self._same.setdefault(clip.who or clip.name, []).append(index)
        self._warps = [formant_shift(ratio).astype(np.float32) for ratio in FORMANTS] if self.shifted else []

    def draw(self, step: int) -> Batch:
        """The batch of a step."""
        random = np.random.default_rng((self.seed, step))
        rows = [
            self._stretch(int(index), random)
            for index in random.choice(len(self.clips), self.size, p=self._shares)
        ]
        columns = [torch.from_numpy(np.stack(column)) for column in zip(*rows, strict=True)]
        return Batch(*columns)

    def _stretch(self, index: int, random: np.random.Generator) -> tuple[np.ndarray, ...]:
        clip, voice = self.clips[index], self._voices[index]
        start = int(random.integers(clip.groups - self.groups + 1))
        at = slice(start * WORLD_PER_GROUP, (start + self.groups) * WORLD_PER_GROUP)
        at_whisper = slice(start * WHISPER_PER_GROUP, (start + self.groups) * WHISPER_PER_GROUP)
        world = self.scale.relative(clip.world[at], voice)
        target, speaker = world, clip.speaker if random.random() < 0.8 else None
        if random.random() < self.shifted:
            shifted = clip.world.copy()
            warp = self._warps[random.integers(len(self._warps))]
            shifted[:, SPECTRAL] = shifted[:, SPECTRAL] @ warp
            shifted[:, 0] += random.uniform(-0.4, 0.4)
            voice, speaker = WorldVoice.of(shifted), None
            target = self.scale.relative(shifted[at], voice)
        elif random.random() < self.other:
            chosen = int(random.choice(self._same[clip.who or clip.name]))
            voice = self._voices[chosen]
            speaker = None if speaker is None else self.clips[chosen].speaker
            target = self.scale.relative(clip.world[at], voice)
        return (
            clip.whisper[at_whisper].astype(np.float32),
            world,
            target,
            self.scale.voice(voice, speaker),
            clip.phonemes[at].astype(np.int64),
            np.array(clip.taught),
        )
