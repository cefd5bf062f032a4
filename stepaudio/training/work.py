"""The work folder that training reads and writes; `training.corpus` fills it.

work/features/SHARD.st      Whisper features, WORLD frames and speaker embeddings
work/features/SHARD.json    what is said, by whom, and the teacher's timing
work/scale.npz              how far the values of the training clips spread
work/runs/RUN/              checkpoints and logs
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stepaudio.decoder.world_voice import Scale
from stepaudio.errors import ModelError
from stepaudio.training.clips import Clip, held_out, load_shards, measure_scale

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Work:
    """The work folder."""

    folder: Path

    def clips(self, names: Sequence[str]) -> list[Clip]:
        """The clips of the shards whose names fit one of the patterns, as far as they are prepared."""
        return load_shards(self.folder / "features", names)

    def split(self, names: Sequence[str]) -> tuple[list[Clip], list[Clip]]:
        """Clips of shards to train on, and those held out."""
        clips = self.clips(names)
        kept = [clip for clip in clips if held_out(clip)]
        return [clip for clip in clips if not held_out(clip)], kept

    def best(self, run: str) -> "dict[str, Tensor]":
        """The weights that a run has kept, on the CPU.

        Raises:
            ModelError: there are none.
        """
        import torch

        path = self.folder / "runs" / run / "best.pt"
        if not path.is_file():
            raise ModelError(f"{path}: nothing has been trained there yet")
        weights: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
        return weights

    def average(self, runs: Sequence[str], run: str) -> None:
        """Write the mean of the weights of runs that share a beginning as what another run has kept.

        Raises:
            ModelError: one of them has none, or they are not of one shape.
        """
        import torch

        weights = [self.best(one) for one in runs]
        shapes = [{name: value.shape for name, value in one.items()} for one in weights]
        if any(other != shapes[0] for other in shapes):
            raise ModelError(f"the runs {', '.join(runs)} are not of one shape")
        mean = {
            name: torch.stack([one[name] for one in weights]).mean(0) if value.is_floating_point() else value
            for name, value in weights[0].items()
        }
        folder = self.folder / "runs" / run
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(mean, folder / "best.pt")

    def scale(self, clips: Sequence[Clip] | None = None) -> Scale:
        """The scale, measured on `clips` if it is not written yet."""
        path = self.folder / "scale.npz"
        if clips is not None and not path.is_file():
            scale = measure_scale(clips)
            np.savez(
                path,
                frames=scale.frames,
                voice_mean=scale.voice_mean,
                voice_deviation=scale.voice_deviation,
            )
        held = np.load(path)
        return Scale(held["frames"], held["voice_mean"], held["voice_deviation"])
