"""How a sound is said, in words: a man or a woman, high or low, and so on.

Step-Audio 2 (arXiv 2507.16632, section 3) learns all that stands between encoder and language model from
millions of hours. At nano's size the words are Whisper's, and how they are said is told by a small network
that chooses, for each thing one may ask about (`stepaudio.lm.prompts.questions`), among a few words.
"""

from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F

from stepaudio.errors import ModelError
from stepaudio.features.heard import TAIL


class AdaptorConfig(BaseModel):
    """Sizes of the adaptor.

    Attributes:
        words: to choose among, for each thing that it tells.
        manner: values that tell how a clip sounds (`features.heard.manner_size`).
        tail: values at their end that tell the most; they are never dropped, and are seen past the layer too.
        width: of the layer between.
        dropout: of values and layer, in training.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    words: tuple[tuple[str, ...], ...] = Field(min_length=1)
    manner: int = Field(default=1014, gt=0)
    tail: int = Field(default=TAIL, ge=0)
    width: int = Field(default=64, gt=0)
    dropout: float = Field(default=0.4, ge=0, lt=1)


class Adaptor(nn.Module):
    """From how a clip sounds to words.

    Args:
        config: its sizes.
    """

    centre: Tensor
    spread: Tensor

    def __init__(self, config: AdaptorConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("centre", torch.zeros(config.manner))
        self.register_buffer("spread", torch.ones(config.manner))
        self.inlet = nn.Linear(config.manner, config.width)
        self.outlet = nn.Linear(config.width + config.tail, sum(map(len, config.words)))

    def measure(self, manner: Tensor) -> None:
        """Take the means and deviations of (n, manner) recordings, by which values are made alike."""
        self.centre.copy_(manner.mean(0))
        self.spread.copy_(manner.std(0).clamp(min=1e-3))

    def forward(self, manner: Tensor) -> Tensor:
        """(batch, manner) -> (batch, things, most words) logits; where a thing has fewer words, -inf."""
        x = ((manner - self.centre) / self.spread).clamp(-5, 5)
        rest, tail = x.split((x.shape[-1] - self.config.tail, self.config.tail), -1)
        x = torch.cat((F.dropout(rest, self.config.dropout, self.training), tail), -1)
        x = F.dropout(F.gelu(self.inlet(x)), self.config.dropout, self.training)
        x = self.outlet(torch.cat((x, tail), -1))
        counts = [len(words) for words in self.config.words]
        parts = x.split(counts, -1)
        return torch.stack(
            [F.pad(part, (0, max(counts) - part.shape[-1]), value=-torch.inf) for part in parts], 1
        )

    def shares(self, manner: Tensor) -> Tensor:
        """(n, manner) of the stretches of one sound -> (things, most words) probabilities."""
        return self(manner).softmax(-1).mean(0)


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
