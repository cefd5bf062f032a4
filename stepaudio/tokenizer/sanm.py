"""SANM: streaming encoder of self-attention with an FSMN memory, as in Paraformer (arXiv 2206.08317).

The encoder sees windows of five earlier rows and up to four new ones, and keeps keys and values of the last
sixteen rows in each layer. A window's values depend on earlier windows only through those caches, so many
windows go through a layer at once: offline encoding is parallel, and gives what going window by window does.
"""

from dataclasses import dataclass, field

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention

WINDOWS_AT_ONCE = 64
"""Windows that go through a layer together: bounds memory on long audio (64 windows are 15 s)."""


class SanmConfig(BaseModel):
    """Sizes of the encoder; the defaults are those of the official linguistic tokenizer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input_size: int = Field(default=560, gt=0, multiple_of=2)
    size: int = Field(default=512, gt=0)
    heads: int = Field(default=4, gt=0)
    feed_forward: int = Field(default=2048, gt=0)
    layers: int = Field(default=50, gt=0)
    kernel: int = Field(default=11, gt=0)
    new_rows: int = Field(default=4, gt=0, description="rows that complete a window")
    kept_rows: int = Field(default=5, ge=0, description="earlier rows at the front of a window")
    cached_windows: int = Field(default=4, gt=0, description="earlier windows whose new rows are attended to")

    @model_validator(mode="after")
    def _check(self) -> "SanmConfig":
        if self.size % self.heads:
            raise ValueError("size must be a multiple of heads")
        return self

    @property
    def cached_rows(self) -> int:
        """Rows of keys and values that each layer keeps at most."""
        return self.cached_windows * self.new_rows


@dataclass
class SanmState:
    """What one stream carries from call to call; its size does not grow with the audio.

    Attributes:
        position: rows seen so far.
        kept: (kept_rows, input_size), the last scaled and position-coded input rows; zeros at the start.
        keys: one (rows, heads, head size) per layer, at most ``cached_rows`` rows.
        values: as ``keys``.
    """

    position: int
    kept: Tensor
    keys: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)


def sinusoids(start: int, rows: int, depth: int, device: torch.device) -> Tensor:
    """Position codes (rows, depth), sines then cosines, for positions counted from ``start`` + 1."""
    half = depth // 2
    step = torch.log(torch.tensor(10000.0, device=device)) / (half - 1)
    rates = torch.exp(torch.arange(half, device=device, dtype=torch.float32) * -step)
    positions = torch.arange(start + 1, start + rows + 1, device=device, dtype=torch.float32)
    angles = positions[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class FeedForward(nn.Module):
    """Two linear layers with a ReLU between them."""

    def __init__(self, config: SanmConfig):
        super().__init__()
        self.w_1 = nn.Linear(config.size, config.feed_forward)
        self.w_2 = nn.Linear(config.feed_forward, config.size)

    def forward(self, x: Tensor) -> Tensor:
        """(..., size) to (..., size)."""
        return self.w_2(self.w_1(x).relu())


class SanmAttention(nn.Module):
    """Attention over cache and window, plus a depthwise convolution over the window's values."""

    def __init__(self, input_size: int, config: SanmConfig):
        super().__init__()
        self.config = config
        self.linear_q_k_v = nn.Linear(input_size, 3 * config.size)
        self.linear_out = nn.Linear(config.size, config.size)
        self.fsmn_block = nn.Conv1d(config.size, config.size, config.kernel, groups=config.size, bias=False)

    def forward(self, x: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Attend.

        Args:
            x: (windows, rows, input size), consecutive windows.
            keys: (cached, heads, head size), rows before the first window.
            values: as ``keys``.

        Returns:
            The output (windows, rows, size), and the keys and values to keep for the next call.
        """
        windows, rows, _ = x.shape
        query, key, value = self.linear_q_k_v(x).chunk(3, dim=-1)
        memory = self._memory(value)
        query, key, value = (part.unflatten(-1, (self.config.heads, -1)) for part in (query, key, value))
        all_keys, past_keys = self._history(keys, key)
        all_values, past_values = self._history(values, value)
        # A stream's first windows have less behind them than the cache holds.
        filled = self.config.cached_rows - keys.shape[0]
        slots = torch.arange(self.config.cached_rows, device=x.device)
        new = rows - self.config.kept_rows
        seen = torch.arange(windows, device=x.device)[:, None] * new + slots >= filled
        seen = torch.cat([seen, seen.new_ones(windows, rows)], dim=1)[:, None, None]
        attended = scaled_dot_product_attention(
            query.transpose(1, 2),
            torch.cat([past_keys, key], dim=1).transpose(1, 2),
            torch.cat([past_values, value], dim=1).transpose(1, 2),
            attn_mask=seen,
        )
        out = self.linear_out(attended.transpose(1, 2).flatten(2)) + memory
        limit = self.config.cached_rows
        # Copies: a view would keep every row of the call alive.
        return out, all_keys[-limit:].clone(), all_values[-limit:].clone()

    def _memory(self, value: Tensor) -> Tensor:
        left = (self.config.kernel - 1) // 2
        padded = pad(value.transpose(1, 2), (left, self.config.kernel - 1 - left))
        return self.fsmn_block(padded).transpose(1, 2) + value

    def _history(self, cached: Tensor, windows: Tensor) -> tuple[Tensor, Tensor]:
        """All rows worth caching (rows, heads, head size), and per window the cached rows before it."""
        count, rows = windows.shape[:2]
        new = rows - self.config.kept_rows
        # The newest kept_rows of a window come again at the front of the next one.
        joined = torch.cat([cached, windows[:, :new].flatten(0, 1)])
        limit = self.config.cached_rows
        padded = torch.cat([joined.new_zeros(limit - len(cached), *joined.shape[1:]), joined])
        past = torch.stack([padded[index * new : index * new + limit] for index in range(count)])
        return joined, past


class SanmLayer(nn.Module):
    """Pre-norm layer; the first of the stack changes the size and has no residual around attention."""

    def __init__(self, input_size: int, config: SanmConfig):
        super().__init__()
        self.residual = input_size == config.size
        self.self_attn = SanmAttention(input_size, config)
        self.feed_forward = FeedForward(config)
        self.norm1 = nn.LayerNorm(input_size, eps=1e-12)
        self.norm2 = nn.LayerNorm(config.size, eps=1e-12)

    def forward(self, x: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See :meth:`SanmAttention.forward`."""
        attended, keys, values = self.self_attn(self.norm1(x), keys, values)
        x = x + attended if self.residual else attended
        return x + self.feed_forward(self.norm2(x)), keys, values


class SanmEncoder(nn.Module):
    """The streaming encoder, under the reference's state-dict keys (without their ``encoder.`` prefix)."""

    def __init__(self, config: SanmConfig):
        super().__init__()
        self.config = config
        self.encoders0 = nn.ModuleList([SanmLayer(config.input_size, config)])
        self.encoders = nn.ModuleList([SanmLayer(config.size, config) for _ in range(config.layers - 1)])
        self.after_norm = nn.LayerNorm(config.size, eps=1e-12)

    def start(self) -> SanmState:
        """State of a stream that has seen nothing."""
        weight = self.after_norm.weight
        kept = weight.new_zeros(self.config.kept_rows, self.config.input_size)
        empty = weight.new_zeros(0, self.config.heads, self.config.size // self.config.heads)
        return SanmState(0, kept, [empty] * self.config.layers, [empty] * self.config.layers)

    def push(self, state: SanmState, rows: Tensor) -> Tensor:
        """Encode the rows that follow.

        Args:
            state: of this stream; updated.
            rows: (n, input_size), float32; n must be a multiple of ``new_rows`` except in a stream's
                last call, because windows start where the previous ones ended.

        Returns:
            (n, size).
        """
        step = self.config.new_rows
        whole = len(rows) // step
        outputs = []
        for first in range(0, whole, WINDOWS_AT_ONCE):
            block = rows[first * step : min(first + WINDOWS_AT_ONCE, whole) * step]
            outputs.append(self.windows(state, block, step)[:, -step:].flatten(0, 1))
        if left := len(rows) - whole * step:
            outputs.append(self.windows(state, rows[-left:], left)[0, -left:])
        return torch.cat(outputs) if outputs else rows.new_zeros(0, self.config.size)

    def windows(self, state: SanmState, rows: Tensor, step: int) -> Tensor:
        """All rows of the windows, (n / step, kept_rows + step, size), for (n, input_size) ``rows``."""
        coded = rows * self.config.size**0.5
        coded = coded + sinusoids(state.position, len(rows), self.config.input_size, rows.device)
        joined = torch.cat([state.kept, coded])
        state.position += len(rows)
        state.kept = joined[len(rows) :].clone()
        x = joined.unfold(0, self.config.kept_rows + step, step).transpose(1, 2)
        for index, layer in enumerate([*self.encoders0, *self.encoders]):
            x, state.keys[index], state.values[index] = layer(x, state.keys[index], state.values[index])
        return self.after_norm(x)
