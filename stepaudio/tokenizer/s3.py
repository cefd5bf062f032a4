"""S3 networks: supervised semantic codes of speech, version 1 (4096 codes) and version 2 (FSQ, 6561 codes).

Version 1 is the tokenizer of CosyVoice (arXiv 2407.05407), version 2 that of CosyVoice 2 (arXiv 2412.10117).
They share two strided convolutions and pre-norm attention blocks, so they are one class: version 1 adds
sinusoids at the input and looks up the nearest row of a codebook; version 2 rotates queries and keys, adds an
FSMN memory to attention and rounds eight projected numbers to three levels.
"""

from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import gelu, normalize, pad, scaled_dot_product_attention

FSQ_LEVELS = 3
FSQ_DIMENSIONS = 8
FSQ_SQUEEZE = 0.9990000128746033
"""Keeps tanh's ±1 off the rounding edges; the float32 value of 0.999."""
ROPE_BASE = 10000.0


class S3Config(BaseModel):
    """Sizes of an S3 network; the defaults are the official ones for either version."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1, 2]
    n_mels: int = Field(default=128, gt=0)
    n_ctx: int = Field(default=1500, gt=0, description="rows of the position table (version 1)")
    size: int = Field(default=1280, gt=0)
    heads: int = Field(default=20, gt=0)
    layers: int = Field(default=6, gt=0)
    first_stride: Literal[1, 2] = Field(default=2, description="2 for 25 Hz, 1 for the 50 Hz variant")
    codes: int = Field(default=4096, gt=0, description="rows of the codebook (version 1)")
    fsmn_kernel: int = Field(default=31, gt=0, description="taps of the memory (version 2)")

    @model_validator(mode="after")
    def _check(self) -> "S3Config":
        if self.size % self.heads or self.size // self.heads % 2:
            raise ValueError("size must be an even multiple of heads")
        return self

    @property
    def n_codes(self) -> int:
        """Number of different codes."""
        return self.codes if self.version == 1 else FSQ_LEVELS**FSQ_DIMENSIONS


def code_length(frames: int, first_stride: int = 2) -> int:
    """Number of codes for ``frames`` mel frames: each strided convolution rounds up."""
    return (frames - 1 + 2 * first_stride) // (2 * first_stride)


class S3Attention(nn.Module):
    """Multi-head attention; with a memory kernel also rotary positions and an FSMN branch."""

    def __init__(self, config: S3Config):
        super().__init__()
        self.heads = config.heads
        self.query = nn.Linear(config.size, config.size)
        self.key = nn.Linear(config.size, config.size, bias=False)
        self.value = nn.Linear(config.size, config.size)
        self.out = nn.Linear(config.size, config.size)
        self.fsmn_block = None
        if config.version == 2:
            kernel = config.fsmn_kernel
            self.fsmn_block = nn.Conv1d(config.size, config.size, kernel, groups=config.size, bias=False)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """Attend among the ``valid`` (batch, rows) positions of ``x`` (batch, rows, size)."""
        rows, size = x.shape[1], x.shape[2] // self.heads
        value = self.value(x)
        query, key, split = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.query(x), self.key(x), value)
        )
        if self.fsmn_block is not None:
            angles = rotation(rows, size, x.device)
            query, key = rotate(query, *angles), rotate(key, *angles)
        attended = scaled_dot_product_attention(query, key, split, attn_mask=valid[:, None, None])
        out = self.out(attended.transpose(1, 2).flatten(2))
        return out if self.fsmn_block is None else out + self._memory(value, valid[..., None])

    def _memory(self, value: Tensor, valid: Tensor) -> Tensor:
        assert self.fsmn_block is not None
        value = value * valid
        (taps,) = self.fsmn_block.kernel_size
        left = (taps - 1) // 2
        padded = pad(value.transpose(1, 2), (left, taps - 1 - left))
        return (self.fsmn_block(padded).transpose(1, 2) + value) * valid


def rotation(rows: int, size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines (rows, size / 2) of the rotary embedding's angles."""
    rates = ROPE_BASE ** (-torch.arange(0, size, 2, device=device, dtype=torch.float32) / size)
    angles = torch.arange(rows, device=device, dtype=torch.float32)[:, None] * rates
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Rotary position embedding of ``x`` (..., rows, size): first and second half are the pairs."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1)


class S3Block(nn.Module):
    """Pre-norm attention block with a GELU feed-forward of four times the width."""

    def __init__(self, config: S3Config):
        super().__init__()
        self.attn = S3Attention(config)
        self.attn_ln = nn.LayerNorm(config.size)
        wide = 4 * config.size
        self.mlp = nn.Sequential(nn.Linear(config.size, wide), nn.GELU(), nn.Linear(wide, config.size))
        self.mlp_ln = nn.LayerNorm(config.size)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """(batch, rows, size) to the same."""
        x = x + self.attn(self.attn_ln(x), valid)
        return x + self.mlp(self.mlp_ln(x))


class S3Encoder(nn.Module):
    """Log-mel frames to hidden rows at a quarter (or half) of their rate."""

    positional_embedding: Tensor

    def __init__(self, config: S3Config):
        super().__init__()
        self.config = config
        self.conv1 = nn.Conv1d(config.n_mels, config.size, 3, stride=config.first_stride, padding=1)
        self.conv2 = nn.Conv1d(config.size, config.size, 3, stride=2, padding=1)
        self.blocks = nn.ModuleList([S3Block(config) for _ in range(config.layers)])
        if config.version == 1:
            self.register_buffer("positional_embedding", _position_table(config.n_ctx, config.size))

    def forward(self, mel: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Encode (batch, n_mels, frames) of which each has ``lengths`` frames; rows and their numbers."""
        x, lengths = self._strided(self.conv1, mel, lengths)
        x, lengths = self._strided(self.conv2, x, lengths)
        valid = _valid(lengths, x.shape[-1])
        x = x.transpose(1, 2)
        if self.config.version == 1:
            x = x + self.positional_embedding[: x.shape[1]]
        for block in self.blocks:
            x = block(x, valid)
        return x, lengths

    @staticmethod
    def _strided(convolution: nn.Conv1d, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        # What lies past a clip's end must be silent, or a clip's codes would depend on its batch.
        x = gelu(convolution(x * _valid(lengths, x.shape[-1])[:, None]))
        return x, (lengths - 1) // convolution.stride[0] + 1


def _valid(lengths: Tensor, rows: int) -> Tensor:
    return torch.arange(rows, device=lengths.device) < lengths[:, None]


def _position_table(rows: int, size: int) -> Tensor:
    """Whisper's sinusoids: sines then cosines, wave lengths from 2 pi to 10000 * 2 pi."""
    half = size // 2
    rates = torch.exp(torch.arange(half) * (-torch.log(torch.tensor(10000.0)) / (half - 1)))
    angles = torch.arange(rows)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class NearestRow(nn.Module):
    """Version 1's codebook: the row closest to the normalised vector."""

    embed: Tensor

    def __init__(self, config: S3Config):
        super().__init__()
        self.register_buffer("embed", torch.zeros(config.codes, config.size))

    def forward(self, hidden: Tensor) -> Tensor:
        """Codes (...,) of vectors (..., size)."""
        hidden = normalize(hidden, dim=-1)
        # |x - e|^2 without |x|^2, which is the same for every row.
        return (self.embed.square().sum(dim=1) - 2 * hidden @ self.embed.T).argmin(dim=-1)


class FiniteScalar(nn.Module):
    """Version 2's quantiser: eight digits of three levels, the first one least significant."""

    def __init__(self, size: int):
        super().__init__()
        self.project_down = nn.Linear(size, FSQ_DIMENSIONS)

    def forward(self, hidden: Tensor) -> Tensor:
        """Codes (...,) of vectors (..., size)."""
        digits = self.digits(hidden)
        weights = FSQ_LEVELS ** torch.arange(FSQ_DIMENSIONS, device=digits.device)
        return (digits * weights).sum(dim=-1)

    def digits(self, hidden: Tensor) -> Tensor:
        """Digits 0..2 (..., 8) of vectors (..., size)."""
        return (torch.tanh(self.project_down(hidden)) * FSQ_SQUEEZE).round().long() + 1


class S3Network(nn.Module):
    """Encoder and quantiser, under the state-dict keys of the s3tokenizer package."""

    def __init__(self, config: S3Config):
        super().__init__()
        self.config = config
        self.encoder = S3Encoder(config)
        self.quantizer = nn.Module()
        codebook = NearestRow(config) if config.version == 1 else FiniteScalar(config.size)
        self.quantizer.add_module("_codebook", codebook)

    def forward(self, mel: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Codes of a batch.

        Args:
            mel: (batch, n_mels, frames), float32, see :func:`stepaudio.features.mel.whisper_log_mel`.
            lengths: (batch,), integers, frames of each that count.

        Returns:
            Codes (batch, rows), int64, and the number (batch,) of them that count.
        """
        hidden, lengths = self.encoder(mel, lengths)
        return self.quantizer.get_submodule("_codebook")(hidden), lengths
