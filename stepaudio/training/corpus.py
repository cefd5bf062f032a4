"""A corpus of shards to what training needs: one safetensors file a shard, interchangeable between sets.

    features/shard-00012.st    for each take, KEY being the name of its sound without suffix:
        KEY.whisper  (6 G, width) float16, 50 Hz, encoder features
        KEY.world    (12 G, 45) float32, 100 Hz, WORLD frames
        KEY.speaker  (256,) float32, GE2E embedding of length 1
    features/shard-00012.json  what is said, by whom, and the teacher's timing

G is the number of whole groups of 120 ms. The teacher's F0 is known, so nothing needs to guess it.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from stepaudio.audio import Audio
from stepaudio.decoder.world import FFT, FRAME_RATE, RATE, SPECTRUM, WorldFrames, analyse
from stepaudio.errors import ModelError
from stepaudio.features.whisper import RATE as ENCODER_RATE
from stepaudio.tokenizer.nano import WHISPER_PER_GROUP, WORLD_PER_GROUP, group_count
from stepaudio.training.align import PITCH_RATE
from stepaudio.training.clips import Clip
from stepaudio.workers.work import Job, Result, Task

LEAST_PITCH = 55.0
"""Hz below which the teacher's F0 means that nothing is voiced."""
NOISE = 0.99
"""Aperiodicity in all bands from which D4C's love train says that a frame is not voiced."""
SPEAKER_SECONDS = 6
"""How much of a clip its speaker embedding is made of."""


class Encoder(Protocol):
    """`extract.WhisperFeatures`, or what tests put in its place."""

    def clip(self, samples: np.ndarray) -> np.ndarray:
        """Return the features (50 Hz) of a clip at 16 kHz."""
        ...


class Embedder(Protocol):
    """`ge2e.SpeakerEncoder`, or what tests put in its place."""

    def embed(self, audio: Audio) -> np.ndarray:
        """Return (256,) float32."""
        ...


@dataclass(frozen=True, eq=False)
class Heard:
    """A clip to make features of.

    Attributes:
        key: its name in the file.
        audio: at most 30 s of it are used.
        pitch: the teacher's own F0 in Hz at 80 Hz; without, harvest finds it.
    """

    key: str
    audio: Audio
    pitch: np.ndarray | None = None


def analyse_known(sound: np.ndarray, pitch: np.ndarray) -> WorldFrames:
    """WORLD frames of sound whose F0 is known.

    Voicing is decided by D4C's love train (M. Morise, "D4C, a band-aperiodicity estimator for high-quality
    speech synthesis", 2016), which looks at the sound: the teacher's F0 does not fall to 0.

    Args:
        sound: (n,) at 24 kHz.
        pitch: (m,) Hz at 80 Hz, each at the middle of its 12.5 ms; small where unvoiced.
    """
    import pyworld

    samples = np.ascontiguousarray(sound, np.float64)
    times = np.arange(len(samples) * FRAME_RATE // RATE + 1) / FRAME_RATE
    centres = (np.arange(len(pitch)) + 0.5) / PITCH_RATE
    f0 = np.exp(np.interp(times, centres, np.log(np.maximum(pitch, 30.0))))
    f0[f0 < LEAST_PITCH] = 0.0
    aperiodicity = pyworld.d4c(samples, f0, times, RATE, fft_size=FFT)
    voiced = aperiodicity.min(1) < NOISE
    f0[~voiced] = 0.0
    aperiodicity[~voiced] = 1 - 1e-12  # what D4C itself gives frames without F0
    envelope = pyworld.cheaptrick(samples, f0, times, RATE, fft_size=FFT)
    return WorldFrames(
        f0.astype(np.float32),
        pyworld.code_spectral_envelope(envelope, RATE, SPECTRUM).astype(np.float32),
        pyworld.code_aperiodicity(aperiodicity, RATE).astype(np.float32),
    )


def clip_tensors(
    key: str, whisper: np.ndarray, world: np.ndarray, speaker: np.ndarray
) -> dict[str, np.ndarray]:
    """The tensors of a clip, by name, of as many whole groups as its features and frames fill."""
    groups = group_count(len(world), len(whisper))
    return {
        f"{key}.whisper": np.ascontiguousarray(whisper[: groups * WHISPER_PER_GROUP].astype(np.float16)),
        f"{key}.world": np.ascontiguousarray(world[: groups * WORLD_PER_GROUP]),
        f"{key}.speaker": speaker.astype(np.float32),
    }


def save_features(path: Path, tensors: Mapping[str, np.ndarray], takes: Sequence[Mapping[str, Any]]) -> None:
    """Write a shard's features, whole or not at all, and what `clips.read_takes` is to find beside them."""
    from safetensors.numpy import save_file

    path.with_suffix(".json").write_text(json.dumps(takes), "utf-8")
    unfinished = path.with_suffix(".part")
    save_file(dict(tensors), unfinished)
    unfinished.replace(path)


def features(clips: Iterable[Heard], encoder: Encoder, speakers: Embedder) -> dict[str, np.ndarray]:
    """The tensors of a shard."""
    tensors: dict[str, np.ndarray] = {}
    for clip in clips:
        audio = clip.audio.resample(RATE)
        pitch = clip.pitch
        frames = analyse(audio, method="harvest") if pitch is None else analyse_known(audio.samples, pitch)
        world, encoded = frames.to_array(), encoder.clip(audio.resample(ENCODER_RATE).samples)
        start = Audio(audio.samples[: SPEAKER_SECONDS * RATE], RATE)
        tensors |= clip_tensors(clip.key, encoded, world, speakers.embed(start))
    return tensors


@dataclass(frozen=True)
class Extracting:
    """Makes the job that turns shards into features; a task holds the shard's ``folder``.

    Attributes:
        threads: of the encoders; torch's hold for the whole process.
    """

    threads: int = 1

    def __call__(self) -> Job:
        """Load the encoders of the cards ``whisper-tiny.en`` and ``speaker-ge2e``."""
        import torch
        from safetensors.numpy import save

        from stepaudio import hub
        from stepaudio.decoder.ge2e import CARD, SpeakerEncoder
        from stepaudio.features.whisper import WhisperFeatures
        from stepaudio.training.engine.shards import read_takes

        torch.set_num_threads(self.threads)  # one shard a process: more of them is the better way
        encoder = WhisperFeatures(hub.folder("whisper-tiny.en"), self.threads)
        speakers = SpeakerEncoder.load(hub.folder(CARD))

        def extract(task: Task) -> Result:
            folder = Path(task.content["folder"])
            clips = (
                Heard(Path(row["audio"]).stem, Audio.read(folder / row["audio"]), np.asarray(row["pitch"]))
                for row in read_takes(folder)
            )
            tensors = features(clips, encoder, speakers)
            return Result(task.id, {"id": task.id, "ok": True, "tensors": len(tensors)}, save(tensors))

        return extract


def describe(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What `clips.read_takes` reads beside a shard's features, of the teacher's takes."""
    return [
        {
            "key": Path(row["audio"]).stem,
            "text": row["text"],
            "who": json.dumps(row["voices"], sort_keys=True),
            "ids": row["ids"],
            "durations": row["durations"],
            "offset": row.get("offset", 0.0),
            "speed": row["speed"],
        }
        for row in rows
    ]


def features_path(folder: Path, shard: str) -> Path:
    """The file of a shard's features."""
    return folder / f"{shard}.st"


def extract_set(data: Path, out: Path, longest: float, per_shard: int = 40) -> Iterator[str]:
    """Extract a folder of recordings of people, and yield the names of the shards that were made.

    Args:
        data: folder with ``manifest.jsonl`` of ``audio``, ``text`` and ``speaker``.
        out: folder of the features.
        longest: seconds of a recording that are used.
        per_shard: recordings in a file.
    """

    def read(row: Mapping[str, Any]) -> tuple[dict[str, Any], Heard]:
        key = Path(row["audio"]).stem
        take = {"key": key, "text": row["text"] or "", "who": data.name + str(row["speaker"])}
        return take, Heard(key, read_start(data / row["audio"], longest))

    return extract_rows(data, out, read, per_shard)


def extract_rows(
    data: Path,
    out: Path,
    read: Callable[[Mapping[str, Any]], tuple[dict[str, Any], Heard] | None],
    per_shard: int,
) -> Iterator[str]:
    """Extract what a manifest tells of, and yield the names of the shards that were made.

    Args:
        data: folder with ``manifest.jsonl``.
        out: folder of the features.
        read: gives what `clips.read_takes` is to find and the sound of a line, or nothing to leave it out.
        per_shard: lines to a file.
    """
    from stepaudio import hub
    from stepaudio.decoder.ge2e import CARD, SpeakerEncoder
    from stepaudio.features.whisper import WhisperFeatures

    out.mkdir(parents=True, exist_ok=True)
    lines = (data / "manifest.jsonl").read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines if line.strip()]
    encoder, speakers = WhisperFeatures(hub.folder("whisper-tiny.en")), SpeakerEncoder.load(hub.folder(CARD))
    for number, first in enumerate(range(0, len(rows), per_shard)):
        path = features_path(out, f"{data.name}-{number:03d}")
        if path.exists():
            continue
        found = [pair for row in rows[first : first + per_shard] if (pair := read(row)) is not None]
        tensors = features((clip for _, clip in found), encoder, speakers)
        save_features(path, tensors, [take for take, _ in found])
        yield path.stem


def read_start(path: Path, longest: float) -> Audio:
    """A recording, at most so many seconds of it."""
    audio = Audio.read(path)
    return Audio(audio.samples[: round(longest * audio.sample_rate)], audio.sample_rate)


@dataclass(frozen=True)
class Recordings:
    """Where the sound of prepared clips lies.

    Attributes:
        features: folder of the features.
        data: folder of the data sets.
        corpus: folder of the data engine.
    """

    features: Path
    data: Path
    corpus: Path | None = None

    def texts(self) -> dict[str, str]:
        """What is said, by clip."""
        return {
            f"{path.stem}/{take['key']}": take["text"]
            for path in sorted(self.features.glob("*.json"))
            for take in json.loads(path.read_text("utf-8"))
        }

    def sound(self, clip: Clip) -> Audio:
        """The recording of a clip, as long as its features.

        Raises:
            ModelError: it is not there.
        """
        shard, key = clip.name.split("/")
        folders = [self.data / shard.rsplit("-", 1)[0]]
        if self.corpus is not None:
            folders.append(self.corpus / shard)
        for folder in folders:
            for path in sorted(folder.glob(f"{key}.*")):
                return read_start(path, len(clip.world) / FRAME_RATE)
        raise ModelError(f"the recording of {clip.name} is in none of: {', '.join(map(str, folders))}")
