"""Diffusion-transformer estimator of the velocity field (Step-Audio 2), with streaming caches."""

import math
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stepaudio.decoder.config import DiTConfig
from stepaudio.decoder.memory import KeyValues, last_frames, with_past

TIME_SCALE = 1000.0  # flow time 0..1 to the range that the sinusoids expect
TIME_WAVES = 256
KERNEL = 3
NORM_EPS = 1e-6  # of the norms without weights; the others use 1e-5


@dataclass
class BlockState:
    """What a block remembers: keys and values, and the last inputs of its two convolutions."""

    attention: KeyValues = field(default_factory=KeyValues)
    conv_in: Tensor | None = None
    conv_out: Tensor | None = None


@dataclass
class DiTState:
    """What the estimator remembers of a stream at one Euler step.

    Attributes:
        blocks: one state a block.
        newest_first: put new keys before the held ones, as the reference does; attention does not care, but
            a later `keep_ends` does.
    """

    blocks: list[BlockState]
    newest_first: bool = False

    @property
    def length(self) -> int:
        """Frames held by the attention."""
        return self.blocks[0].attention.length if self.blocks else 0

    def keep_ends(self, first: int, last: int) -> None:
        """Forget the keys between the first `first` and the last `last` held."""
        for block in self.blocks:
            block.attention.keep_ends(first, last)

    def clone(self) -> "DiTState":
        """A copy that shares the tensors, which are replaced and never written in place."""
        blocks = [replace(block, attention=replace(block.attention)) for block in self.blocks]
        return replace(self, blocks=blocks)


class TimeEmbedder(nn.Module):
    """Sinusoids of the flow time, then two linear layers with SiLU between."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(TIME_WAVES, size), nn.SiLU(), nn.Linear(size, size))

    def forward(self, time: Tensor) -> Tensor:
        """(batch,) in 0..1 -> (batch, size)."""
        half = TIME_WAVES // 2
        inverse = torch.exp(-math.log(10000.0) * torch.arange(half, device=time.device) / half)
        angle = (time * TIME_SCALE)[:, None].float() * inverse
        out: Tensor = self.mlp(torch.cat((angle.cos(), angle.sin()), -1).to(time.dtype))
        return out


class Attention(nn.Module):
    """Multi-head attention without positions; queries and keys are normalised."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        inner = config.num_heads * config.head_dim
        self.heads = config.num_heads
        self.to_q = nn.Linear(config.hidden_size, inner)
        self.to_k = nn.Linear(config.hidden_size, inner)
        self.to_v = nn.Linear(config.hidden_size, inner)
        self.q_norm = nn.LayerNorm(config.head_dim)
        self.k_norm = nn.LayerNorm(config.head_dim)
        self.proj = nn.Linear(inner, config.hidden_size)

    def forward(self, x: Tensor, cache: KeyValues, newest_first: bool, mask: Tensor | None) -> Tensor:
        """Attend from (batch, T, size) to the cache and to x.

        `mask` is true on real frames, (batch, T), or where a frame may see another, (batch, T, T).
        """
        query, key, value = (
            project(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for project in (self.to_q, self.to_k, self.to_v)
        )
        key, value = cache.append(self.k_norm(key), value, newest_first=newest_first)
        if mask is not None:
            mask = mask[:, None, None] if mask.dim() == 2 else mask[:, None]
        mixed = F.scaled_dot_product_attention(self.q_norm(query), key, value, attn_mask=mask)
        out: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return out


class MLP(nn.Module):
    """Two linear layers with tanh-GELU between."""

    def __init__(self, size: int, inner: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(size, inner)
        self.fc2 = nn.Linear(inner, size)

    def forward(self, x: Tensor) -> Tensor:
        """(..., size) -> the same shape."""
        out: Tensor = self.fc2(F.gelu(self.fc1(x), approximate="tanh"))
        return out


class CausalConv(nn.Module):
    """Causal convolution, layer norm, Mish, causal convolution."""

    def __init__(self, size: int) -> None:
        super().__init__()
        # the checkpoint's names count the transpositions and the activation between
        self.block = nn.ModuleDict(
            {"1": nn.Conv1d(size, size, KERNEL), "3": nn.LayerNorm(size), "6": nn.Conv1d(size, size, KERNEL)}
        )

    def forward(self, x: Tensor, state: BlockState) -> Tensor:
        """(batch, T, size) -> the same shape."""
        hidden = with_past(x.transpose(1, 2), state.conv_in, KERNEL - 1)
        state.conv_in = last_frames(hidden, KERNEL - 1)
        hidden = F.mish(self.block["3"](self.block["1"](hidden).transpose(1, 2)))
        hidden = with_past(hidden.transpose(1, 2), state.conv_out, KERNEL - 1)
        state.conv_out = last_frames(hidden, KERNEL - 1)
        out: Tensor = self.block["6"](hidden).transpose(1, 2)
        return out


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Layer norm without weights, then the time-dependent shift and scale (adaLN)."""
    return F.layer_norm(x, x.shape[-1:], eps=NORM_EPS) * (1 + scale) + shift


class Block(nn.Module):
    """Attention, causal convolution and MLP, each modulated and gated by the flow time (adaLN-Zero)."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.attn = Attention(config)
        self.mlp = MLP(size, int(size * config.mlp_ratio))
        self.conv = CausalConv(size)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(size, 9 * size))

    def forward(
        self, x: Tensor, time: Tensor, state: BlockState, newest_first: bool, mask: Tensor | None
    ) -> Tensor:
        """(batch, T, size), time embedding (batch, size) -> (batch, T, size)."""
        chunks = self.adaLN_modulation(time)[:, None].chunk(9, -1)
        attn_shift, attn_scale, attn_gate, mlp_shift, mlp_scale, mlp_gate = chunks[:6]
        conv_shift, conv_scale, conv_gate = chunks[6:]
        normed = modulate(x, attn_shift, attn_scale)
        x = x + attn_gate * self.attn(normed, state.attention, newest_first, mask)
        x = x + conv_gate * self.conv(modulate(x, conv_shift, conv_scale), state)
        out: Tensor = x + mlp_gate * self.mlp(modulate(x, mlp_shift, mlp_scale))
        return out


class FinalLayer(nn.Module):
    """Modulated projection to the frame channels."""

    def __init__(self, size: int, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(size, channels)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(size, 2 * size))

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """(batch, T, size) -> (batch, T, channels)."""
        shift, scale = self.adaLN_modulation(time)[:, None].chunk(2, -1)
        out: Tensor = self.linear(modulate(x, shift, scale))
        return out


class DiT(nn.Module):
    """The velocity estimator of Step-Audio 2's flow; offline attention is full, not causal."""

    def __init__(self, channels: int, config: DiTConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.t_embedder = TimeEmbedder(size)
        self.in_proj = nn.Linear(4 * channels, size)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.final_layer = FinalLayer(size, channels)
        self._zero_gates()

    def _zero_gates(self) -> None:
        # adaLN-Zero: an untrained block is the identity (Peebles & Xie 2023)
        zeroed: list[nn.Module] = [self.final_layer.linear, self.final_layer.adaLN_modulation[1]]
        for block in self.blocks:
            assert isinstance(block, Block)
            zeroed.append(block.adaLN_modulation[1])
        for module in zeroed:
            for parameter in module.parameters():
                nn.init.zeros_(parameter)

    def start(self, *, newest_first: bool = False) -> DiTState:
        """A state without a past."""
        return DiTState([BlockState() for _ in self.blocks], newest_first)

    def forward(
        self,
        x: Tensor,
        time: Tensor,
        mu: Tensor,
        speaker: Tensor,
        cond: Tensor,
        mask: Tensor | None = None,
        state: DiTState | None = None,
    ) -> Tensor:
        """Velocity at (x, time) under the conditions.

        Args:
            x: noisy frames (batch, channels, T).
            time: flow time (batch,) in 0..1.
            mu: encoder output (batch, channels, T).
            speaker: projected speaker (batch, channels).
            cond: known frames, zeros elsewhere (batch, channels, T).
            mask: (batch, T), true on real frames, or (batch, T, T), true where a frame sees another; only
                without a state.
            state: the frames before x in a stream; updated in place.
        """
        state = state or self.start()
        now = self.t_embedder(time)
        hidden = torch.cat((x, mu, speaker[..., None].expand_as(x), cond), 1).transpose(1, 2)
        hidden = self.in_proj(hidden)
        for block, block_state in zip(self.blocks, state.blocks, strict=True):
            hidden = block(hidden, now, block_state, state.newest_first, mask)
        out: Tensor = self.final_layer(hidden, now).transpose(1, 2)
        return out
