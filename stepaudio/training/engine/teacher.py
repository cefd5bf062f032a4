"""The teacher in two halves: text becomes durations, F0 and energy, which may be edited, and then sound.

The one place that knows the names of the inner tensors of Kokoro's ONNX graph (card ``kokoro-82m``).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from stepaudio.errors import InputError, ModelError

GRAPH = "model.onnx"
DURATIONS = "/encoder/Clip_output_0"
FEATURES = "/encoder/MatMul_1_output_0"
F0 = "/encoder/Reshape_output_0"
ENERGY = "/encoder/Reshape_1_output_0"
STYLE = "style"
SOUND = "audio"
ENTRY = ("tokens", STYLE, "speed")
MIDDLE = (FEATURES, F0, ENERGY)

Runner = Literal["graph", "torch"]
"""``graph``: the second half as it is, int8 by onnxruntime; ``torch``: see `torch_half`."""


@dataclass(frozen=True, eq=False)
class Intent:
    """What the teacher is about to say: the first half's output.

    Attributes:
        durations: (N,) int64 ticks of 25 ms, one for each token, the two ends included.
        features: (1, 512, T) float32, T the ticks in all.
        pitch: (2 T,) float32 Hz at 80 Hz; small values (below about 10) where unvoiced.
        energy: (2 T,) float32, on a logarithmic scale of its own; about -10 in silence, 8 in vowels.
        style: (1, 256) float32, what it is to be said with.
    """

    durations: np.ndarray
    features: np.ndarray
    pitch: np.ndarray
    energy: np.ndarray
    style: np.ndarray


class Teacher(Protocol):
    """Anything that speaks in two steps; tests have a quick one."""

    def phonemes(self, text: str, language: str) -> tuple[str, list[int]]:
        """Return the phonemes of a sentence, and their token ids."""
        ...

    def intend(self, ids: list[int], voices: Mapping[str, float], speed: float) -> Intent:
        """Return how the tokens would be said."""
        ...

    def say(self, intent: Intent) -> np.ndarray:
        """Return the sound, (n,) float32 at 24 kHz, 600 samples a tick."""
        ...


class FirstHalf:
    """Tokens to durations, features, F0 and energy: a fraction of the teacher's cost.

    Args:
        graph: Kokoro's ``model.onnx``.
        threads: of one run.

    Raises:
        ModelError: the package onnx is missing, or the graph is another one.
    """

    def __init__(self, graph: Path, threads: int = 1) -> None:
        self._session = _session(cut_graph(graph, ENTRY, (DURATIONS, *MIDDLE)), threads)

    def __call__(self, ids: list[int], style: np.ndarray, speed: float) -> Intent:
        """Time token ids (without the ends) in the style of a row (256,) at a speed."""
        row = np.asarray(style, np.float32).reshape(1, -1)
        entry = (np.array([[0, *ids, 0]], np.int64), row, np.array([speed], np.float32))
        durations, features, pitch, energy = self._session.run(None, dict(zip(ENTRY, entry, strict=True)))
        whole = np.rint(durations).astype(np.int64).reshape(-1)
        return Intent(whole, features, pitch.reshape(-1), energy.reshape(-1), row)


class SecondHalf:
    """Features, F0 and energy to sound.

    Args:
        graph: Kokoro's ``model.onnx``.
        runner: by what.
        threads: of one run; for ``torch`` the process's setting holds.
        device: of ``torch``.

    Raises:
        ModelError: the package onnx is missing, or the graph is another one.
    """

    def __init__(self, graph: Path, runner: Runner = "graph", threads: int = 1, device: str = "cpu") -> None:
        half = cut_graph(graph, (*MIDDLE, STYLE), (SOUND,))
        self._run: Any
        if runner == "torch":
            from stepaudio.training.engine.torch_half import TorchGraph

            self._run = TorchGraph(half, device=device)
        else:
            session = _session(half, threads)
            self._run = lambda feeds: session.run([SOUND], feeds)

    def __call__(self, intent: Intent) -> np.ndarray:
        """Return the sound of what is intended, (600 T,) float32 at 24 kHz; may exceed 1."""
        curves = (intent.pitch.astype(np.float32)[None], intent.energy.astype(np.float32)[None])
        feeds = dict(zip(MIDDLE, (intent.features, *curves), strict=True))
        sound: np.ndarray = self._run({**feeds, STYLE: intent.style})[0].reshape(-1)
        return sound


class Kokoro:
    """The real teacher.

    Args:
        folder: of the card ``kokoro-82m``.
        voices: folder of the card ``kokoro-voices``: ``NAME.bin`` of float32 (510, 1, 256).
        runner: of the second half.
        threads: of one run.
        device: of the second half by ``torch``.
    """

    def __init__(
        self, folder: Path, voices: Path, runner: Runner = "graph", threads: int = 1, device: str = "cpu"
    ) -> None:
        from stepaudio.decoder.kokoro_graph import read_vocab

        self._vocab = read_vocab(folder / "vocab.json")
        self._voices = VoiceTables(voices)
        self._first = FirstHalf(folder / GRAPH, threads)
        self._second = SecondHalf(folder / GRAPH, runner, threads, device)

    def phonemes(self, text: str, language: str) -> tuple[str, list[int]]:
        """Return the phonemes of a sentence as nano's front end reads it, and their token ids."""
        from stepaudio.decoder.kokoro_graph import phoneme_ids
        from stepaudio.speech.g2p import phonemize
        from stepaudio.speech.normalise import normalise

        phonemes = phonemize(normalise(text, language), language)
        return phonemes, phoneme_ids(phonemes, self._vocab)

    def intend(self, ids: list[int], voices: Mapping[str, float], speed: float) -> Intent:
        """Return how at most 510 tokens would be said by a mix of voices (weights by name)."""
        return self._first(ids, self._voices.mix(voices, len(ids)), speed)

    def say(self, intent: Intent) -> np.ndarray:
        """Return the sound."""
        return self._second(intent)


class VoiceTables:
    """The teacher's voices, each read once.

    Args:
        folder: of the card ``kokoro-voices``.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tables: dict[str, np.ndarray] = {}

    def mix(self, voices: Mapping[str, float], tokens: int) -> np.ndarray:
        """Return the style (256,) of so many tokens in a mix of voices (weights by name)."""
        rows = [np.float32(weight) * self._table(name)[tokens - 1] for name, weight in voices.items()]
        return np.sum(rows, axis=0)

    def _table(self, name: str) -> np.ndarray:
        if name not in self._tables:
            self._tables[name] = read_table(self._folder / f"{name}.bin")
        return self._tables[name]


def read_table(path: Path) -> np.ndarray:
    """Read the style vectors of a voice, (510, 256) float32.

    Raises:
        InputError: there is no such voice.
        ModelError: the file is of another size.
    """
    from stepaudio.decoder.kokoro_graph import STYLE_SHAPE

    if not path.is_file():
        raise InputError(f"the teacher has no voice {path.stem}")
    table = np.fromfile(path, np.float32)
    if table.size != np.prod(STYLE_SHAPE):
        raise ModelError(f"{path}: not a voice of the teacher")
    return table.reshape(STYLE_SHAPE)


def cut_graph(graph: Path, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> bytes:
    """Return the part of a graph between tensors, a serialised ModelProto.

    Raises:
        ModelError: the package onnx is missing, or the graph has no such tensors.
    """
    try:
        import onnx
        import onnx.utils
    except ImportError:
        raise ModelError("cutting a graph needs the extra train: pip install 'stepaudio[train]'") from None
    try:
        # Inner tensors have no types in the file, but those at the cut need them.
        model = onnx.shape_inference.infer_shapes(onnx.load(str(graph)))
        part = onnx.utils.Extractor(model).extract_model(list(inputs), list(outputs))
    except Exception as error:  # onnx's, protobuf's and Python's own have no common base
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(f"{graph}: not the teacher's graph ({reason})") from None
    return bytes(part.SerializeToString())


def _session(model: bytes, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.enable_mem_pattern = False  # every sentence has another length
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
