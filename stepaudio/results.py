"""What the verbs give back: plain dataclasses, no behaviour beyond reading them."""

from dataclasses import dataclass, field
from typing import Any

from stepaudio.audio import Audio


@dataclass(frozen=True)
class Segment:
    """A stretch of recognised speech; times in seconds from the start of the clip."""

    start: float
    end: float
    text: str


@dataclass(frozen=True)
class Transcript:
    """What was said in one clip.

    Attributes:
        text: the whole text, without leading or trailing blanks.
        language: ISO 639-1 code, for example ``en``.
        segments: the stretches the text is made of, in order.
        audio_seconds: length of the clip in seconds.
        seconds: wall-clock time the recognition took.
    """

    text: str
    language: str
    segments: tuple[Segment, ...]
    audio_seconds: float
    seconds: float

    @property
    def rtf(self) -> float:
        """Real-time factor: processing time over audio time (0.1 is ten times faster than real time)."""
        return self.seconds / self.audio_seconds if self.audio_seconds else 0.0


@dataclass(frozen=True)
class Timings:
    """Seconds from the moment the question was complete; ``None`` where a step did not happen."""

    transcribe_s: float | None = None
    first_text_s: float | None = None
    first_audio_s: float | None = None
    total_s: float | None = None


@dataclass(frozen=True)
class ToolCall:
    """A call of a tool that the model asked for, and what came of it."""

    name: str
    arguments: dict[str, Any]
    result: str | None = None
    error: str | None = None


@dataclass(frozen=True)
class Reply:
    """The answer to one turn of a chat."""

    transcript: str
    text: str
    audio: Audio | None
    timings: Timings
    tool_calls: tuple[ToolCall, ...] = ()
    model: str = ""
    details: dict[str, Any] = field(default_factory=dict)
