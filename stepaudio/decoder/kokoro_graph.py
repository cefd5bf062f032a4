"""Kokoro-82M: phonemes and a style vector to speech at 24 kHz, an ONNX graph on the CPU."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from stepaudio.errors import ModelError

SAMPLE_RATE = 24_000
MAX_TOKENS = 510
STYLE_SHAPE = (MAX_TOKENS, 256)


@dataclass
class Kokoro:
    """The model; read on first use.

    Attributes:
        folder: holds ``model.onnx`` and ``vocab.json``.
        threads: for one synthesis; ``None`` takes the cores the process may use, at most four.
    """

    folder: Path
    threads: int | None = None
    _session: Any = field(default=None, repr=False)
    _vocab: dict[str, int] = field(default_factory=dict, repr=False)
    _lock: Lock = field(default_factory=Lock, repr=False)

    def load(self) -> "Kokoro":
        """Read vocabulary and graph.

        Raises:
            ModelError: a file is missing or damaged.
        """
        with self._lock:
            if self._session is None:
                self._vocab = read_vocab(self.folder / "vocab.json")
                self._session = _open(self.folder / "model.onnx", self.threads)
        return self

    def encode(self, phonemes: str) -> list[int]:
        """Return the token ids of `phonemes`; characters outside the vocabulary are left out."""
        self.load()
        return phoneme_ids(phonemes, self._vocab)

    def synthesize(self, phonemes: str, style: np.ndarray, speed: float = 1.0) -> Iterator[np.ndarray]:
        """Yield the speech of `phonemes` as float32 samples of shape (n,), a piece for each 510 tokens.

        Args:
            phonemes: in Kokoro's alphabet, of any length.
            style: float32, shape (510, 256): row n - 1 is for n tokens.
            speed: factor on the rate; 1.0 is the voice's own.
        """
        for piece in split_phonemes(phonemes):
            ids = self.encode(piece)
            if ids:
                yield self._run(ids, style[len(ids) - 1], speed)

    def _run(self, ids: list[int], style: np.ndarray, speed: float) -> np.ndarray:
        feeds = {
            "tokens": np.array([[0, *ids, 0]], np.int64),
            "style": style.reshape(1, -1),
            "speed": np.array([speed], np.float32),
        }
        (audio,) = self._session.run(["audio"], feeds)
        return np.clip(np.asarray(audio, np.float32).reshape(-1), -1.0, 1.0)


def split_phonemes(phonemes: str, longest: int = MAX_TOKENS) -> list[str]:
    """Cut phonemes into pieces of at most `longest` characters, at a mark or a space if possible."""
    pieces: list[str] = []
    while len(phonemes) > longest:
        window = phonemes[: longest + 1]
        cut = max(window.rfind(mark) for mark in (". ", "! ", "? ", ", ", "; ")) + 1
        cut = cut or window.rfind(" ")
        cut = cut if cut > 0 else longest
        pieces.append(phonemes[:cut])
        phonemes = phonemes[cut:].lstrip()
    return [*pieces, phonemes] if phonemes else pieces


def phoneme_ids(phonemes: str, vocab: Mapping[str, int]) -> list[int]:
    """The ids of phonemes in Kokoro's alphabet; characters outside it are left out."""
    return [vocab[char] for char in phonemes if char in vocab]


def read_vocab(path: Path) -> dict[str, int]:
    """Read Kokoro's token ids by phoneme.

    Raises:
        ModelError: the file is missing or damaged.
    """
    try:
        return {str(key): int(value) for key, value in json.loads(path.read_text("utf-8"))["vocab"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path}: not Kokoro's vocabulary ({error})") from error


def _open(path: Path, threads: int | None) -> Any:
    import onnxruntime

    from stepaudio.cores import usable_cores

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or min(4, usable_cores())
    settings = {
        # Threads may spin within a clause, not after it: then the language model writes the next one.
        "session.intra_op.allow_spinning": "1",
        "session.force_spinning_stop": "1",
        # Smaller blocks of work: a core that is held up by another program holds up the other less.
        "session.dynamic_block_base": "4",
    }
    for key, value in settings.items():
        options.add_session_config_entry(key, value)
    options.enable_mem_pattern = False  # every clause has another length
    options.log_severity_level = 3
    if not path.is_file():
        raise ModelError(f"{path}: no such model file")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own exceptions have no common base
        raise ModelError(f"{path}: not a usable model ({type(error).__name__})") from error
