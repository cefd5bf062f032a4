"""Conformer blocks with relative-position attention (Transformer-XL style), and the plain encoder.

The layers have neither convolution nor macaron modules: Step-Audio 1 and 2 switch both off.
"""

import math
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stepaudio.decoder.config import ConformerConfig, ConformerLayers
from stepaudio.decoder.memory import KeyValues

OUTER_EPS = 1e-5  # of the norms around the layer stack


@dataclass
class StackState:
    """The key/value caches of a stack of layers."""

    layers: list[KeyValues] = field(default_factory=list)

    @classmethod
    def empty(cls, layers: int) -> "StackState":
        """Caches without a past for `layers` layers."""
        return cls([KeyValues() for _ in range(layers)])

    def clone(self) -> "StackState":
        """A copy that shares the tensors, which are replaced and never written in place."""
        return StackState([replace(layer) for layer in self.layers])


def relative_positions(queries: int, keys: int, width: int, like: Tensor) -> Tensor:
    """Sinusoids of the distances query - key, from the farthest past to the farthest future.

    Args:
        queries: new positions; they are the newest of the keys.
        keys: all positions.
        width: even width of the encoding; sines at even, cosines at odd places.
        like: tensor whose device and dtype the result takes.

    Returns:
        Tensor (keys + queries - 1, width): row r is the distance keys - 1 - r.
    """
    distance = torch.arange(keys - 1, -queries, -1, device=like.device, dtype=torch.float32)
    inverse = torch.exp(torch.arange(0, width, 2, device=like.device) * -(math.log(10000.0) / width))
    angle = distance[:, None] * inverse[None]
    return torch.stack((angle.sin(), angle.cos()), -1).flatten(1).to(like.dtype)


def shift_relative(scores: Tensor, keys: int) -> Tensor:
    """Turn scores by distance into scores by key: (..., T, T + keys - 1) -> (..., T, keys)."""
    *lead, queries, distances = scores.shape
    padded = F.pad(scores, (1, 0)).reshape(*lead, distances + 1, queries)
    return padded[..., 1:, :].reshape(*lead, queries, distances)[..., :keys]


class RelativeAttention(nn.Module):
    """Multi-head attention with content and position biases (Dai et al. 2019, section 3.3)."""

    def __init__(self, config: ConformerLayers) -> None:
        super().__init__()
        size = config.output_size
        self.heads = config.attention_heads
        self.linear_q = nn.Linear(size, size)
        self.linear_k = nn.Linear(size, size, bias=config.key_bias)
        self.linear_v = nn.Linear(size, size)
        self.linear_out = nn.Linear(size, size)
        self.linear_pos = nn.Linear(size, size, bias=False)
        self.pos_bias_u = nn.Parameter(torch.empty(self.heads, size // self.heads))
        self.pos_bias_v = nn.Parameter(torch.empty(self.heads, size // self.heads))
        nn.init.xavier_uniform_(self.pos_bias_u)
        nn.init.xavier_uniform_(self.pos_bias_v)

    def forward(self, x: Tensor, positions: Tensor, cache: KeyValues, mask: Tensor | None = None) -> Tensor:
        """Attend from (batch, T, size) to the cache and to x itself; the cache takes the new positions."""
        query = self._split(self.linear_q(x))
        key, value = cache.append(self._split(self.linear_k(x)), self._split(self.linear_v(x)))
        position = self._split(self.linear_pos(positions)[None])
        content = (query + self.pos_bias_u[:, None]) @ key.transpose(-2, -1)
        distance = (query + self.pos_bias_v[:, None]) @ position.transpose(-2, -1)
        scores = (content + shift_relative(distance, key.shape[2])) / math.sqrt(key.shape[-1])
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None, None], -math.inf)
        mixed = (scores.softmax(-1) @ value).transpose(1, 2).flatten(2)
        out: Tensor = self.linear_out(mixed)
        return out

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class FeedForward(nn.Module):
    """Two linear layers with SiLU between."""

    def __init__(self, size: int, inner: int) -> None:
        super().__init__()
        self.w_1 = nn.Linear(size, inner)
        self.w_2 = nn.Linear(inner, size)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, T, size) -> the same shape."""
        out: Tensor = self.w_2(F.silu(self.w_1(x)))
        return out


class ConformerLayer(nn.Module):
    """Pre-norm attention and feed-forward, each with a residual."""

    def __init__(self, config: ConformerLayers) -> None:
        super().__init__()
        size = config.output_size
        self.self_attn = RelativeAttention(config)
        self.feed_forward = FeedForward(size, config.linear_units)
        self.norm_mha = nn.LayerNorm(size, eps=config.layer_norm_eps)
        self.norm_ff = nn.LayerNorm(size, eps=config.layer_norm_eps)

    def forward(self, x: Tensor, positions: Tensor, cache: KeyValues, mask: Tensor | None = None) -> Tensor:
        """(batch, T, size) -> the same shape; the cache takes the new positions."""
        x = x + self.self_attn(self.norm_mha(x), positions, cache, mask)
        return x + self.feed_forward(self.norm_ff(x))


class InputProjection(nn.Module):
    """Linear layer and layer norm, scaled by the square root of the width as the position code wants."""

    def __init__(self, input_size: int, size: int) -> None:
        super().__init__()
        self.out = nn.Sequential(nn.Linear(input_size, size), nn.LayerNorm(size, eps=OUTER_EPS))
        self.scale = math.sqrt(size)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, T, input size) -> (batch, T, size)."""
        out: Tensor = self.out(x) * self.scale
        return out


def run_layers(layers: nn.ModuleList, x: Tensor, state: StackState, mask: Tensor | None = None) -> Tensor:
    """Run new positions through a stack, with the past of `state`, which is updated."""
    past = state.layers[0].length if state.layers else 0
    positions = relative_positions(x.shape[1], past + x.shape[1], x.shape[2], x)
    for layer, cache in zip(layers, state.layers, strict=True):
        x = layer(x, positions, cache, mask)
    return x


class ConformerEncoder(nn.Module):
    """Encoder of Step-Audio's flow: every code sees every other.

    Shapes: embedded codes (batch, T, input_size) -> (batch, T, output_size).
    """

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        self.embed = InputProjection(config.input_size, config.output_size)
        self.encoders = nn.ModuleList(ConformerLayer(config) for _ in range(config.num_blocks))
        self.after_norm = nn.LayerNorm(config.output_size, eps=OUTER_EPS)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Encode; `mask` (batch, T) is true on real codes."""
        x = run_layers(self.encoders, self.embed(x), StackState.empty(len(self.encoders)), mask)
        out: Tensor = self.after_norm(x)
        return out
