"""How nano's language model hears: features of a Whisper encoder (50 Hz) to embeddings at 12.5 Hz.

Step-Audio 2's recipe (arXiv 2507.16632, section 3) at nano's size. Nano has hours of speech to learn from,
not millions, so its adaptor is deeper, and it first learns to spell (connectionist temporal classification,
A. Graves et al. 2006): what it has spelled is told to its own later layers (J. Nozaki and T. Komatsu,
"Relaxing the conditional independence assumption of CTC-based ASR", 2021).
"""

from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F

from stepaudio.decoder.convnext import convnext
from stepaudio.errors import ModelError

CHARACTERS = " abcdefghijklmnopqrstuvwxyz'"
"""What is spelled; 0 is the blank, so a character's id is its place here plus one."""
FRAMES_PER_EMBEDDING = 4


class AdaptorConfig(BaseModel):
    """Sizes of the adaptor.

    Attributes:
        features: width of the encoder.
        width: of the layers.
        inner: between the linear layers of a block.
        depth: blocks before the spelling, at 25 Hz.
        after: blocks after it.
        kernel: frames of 40 ms that a block sees at once.
        llm_dim: width of the language model.
        dropout: of features and layers, in training.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    features: int = Field(default=384, gt=0)
    width: int = Field(default=384, gt=0)
    inner: int = Field(default=1152, gt=0)
    depth: int = Field(default=6, ge=0)
    after: int = Field(default=2, ge=0)
    kernel: int = Field(default=11, gt=0)
    llm_dim: int = Field(default=576, gt=0)
    dropout: float = Field(default=0.15, ge=0, lt=1)


class Adaptor(nn.Module):
    """The network; embeddings come out as large as those of words.

    Args:
        config: its sizes.
        size: root mean square of the language model's embeddings.
    """

    def __init__(self, config: AdaptorConfig, size: float = 0.12) -> None:
        super().__init__()
        self.config = config
        width, tall = config.width, len(CHARACTERS) + 1
        self.inlet = nn.Conv1d(config.features, width, 3, stride=2, padding=1)
        self.before = convnext(width, config.inner, config.depth, config.kernel)
        self.norm = nn.LayerNorm(width)
        self.spell = nn.Linear(width, tall)
        self.told = nn.Linear(tall, width)
        self.after = convnext(width, config.inner, config.after, config.kernel)
        self.down = nn.Conv1d(width, 2 * width, 3, stride=2, padding=1)
        self.out = nn.Linear(2 * width, config.llm_dim)
        self.final = nn.LayerNorm(config.llm_dim)
        nn.init.constant_(self.final.weight, size)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Adapt.

        Args:
            features: (batch, T, features), T a multiple of 4; silence or zeros fill shorter clips.

        Returns:
            Embeddings (batch, T / 4, llm_dim), and logits of the spelling (batch, T / 2, 29).
        """
        x = F.layer_norm(features, features.shape[-1:])
        x = F.dropout(x, self.config.dropout, self.training)
        x = self.before(F.relu(self.inlet(x.transpose(1, 2))).transpose(1, 2))
        x = F.dropout(self.norm(x), self.config.dropout, self.training)
        spelled = self.spell(x)
        x = self.after(x + self.told(spelled.float().softmax(-1).to(x.dtype)))
        x = F.relu(self.down(x.transpose(1, 2))).transpose(1, 2)
        x = F.dropout(x, self.config.dropout, self.training)
        embeddings: Tensor = self.final(self.out(x))
        return embeddings, spelled


def spell(text: str) -> list[int]:
    """Return the ids of a text's characters, lower case; what cannot be spelled is a space or nothing."""
    kept = "".join(char if char in CHARACTERS else " " for char in text.lower().replace("’", "'"))
    return [CHARACTERS.index(char) + 1 for char in " ".join(kept.split())]


def read_spelling(logits: Tensor) -> str:
    """Return what (T, 29) logits spell: the likeliest way, repetitions and blanks left out."""
    ids = torch.unique_consecutive(logits.argmax(-1)).tolist()
    return " ".join("".join(CHARACTERS[i - 1] for i in ids if i).split())


def without_breaks(logits: Tensor) -> Tensor:
    """Join blank and space: (T, 29) logits to (T, 28) log probabilities of the blank and `CHARACTERS[1:]`."""
    shares = logits.float().log_softmax(-1)
    return torch.cat((shares[:, :2].logsumexp(-1, keepdim=True), shares[:, 2:]), -1)


def save_adaptor(adaptor: Adaptor, path: Path) -> None:
    """Write a safetensors file with the sizes in its header, matrices as bfloat16."""
    from safetensors.torch import save_file

    tensors = {
        name: (value.to(torch.bfloat16) if value.dim() > 1 else value).contiguous()
        for name, value in adaptor.state_dict().items()
    }
    save_file(tensors, path, {"adaptor": adaptor.config.model_dump_json()})


def load_adaptor(path: Path) -> Adaptor:
    """Read what `save_adaptor` wrote.

    Raises:
        ModelError: not an adaptor.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            config = AdaptorConfig.model_validate_json((file.metadata() or {})["adaptor"])
            tensors = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118
        adaptor = Adaptor(config)
        adaptor.load_state_dict(tensors)
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"{path}: not an adaptor ({reason})") from None
    return adaptor.eval().requires_grad_(False)
