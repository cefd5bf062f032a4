"""Ears and a partner made of a mind that reads sound and a mouth: the way of Step-Audio-Chat."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from stepaudio.audio import Audio
from stepaudio.cancel import CancelToken
from stepaudio.families.base import Answer, Mouth
from stepaudio.families.listening import transcribe_pieces
from stepaudio.lm.prompts.messages import Message, assistant
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


class CascadePartner:
    """A mind that hears the question itself, and a mouth that speaks each clause as it is written.

    Args:
        write: the mind.
        mouth: the mouth.
    """

    uses_tools = False  # the released model's way of calling tools is not public
    result_instruction = ""
    keeps_sound = False  # as the released demo does: sound takes fourteen times as many tokens as its words

    def __init__(self, write: Write, mouth: Mouth):
        self._write = write
        self._mouth = mouth

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
        for delta in self._write(messages, cancel=cancel, seed=seed):
            written += delta
            yield Answer(text=delta)
            for chunk in speech.push(state, delta):
                yield Answer(audio=chunk)
        for chunk in speech.finish(state):
            yield Answer(audio=chunk)
        yield Answer(turn=assistant(written.strip()))
