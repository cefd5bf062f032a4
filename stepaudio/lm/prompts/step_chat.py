"""Step-Audio-Chat's prompt: one string of turns, audio as ``<audio_N>`` text (spec: step-audio.md, 3c)."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

from stepaudio.audio import Audio
from stepaudio.errors import InputError
from stepaudio.lm.prompts.messages import (
    AudioPart,
    Message,
    SpeechPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    tools_json,
)
from stepaudio.lm.prompts.tool_calls import render_call

BOT, EOT = "<|BOT|>", "<|EOT|>"
ASSISTANT_OPEN = f"{BOT}assistant\n"
DEFAULT_SYSTEM = "You are a helpful assistant."
DEMO_SYSTEM = "适配用户的语言，用简短口语化的文字回答"
ROLES = {"system": "system", "user": "human", "assistant": "assistant", "tool": "input"}

DefaultSystem = Literal["none", "helpful"]


def render(
    messages: Sequence[Message],
    *,
    audio_text: Callable[[Audio], str] | None = None,
    tools: Sequence[dict[str, Any]] = (),
    default_system: DefaultSystem = "none",
) -> str:
    """Return the conversation as the string the tokenizer gets; it ends with an open assistant turn.

    Args:
        messages: the turns; a turn may mix text and audio.
        audio_text: turns a sound into its ``<audio_N>`` text; needed when a message has audio.
        tools: schemas, put after the system turn.
        default_system: ``"helpful"`` adds the system turn of the checkpoint's own chat template when the
            conversation has none, as servers do; ``"none"`` adds nothing, as the released program does.

    Raises:
        InputError: a part that this model cannot read.
    """
    turns = list(messages)
    if default_system == "helpful" and (not turns or turns[0].role != "system"):
        turns.insert(0, Message("system", DEFAULT_SYSTEM))
    rendered = [_turn(message, audio_text) for message in turns]
    if tools:
        place = 1 if turns and turns[0].role == "system" else 0
        rendered.insert(place, f"{BOT}tool_json_schemas\n{tools_json(tools)}{EOT}")
    is_open = (
        bool(turns) and turns[-1].role == "assistant" and (turns[-1].content is None or not turns[-1].closed)
    )
    return "".join(rendered) + ("" if is_open else ASSISTANT_OPEN)


def _turn(message: Message, audio_text: Callable[[Audio], str] | None) -> str:
    header = f"{BOT}{ROLES[message.role]}\n"
    if message.content is None:
        return header
    pieces = []
    for part in message.parts:
        if isinstance(part, (TextPart, SpeechPart, ToolResultPart)):
            pieces.append(part.text)
        elif isinstance(part, ToolCallPart):
            pieces.append(render_call(part))
        elif isinstance(part, AudioPart):
            if audio_text is None:
                raise InputError(
                    "the conversation holds audio, but no tokenizer was given to turn it into tokens"
                )
            pieces.append(audio_text(part.audio))
        else:
            raise InputError("Step-Audio-Chat takes text and audio, not raw token ids")
    return header + "".join(pieces) + (EOT if message.closed else "")
