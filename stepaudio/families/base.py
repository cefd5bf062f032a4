"""What a family must bring: ears (audio to text), a mind (messages to text), a mouth (text to audio).

A family may bring more: a codec (audio to codes and back), a cloner (a clip to a voice), and a partner, which
hears the sound of a question itself instead of its transcript, and may speak by itself.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from stepaudio.audio import Audio
from stepaudio.cancel import CancelToken
from stepaudio.results import Reply, Segment

if TYPE_CHECKING:
    from stepaudio.lm.prompts.messages import Message, ToolCallPart
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
class ToolMind(Mind, Protocol):
    """A mind that can ask for tools."""

    def stream_with_tools(
        self,
        messages: "Sequence[Message]",
        *,
        tools: Sequence[dict[str, Any]],
        cancel: CancelToken | None = None,
    ) -> "Iterator[str | ToolCallPart]":
        """Yield the reply to `messages` as text deltas and, where a tool is wanted, its call.

        Args:
            messages: the conversation. Behind the user's turn may stand calls made for it and their results.
            tools: schemas in OpenAI's form; empty when no further call will be answered.
            cancel: of this turn.
        """
        ...


@runtime_checkable
class Mouth(Protocol):
    """Speech synthesis of one clause at a time."""

    sample_rate: int
    languages: tuple[str, ...]

    @property
    def default_voice(self) -> str:
        """The name of the voice to speak with when none is asked for."""
        ...

    def load(self) -> object:
        """Read the weights into memory, which otherwise happens at first use."""
        ...

    def voice(self, name: str) -> "Voice":
        """Return the voice called `name` (or a mix of them); raises `InputError` when there is none."""
        ...

    def speak(self, text: str, *, voice: "Voice", style: "Style", seed: int | None = None) -> Iterator[Audio]:
        """Yield the speech of one clause or sentence in chunks of any length."""
        ...


@runtime_checkable
class TagReader(Protocol):
    """A mouth whose texts may start with style tags in brackets, as the models were trained."""

    def read_tags(self, text: str, style: "Style") -> "tuple[str, Style]":
        """Return `text` without the leading tags it knows, and `style` with them; raises `InputError`."""
        ...


@runtime_checkable
class SpeechCodes(Protocol):
    """Codes of one clip, as a family's codec makes them."""

    @property
    def seconds(self) -> float:
        """Length of the sound that the codes stand for."""
        ...

    def to_json(self) -> dict[str, Any]:
        """Return what ``tokens encode`` writes."""
        ...


@runtime_checkable
class Codec(Protocol):
    """Sound to codes and back."""

    def encode(self, audio: Audio) -> SpeechCodes:
        """Return the codes of a clip of any length and rate."""
        ...

    def decode(self, codes: SpeechCodes, *, voice: "Voice", seed: int | None = None) -> Audio:
        """Return the sound of `codes` in `voice`; raises `InputError` for codes of another family."""
        ...

    def read(self, data: object) -> SpeechCodes:
        """Read what `SpeechCodes.to_json` gave; raises `InputError` when it is something else."""
        ...


@runtime_checkable
class StreamingCodec(Codec, Protocol):
    """A codec that need not wait for the end of the sound."""

    def encode_stream(self, chunks: Iterable[Audio], voice: "Voice | None" = None) -> Iterator[SpeechCodes]:
        """Yield codes of sound as it comes in, from a speaker whose voice may be known.

        Raises:
            AudioError: the chunks have several rates, or are too short in all.
        """
        ...


@runtime_checkable
class Cloner(Protocol):
    """Makes a voice from a clip."""

    def clone(self, audio: Audio, *, name: str, transcript: str | None, consent: str) -> "Voice":
        """Return the voice of `audio`.

        Args:
            audio: a few seconds of one speaker.
            name: what the voice will be called.
            transcript: exactly what is said in it; recognised when ``None`` and the family needs it.
            consent: how the speaker agreed.
        """
        ...


@runtime_checkable
class Listener(Protocol):
    """A mind that was trained for tasks on sound."""

    def translate(
        self, audio: Audio, target: str, *, voice: "Voice | None" = None, seed: int | None = None
    ) -> Reply:
        """Translate what is said, aloud where there is a `voice`; raises `InputError`."""
        ...

    def caption(self, audio: Audio, *, seed: int | None = None) -> str:
        """Describe what is heard."""
        ...

    def ask(self, audio: Audio, question: str, *, seed: int | None = None) -> str:
        """Answer a question about what is heard."""
        ...


@dataclass(frozen=True)
class Answer:
    """A piece of a partner's reply.

    Attributes:
        text: more of its words.
        audio: more of its sound.
        calls: tools that the model asks for.
        turn: on the last piece, what the history keeps of the reply.
        heard: on the first piece, the words of a spoken question, from a partner that knows them so early.
    """

    text: str = ""
    audio: Audio | None = None
    calls: "tuple[ToolCallPart, ...]" = ()
    turn: "Message | None" = None
    heard: str = ""


@runtime_checkable
class Partner(Protocol):
    """Answers a conversation whose last turn may hold sound."""

    keeps_sound: bool  # whether later turns hear the question again, or read its transcript
    uses_tools: bool  # whether it calls tools; `answer` is given none where it does not
    result_instruction: str  # put behind a tool's result: how to speak about it

    def answer(
        self,
        messages: "Sequence[Message]",
        *,
        voice: "Voice",
        style: "Style",
        seed: int | None = None,
        cancel: CancelToken | None = None,
        tools: Sequence[dict[str, Any]] = (),
    ) -> Iterator[Answer]:
        """Yield the reply to `messages` in pieces, words and sound; stops early when `cancel` is stale."""
        ...


@dataclass(frozen=True)
class Family:
    """A loaded family: the three boxes, what else it can do, and the name of its checkpoint."""

    name: str
    ears: Ears
    mind: Mind
    mouth: Mouth
    codec: Codec | None = None
    cloner: Cloner | None = None
    partner: Partner | None = None
