"""What is done to the teacher's speech: to its curves before it is said, or to its sound by WORLD."""

from dataclasses import replace

import numpy as np
from pydantic import BaseModel, ConfigDict

from stepaudio.training.engine.teacher import Intent

VOICED = 40.0
"""Hz above which the teacher's F0 is one; between sounds it falls to about 4."""


class Edit(BaseModel):
    """A style: how the curves between the teacher's halves are changed.

    Attributes:
        name: of the style.
        pitch: factor on F0.
        range: factor on the distance of log-F0 from its median.
        energy: added to the teacher's energy, which is logarithmic; the sound follows little (1 is 0.4 dB).
        voiced: without it, F0 is 0 and the teacher whispers.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    pitch: float = 1.0
    range: float = 1.0
    energy: float = 0.0
    voiced: bool = True

    def apply(self, intent: Intent) -> Intent:
        """Return what is intended in this style."""
        energy = intent.energy + np.float32(self.energy)
        if not self.voiced:
            return replace(intent, pitch=np.zeros_like(intent.pitch), energy=energy)
        sounding = intent.pitch > VOICED
        if not sounding.any():
            return replace(intent, energy=energy)
        logs = np.log(intent.pitch[sounding])
        centre = np.median(logs)
        pitch = intent.pitch.copy()
        pitch[sounding] = np.exp(centre + self.range * (logs - centre)) * self.pitch
        return replace(intent, pitch=pitch, energy=energy)


class Shift(BaseModel):
    """A made-up speaker.

    Attributes:
        pitch: factor on F0.
        formants: factor on the frequencies of the spectral envelope; above 1 is a smaller speaker.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    pitch: float
    formants: float

    def apply(self, sound: np.ndarray, pitch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Shift a take by WORLD.

        Args:
            sound: (n,) float32 at 24 kHz.
            pitch: the teacher's own, at 80 Hz.

        Returns:
            The sound of the same length, and its pitch.
        """
        from stepaudio.decoder.world import shift_formants, synthesise
        from stepaudio.training.corpus import analyse_known

        frames = shift_formants(analyse_known(sound, pitch), self.formants).pitched(self.pitch)
        made = synthesise(frames).samples[: len(sound)]
        made = np.pad(made, (0, len(sound) - len(made)))
        return made, np.where(pitch > VOICED, pitch * self.pitch, pitch).astype(np.float32)
