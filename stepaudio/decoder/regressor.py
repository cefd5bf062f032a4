"""Codes and a voice to WORLD frames in one pass: the baseline that a flow decoder must beat.

A small ConvNeXt at 25 Hz; every step gives the four frames of its 40 ms. It reads the digits of the codes,
not a table of embeddings, which would memorise a small corpus.
"""

from dataclasses import dataclass

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F

from stepaudio.decoder.convnext import convnext
from stepaudio.decoder.world import WIDTH
from stepaudio.decoder.world_voice import SPEAKER, STATISTICS

FRAMES = 4
"""WORLD frames in 40 ms."""


class RegressorConfig(BaseModel):
    """Sizes of the decoder.

    Attributes:
        linguistic_digits: width of the linguistic codes' values.
        semantic_digits: the same of the semantic codes'.
        width: of the layers.
        inner: between the linear layers of a block.
        depth: blocks.
        kernel: frames of 40 ms that a block sees at once.
        smooth: width of the last convolutions, at 100 Hz.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    linguistic_digits: int = Field(default=5, gt=0)
    semantic_digits: int = Field(default=6, gt=0)
    width: int = Field(default=384, gt=0)
    inner: int = Field(default=1152, gt=0)
    depth: int = Field(default=5, ge=0)
    kernel: int = Field(default=7, gt=0)
    smooth: int = Field(default=96, gt=0)

    @property
    def reach(self) -> int:
        """Steps of 40 ms that influence a step, to either side."""
        return self.depth * (self.kernel // 2) + 2


class FrameRegressor(nn.Module):
    """The network; frames come out relative to the voice's centre, over the scale of training."""

    def __init__(self, config: RegressorConfig) -> None:
        super().__init__()
        self.config = config
        self.code_in = nn.Linear(2 * config.linguistic_digits + config.semantic_digits, config.width)
        self.voice_in = nn.Linear(STATISTICS + SPEAKER, config.width)
        self.voice_mid = nn.Linear(config.width, config.width)
        self.blocks = convnext(config.width, config.inner, config.depth, config.kernel)
        self.norm = nn.LayerNorm(config.width)
        self.out = nn.Linear(config.width, FRAMES * WIDTH)
        self.smooth_in = nn.Conv1d(WIDTH, config.smooth, 5, padding=2)
        self.smooth_out = nn.Conv1d(config.smooth, WIDTH, 5, padding=2)

    def condition(self, linguistic: Tensor, semantic: Tensor) -> Tensor:
        """Both streams' values at 25 Hz: (batch, 2 G, 5) and (batch, 3 G, 6) to (batch, 3 G, 16)."""
        batch, codes, digits = linguistic.shape
        halves = linguistic.repeat_interleave(3, 1).reshape(batch, codes * 3 // 2, 2 * digits)
        return torch.cat((halves, semantic), -1)

    def forward(self, linguistic: Tensor, semantic: Tensor, voice: Tensor) -> Tensor:
        """Decode.

        Args:
            linguistic: values (batch, 2 G, digits) of the linguistic codes.
            semantic: values (batch, 3 G, digits) of the semantic codes.
            voice: (batch, 85 + 256): WORLD statistics, scaled, and the GE2E embedding or zeros.

        Returns:
            (batch, 12 G, 45); the voicing column is a logit.
        """
        hidden = self.code_in(self.condition(linguistic, semantic))
        hidden = hidden + self.voice_mid(F.relu(self.voice_in(voice)))[:, None]
        hidden = self.norm(self.blocks(hidden))
        frames = self.out(hidden).reshape(len(hidden), -1, WIDTH)
        bent = self.smooth_out(F.relu(self.smooth_in(frames.transpose(1, 2)))).transpose(1, 2)
        out: Tensor = frames + bent
        return out

    def start(self, voice: Tensor) -> "FrameStream":
        """Begin a stream in a voice (1, 85 + 256)."""
        config = self.config
        nothing = voice.new_zeros(1, 0, config.linguistic_digits)
        return FrameStream(voice, nothing, voice.new_zeros(1, 0, config.semantic_digits))

    def push(self, stream: "FrameStream", linguistic: Tensor, semantic: Tensor) -> Tensor:
        """Take the values of whole groups, and return the frames (1, T, 45) that are ready, maybe none.

        They are those of `forward` on the whole: a group is decoded when as many groups as matter to it
        are there.
        """
        stream.linguistic = torch.cat((stream.linguistic, linguistic), 1)
        stream.semantic = torch.cat((stream.semantic, semantic), 1)
        return self._decode(stream, stream.semantic.shape[1] // 3 - self.lookahead)

    def finish(self, stream: "FrameStream") -> Tensor:
        """Return the frames of the groups still waiting."""
        return self._decode(stream, stream.semantic.shape[1] // 3)

    @property
    def lookahead(self) -> int:
        """Groups of 120 ms that must follow a group before it is decoded."""
        return -(-self.config.reach // 3)

    @torch.inference_mode()
    def _decode(self, stream: "FrameStream", end: int) -> Tensor:
        if end <= stream.done:
            return stream.voice.new_zeros(1, 0, WIDTH)
        frames = self(stream.linguistic, stream.semantic, stream.voice)[:, 12 * stream.done : 12 * end]
        passed = max(0, end - self.lookahead)
        stream.linguistic = stream.linguistic[:, 2 * passed :]
        stream.semantic = stream.semantic[:, 3 * passed :]
        stream.done = end - passed
        return frames


@dataclass
class FrameStream:
    """What a stream remembers: the voice, the values that still matter, and how many groups are done."""

    voice: Tensor
    linguistic: Tensor
    semantic: Tensor
    done: int = 0
