"""U-Net estimator of the velocity field (Step-Audio): ResNet blocks with transformer blocks over time."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stepaudio.decoder.config import UNetConfig

TIME_SCALE = 1000.0  # flow time 0..1 to the range that the sinusoids expect
FF_RATIO = 4


class TimeEmbedding(nn.Module):
    """Sinusoids of the flow time, then two linear layers with SiLU between."""

    def __init__(self, size: int, inner: int) -> None:
        super().__init__()
        self.size = size
        self.linear_1 = nn.Linear(size, inner)
        self.linear_2 = nn.Linear(inner, inner)

    def forward(self, time: Tensor) -> Tensor:
        """(batch,) in 0..1 -> (batch, inner)."""
        half = self.size // 2
        inverse = torch.exp(torch.arange(half, device=time.device) * -(math.log(10000.0) / (half - 1)))
        angle = (TIME_SCALE * time)[:, None] * inverse
        waves = torch.cat((angle.sin(), angle.cos()), -1).to(time.dtype)
        out: Tensor = self.linear_2(F.silu(self.linear_1(waves)))
        return out


class ConvBlock(nn.Module):
    """Convolution, group norm, Mish."""

    def __init__(self, inputs: int, outputs: int, groups: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv1d(inputs, outputs, 3, padding=1), nn.GroupNorm(groups, outputs), nn.Mish()
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(batch, inputs, T) -> (batch, outputs, T)."""
        out: Tensor = self.block(x * mask) * mask
        return out


class ResNetBlock(nn.Module):
    """Two convolution blocks with the time embedding added between, and a 1x1 skip."""

    def __init__(self, inputs: int, outputs: int, time_size: int, groups: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Mish(), nn.Linear(time_size, outputs))
        self.block1 = ConvBlock(inputs, outputs, groups)
        self.block2 = ConvBlock(outputs, outputs, groups)
        self.res_conv = nn.Conv1d(inputs, outputs, 1)

    def forward(self, x: Tensor, mask: Tensor, time: Tensor) -> Tensor:
        """(batch, inputs, T) -> (batch, outputs, T)."""
        hidden = self.block1(x, mask) + self.mlp(time)[..., None]
        out: Tensor = self.block2(hidden, mask) + self.res_conv(x * mask)
        return out


class Attention(nn.Module):
    """Multi-head self-attention without positions; the inner width need not be the outer one."""

    def __init__(self, size: int, heads: int, head_size: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(size, heads * head_size, bias=False)
        self.to_k = nn.Linear(size, heads * head_size, bias=False)
        self.to_v = nn.Linear(size, heads * head_size, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(heads * head_size, size)])

    def forward(self, x: Tensor, keep: Tensor | None) -> Tensor:
        """(batch, T, size) -> the same shape; `keep` (batch, 1, 1, T) is true on real frames."""
        query, key, value = (
            project(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for project in (self.to_q, self.to_k, self.to_v)
        )
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=keep)
        out: Tensor = self.to_out[0](mixed.transpose(1, 2).flatten(2))
        return out


class GeluProjection(nn.Module):
    """Linear layer and exact GELU."""

    def __init__(self, size: int, inner: int) -> None:
        super().__init__()
        self.proj = nn.Linear(size, inner)

    def forward(self, x: Tensor) -> Tensor:
        """(..., size) -> (..., inner)."""
        return F.gelu(self.proj(x))


class FeedForward(nn.Module):
    """GELU projection and a linear layer."""

    def __init__(self, size: int, inner: int) -> None:
        super().__init__()
        self.net = nn.ModuleDict({"0": GeluProjection(size, inner), "2": nn.Linear(inner, size)})

    def forward(self, x: Tensor) -> Tensor:
        """(..., size) -> the same shape."""
        out: Tensor = self.net["2"](self.net["0"](x))
        return out


class TransformerBlock(nn.Module):
    """Pre-norm attention and feed-forward, each with a residual."""

    def __init__(self, size: int, config: UNetConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(size)
        self.attn1 = Attention(size, config.num_heads, config.attention_head_dim)
        self.norm3 = nn.LayerNorm(size)
        self.ff = FeedForward(size, FF_RATIO * size)

    def forward(self, x: Tensor, keep: Tensor | None) -> Tensor:
        """(batch, T, size) -> the same shape."""
        x = x + self.attn1(self.norm1(x), keep)
        return x + self.ff(self.norm3(x))


class Resample(nn.Module):
    """A convolution under the name that the checkpoints use for the halving and doubling of time."""

    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, T) -> (batch, channels, about T / 2 or 2 T)."""
        out: Tensor = self.conv(x)
        return out


class Stage(nn.ModuleList):
    """A ResNet block, transformer blocks, and what changes the rate of time at the end, if anything."""

    def __init__(self, before: int, after: int, config: UNetConfig, tail: nn.Module | None = None) -> None:
        blocks = nn.ModuleList(TransformerBlock(after, config) for _ in range(config.n_blocks))
        resnet = ResNetBlock(before, after, FF_RATIO * config.channels[0], config.groups)
        super().__init__([resnet, blocks] if tail is None else [resnet, blocks, tail])

    def forward(self, x: Tensor, keep: Tensor, time: Tensor, padded: bool) -> Tensor:
        """(batch, before, T) -> (batch, after, T), without the tail; `keep` (batch, 1, T) is 0 on padding."""
        resnet, blocks = self[0], self[1]
        assert isinstance(blocks, nn.ModuleList)
        x = resnet(x, keep, time).transpose(1, 2)
        attend = (keep > 0)[:, :, None] if padded else None
        for block in blocks:
            x = block(x, attend)
        return x.transpose(1, 2)

    @property
    def halves(self) -> bool:
        """Whether the tail halves or doubles time."""
        return isinstance(self[2], Resample)


def _conv(width: int) -> nn.Conv1d:
    return nn.Conv1d(width, width, 3, padding=1)


class UNet(nn.Module):
    """The velocity estimator of Step-Audio's flow; no causal structure, so it has no streaming state."""

    def __init__(self, channels: int, config: UNetConfig) -> None:
        super().__init__()
        widths = config.channels
        inputs = 4 * channels
        self.time_mlp = TimeEmbedding(inputs, FF_RATIO * widths[0])

        def down(width: int, last: bool) -> nn.Module:
            return _conv(width) if last else Resample(nn.Conv1d(width, width, 3, 2, 1))

        def up(width: int, last: bool) -> nn.Module:
            return _conv(width) if last else Resample(nn.ConvTranspose1d(width, width, 4, 2, 1))

        final = len(widths) - 1
        before, ups = (inputs, *widths), (*reversed(widths), widths[0])
        self.down_blocks = nn.ModuleList(
            Stage(before[i], width, config, down(width, i == final)) for i, width in enumerate(widths)
        )
        self.mid_blocks = nn.ModuleList(
            Stage(widths[-1], widths[-1], config) for _ in range(config.num_mid_blocks)
        )
        # the input of an up stage is doubled by the skip of the same level
        self.up_blocks = nn.ModuleList(
            Stage(2 * ups[i], ups[i + 1], config, up(ups[i + 1], i == final)) for i in range(len(widths))
        )
        self.final_block = ConvBlock(ups[-1], ups[-1], config.groups)
        self.final_proj = nn.Conv1d(ups[-1], channels, 1)

    def forward(
        self, x: Tensor, time: Tensor, mu: Tensor, speaker: Tensor, cond: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        """Velocity at (x, time) under the conditions.

        Args:
            x: noisy frames (batch, channels, T).
            time: flow time (batch,) in 0..1.
            mu: encoder output (batch, channels, T).
            speaker: projected speaker (batch, channels).
            cond: known frames, zeros elsewhere (batch, channels, T).
            mask: (batch, T), true on real frames.
        """
        now = self.time_mlp(time)
        x = torch.cat((x, mu, speaker[..., None].expand_as(x), cond), 1)
        keep = x.new_ones(1, 1, x.shape[2]) if mask is None else mask[:, None].to(x.dtype)
        padded = mask is not None
        skips, masks = [], [keep]
        for stage in self.down_blocks:
            assert isinstance(stage, Stage)
            x = stage(x, masks[-1], now, padded)
            skips.append(x)
            x = stage[2](x * masks[-1])
            masks.append(masks[-1][:, :, ::2] if stage.halves else masks[-1])
        keep = masks.pop()
        for stage in self.mid_blocks:
            x = stage(x, keep, now, padded)
        for stage in self.up_blocks:
            assert isinstance(stage, Stage)
            keep, skip = masks.pop(), skips.pop()
            x = torch.cat((x[:, :, : skip.shape[2]], skip), 1)
            x = stage[2](stage(x, keep, now, padded) * keep)
        out: Tensor = self.final_proj(self.final_block(x, keep) * keep) * keep
        return out
