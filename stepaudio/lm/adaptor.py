"""How nano's language model hears: what Whisper heard, as embeddings that stand where words would stand.

First how it sounds, in a few embeddings that are learned, then the words, as mixtures of the language model's
own embeddings (`stepaudio.lm.bridge`). Step-Audio 2 (arXiv 2507.16632, section 3) learns all that stands
between encoder and language model from millions of hours; at nano's size the words are Whisper's.
"""

from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F

from stepaudio.errors import ModelError


class AdaptorConfig(BaseModel):
    """Sizes of the adaptor.

    Attributes:
        manner: values that tell how a clip sounds (`features.heard.manner_size`).
        width: of the layer between.
        places: embeddings that it makes.
        llm_dim: width of the language model.
        dropout: of values and layer, in training.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    manner: int = Field(default=1014, gt=0)
    width: int = Field(default=256, gt=0)
    places: int = Field(default=4, gt=0)
    llm_dim: int = Field(default=576, gt=0)
    dropout: float = Field(default=0.2, ge=0, lt=1)


class Adaptor(nn.Module):
    """From how a clip sounds to embeddings about as large as those of words.

    Args:
        config: its sizes.
        size: root mean square of the language model's embeddings.
    """

    centre: Tensor
    spread: Tensor

    def __init__(self, config: AdaptorConfig, size: float = 0.12) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("centre", torch.zeros(config.manner))
        self.register_buffer("spread", torch.ones(config.manner))
        self.inlet = nn.Linear(config.manner, config.width)
        self.outlet = nn.Linear(config.width, config.places * config.llm_dim)
        self.final = nn.LayerNorm(config.llm_dim)
        nn.init.constant_(self.final.weight, size)

    def measure(self, manner: Tensor) -> None:
        """Take the means and deviations of (n, manner) recordings, by which values are made alike."""
        self.centre.copy_(manner.mean(0))
        self.spread.copy_(manner.std(0).clamp(min=1e-3))

    def forward(self, manner: Tensor) -> Tensor:
        """(batch, manner) -> (batch, places, llm_dim)."""
        x = ((manner - self.centre) / self.spread).clamp(-5, 5)
        x = F.gelu(self.inlet(F.dropout(x, self.config.dropout, self.training)))
        x = self.outlet(F.dropout(x, self.config.dropout, self.training))
        out: Tensor = self.final(x.unflatten(-1, (self.config.places, self.config.llm_dim)))
        return out


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
