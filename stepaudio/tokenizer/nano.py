"""nano's dual-codebook tokenizer: 1024 linguistic codes at 16.67 Hz and 4096 semantic codes at 25 Hz.

Both read the features of a frozen Whisper encoder; the semantic stream also sees WORLD frames relative to the
speaker, so that pitch movement, energy, voicing and fine structure are in the codes while the speaker is not.
"""

from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F

from stepaudio.decoder.convnext import convnext
from stepaudio.decoder.world import WIDTH
from stepaudio.tokenizer.fsq import FSQ
from stepaudio.weights import load_strict, read_safetensors

DROPOUT = 0.15
"""Of the Whisper features in training: other recordings have others."""
WHISPER_PER_GROUP = 6
"""Whisper frames (50 Hz) in a group of 120 ms."""
WORLD_PER_GROUP = 12
"""WORLD frames (100 Hz) in a group."""


class NanoTokenizerConfig(BaseModel):
    """Sizes of the tokenizer.

    Attributes:
        features: width of the Whisper encoder.
        width: of both streams' layers.
        inner: between the linear layers of a block.
        linguistic_depth: blocks of the linguistic stream.
        semantic_depth: blocks of the semantic stream.
        linguistic_levels: levels of the linguistic code's digits; their product is 1024.
        semantic_levels: the same of the semantic code; their product is 4096.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    features: int = Field(default=384, gt=0)
    width: int = Field(default=320, gt=0)
    inner: int = Field(default=960, gt=0)
    linguistic_depth: int = Field(default=2, ge=0)
    semantic_depth: int = Field(default=2, ge=0)
    linguistic_levels: tuple[int, ...] = (4, 4, 4, 4, 4)
    semantic_levels: tuple[int, ...] = (4, 4, 4, 4, 4, 4)


class NanoTokenizer(nn.Module):
    """Whisper features and relative WORLD frames to the codes of both streams."""

    def __init__(self, config: NanoTokenizerConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.linguistic_in = nn.Linear(3 * config.features, width)
        self.linguistic = convnext(width, config.inner, config.linguistic_depth, 5)
        self.linguistic_out = nn.Linear(width, len(config.linguistic_levels))
        self.semantic_in = nn.Linear(2 * config.features + 4 * WIDTH, width)
        self.semantic = convnext(width, config.inner, config.semantic_depth, 5)
        self.semantic_out = nn.Linear(width, len(config.semantic_levels))
        self.linguistic_codebook = FSQ(config.linguistic_levels)
        self.semantic_codebook = FSQ(config.semantic_levels)

    @classmethod
    def load(cls, folder: Path) -> "NanoTokenizer":
        """Read ``tokenizer.json`` and ``tokenizer.safetensors``.

        Raises:
            ModelError: missing, damaged, or not of this shape.
        """
        config = NanoTokenizerConfig.model_validate_json((folder / "tokenizer.json").read_text("utf-8"))
        model = cls(config)
        path = folder / "tokenizer.safetensors"
        tensors = {name: tensor.float() for name, tensor in read_safetensors(path).items()}
        load_strict(model, tensors, where=str(path))
        return model.eval()

    def forward(self, whisper: Tensor, world: Tensor, jitter: Tensor | None = None) -> "QuantisedStreams":
        """Tokenise.

        Args:
            whisper: (batch, 6 G, features) for G groups, as the encoder gives them.
            world: (batch, 12 G, 45) WORLD frames minus the voice's centre, over the scale of training.
            jitter: (batch,) how far, in levels, digits are moved at random (training); none by default.
        """
        whisper = F.dropout(F.layer_norm(whisper, whisper.shape[-1:]), DROPOUT, self.training)
        batch, frames, _ = whisper.shape
        linguistic = self.linguistic_in(whisper.reshape(batch, frames // 3, -1))
        linguistic = self.linguistic_out(F.layer_norm(self.linguistic(linguistic), (self.config.width,)))
        seen = world.reshape(batch, frames // 2, -1)
        semantic = self.semantic_in(torch.cat((whisper.reshape(batch, frames // 2, -1), seen), -1))
        semantic = self.semantic_out(F.layer_norm(self.semantic(semantic), (self.config.width,)))
        moved = [None if jitter is None else _noise(x, jitter) for x in (linguistic, semantic)]
        return QuantisedStreams(
            *self.linguistic_codebook(linguistic, moved[0]), *self.semantic_codebook(semantic, moved[1])
        )


def _noise(like: Tensor, jitter: Tensor) -> Tensor:
    return (torch.rand(like.shape, device=like.device) * 2 - 1) * jitter[:, None, None]


class QuantisedStreams:
    """What the tokenizer made of a batch.

    Attributes:
        linguistic: values (batch, 2 G, digits), straight-through.
        linguistic_codes: (batch, 2 G).
        semantic: values (batch, 3 G, digits), straight-through.
        semantic_codes: (batch, 3 G).
    """

    def __init__(
        self, linguistic: Tensor, linguistic_codes: Tensor, semantic: Tensor, semantic_codes: Tensor
    ) -> None:
        self.linguistic, self.linguistic_codes = linguistic, linguistic_codes
        self.semantic, self.semantic_codes = semantic, semantic_codes


def group_count(world_frames: int, whisper_frames: int) -> int:
    """Whole groups that both kinds of frames fill."""
    return min(world_frames // WORLD_PER_GROUP, whisper_frames // WHISPER_PER_GROUP)
