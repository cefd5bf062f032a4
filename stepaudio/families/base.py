"""What a family must bring: ears (audio to text), a mind (messages to text), a mouth (text to audio)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from stepaudio.audio import Audio
from stepaudio.cancel import CancelToken
from stepaudio.results import Segment

if TYPE_CHECKING:
    from stepaudio.lm.prompts.messages import Message
    from stepaudio.styles import Style
    from stepaudio.voices import Voice


@runtime_checkable
class Ears(Protocol):
    """Speech recognition."""

    def load(self) -> object:
        """Read the weights into memory, which otherwise happens at first use."""
        ...

    def transcribe(self, audio: Audio, language: str | None = None) -> Iterator[Segment]:
        """Yield the segments of `audio` as they are recognised.

        Args:
            audio: any length and rate.
            language: ISO 639-1 code, or ``None`` for the model's own choice.
        """
        ...


@runtime_checkable
class Mind(Protocol):
    """A language model that answers a conversation."""

    def load(self) -> object:
        """Read the weights into memory, which otherwise happens at first use."""
        ...

    def stream(self, messages: "Sequence[Message]", *, cancel: CancelToken | None = None) -> Iterator[str]:
        """Yield the reply to `messages` as text deltas; stops early when `cancel` is stale."""
        ...


@runtime_checkable
class Mouth(Protocol):
    """Speech synthesis of one clause at a time."""

    sample_rate: int
    default_voice: str
    languages: tuple[str, ...]

    def load(self) -> object:
        """Read the weights into memory, which otherwise happens at first use."""
        ...

    def voice(self, name: str) -> "Voice":
        """Return the voice called `name` (or a mix of them); raises `InputError` when there is none."""
        ...

    def speak(
        self, text: str, *, voice: "Voice", style: "Style", seed: int | None = None
    ) -> Iterator[Audio]:
        """Yield the speech of one clause or sentence in chunks of any length."""
        ...


@dataclass(frozen=True)
class Family:
    """A loaded family: the three boxes and the name of the checkpoint they came from."""

    name: str
    ears: Ears
    mind: Mind
    mouth: Mouth
