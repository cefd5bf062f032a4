"""A voice in the terms of WORLD: where its pitch and its spectrum lie, taken from any clip of it.

nano's codes leave the speaker out; frames are coded and decoded relative to these statistics.
"""

from dataclasses import dataclass

import numpy as np

from stepaudio.decoder.world import SPECTRAL, SPECTRUM, WIDTH

STATISTICS = 1 + SPECTRUM + 3 + 1 + SPECTRUM
"""Width of `WorldVoice.to_array`: pitch, mean spectrum, mean aperiodicity, and two kinds of spread."""
SPEAKER = 256
"""Width of a GE2E embedding."""


@dataclass(frozen=True, eq=False)
class WorldVoice:
    """Statistics over the voiced frames of a clip.

    Attributes:
        centre: (45,) float32: median log-F0, 0 for voicing, mean spectrum and aperiodicity.
        spread: (41,) float32: standard deviation of log-F0 and of the spectrum.
    """

    centre: np.ndarray
    spread: np.ndarray

    @classmethod
    def of(cls, frames: np.ndarray) -> "WorldVoice":
        """Return the voice of WORLD frames (T, 45) as `WorldFrames.to_array` gives them."""
        voiced = frames[frames[:, 1] > 0.5]
        if len(voiced) < 10:
            voiced = frames
        centre = voiced.mean(0)
        centre[0] = np.median(voiced[:, 0])
        centre[1] = 0.0
        deviation = voiced.std(0)
        return cls(
            centre.astype(np.float32),
            np.concatenate([deviation[:1], deviation[SPECTRAL]]).astype(np.float32),
        )

    def to_array(self) -> np.ndarray:
        """Return (85,) float32, what networks are conditioned on."""
        values = np.delete(self.centre, 1)
        assert len(self.centre) == WIDTH
        return np.concatenate([values, self.spread]).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Scale:
    """How far values spread over the training set, so that networks see about unit variance.

    Attributes:
        frames: (45,) float32 of frames relative to their voice; 1 for voicing.
        voice_mean: (85,) of voices.
        voice_deviation: (85,).
    """

    frames: np.ndarray
    voice_mean: np.ndarray
    voice_deviation: np.ndarray

    def relative(self, world: np.ndarray, voice: WorldVoice) -> np.ndarray:
        """Frames (T, 45) as networks see them."""
        relative: np.ndarray = (world - voice.centre) / self.frames
        return relative.astype(np.float32)

    def absolute(self, frames: np.ndarray, voice: WorldVoice) -> np.ndarray:
        """The inverse of `relative`."""
        world: np.ndarray = frames * self.frames + voice.centre
        return world.astype(np.float32)

    def voice(self, voice: WorldVoice, speaker: np.ndarray | None) -> np.ndarray:
        """(85 + 256,) float32; zeros for an unknown speaker embedding."""
        values = (voice.to_array() - self.voice_mean) / self.voice_deviation
        # GE2E embeddings have length 1: brought to unit variance.
        other = np.zeros(SPEAKER, np.float32) if speaker is None else speaker * SPEAKER**0.5
        return np.concatenate([values, other]).astype(np.float32)
