"""What a system under test can be asked."""

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from stepaudio.audio import Audio
from stepaudio.errors import InputError
from stepaudio.lm.prompts.messages import Message

Ability = Literal["transcribe", "speak", "clone", "reply", "tools", "resynthesise"]


class Unsupported(InputError):
    """What one item asks is beyond this system; the item counts nowhere, and the report says so."""


@dataclass(frozen=True)
class Conversation:
    """A conversation that waits for the system's answer.

    Attributes:
        messages: from the first turn to the user's last; sound is an `AudioPart`.
        tools: OpenAI-style schemas of the tools it may call; they are not executed.
        language: ISO 639-1 code of the speech in it, or ``None``.
        seed: makes the answer repeatable where the system samples.
    """

    messages: tuple[Message, ...]
    tools: tuple[dict[str, Any], ...] = ()
    language: str | None = None
    seed: int = 0


@dataclass(frozen=True)
class Answer:
    """What a system gave.

    Attributes:
        text: words it wrote or recognised.
        audio: speech it made.
        tool_calls: ``{"name", "arguments"}`` each.
        timings: seconds by name: ``first_text_s``, ``first_audio_s``, ``total_s``.
        heard: what it understood of the last spoken turn, where it tells.
    """

    text: str = ""
    audio: Audio | None = None
    tool_calls: tuple[dict[str, Any], ...] = ()
    timings: dict[str, float] = field(default_factory=dict)
    heard: str = ""


class System(Protocol):
    """A system under test; one call at a time."""

    name: str
    abilities: frozenset[Ability]

    def describe(self) -> dict[str, Any]:
        """Return what the report must say about it: versions, weights' hashes, address; JSON values only."""
        ...

    def transcribe(self, audio: Audio, language: str | None) -> Answer:
        """Recognise a clip."""
        ...

    def speak(
        self, text: str, *, style: str | None, seed: int, prompt: Audio | None = None, prompt_text: str = ""
    ) -> Answer:
        """Say `text`, in the voice of `prompt` where one is given.

        Raises:
            Unsupported: it has not this style.
        """
        ...

    def reply(self, conversation: Conversation) -> Answer:
        """Answer the last turn of a conversation."""
        ...

    def resynthesise(self, audio: Audio) -> Answer:
        """Take a clip through the system's codec and back."""
        ...


class Unable:
    """A system that can do nothing; others override what they can and say so in `abilities`."""

    name = "nothing"
    abilities: frozenset[Ability] = frozenset()

    def describe(self) -> dict[str, Any]:
        """Return its name alone."""
        return {"name": self.name}

    def transcribe(self, audio: Audio, language: str | None) -> Answer:
        """Cannot."""
        raise NotImplementedError

    def speak(
        self, text: str, *, style: str | None, seed: int, prompt: Audio | None = None, prompt_text: str = ""
    ) -> Answer:
        """Cannot."""
        raise NotImplementedError

    def reply(self, conversation: Conversation) -> Answer:
        """Cannot."""
        raise NotImplementedError

    def resynthesise(self, audio: Audio) -> Answer:
        """Cannot."""
        raise NotImplementedError
