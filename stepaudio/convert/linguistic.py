"""Step-Audio-Tokenizer: Paraformer's encoder, its normalisation and the k-means centroids in one file."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from stepaudio.convert.decoder import copy_onnx
from stepaudio.convert.draft import Draft
from stepaudio.convert.pickles import load_state
from stepaudio.convert.shapes import check_shapes
from stepaudio.convert.source import SourceFolder
from stepaudio.convert.tags import read_tagged
from stepaudio.errors import ModelError

if TYPE_CHECKING:
    from stepaudio.tokenizer.sanm import SanmConfig

CENTROIDS = "linguistic_tokenizer.npy"
SEMANTIC = "speech_tokenizer_v1.onnx"
PARAFORMER = "dengcunqin/speech_paraformer-large_asr_nat-zh-cantonese-en-16k-vocab8501-online"
_CODES = 1024

# What the front end and the encoder compute; a file may say so, and may not say otherwise.
_FIXED = {
    "frontend_conf": {
        "fs": 16000,
        "window": "hamming",
        "n_mels": 80,
        "frame_length": 25,
        "frame_shift": 10,
        "lfr_m": 7,
        "lfr_n": 6,
    },
    "encoder_conf": {
        "input_layer": "pe_online",
        "normalize_before": True,
        "selfattention_layer_type": "sanm",
        "sanm_shfit": 0,
    },
}
_SIZES = {
    "output_size": "size",
    "attention_heads": "heads",
    "linear_units": "feed_forward",
    "num_blocks": "layers",
    "kernel_size": "kernel",
}


def convert_tokenizer(folder: SourceFolder, draft: Draft, into: str = "") -> None:
    """Convert a `Step-Audio-Tokenizer` folder.

    Raises:
        ModelError: a file is missing, damaged, or does not fit the others.
    """
    from stepaudio.tokenizer.cmvn import read_cmvn
    from stepaudio.tokenizer.linguistic import expected_shapes, official_tensors
    from stepaudio.tokenizer.pair import CONFIG, LINGUISTIC, DualConfig

    paraformer = folder.sub(PARAFORMER)
    config = read_sanm(paraformer.text("config.yaml"), f"{paraformer.root}/config.yaml")
    cmvn = read_cmvn(paraformer.text("am.mvn"), where=f"{paraformer.root}/am.mvn")
    checkpoint = load_state(paraformer.file("model.pt"), inside="state_dict")
    try:
        centroids = read_centroids(folder.file(CENTROIDS))
    except MemoryError:
        raise ModelError(f"{folder.root}: {CENTROIDS} claims to be larger than memory") from None
    tensors = official_tensors(checkpoint, cmvn, centroids)
    found = {key: tuple(value.shape) for key, value in tensors.items()}
    count = check_shapes(f"{folder.root}: linguistic tokenizer", found, expected_shapes(config, _CODES))
    draft.parameters[f"{into}linguistic"] = count
    draft.tensors(into + LINGUISTIC, tensors)
    draft.text(into + CONFIG, DualConfig(linguistic=config).model_dump_json(indent=1))
    copy_onnx(folder, draft, SEMANTIC, into)


def read_sanm(text: str, where: str) -> "SanmConfig":
    """Read the sizes of Paraformer's encoder from its `config.yaml`.

    Raises:
        ModelError: not plain YAML, or it asks for something that the tokenizer does not compute.
    """
    from stepaudio.tokenizer.sanm import SanmConfig

    top = read_tagged(text, where, lambda kind, name: False)
    if top.get("encoder", "SANMEncoderChunkOpt") != "SANMEncoderChunkOpt":
        raise ModelError(f"{where}: encoder must be SANMEncoderChunkOpt, not {str(top['encoder'])[:80]}")
    parts: dict[str, dict[str, Any]] = {}
    for name, fixed in _FIXED.items():
        part = top.get(name)
        if not isinstance(part, dict):
            raise ModelError(f"{where}: {name} is missing")
        for key, value in fixed.items():
            if part.get(key, value) != value:
                raise ModelError(f"{where}: {name}.{key} must be {value!r}, not {str(part[key])[:80]}")
        parts[name] = part
    encoder = parts["encoder_conf"]
    sizes = {ours: encoder[theirs] for theirs, ours in _SIZES.items() if theirs in encoder}
    try:
        return SanmConfig(**sizes)
    except ValidationError as error:
        first = error.errors()[0]
        raise ModelError(f"{where}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


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
