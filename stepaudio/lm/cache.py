"""The KV cache: what attention has seen, as an explicit object that belongs to one generation."""

from collections.abc import Sequence

import torch
from torch import Tensor

from stepaudio.errors import InputError
from stepaudio.lm.config import LMConfig

_FIRST_CAPACITY = 256  # positions; doubled whenever it runs out


class KVCache:
    """Keys and values of every layer, one row a sequence; a token's slot is its position.

    Padding is never stored, whichever side it was on, so rows of different lengths lie side by side.

    Attributes:
        keys: per layer ``(batch, kv_heads, capacity, head_dim)``.
        values: per layer, the same shape.
        lengths: tokens held by each row.
    """

    def __init__(
        self,
        config: LMConfig,
        batch: int = 1,
        *,
        capacity: int = _FIRST_CAPACITY,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        if batch < 1:
            raise InputError(f"a KV cache needs at least one row, not {batch}")
        self._limit = config.max_position_embeddings
        shape = (batch, config.num_key_value_heads, min(capacity, self._limit), config.head_dim)
        layers = range(config.num_hidden_layers)
        # Zeros: slots beyond a row's length are masked, and 0 * NaN from raw memory would still be NaN.
        self.keys = [torch.zeros(shape, dtype=dtype, device=device) for _ in layers]
        self.values = [torch.zeros(shape, dtype=dtype, device=device) for _ in layers]
        self.lengths: list[int] = [0] * batch

    @property
    def batch(self) -> int:
        """Number of rows."""
        return len(self.lengths)

    @property
    def capacity(self) -> int:
        """Positions there is room for without growing."""
        return self.keys[0].shape[2]

    @property
    def bytes(self) -> int:
        """Memory held, in bytes."""
        return sum(t.nbytes for t in (*self.keys, *self.values))

    def reserve(self, length: int) -> None:
        """Make room for `length` positions a row.

        Raises:
            InputError: more than the model's context.
        """
        if length > self._limit:
            raise InputError(f"{length} tokens do not fit the model's context of {self._limit}")
        if length <= self.capacity:
            return
        room = min(max(length, 2 * self.capacity), self._limit)
        used = max(self.lengths)
        for tensors in (self.keys, self.values):
            for layer, old in enumerate(tensors):
                new = old.new_zeros((*old.shape[:2], room, old.shape[3]))
                new[:, :, :used] = old[:, :, :used]
                tensors[layer] = new

    def truncate(self, lengths: int | Sequence[int]) -> None:
        """Forget all but the first tokens: of every row the same number, or row by row.

        Raises:
            InputError: a row does not hold that many.
        """
        wanted = [lengths] * self.batch if isinstance(lengths, int) else list(lengths)
        if len(wanted) != self.batch or any(
            not 0 <= w <= n for w, n in zip(wanted, self.lengths, strict=True)
        ):
            raise InputError(f"cannot cut a KV cache of lengths {self.lengths} to {wanted}")
        self.lengths = wanted

    def select(self, rows: Sequence[int]) -> None:
        """Keep only `rows`, in this order (finished rows leave the batch)."""
        index = torch.tensor(list(rows), device=self.keys[0].device)
        for tensors in (self.keys, self.values):
            for layer, old in enumerate(tensors):
                tensors[layer] = old.index_select(0, index)
        self.lengths = [self.lengths[row] for row in rows]

    def write(self, layer: int, keys: Tensor, values: Tensor, slots: "Slots") -> tuple[Tensor, Tensor]:
        """Store one layer's new keys and values and return all of that layer's, up to the longest row.

        Args:
            layer: its index.
            keys: ``(batch, kv_heads, new, head_dim)``.
            values: the same shape.
            slots: where they go.
        """
        all_keys, all_values = self.keys[layer], self.values[layer]
        if slots.rows is None:
            all_keys[:, :, slots.first : slots.end] = keys
            all_values[:, :, slots.first : slots.end] = values
        else:
            all_keys[slots.rows, :, slots.positions] = keys.transpose(1, 2)[slots.mask].to(all_keys.dtype)
            all_values[slots.rows, :, slots.positions] = values.transpose(1, 2)[slots.mask].to(
                all_values.dtype
            )
        return all_keys[:, :, : slots.end], all_values[:, :, : slots.end]


class Slots:
    """Where a forward pass writes: computed once, used by every layer."""

    def __init__(self, cache: KVCache, new: int, mask: Tensor | None) -> None:
        """Plan to append `new` columns; ``mask`` (batch, new; bool) is False for padding."""
        counts = [new] * cache.batch if mask is None else mask.sum(1).tolist()
        self.first = cache.lengths[0]
        self.lengths_after = [n + c for n, c in zip(cache.lengths, counts, strict=True)]
        self.end = max(self.lengths_after)
        self.rows: Tensor | None = None
        cache.reserve(self.end)
        uniform = len(set(cache.lengths)) == 1 and (mask is None or min(counts) == new)
        if not uniform:
            device = cache.keys[0].device
            self.mask = (
                torch.ones(cache.batch, new, dtype=torch.bool, device=device) if mask is None else mask
            )
            before = torch.tensor(cache.lengths, device=device)
            places = before[:, None] + self.mask.long().cumsum(1) - 1
            self.rows = self.mask.nonzero()[:, 0]
            self.positions = places[self.mask]
