"""Conditional flow matching: an Euler solver with classifier-free guidance, and the training loss.

Lipman et al. 2022 (optimal-transport path), Ho & Salimans 2022 (guidance).
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from stepaudio.decoder.config import SolverConfig
from stepaudio.decoder.dit import DiTState


def time_grid(steps: int, schedule: str, like: Tensor) -> Tensor:
    """The steps + 1 flow times from 0 to 1, in the dtype of `like` (the official runs round them to it)."""
    grid = torch.linspace(0, 1, steps + 1, device=like.device, dtype=like.dtype)
    return 1 - torch.cos(grid * 0.5 * math.pi) if schedule == "cosine" else grid


class FlowMatching(nn.Module):
    """The estimator and how it is integrated.

    The estimator is called with (x, time, mu, speaker, cond) and, in a stream, a state per Euler step.
    """

    def __init__(self, estimator: nn.Module, config: SolverConfig) -> None:
        super().__init__()
        self.estimator = estimator
        self.config = config

    def solve(
        self,
        noise: Tensor,
        mu: Tensor,
        speaker: Tensor,
        cond: Tensor,
        *,
        steps: int | None = None,
        states: Sequence[DiTState] | None = None,
    ) -> Tensor:
        """Integrate from noise to frames.

        Args:
            noise: (batch, channels, T).
            mu: encoder output (batch, channels, T).
            speaker: projected speaker (batch, channels).
            cond: known frames, zeros elsewhere (batch, channels, T).
            steps: Euler steps, the configuration's by default.
            states: one estimator state an Euler step, updated in place.

        Returns:
            Tensor (batch, channels, T).
        """
        guidance = self.config.guidance
        if guidance:  # second half of the batch: all conditions off
            mu, speaker, cond = (torch.cat((part, torch.zeros_like(part))) for part in (mu, speaker, cond))
        x = noise
        grid = time_grid(steps or self.config.steps, self.config.schedule, noise)
        time = grid[0]
        for index, upcoming in enumerate(grid[1:]):
            extra = {} if states is None else {"state": states[index]}
            doubled = torch.cat((x, x)) if guidance else x
            velocity = self.estimator(doubled, time.expand(len(doubled)), mu, speaker, cond, **extra)
            if guidance:
                with_conditions, without = velocity.chunk(2)
                velocity = (1 + guidance) * with_conditions - guidance * without
            # the next step is measured from the running sum, so that rounding does not accumulate
            size = upcoming - time
            x, time = x + size * velocity, time + size
        return x

    def loss(
        self,
        frames: Tensor,
        mu: Tensor,
        speaker: Tensor,
        cond: Tensor,
        mask: Tensor,
        generator: torch.Generator | None = None,
        *,
        attend: Tensor | None = None,
    ) -> Tensor:
        """Mean squared error of the velocity at random times, over the real frames.

        Args:
            frames: target (batch, channels, T).
            mu: encoder output (batch, channels, T).
            speaker: projected speaker (batch, channels).
            cond: known frames, zeros elsewhere (batch, channels, T).
            mask: (batch, T), true on real frames.
            generator: of the times, the noise and the dropped conditions; on the device of `frames`.
            attend: (batch, T, T), true where a frame sees another; every real frame by default.
        """
        batch, device, dtype = len(frames), frames.device, frames.dtype
        draw = torch.rand(2, batch, 1, 1, generator=generator, device=device, dtype=dtype)
        time = 1 - torch.cos(draw[0] * 0.5 * math.pi) if self.config.schedule == "cosine" else draw[0]
        noise = torch.randn(frames.shape, generator=generator, device=device, dtype=dtype)
        rest = 1 - self.config.sigma_min
        x = (1 - rest * time) * noise + time * frames
        kept = (draw[1] >= self.config.drop).to(dtype)
        mu, speaker, cond = mu * kept, speaker * kept[..., 0], cond * kept
        velocity = self.estimator(x, time.flatten(), mu, speaker, cond, mask if attend is None else attend)
        error = (velocity - (frames - rest * noise)) ** 2 * mask[:, None]
        return error.sum() / (mask.sum() * frames.shape[1])
