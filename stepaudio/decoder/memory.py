"""What streaming layers remember: keys and values of attention, context of causal convolutions."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass
class KeyValues:
    """Keys and values of past positions, each (batch, heads, time, head size), or None without a past."""

    keys: Tensor | None = None
    values: Tensor | None = None

    @property
    def length(self) -> int:
        """Positions held."""
        return 0 if self.keys is None else self.keys.shape[2]

    def append(self, keys: Tensor, values: Tensor, *, newest_first: bool = False) -> tuple[Tensor, Tensor]:
        """Add new positions, behind or before the held ones, and return everything held."""
        if self.keys is not None and self.values is not None:
            if newest_first:
                keys, values = torch.cat((keys, self.keys), 2), torch.cat((values, self.values), 2)
            else:
                keys, values = torch.cat((self.keys, keys), 2), torch.cat((self.values, values), 2)
        self.keys, self.values = keys, values
        return keys, values

    def keep_ends(self, first: int, last: int) -> None:
        """Forget what lies between the first `first` and the last `last` positions held."""
        if self.keys is not None and self.values is not None and self.length > first + last:
            rest = self.length - last
            self.keys = torch.cat((self.keys[:, :, :first], self.keys[:, :, rest:]), 2)
            self.values = torch.cat((self.values[:, :, :first], self.values[:, :, rest:]), 2)


def with_past(x: Tensor, past: Tensor | None, length: int) -> Tensor:
    """Put `length` past frames (zeros where there are none) before x, both (batch, channels, T)."""
    return F.pad(x, (length, 0)) if past is None else torch.cat((past, x), 2)


def last_frames(x: Tensor, length: int) -> Tensor:
    """The last `length` frames of (batch, channels, T), as an own tensor so that the rest can be freed."""
    return x[:, :, x.shape[2] - length :].clone()
