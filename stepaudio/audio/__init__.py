"""Sound in and out: one mono float32 clip, read safely from any usual file and written atomically."""

from stepaudio.audio.clip import Audio, concat
from stepaudio.audio.limits import Limits

__all__ = ["Audio", "Limits", "concat"]
