"""Boxes that a folder has no weights for: they load quietly and say what is missing when they are used."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NoReturn

from stepaudio.audio import Audio
from stepaudio.cancel import CancelToken
from stepaudio.errors import ModelError
from stepaudio.results import Segment

if TYPE_CHECKING:
    from stepaudio.lm.prompts.messages import Message
    from stepaudio.styles import Style
    from stepaudio.voices import Voice


class _Absent:
    """What all of them share.

    Args:
        reason: one line that says what is missing and what to do.
    """

    def __init__(self, reason: str):
        self.reason = reason

    def load(self) -> None:
        """Nothing to read."""

    def _refuse(self) -> NoReturn:
        raise ModelError(self.reason)


class AbsentEars(_Absent):
    """Ears without weights."""

    def transcribe(self, audio: Audio, language: str | None = None) -> Iterator[Segment]:
        """Raise `ModelError`."""
        self._refuse()


class AbsentMind(_Absent):
    """A mind without weights."""

    def stream(self, messages: "Sequence[Message]", *, cancel: CancelToken | None = None) -> Iterator[str]:
        """Raise `ModelError`."""
        self._refuse()


class AbsentMouth(_Absent):
    """A mouth without weights."""

    sample_rate = 24_000
    default_voice = ""
    languages: tuple[str, ...] = ()

    def voice(self, name: str) -> "Voice":
        """Raise `ModelError`."""
        self._refuse()

    def speak(self, text: str, *, voice: "Voice", style: "Style", seed: int | None = None) -> Iterator[Audio]:
        """Raise `ModelError`."""
        self._refuse()
