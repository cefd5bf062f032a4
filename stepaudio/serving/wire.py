"""The chat-completions format of OpenAI-compatible servers: messages out, streamed events in."""

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from stepaudio.audio import Audio
from stepaudio.errors import InputError
from stepaudio.lm.prompts.messages import (
    AudioPart,
    Message,
    SpeechPart,
    TextPart,
    TokenPart,
    ToolCallPart,
    ToolResultPart,
)
from stepaudio.lm.prompts.vocabulary import CODEBOOK_SIZE, TTS_START
from stepaudio.pieces import ENCODER_RATE, PIECE_SAMPLES

Dialect = Literal["openai", "step-audio", "step-audio-2"]
AudioText = Callable[[Audio], str]
_CODE = re.compile(r"<audio_(\d+)>")


@dataclass(frozen=True)
class ChatOptions:
    """How to generate; ``None`` leaves the server's default.

    Attributes:
        temperature: 0 is greedy.
        top_p: nucleus.
        max_tokens: cap on the reply.
        repetition_penalty: vLLM's extension.
        stop: strings that end the reply.
        seed: for repeatable sampling, where the server honours it.
        tools: OpenAI-style schemas.
    """

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    repetition_penalty: float | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    tools: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class TextDelta:
    """More of the written reply."""

    text: str


@dataclass(frozen=True)
class SpeechDelta:
    """More of the spoken reply: its words, its codes, or sound that the server made itself (raw bytes)."""

    text: str = ""
    codes: tuple[int, ...] = ()
    sound: bytes = b""


@dataclass(frozen=True)
class ToolCalls:
    """All tool calls of the reply, complete."""

    calls: tuple[ToolCallPart, ...]


@dataclass(frozen=True)
class Finished:
    """The reply is complete; `reason` as the server gives it (``stop``, ``length``, ``tool_calls``)."""

    reason: str


Event = TextDelta | SpeechDelta | ToolCalls | Finished


def request_body(
    model: str,
    messages: Sequence[Message],
    options: ChatOptions,
    *,
    dialect: Dialect = "openai",
    audio_text: AudioText | None = None,
) -> dict[str, Any]:
    """Return the JSON body of a streamed chat request.

    Args:
        model: the name the server serves the model under.
        messages: the conversation; a last open turn is what the server writes.
        options: how to generate.
        dialect: ``step-audio`` sends sound as ``<audio_N>`` text, the others as base64 WAV pieces of 25 s;
            ``step-audio-2`` adds what its serving fork understands.
        audio_text: turns sound into ``<audio_N>`` text; needed for ``step-audio`` with sound.

    Raises:
        InputError: a part that cannot be sent to this kind of server.
    """
    turns = list(messages)
    prefix = None
    if turns and turns[-1].role == "assistant" and (turns[-1].content is None or not turns[-1].closed):
        prefix = turns.pop().content
    body: dict[str, Any] = {"model": model, "stream": True}
    body["messages"] = [_message(turn, dialect, audio_text) for turn in turns]
    if prefix:
        if not isinstance(prefix, str):
            raise InputError("an open turn that goes to a server must be opened with text")
        body["messages"].append({"role": "assistant", "content": prefix})
        body |= {"continue_final_message": True, "add_generation_prompt": False}
    if dialect == "step-audio-2":
        body["skip_special_tokens"] = False
    named = ("temperature", "top_p", "max_tokens", "repetition_penalty", "seed")
    body |= {name: value for name in named if (value := getattr(options, name)) is not None}
    if options.stop:
        body["stop"] = list(options.stop)
    if options.tools:
        body["tools"] = list(options.tools)
    return body


def _message(message: Message, dialect: Dialect, audio_text: AudioText | None) -> dict[str, Any]:
    if message.role == "tool":
        result = next(
            (part for part in message.parts if isinstance(part, ToolResultPart)), ToolResultPart("")
        )
        return {"role": "tool", "tool_call_id": result.id, "content": message.text}
    out: dict[str, Any] = {"role": message.role}
    content: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    for part in message.parts:
        if isinstance(part, TextPart):
            content.append({"type": "text", "text": part.text})
        elif isinstance(part, AudioPart):
            content += _sound(part.audio, dialect, audio_text)
        elif isinstance(part, ToolCallPart):
            function = {"name": part.name, "arguments": part.arguments_json()}
            calls.append({"id": part.id, "type": "function", "function": function})
        elif isinstance(part, SpeechPart) and dialect == "step-audio-2" and part.codes:
            audio = "".join(f"<audio_{code}>" for code in part.codes)
            out["tts_content"] = {"tts_text": part.text, "tts_audio": audio}
        elif isinstance(part, SpeechPart):
            content.append({"type": "text", "text": part.text})
        elif isinstance(part, TokenPart):
            raise InputError(
                "raw token ids cannot be sent to a server; keep text or speech parts in the history"
            )
    only_text = all(item["type"] == "text" for item in content)
    out["content"] = "".join(item["text"] for item in content) if only_text else content
    if calls:
        out["tool_calls"] = calls
    return out


def _sound(audio: Audio, dialect: Dialect, audio_text: AudioText | None) -> list[dict[str, Any]]:
    if dialect == "step-audio":
        if audio_text is None:
            raise InputError(
                "this server reads sound as <audio_N> text, but no tokenizer was given to make it"
            )
        return [{"type": "text", "text": audio_text(audio)}]
    sound = audio.resample(ENCODER_RATE)
    out = []
    for start in range(0, len(sound.samples), PIECE_SAMPLES):
        piece = Audio(sound.samples[start : start + PIECE_SAMPLES], ENCODER_RATE)
        data = base64.b64encode(piece.to_wav_bytes()).decode("ascii")
        out.append({"type": "input_audio", "input_audio": {"data": data, "format": "wav"}})
    return out


def server_events(lines: Iterator[str]) -> Iterator[str]:
    """Yield the data of each server-sent event, the data lines of one event joined, comments skipped."""
    data: list[str] = []
    for line in lines:
        if line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
        elif not line and data:
            yield "\n".join(data)
            data = []
    if data:
        yield "\n".join(data)


@dataclass
class ReplyState:
    """What has arrived of one reply; make one with `start_reply`.

    Attributes:
        text: written and spoken words so far.
        reason: why it ended, once it has.
        calls: pieces of tool calls by index: id, name, arguments.
    """

    text: str = ""
    reason: str = ""
    calls: dict[int, list[str]] = field(default_factory=dict)


def start_reply() -> ReplyState:
    """Begin to read a streamed reply."""
    return ReplyState()


def push_chunk(state: ReplyState, chunk: dict[str, Any]) -> list[Event]:
    """Read one streamed JSON object.

    Raises:
        ValueError: it is not of the chat-completions format.
    """
    choices = chunk.get("choices")
    if not isinstance(choices, list):
        raise ValueError("no choices in it")
    events: list[Event] = []
    for choice in choices[:1]:
        delta = choice.get("delta") or choice.get("message") or {}
        if text := delta.get("content"):
            if not isinstance(text, str):
                raise ValueError("content is not text")
            state.text += text
            events.append(TextDelta(text))
        if spoken := _speech(delta):
            state.text += spoken.text
            events.append(spoken)
        for call in delta.get("tool_calls") or ():
            _merge_call(state, call)
        if reason := choice.get("finish_reason"):
            state.reason = str(reason)
    return events


def finish_reply(state: ReplyState) -> list[Event]:
    """Return the closing events.

    Raises:
        ValueError: a tool call's arguments are not a JSON object.
    """
    calls = []
    for index in sorted(state.calls):
        number, name, arguments = state.calls[index]
        values = json.loads(arguments or "{}")
        if not isinstance(values, dict):
            raise ValueError(f"the arguments of {name} are not a JSON object")
        calls.append(ToolCallPart(name, values, number))
    return [*([ToolCalls(tuple(calls))] if calls else []), Finished(state.reason)]


def _speech(delta: dict[str, Any]) -> SpeechDelta | None:
    spoken = delta.get("tts_content") or {}
    sound = delta.get("audio") or {}
    if not isinstance(spoken, dict) or not isinstance(sound, dict):
        raise ValueError("speech is not an object")
    text = str(spoken.get("tts_text") or sound.get("transcript") or "").removeprefix(TTS_START)
    codes = tuple(int(code) for code in _CODE.findall(str(spoken.get("tts_audio") or "")))
    try:
        data = base64.b64decode(sound.get("data") or "", validate=True)
    except (binascii.Error, TypeError):
        raise ValueError("sound is not base64") from None
    # The code after the last one is padding.
    codes = tuple(code for code in codes if code < CODEBOOK_SIZE)
    return SpeechDelta(text, codes, data) if text or codes or data else None


def _merge_call(state: ReplyState, call: dict[str, Any]) -> None:
    function = call.get("function") or {}
    index = call.get("index", len(state.calls))
    known = state.calls.setdefault(int(index), ["", "", ""])
    known[0] = call.get("id") or known[0]
    known[1] = known[1] or function.get("name") or ""
    known[2] += function.get("arguments") or ""
