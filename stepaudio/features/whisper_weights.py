"""The encoder of a Whisper checkpoint in CTranslate2 form, as torch weights: for training, and on a GPU.

`features.whisper` is the quicker way on a CPU; both give the same features but for its int8 rounding.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stepaudio.errors import ModelError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from stepaudio.encoder import Encoder

TYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
HEAD = 64
"""Width of an attention head in every Whisper model."""
_NAMES = {
    "conv1.weight": "conv1/weight",
    "conv1.bias": "conv1/bias",
    "conv2.weight": "conv2/weight",
    "conv2.bias": "conv2/bias",
    "positional_embedding.weight": "position_encodings/encodings",
    "after_norm.weight": "layer_norm/gamma",
    "after_norm.bias": "layer_norm/beta",
}
_BLOCK = {
    "attn_ln.weight": "self_attention/layer_norm/gamma",
    "attn_ln.bias": "self_attention/layer_norm/beta",
    "attn.out.weight": "self_attention/linear_1/weight",
    "attn.out.bias": "self_attention/linear_1/bias",
    "mlp_ln.weight": "ffn/layer_norm/gamma",
    "mlp_ln.bias": "ffn/layer_norm/beta",
    "mlp.0.weight": "ffn/linear_0/weight",
    "mlp.0.bias": "ffn/linear_0/bias",
    "mlp.2.weight": "ffn/linear_1/weight",
    "mlp.2.bias": "ffn/linear_1/bias",
}


def load_encoder(folder: Path) -> "Encoder":
    """Read the encoder of ``model.bin`` in a card's folder, in float32.

    Raises:
        ModelError: the file is missing, damaged, or holds weights that are not floats.
    """
    import torch

    from stepaudio.encoder import Encoder, EncoderConfig

    path = folder / "model.bin"
    try:
        found = {
            name.removeprefix("encoder/"): values
            for name, values in read_variables(path.read_bytes())
            if name.startswith("encoder/")
        }
        depth = len({name.split("/")[0] for name in found if name.startswith("layer_") and name[6].isdigit()})
        state, mels, _ = found["conv1/weight"].shape
        shape = EncoderConfig(
            n_mels=mels, n_state=state, n_head=state // HEAD, n_layer=depth, key_bias=True, pool=False
        )
        with torch.device("meta"):
            encoder = Encoder(shape)
        tensors = {ours: _float(found[theirs]) for ours, theirs in _NAMES.items()}
        for index in range(depth):
            layer = {ours: _float(found[f"layer_{index}/{theirs}"]) for ours, theirs in _BLOCK.items()}
            for part in ("weight", "bias"):
                fused = _float(found[f"layer_{index}/self_attention/linear_0/{part}"])
                names = ("query", "key", "value")
                layer |= {
                    f"attn.{name}.{part}": value for name, value in zip(names, fused.chunk(3), strict=True)
                }
            tensors |= {f"blocks.{index}.{name}": value for name, value in layer.items()}
        encoder.load_state_dict(tensors, assign=True)
    except (OSError, struct.error, ValueError, KeyError, IndexError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"{path}: no Whisper encoder ({reason})") from None
    return encoder.eval().requires_grad_(False)


def log_mels(sound: "Tensor") -> "Tensor":
    """Sound (batch, n) at 16 kHz, at most 30 s, to the log-mels (batch, 80, 3000) of a whole window."""
    from torch.nn.functional import pad

    from stepaudio.features.mel import WHISPER_80, whisper_log_mel
    from stepaudio.features.whisper import WINDOW

    return whisper_log_mel(pad(sound, (0, WINDOW - sound.shape[-1])), WHISPER_80)


def encode(encoder: "Encoder", sound: "Tensor") -> "Tensor":
    """Sound (batch, n) at 16 kHz, at most 30 s, to features (batch, 1500, width) of the whole window."""
    mel = log_mels(sound)
    x = encoder.embed(mel.to(encoder.conv1.weight.dtype))
    for block in encoder.blocks:
        x = block(x, None)
    features: torch.Tensor = encoder.after_norm(x)
    return features


def read_variables(data: bytes) -> Iterator[tuple[str, np.ndarray]]:
    """Yield name and values of a CTranslate2 model file (binary version 4 and later).

    Raises:
        struct.error: it ends early.
        KeyError: an element type that is not known.
    """
    place = 0

    def take(form: str) -> tuple[int, ...]:
        nonlocal place
        values = struct.unpack_from("<" + form, data, place)
        place += struct.calcsize("<" + form)
        return values

    def text() -> str:
        nonlocal place
        (length,) = take("H")
        place += length
        return data[place - length : place].rstrip(b"\0").decode("utf-8")

    take("I")
    text()
    _, count = take("II")
    for _ in range(count):
        name = text()
        (rank,) = take("B")
        shape = take(f"{rank}I")
        kind, size = take("BI")
        values = np.frombuffer(data[place : place + size], TYPES[kind]).reshape(shape)
        place += size
        yield name, values


def _float(values: np.ndarray) -> "Tensor":
    import torch

    if values.dtype not in (np.float16, np.float32):
        raise ValueError(f"weights are {values.dtype}, not floats")
    return torch.from_numpy(values.astype(np.float32))
