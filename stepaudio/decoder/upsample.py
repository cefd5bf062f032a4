"""Conformer encoder with a short look-ahead and an up-sampling stage (Step-Audio 2), with streaming state."""

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stepaudio.decoder.config import UpsampleConformerConfig
from stepaudio.decoder.conformer import OUTER_EPS, ConformerLayer, InputProjection, StackState, run_layers
from stepaudio.decoder.memory import last_frames, with_past

LOOKAHEAD_KERNEL = 3  # of the causal convolution that follows the look-ahead


@dataclass
class EncoderState:
    """What the encoder remembers of a stream.

    Attributes:
        lookahead: last frames before the causal convolution of the look-ahead, (batch, size, 2).
        up: last frames before the convolution of the up-sampling, (batch, size, 2 * up_scale).
        layers: caches of the first stage, one position a code.
        up_layers: caches of the second stage, `up_scale` positions a code.
    """

    lookahead: Tensor | None = None
    up: Tensor | None = None
    layers: StackState = field(default_factory=StackState)
    up_layers: StackState = field(default_factory=StackState)

    def clone(self) -> "EncoderState":
        """A copy that shares the tensors, which are replaced and never written in place."""
        return replace(self, layers=self.layers.clone(), up_layers=self.up_layers.clone())


class PreLookahead(nn.Module):
    """Convolution over the next codes, then a causal one, with a residual."""

    def __init__(self, size: int, lookahead: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(size, size, lookahead + 1)
        self.conv2 = nn.Conv1d(size, size, LOOKAHEAD_KERNEL)

    def forward(self, x: Tensor, future: Tensor, state: EncoderState) -> Tensor:
        """(batch, T, size) and the codes after it (batch, look-ahead, size) -> (batch, T, size)."""
        hidden = F.leaky_relu(self.conv1(torch.cat((x, future), 1).transpose(1, 2)))
        hidden = with_past(hidden, state.lookahead, LOOKAHEAD_KERNEL - 1)
        state.lookahead = last_frames(hidden, LOOKAHEAD_KERNEL - 1)
        return x + self.conv2(hidden).transpose(1, 2)


class UpsampleLayer(nn.Module):
    """Nearest-neighbour repetition in time and a causal convolution."""

    def __init__(self, size: int, scale: int) -> None:
        super().__init__()
        self.scale = scale
        self.conv = nn.Conv1d(size, size, 2 * scale + 1)

    def forward(self, x: Tensor, state: EncoderState) -> Tensor:
        """(batch, T, size) -> (batch, scale * T, size)."""
        x = x.transpose(1, 2).repeat_interleave(self.scale, 2)
        x = with_past(x, state.up, 2 * self.scale)
        state.up = last_frames(x, 2 * self.scale)
        out: Tensor = self.conv(x).transpose(1, 2)
        return out


class UpsampleConformerEncoder(nn.Module):
    """Encoder of Step-Audio 2's flow: embedded codes (batch, T, input) -> (batch, up_scale * T, output).

    Offline every code sees every other. In a stream a chunk sees the past, itself and `lookahead` codes.
    """

    def __init__(self, config: UpsampleConformerConfig) -> None:
        super().__init__()
        size = config.output_size
        self.lookahead = config.pre_lookahead_len
        self.embed = InputProjection(config.input_size, size)
        self.pre_lookahead_layer = PreLookahead(size, self.lookahead)
        self.encoders = nn.ModuleList(ConformerLayer(config) for _ in range(config.num_blocks))
        self.up_layer = UpsampleLayer(size, config.up_scale)
        self.up_embed = InputProjection(size, size)
        self.up_encoders = nn.ModuleList(ConformerLayer(config) for _ in range(config.num_up_blocks))
        self.after_norm = nn.LayerNorm(size, eps=OUTER_EPS)

    def start(self) -> EncoderState:
        """A state without a past."""
        return EncoderState(
            layers=StackState.empty(len(self.encoders)), up_layers=StackState.empty(len(self.up_encoders))
        )

    def push(self, state: EncoderState, x: Tensor, *, last: bool, mask: Tensor | None = None) -> Tensor:
        """Encode a chunk; the last `lookahead` codes of x are only seen, unless it is the last chunk.

        Args:
            state: updated in place.
            x: embedded codes (batch, T + lookahead, input), or (batch, T, input) when `last`.
            last: no code follows; the look-ahead is zeros after the input projection.
            mask: (batch, T), true on real codes; only for a single `last` chunk.

        Returns:
            Tensor (batch, up_scale * T, output).
        """
        x = self.embed(x)
        if mask is not None:
            x = x * mask[..., None]
        if last:
            future = x.new_zeros(x.shape[0], self.lookahead, x.shape[2])
        else:
            x, future = x.split((x.shape[1] - self.lookahead, self.lookahead), 1)
        x = self.pre_lookahead_layer(x, future, state)
        x = run_layers(self.encoders, x, state.layers, mask)
        up_mask = None if mask is None else mask.repeat_interleave(self.up_layer.scale, 1)
        x = self.up_embed(self.up_layer(x, state))
        x = run_layers(self.up_encoders, x, state.up_layers, up_mask)
        out: Tensor = self.after_norm(x)
        return out

    def keep_last(self, state: EncoderState, codes: int) -> None:
        """Bound the caches to the newest `codes` codes."""
        for layer in state.layers.layers:
            layer.keep_ends(0, codes)
        for layer in state.up_layers.layers:
            layer.keep_ends(0, codes * self.up_layer.scale)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Encode whole sequences; `mask` (batch, T) is true on real codes."""
        return self.push(self.start(), x, last=True, mask=mask)
