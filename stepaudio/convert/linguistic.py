"""Step-Audio-Tokenizer: Paraformer's encoder, its normalisation and the k-means centroids in one file."""

import io
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from stepaudio.convert.decoder import copy_onnx
from stepaudio.convert.draft import Draft
from stepaudio.convert.pickles import load_state
from stepaudio.convert.shapes import check_shapes
from stepaudio.convert.source import SourceFolder
from stepaudio.convert.tags import read_tagged
from stepaudio.errors import ModelError

if TYPE_CHECKING:
    import numpy as np

    from stepaudio.tokenizer.sanm import SanmConfig

CENTROIDS = "linguistic_tokenizer.npy"
SEMANTIC = "speech_tokenizer_v1.onnx"
PARAFORMER = "dengcunqin/speech_paraformer-large_asr_nat-zh-cantonese-en-16k-vocab8501-online"
LINGUISTIC, CONFIG = "linguistic.safetensors", "linguistic.json"
_CODES = 1024
_MAX_CENTROID_BYTES = 64 * 2**20

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

    paraformer = folder.sub(PARAFORMER)
    config = read_sanm(paraformer.text("config.yaml"), f"{paraformer.root}/config.yaml")
    cmvn = read_cmvn(paraformer.text("am.mvn"), where=f"{paraformer.root}/am.mvn")
    checkpoint = load_state(paraformer.file("model.pt"), inside="state_dict")
    tensors = official_tensors(checkpoint, cmvn, read_centroids(folder))
    found = {key: tuple(value.shape) for key, value in tensors.items()}
    count = check_shapes(f"{folder.root}: linguistic tokenizer", found, expected_shapes(config, _CODES))
    draft.parameters[f"{into}linguistic"] = count
    draft.tensors(into + LINGUISTIC, tensors)
    draft.text(into + CONFIG, config.model_dump_json(indent=1))
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


def read_centroids(folder: SourceFolder) -> "np.ndarray":
    """Read the k-means centroids, float32 (1024, size), with pickles refused.

    Raises:
        ModelError: not a plain array of that kind.
    """
    import numpy as np

    path = folder.file(CENTROIDS)
    if path.stat().st_size > _MAX_CENTROID_BYTES:
        raise ModelError(f"{path.name}: too large for {_CODES} centroids")
    try:
        array = np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)
    except (ValueError, OSError, EOFError, SyntaxError, MemoryError) as error:
        reason = (str(error).splitlines() or [""])[0][:160]
        raise ModelError(f"{path.name}: not a plain array, damaged or truncated ({reason})") from None
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.dtype.kind != "f":
        raise ModelError(f"{path.name}: must be a float array ({_CODES}, size)")
    return array
