"""The official ``Step-Audio-Tokenizer`` folder: what the conversion step reads and writes.

``speech_tokenizer_v1.onnx`` is used as it is. The linguistic part comes in three files - Paraformer's
``model.pt`` (a pickle, which only the conversion step opens), ``am.mvn`` and ``linguistic_tokenizer.npy`` -
and becomes one ``linguistic.safetensors``.
"""

from collections.abc import Mapping
from math import prod
from pathlib import Path

import numpy as np
from torch import Tensor

from stepaudio.errors import ModelError
from stepaudio.tokenizer.cmvn import Cmvn, read_cmvn
from stepaudio.tokenizer.linguistic import ENCODER, expected_shapes, official_tensors
from stepaudio.tokenizer.sanm import SanmConfig
from stepaudio.weights import check_shapes

PARAFORMER = "dengcunqin/speech_paraformer-large_asr_nat-zh-cantonese-en-16k-vocab8501-online"
CENTROIDS = "linguistic_tokenizer.npy"
CMVN = f"{PARAFORMER}/am.mvn"
CHECKPOINT = f"{PARAFORMER}/model.pt"
ENCODER_PARAMETERS = 157_975_648


def read_centroids(path: Path) -> np.ndarray:
    """The k-means centroids (codes, size), float32; arrays of Python objects are refused, not unpickled.

    Raises:
        ModelError: if the file is missing, damaged, or not a matrix of finite numbers.
    """
    try:
        centroids = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file") from None
    except (ValueError, OSError, EOFError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ModelError(f"{path}: not a plain NumPy array ({reason})") from None
    if not isinstance(centroids, np.ndarray) or centroids.ndim != 2 or centroids.dtype.kind != "f":
        raise ModelError(f"{path}: expected a matrix of floating-point numbers")
    if not np.isfinite(centroids).all():
        raise ModelError(f"{path}: holds numbers that are not finite")
    return centroids.astype(np.float32)


def read_statistics(path: Path) -> Cmvn:
    """The normalisation of ``am.mvn``.

    Raises:
        ModelError: if the file is missing or damaged.
    """
    try:
        return read_cmvn(path.read_text(encoding="utf-8", errors="replace"), where=str(path))
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}") from None


def linguistic_tensors(
    folder: Path, checkpoint: Mapping[str, Tensor], config: SanmConfig | None = None
) -> dict[str, Tensor]:
    """Content of ``linguistic.safetensors`` for an official folder.

    Args:
        folder: the official folder.
        checkpoint: tensors of its ``model.pt`` (an outer ``state_dict`` already taken off); keys outside
            the encoder are left out.
        config: sizes; the official ones when ``None``, whose parameter count is asserted.

    Raises:
        ModelError: if a file or tensor is missing, damaged, unknown or of another shape.
    """
    centroids = read_centroids(folder / CENTROIDS)
    tensors = official_tensors(dict(checkpoint), read_statistics(folder / CMVN), centroids)
    expected = expected_shapes(config or SanmConfig(), len(centroids))
    check_shapes(tensors, expected, where=str(folder))
    if config is None:
        count = sum(prod(shape) for name, shape in expected.items() if name.startswith(ENCODER))
        assert count == ENCODER_PARAMETERS, count
    return {name: tensor.float().contiguous() for name, tensor in tensors.items()}
