"""What happens in a conversation, as typed events in the order in which they happen."""

from dataclasses import dataclass

from stepaudio.audio import Audio
from stepaudio.results import Reply, ToolCall, Transcript


@dataclass(frozen=True)
class SpeechStarted:
    """The user began to speak; `at` is the position in the microphone stream in seconds."""

    at: float


@dataclass(frozen=True)
class Heard:
    """The user's turn is over and this is what was recognised."""

    transcript: Transcript


@dataclass(frozen=True)
class TextDelta:
    """A further piece of the reply's text."""

    text: str


@dataclass(frozen=True)
class AudioDelta:
    """A further piece of the reply's speech, to be played right after the one before."""

    audio: Audio


@dataclass(frozen=True)
class ToolUsed:
    """A tool was called and has answered (or failed)."""

    call: ToolCall


@dataclass(frozen=True)
class Interrupted:
    """The reply was cut off: the user spoke over it or the turn was cancelled."""


@dataclass(frozen=True)
class Done:
    """The turn is complete."""

    reply: Reply


Event = SpeechStarted | Heard | TextDelta | AudioDelta | ToolUsed | Interrupted | Done
