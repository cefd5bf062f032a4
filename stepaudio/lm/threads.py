"""How many cores one piece of work may use, for the calling thread only."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def cores(count: int | None) -> Iterator[None]:
    """Run the block with `count` intra-op threads; ``None`` leaves things as they are.

    A decode step is hundreds of tiny products: one core is done with it sooner than a second one, busy
    speaking, comes to help.
    """
    before = torch.get_num_threads()
    if count is None or count == before:
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
