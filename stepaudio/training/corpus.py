"""A corpus of shards to what training needs: one safetensors file a shard, interchangeable between sets.

    features/shard-00012.st    for each take, KEY being the name of its sound without suffix:
        KEY.whisper  (6 G, width) float16, 50 Hz, encoder features
        KEY.world    (12 G, 45) float32, 100 Hz, WORLD frames
        KEY.speaker  (256,) float32, GE2E embedding of length 1

G is the number of whole groups of 120 ms. The teacher's F0 is known, so nothing needs to guess it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from stepaudio.audio import Audio
from stepaudio.decoder.world import FFT, FRAME_RATE, RATE, SPECTRUM, WorldFrames, analyse
from stepaudio.errors import ModelError
from stepaudio.tokenizer.nano import WHISPER_PER_GROUP, WORLD_PER_GROUP, group_count
from stepaudio.training.align import PITCH_RATE, tokens_of_frames
from stepaudio.training.clips import UNKNOWN, Clip
from stepaudio.training.extract import RATE as ENCODER_RATE
from stepaudio.training.extract import SUFFIX, Wanted
from stepaudio.workers.work import Job, Result, Task

LEAST_PITCH = 55.0
"""Hz below which the teacher's F0 means that nothing is voiced."""
NOISE = 0.99
"""Aperiodicity in all bands from which D4C's love train says that a frame is not voiced."""
SPEAKER_SECONDS = 6
"""How much of a clip its speaker embedding is made of."""


class Encoder(Protocol):
    """`extract.WhisperFeatures`, or what tests put in its place."""

    def clips(self, wanted: Iterable[Wanted]) -> Iterator[tuple[str, np.ndarray]]:
        """Yield name and features (50 Hz) of clips."""
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


def features(clips: Iterable[Heard], encoder: Encoder, speakers: Embedder) -> dict[str, np.ndarray]:
    """The tensors of a shard."""
    worlds: dict[str, np.ndarray] = {}
    tensors: dict[str, np.ndarray] = {}
    wanted = []
    for clip in clips:
        audio = clip.audio.resample(RATE)
        pitch = clip.pitch
        frames = analyse(audio, method="harvest") if pitch is None else analyse_known(audio.samples, pitch)
        worlds[clip.key] = frames.to_array()
        wanted.append(Wanted(clip.key, audio.resample(ENCODER_RATE).samples))
        start = Audio(audio.samples[: SPEAKER_SECONDS * RATE], RATE)
        tensors[f"{clip.key}.speaker"] = speakers.embed(start).astype(np.float32)
    for key, encoded in encoder.clips(wanted):
        groups = group_count(len(worlds[key]), len(encoded))
        whisper = encoded[: groups * WHISPER_PER_GROUP].astype(np.float16)
        tensors[f"{key}.whisper"] = np.ascontiguousarray(whisper)
        tensors[f"{key}.world"] = np.ascontiguousarray(worlds[key][: groups * WORLD_PER_GROUP])
    return tensors


def load_shard(path: Path, rows: Iterable[Mapping[str, Any]] = ()) -> list[Clip]:
    """Read the clips of a features file.

    Args:
        path: ``NAME.st``.
        rows: the takes of the shard, from which the phoneme of every frame is known.

    Raises:
        ModelError: the file is damaged or not one of features.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(path)
        keys = [name.removesuffix(".world") for name in tensors if name.endswith(".world")]
        said = {Path(row["audio"]).stem: row for row in rows}
        return [_clip(path.stem, key, tensors, said.get(key)) for key in sorted(keys)]
    except (OSError, SafetensorError, KeyError) as error:
        raise ModelError(f"{path}: not a file of features ({error})") from None


def _clip(shard: str, key: str, tensors: Mapping[str, np.ndarray], row: Mapping[str, Any] | None) -> Clip:
    world = tensors[f"{key}.world"]
    phonemes = np.full(len(world), UNKNOWN, np.int16)
    if row is not None:
        tokens = np.array([0, *row["ids"], 0], np.int16)
        phonemes = tokens[tokens_of_frames(np.asarray(row["durations"]), 0, len(world))]
    return Clip(f"{shard}/{key}", tensors[f"{key}.whisper"], world, tensors[f"{key}.speaker"], phonemes)


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
        from stepaudio.training.engine.shards import read_takes
        from stepaudio.training.extract import WhisperFeatures

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


def features_path(folder: Path, shard: str) -> Path:
    """The file of a shard's features."""
    return folder / (shard + SUFFIX)
