"""Ears and a partner made of a mind that reads sound and a mouth: the way of Step-Audio-Chat."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from stepaudio.audio import Audio
from stepaudio.cancel import CancelToken
from stepaudio.families.base import Answer, Mouth
from stepaudio.families.listening import transcribe_pieces
from stepaudio.lm.prompts.messages import AudioPart, Message, ToolCallPart, assistant
from stepaudio.lm.prompts.tasks import ASR, strip_language_tag, task_messages
from stepaudio.results import Segment
from stepaudio.speech.stream import SpeechStream

if TYPE_CHECKING:
    from stepaudio.styles import Style
    from stepaudio.voices import Voice


class PromptedEars:
    """Recognition by asking a model that hears to write down what it hears.

    Args:
        write: gives the reply to a conversation; it should not sample.
        load: reads the model's weights.
    """

    def __init__(self, write: Callable[[Sequence[Message]], Iterator[str]], load: Callable[[], object]):
        self._write = write
        self._load = load

    def load(self) -> object:
        """Read the weights, which otherwise happens at first use."""
        return self._load()

    def transcribe(self, audio: Audio, language: str | None = None) -> Iterator[Segment]:
        """Yield a segment for each stretch of at most 25 s; the model finds the language itself."""
        # Only closed turns: the families' renderers and servers open the reply themselves.
        yield from transcribe_pieces(
            audio,
            lambda piece: strip_language_tag("".join(self._write(task_messages(ASR, piece)[:-1]))),
        )


class Write(Protocol):
    """Writes the reply to a conversation that may hold sound, in pieces."""

    def __call__(
        self, messages: Sequence[Message], *, cancel: CancelToken | None = None, seed: int | None = None
    ) -> Iterator[str]:
        """Yield the reply to `messages`."""
        ...


class WriteWithTools(Protocol):
    """The same for a mind that can ask for tools; see `ToolMind`."""

    def __call__(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[dict[str, Any]],
        cancel: CancelToken | None = None,
    ) -> Iterator[str | ToolCallPart]:
        """Yield the reply to `messages`, and the calls it needs."""
        ...


class CascadePartner:
    """A mind that hears the question itself, and a mouth that speaks each clause as it is written.

    Args:
        write: the mind.
        mouth: the mouth.
        write_with_tools: the mind where tools are declared, if it can call them.
        words: of a sound, from a mind that has them before it answers.
    """

    result_instruction = ""
    keeps_sound = False  # as the released demo does: sound takes fourteen times as many tokens as its words

    def __init__(
        self,
        write: Write,
        mouth: Mouth,
        write_with_tools: WriteWithTools | None = None,
        words: Callable[[Audio], str] | None = None,
    ):
        self._write = write
        self._mouth = mouth
        self._write_with_tools = write_with_tools
        self._words = words
        self.uses_tools = write_with_tools is not None

    def answer(
        self,
        messages: Sequence[Message],
        *,
        voice: "Voice",
        style: "Style",
        seed: int | None = None,
        cancel: CancelToken | None = None,
        tools: Sequence[dict[str, Any]] = (),
    ) -> Iterator[Answer]:
        """Yield the reply in pieces, words before their sound."""
        speech = SpeechStream(self._mouth, voice=voice, style=style, seed=seed)
        state = speech.start()
        written = ""
        calls: list[ToolCallPart] = []
        if heard := self._heard(messages[-1]):
            yield Answer(heard=heard)
        for piece in self._pieces(messages, tools, cancel, seed):
            if not isinstance(piece, str):
                calls.append(piece)
                yield Answer(calls=(piece,))
                continue
            written += piece
            yield Answer(text=piece)
            for chunk in speech.push(state, piece):
                yield Answer(audio=chunk)
        for chunk in speech.finish(state):
            yield Answer(audio=chunk)
        said = written.strip()
        yield Answer(turn=assistant(*([said] if said or not calls else []), *calls))

    def _heard(self, turn: Message) -> str:
        if self._words is None or turn.role != "user":
            return ""
        return " ".join(filter(None, (self._words(p.audio) for p in turn.parts if isinstance(p, AudioPart))))

    def _pieces(
        self,
        messages: Sequence[Message],
        tools: Sequence[dict[str, Any]],
        cancel: CancelToken | None,
        seed: int | None,
    ) -> Iterator[str | ToolCallPart]:
        if self._write_with_tools is not None and (tools or messages[-1].role == "tool"):
            return self._write_with_tools(messages, tools=tools, cancel=cancel)
        return self._write(messages, cancel=cancel, seed=seed)
