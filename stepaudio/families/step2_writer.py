"""Replies of Step-Audio 2 in pieces, from the model here or from a server: words, codes, tool calls."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from stepaudio.cancel import CancelToken
from stepaudio.families.step2_model import Step2Model
from stepaudio.lm.prompts import step2
from stepaudio.lm.prompts.messages import (
    Message,
    SpeechPart,
    TextPart,
    TokenPart,
    ToolCallPart,
    assistant,
)
from stepaudio.lm.prompts.ta4 import push_ids, start_parse
from stepaudio.lm.prompts.tasks import TaskSampling
from stepaudio.lm.prompts.tool_calls import finish_calls, start_calls
from stepaudio.lm.prompts.tool_calls import push_text as push_calls
from stepaudio.lm.prompts.vocabulary import TTS_START
from stepaudio.lm.text import finish_text, push_text, start_text

if TYPE_CHECKING:
    from stepaudio.serving.openai_client import OpenAIClient


@dataclass(frozen=True)
class Piece:
    """More of a reply.

    Attributes:
        text: written words, outside the speech and the tool calls.
        spoken: words that are also spoken.
        codes: codes of the speech.
        calls: complete tool calls.
        turn: on the last piece, what the history keeps.
    """

    text: str = ""
    spoken: str = ""
    codes: tuple[int, ...] = ()
    calls: tuple[ToolCallPart, ...] = ()
    turn: Message | None = None


class Writer(Protocol):
    """Writes replies; the last message is the open turn."""

    def load(self) -> object:
        """Get ready."""
        ...

    def write(
        self,
        messages: Sequence[Message],
        *,
        sampling: TaskSampling,
        tools: Sequence[dict[str, Any]] = (),
        seed: int | None = None,
        cancel: CancelToken | None = None,
    ) -> Iterator[Piece]:
        """Yield the reply to `messages` as it is written."""
        ...


class LocalWriter:
    """Writes with the weights here.

    Args:
        model: the model.
        base: whether it is the base checkpoint, which knows no roles: its prompt is the flat sequence of all
            parts of the messages.
    """

    def __init__(self, model: Step2Model, *, base: bool = False):
        self.model = model
        self.base = base

    def load(self) -> object:
        """Read the weights, which otherwise happens at first use."""
        return self.model.load()

    def write(
        self,
        messages: Sequence[Message],
        *,
        sampling: TaskSampling,
        tools: Sequence[dict[str, Any]] = (),
        seed: int | None = None,
        cancel: CancelToken | None = None,
    ) -> Iterator[Piece]:
        """Yield the reply to `messages` as it is written."""
        model = self.model
        opening = messages[-1].content
        speech = isinstance(opening, str) and opening.endswith(TTS_START)
        if self.base:
            prompt = step2.base_prompt([part for message in messages for part in message.parts])
        else:
            prompt = step2.chat_prompt(messages, tools=tools)
        state = start_parse(model.vocabulary, speaking=speech)
        spoken, text = start_text(model.tokenizer), start_text(model.tokenizer)
        calls = start_calls()
        ids: list[int] = []
        for token in model.ids(prompt, speech=speech, sampling=sampling, seed=seed, cancel=cancel):
            new = push_ids(state, [token])
            if new.stopped:
                break
            ids.append(token)
            words = push_calls(calls, push_text(text, new.text)) if new.text else None
            piece = Piece(
                words.text if words else "",
                push_text(spoken, new.spoken_text) if new.spoken_text else "",
                new.codes,
                words.calls if words else (),
            )
            if piece != Piece():
                yield piece
        rest = push_calls(calls, finish_text(text))
        held = finish_calls(calls)
        opened = (TextPart(opening),) if isinstance(opening, str) else ()
        if isinstance(opening, str) and speech:
            opened = (TextPart(TTS_START),)  # a thought before the speech does not stay in the history
        turn = Message("assistant", (*opened, TokenPart(tuple(ids))))
        yield Piece(rest.text + held.text, finish_text(spoken), (), rest.calls, turn)


class ServedWriter:
    """Writes with a model behind StepFun's vLLM fork, which gives back words and codes."""

    def __init__(self, client: "OpenAIClient"):
        self._client = client

    def load(self) -> object:
        """Ask the server for its models, so that a wrong address shows at once."""
        from stepaudio.families.remote import RemoteMind

        return RemoteMind(self._client).load()

    def write(
        self,
        messages: Sequence[Message],
        *,
        sampling: TaskSampling,
        tools: Sequence[dict[str, Any]] = (),
        seed: int | None = None,
        cancel: CancelToken | None = None,
    ) -> Iterator[Piece]:
        """Yield the reply to `messages` as it is written."""
        from stepaudio.serving.wire import ChatOptions, SpeechDelta, TextDelta, ToolCalls

        options = ChatOptions(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=sampling.max_new_tokens,
            repetition_penalty=sampling.repetition_penalty,
            seed=seed,
            tools=tuple(tools),
        )
        text, spoken = "", ""
        codes: list[int] = []
        calls: tuple[ToolCallPart, ...] = ()
        for event in self._client.stream(messages, options, cancel=cancel):
            if isinstance(event, TextDelta):
                text += event.text
                yield Piece(text=event.text)
            elif isinstance(event, SpeechDelta):
                spoken, codes = spoken + event.text, [*codes, *event.codes]
                yield Piece(spoken=event.text, codes=event.codes)
            elif isinstance(event, ToolCalls):
                calls = event.calls
                yield Piece(calls=calls)
        speech = (SpeechPart(spoken, tuple(codes)),) if codes else ()
        yield Piece(turn=assistant(*speech, *([text] if text or not speech else []), *calls))
