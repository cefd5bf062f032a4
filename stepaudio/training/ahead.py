"""Batches that are drawn by other processes while the device computes."""

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from torch.utils.data import DataLoader, Dataset

T = TypeVar("T")
_WAITING = 4
"""Batches that each process keeps ready."""


class _Steps(Dataset[T]):
    def __init__(self, draw: Callable[[int], T]) -> None:
        self.draw = draw

    def __getitem__(self, step: int) -> T:
        return self.draw(step)


class Ahead(Generic[T]):
    """Calls `draw` for steps before they are asked for; the batches are the same as without.

    Args:
        draw: gives the batch of a step, as tensors on the CPU.
        loaders: processes; with none it is called when asked.
    """

    def __init__(self, draw: Callable[[int], T], loaders: int = 0) -> None:
        self._draw, self._loaders = draw, loaders
        self._next = -1
        self._stream: Iterator[T] = iter(())

    def __call__(self, step: int) -> T:
        """The batch of a step; quick for those that follow one another."""
        if not self._loaders:
            return self._draw(step)
        if step != self._next:
            coming = DataLoader(
                _Steps(self._draw),
                batch_size=None,
                sampler=range(step, 1 << 40),
                num_workers=self._loaders,
                prefetch_factor=_WAITING,
            )
            self._stream = iter(coming)
        self._next = step + 1
        return next(self._stream)
