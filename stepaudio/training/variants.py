"""Variants of prepared recordings of people, so that minutes teach what hours would.

Faster and slower ones are the sound resampled, as another head would say it: the frames are the recording's,
read at that speed, with pitch and formants moved by as much. Noisy ones have rooms, colours and noise in what
the encoder hears, while the frames stay clean: noise is nothing that codes should carry.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import log
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch

from stepaudio.audio import Audio
from stepaudio.decoder.envelope import formant_shift
from stepaudio.decoder.world import SPECTRAL
from stepaudio.decoder.world_voice import SPEAKER
from stepaudio.features.whisper import HOP, RATE, WINDOW
from stepaudio.training.clips import held_out, load_shards, read_takes
from stepaudio.training.corpus import Encoder, clip_tensors, save_features
from stepaudio.training.disturb import disturb, make_music

Kind = Literal["slow", "fast", "noisy"]
KINDS: tuple[Kind, ...] = get_args(Kind)
SPEEDS: Mapping[Kind, float] = {"slow": 0.89, "fast": 1.12}


def vary_set(data: Path, features: Path, kinds: Sequence[Kind] = KINDS) -> Iterator[str]:
    """Make variants of a prepared set and yield the names of their shards; goes on where it was stopped.

    Clips that are held out have none.

    Args:
        data: the folder of the recordings.
        features: the folder of the shards; a variant of ``SET-000`` is ``SET.KIND-000``.
        kinds: which.
    """
    from stepaudio import hub
    from stepaudio.features.whisper import WhisperFeatures

    encoder = WhisperFeatures(hub.folder("whisper-tiny.en"))
    for source in sorted(features.glob(f"{data.name}-*.st")):
        for kind in kinds:
            path = features / f"{data.name}.{kind}{source.stem.removeprefix(data.name)}.st"
            if path.exists():
                continue
            takes = [
                {**take, "who": f"{take.get('who') or take['key']}.{kind}"} for take in read_takes(source)
            ]
            save_features(path, vary_shard(source, data, kind, encoder), takes)
            yield path.stem


def vary_shard(source: Path, data: Path, kind: Kind, encoder: Encoder) -> dict[str, np.ndarray]:
    """The tensors of a variant of the shard `source`, by name; see `vary_set`."""
    music = make_music(4, WINDOW / RATE) if kind == "noisy" else None
    tensors: dict[str, np.ndarray] = {}
    for number, clip in enumerate(load_shards(source.parent, [source.stem])):
        if held_out(clip):
            continue
        key = clip.name.split("/")[1]
        # A recording may be longer than what was prepared of it.
        prepared = len(clip.whisper) * HOP
        sound = Audio.read(next(data.glob(f"{key}.*"))).resample(RATE).samples[:prepared]
        world, speaker = clip.world, clip.speaker
        if music is not None:
            random, length = torch.Generator().manual_seed(number), torch.tensor([len(sound)])
            sound = disturb(torch.from_numpy(sound)[None], length, ["any"], music, random)[0].numpy()
        else:
            sound = Audio(sound, round(RATE * SPEEDS[kind])).resample(RATE).samples
            # Nobody has heard this speaker before.
            world, speaker = at_speed(world, SPEEDS[kind]), np.zeros(SPEAKER, np.float32)
        tensors |= clip_tensors(key, encoder.clip(sound[:WINDOW]), world, speaker)
    return tensors


def at_speed(world: np.ndarray, ratio: float) -> np.ndarray:
    """WORLD frames (T, 45) of sound that is played `ratio` times as fast, (about T / ratio, 45) float32."""
    times = np.arange(int((len(world) - 1) / ratio) + 1) * ratio
    low = np.minimum(times.astype(int), len(world) - 1)
    high = np.minimum(low + 1, len(world) - 1)
    part = (times - low)[:, None]
    read = (world[low] * (1 - part) + world[high] * part).astype(np.float32)
    read[:, 0] += log(ratio)
    read[:, 1] = read[:, 1] > 0.5
    read[:, SPECTRAL] = read[:, SPECTRAL] @ formant_shift(ratio).astype(np.float32)
    return read
