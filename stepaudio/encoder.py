"""How a language model hears: Whisper-style encoder, adaptor to 12.5 Hz, feature injection.

Source: arXiv 2507.16632, section 3; state-dict keys are those of the released checkpoints (``encoder.*``,
``adapter.*``). nano uses the same classes at its own size.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from stepaudio.errors import InputError, ModelError
from stepaudio.features.mel import WHISPER_128, whisper_log_mel
from stepaudio.pieces import TAIL_PADDING, adaptor_length, encoder_length, split_pieces, valid_frames

Positive = Annotated[int, Field(gt=0)]
MASKED = -1e10  # additive bias of padded keys


class EncoderConfig(BaseModel):
    """Shape of encoder and adaptor; the defaults are Step-Audio-2-mini's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    n_mels: Positive = 128
    n_ctx: Positive = 1500
    n_state: Positive = 1280
    n_head: Positive = 20
    n_layer: Positive = 32
    key_bias: bool = False
    pool: bool = True
    """Average pairs of frames before the last norm (25 Hz instead of 50 Hz)."""
    adaptor_kernel: Positive = 3
    adaptor_stride: Positive = 2
    adaptor_hidden: Positive = 2048
    llm_dim: Positive = 3584

    @model_validator(mode="after")
    def _heads_divide(self) -> "EncoderConfig":
        if self.n_state % self.n_head:
            raise ValueError(f"n_state {self.n_state} is not a multiple of n_head {self.n_head}")
        if self.adaptor_kernel % 2 == 0:
            raise ValueError("adaptor_kernel must be odd")
        return self


class Attention(nn.Module):
    """Multi-head attention over all frames; softmax in float32."""

    def __init__(self, state: int, heads: int, key_bias: bool):
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(state, state)
        self.key = nn.Linear(state, state, bias=key_bias)
        self.value = nn.Linear(state, state)
        self.out = nn.Linear(state, state)

    def forward(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """Attend; `x` is (batch, frames, state), `bias` (batch, 1, 1, frames) is added to the scores."""
        batch, frames, state = x.shape
        scale = (state // self.heads) ** -0.25

        def split(y: Tensor) -> Tensor:
            return y.view(batch, frames, self.heads, -1).transpose(1, 2)

        # Both sides are scaled, as in training: one full scale would round differently in bfloat16.
        scores = (split(self.query(x)) * scale) @ (split(self.key(x)) * scale).transpose(-1, -2)
        if bias is not None:
            scores = scores + bias
        weights = scores.float().softmax(-1).to(x.dtype)
        return self.out((weights @ split(self.value(x))).transpose(1, 2).reshape(batch, frames, state))


class Block(nn.Module):
    """Pre-norm transformer block with a four-times wider GELU feed-forward."""

    def __init__(self, state: int, heads: int, key_bias: bool):
        super().__init__()
        self.attn = Attention(state, heads, key_bias)
        self.attn_ln = nn.LayerNorm(state)
        self.mlp = nn.Sequential(nn.Linear(state, 4 * state), nn.GELU(), nn.Linear(4 * state, state))
        self.mlp_ln = nn.LayerNorm(state)

    def forward(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """Map (batch, frames, state) to the same shape."""
        x = x + self.attn(self.attn_ln(x), bias)
        return x + self.mlp(self.mlp_ln(x))


class Encoder(nn.Module):
    """Whisper-style encoder: two convolutions (100 to 50 Hz), blocks, optional pooling (25 Hz), norm."""

    def __init__(self, config: EncoderConfig):
        super().__init__()
        self.config = config
        self.conv1 = nn.Conv1d(config.n_mels, config.n_state, 3, padding=1)
        self.conv2 = nn.Conv1d(config.n_state, config.n_state, 3, stride=2, padding=1)
        self.positional_embedding = nn.Embedding(config.n_ctx, config.n_state)
        blocks = (Block(config.n_state, config.n_head, config.key_bias) for _ in range(config.n_layer))
        self.blocks = nn.ModuleList(blocks)
        self.avg_pooler = nn.AvgPool1d(2, 2) if config.pool else None
        self.after_norm = nn.LayerNorm(config.n_state)

    def embed(self, mel: Tensor) -> Tensor:
        """Return (batch, frames, state) after the convolutions and the position table.

        Raises:
            InputError: the mel is longer than the position table.
        """
        x = functional.gelu(self.conv1(mel))
        x = functional.gelu(self.conv2(x)).transpose(1, 2)
        if x.shape[1] > self.config.n_ctx:
            limit = 2 * self.config.n_ctx / 100
            raise InputError(
                f"{mel.shape[-1] / 100:.1f} s is too long for one encoder pass (limit {limit:.1f} s)"
            )
        return x + self.positional_embedding.weight[: x.shape[1]]

    def forward(self, mel: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Encode log-mels.

        Args:
            mel: (batch, n_mels, frames) in the dtype of the weights.
            lengths: (batch,) valid frames of each.

        Returns:
            (batch, frames', n_state) and (batch,) valid frames'. Only keys are masked: padding in a batch
            leaks into the last valid frame through convolution and pooling, as in the reference.
        """
        bias = key_bias(lengths, mel.shape[-1], mel.dtype)
        x = self.embed(mel)
        for block in self.blocks:
            x = block(x, bias)
        if self.avg_pooler is not None:
            x = self.avg_pooler(x.transpose(1, 2)).transpose(1, 2)
        out_lengths = [encoder_length(int(n), pool=self.config.pool) for n in lengths.tolist()]
        return self.after_norm(x), torch.tensor(out_lengths, device=mel.device)


def key_bias(lengths: Tensor, frames: int, dtype: torch.dtype) -> Tensor | None:
    """Return the additive bias (batch, 1, 1, ceil(frames / 2)) that hides padded keys, or ``None``.

    The mask over mel frames is subsampled from index 1 for an even number of frames, from 0 for an odd one.
    """
    valid = torch.arange(frames, device=lengths.device)[None] < lengths[:, None]
    kept = valid[:, (frames + 1) % 2 :: 2]
    if bool(kept.all()):
        return None
    return torch.zeros_like(kept, dtype=dtype).masked_fill(~kept, MASKED)[:, None, None]


class Adaptor(nn.Module):
    """Encoder frames to language-model embeddings: strided convolution (12.5 Hz), two linear layers."""

    def __init__(self, config: EncoderConfig):
        super().__init__()
        self.config = config
        kernel, stride = config.adaptor_kernel, config.adaptor_stride
        self.conv = nn.Conv1d(config.n_state, config.n_state, kernel, stride=stride, padding=kernel // 2)
        self.linear1 = nn.Linear(config.n_state, config.adaptor_hidden)
        self.linear2 = nn.Linear(config.adaptor_hidden, config.llm_dim)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Map (batch, frames, n_state) to (batch, frames', llm_dim), and the valid lengths with it."""
        x = functional.gelu(self.conv(x.transpose(1, 2))).transpose(1, 2)
        kernel, stride = self.config.adaptor_kernel, self.config.adaptor_stride
        out = [adaptor_length(int(n), kernel=kernel, stride=stride) for n in lengths.tolist()]
        return self.linear2(functional.relu(self.linear1(x))), torch.tensor(out, device=x.device)


class SpeechEncoder(nn.Module):
    """Encoder and adaptor together, under the checkpoint's keys ``encoder.*`` and ``adapter.*``."""

    def __init__(self, config: EncoderConfig):
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.adapter = Adaptor(config)

    @classmethod
    def from_tensors(cls, config: EncoderConfig, tensors: Mapping[str, Tensor]) -> "SpeechEncoder":
        """Build from the tensors of a checkpoint; those of other parts are ignored.

        Raises:
            ModelError: a tensor is missing, unknown to this configuration, or of another shape.
        """
        own = {key: value for key, value in tensors.items() if key.startswith(("encoder.", "adapter."))}
        # The meta device avoids filling hundreds of millions of weights with noise first.
        with torch.device("meta"):
            model = cls(config)
        try:
            model.load_state_dict(own, strict=True, assign=True)
        except RuntimeError as error:
            reason = str(error).split("\n", 1)[-1].strip().replace("\n\t", "; ")
            raise ModelError(f"audio encoder: {reason[:400]}") from None
        return model.eval().requires_grad_(False)

    def forward(self, mel: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Map log-mels (batch, n_mels, frames) to features (batch, frames', llm_dim) and valid lengths."""
        return self.adapter(*self.encoder(mel, lengths))

    @torch.inference_mode()
    def features(self, pieces: Sequence[np.ndarray], *, batched: bool = False) -> list[Tensor]:
        """Encode pieces of sound.

        Args:
            pieces: float32 mono at 16 kHz, each short enough for the position table (`split_pieces`).
            batched: encode all at once, zero-padded, as the reference does for several pieces. Each alone
                (default) does not let a longer neighbour change the end of a shorter one.

        Returns:
            For each piece (placeholder_count, llm_dim), in the dtype of the weights.
        """
        weight = self.encoder.conv1.weight
        mels = [piece_mel(piece, self.config.n_mels).to(weight) for piece in pieces]
        lengths = torch.tensor([valid_frames(len(piece)) for piece in pieces], device=weight.device)
        out: list[Tensor] = []
        if not batched:
            for mel, length in zip(mels, lengths, strict=True):
                features, count = self(mel[None], length[None])
                out.append(features[0, : int(count)])
        elif mels:
            longest = max(mel.shape[-1] for mel in mels)
            batch = torch.stack([functional.pad(mel, (0, longest - mel.shape[-1])) for mel in mels])
            features, counts = self(batch, lengths)
            out = [row[:count] for row, count in zip(features, counts.tolist(), strict=True)]
        return out

    def listen(self, samples: np.ndarray) -> list[Tensor]:
        """Encode a whole clip (float32 mono, 16 kHz) in 25 s pieces; features of each, in order."""
        return self.features(split_pieces(samples))


def piece_mel(piece: np.ndarray, n_mels: int) -> Tensor:
    """Return the log-mel (n_mels, frames) of one piece at 16 kHz, with the tail padding of the reference."""
    waveform = torch.from_numpy(np.ascontiguousarray(piece, dtype=np.float32))
    config = WHISPER_128.model_copy(update={"n_mels": n_mels})
    return whisper_log_mel(waveform, config, right_padding=TAIL_PADDING)


def inject(hidden: Tensor, ids: Tensor, features: Sequence[Tensor], audio_start: int) -> Tensor:
    """Put features over the placeholders.

    The j-th `audio_start` in row-major order at position s makes ``hidden[s + 1 : s + 1 + len_j]`` the j-th
    features.

    Args:
        hidden: (batch, positions, dim) embeddings of `ids`; not changed.
        ids: (batch, positions).
        features: one (len_j, dim) for each `audio_start`.
        audio_start: its id.

    Raises:
        InputError: more or fewer features than starts, or features that do not fit behind their start.
    """
    rows, columns = torch.nonzero(ids == audio_start, as_tuple=True)
    if len(rows) != len(features):
        raise InputError(f"the prompt has {len(rows)} audio starts but {len(features)} sounds were given")
    out = hidden.clone()
    for row, column, feature in zip(rows.tolist(), columns.tolist(), features, strict=True):
        end = column + 1 + len(feature)
        if end > ids.shape[1]:
            raise InputError(
                f"{len(feature)} audio features do not fit behind position {column} of {ids.shape[1]}"
            )
        out[row, column + 1 : end] = feature.to(out)
    return out
