"""The messages of a conversation: one set of types, which every family renders in its own format."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from stepaudio.audio import Audio
from stepaudio.errors import InputError

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True)
class TextPart:
    """Words; may hold special-token strings, which the tokenizer then resolves."""

    text: str

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            raise InputError(f"a text part must hold a string, not {type(self.text).__name__}")


@dataclass(frozen=True, eq=False)
class AudioPart:
    """Sound that the model hears, at any rate; the family brings it to its own form."""

    audio: Audio

    def __post_init__(self) -> None:
        if not isinstance(self.audio, Audio):
            raise InputError(f"an audio part must hold an Audio, not {type(self.audio).__name__}")


@dataclass(frozen=True)
class TokenPart:
    """Ids of the language model put in verbatim, never decoded and tokenised again (speech history)."""

    ids: tuple[int, ...]

    def __post_init__(self) -> None:
        if not all(isinstance(i, int) and i >= 0 for i in self.ids):
            raise InputError("a token part must hold non-negative integer ids")


@dataclass(frozen=True)
class SpeechPart:
    """A spoken reply of the past: its words and its codes.

    Attributes:
        text: what was said.
        codes: audio codes (not ids) of the family's speech decoder.
    """

    text: str
    codes: tuple[int, ...] = ()


@dataclass(frozen=True)
class ToolCallPart:
    """A tool the assistant asked for.

    Attributes:
        name: the tool's name.
        arguments: JSON-serialisable keyword arguments.
        id: what a result refers back to; servers give one, local families need none.
    """

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    id: str = ""

    def arguments_json(self) -> str:
        """Return the arguments as JSON text, without escaping non-ASCII characters."""
        return json.dumps(self.arguments, ensure_ascii=False)


@dataclass(frozen=True)
class ToolResultPart:
    """What a tool gave back, as the text the model reads.

    Attributes:
        text: the result, or what went wrong.
        name: of the tool.
        id: of the call.
        error: why there is no result, in a few words; ``None`` where there is one.
    """

    text: str
    name: str = ""
    id: str = ""
    error: str | None = None


Part = TextPart | AudioPart | TokenPart | SpeechPart | ToolCallPart | ToolResultPart
_ALLOWED: dict[str, tuple[type, ...]] = {
    "system": (TextPart,),
    "user": (TextPart, AudioPart, TokenPart),
    "assistant": (TextPart, TokenPart, SpeechPart, ToolCallPart),
    "tool": (ToolResultPart, TextPart),
}


@dataclass(frozen=True)
class Message:
    """One turn.

    Attributes:
        role: who speaks.
        content: a string (tokenised in one piece with its turn markers), parts (each tokenised alone), or
            ``None``: the turn is opened for the model to fill.
        closed: whether the turn is ended; ``False`` lets the model continue `content`.

    Raises:
        InputError: unknown role, or a part this role cannot have.
    """

    role: Role
    content: str | tuple[Part, ...] | None
    closed: bool = True

    def __post_init__(self) -> None:
        if self.role not in get_args(Role):
            raise InputError(f"unknown role {self.role!r}; roles are: {', '.join(get_args(Role))}")
        if isinstance(self.content, list):
            object.__setattr__(self, "content", tuple(self.content))
        if self.content is None or isinstance(self.content, str):
            return
        if not isinstance(self.content, tuple):
            raise InputError(
                f"a message's content must be text, parts or None, not {type(self.content).__name__}"
            )
        for part in self.content:
            if not isinstance(part, _ALLOWED[self.role]):
                raise InputError(f"the {self.role} turn cannot hold {type(part).__name__}")

    @property
    def parts(self) -> tuple[Part, ...]:
        """The content as parts; a string is one text part, ``None`` none."""
        if self.content is None:
            return ()
        return (TextPart(self.content),) if isinstance(self.content, str) else self.content

    @property
    def text(self) -> str:
        """The words of the message: text, speech and tool results joined."""
        spoken = (TextPart, SpeechPart, ToolResultPart)
        return "".join(part.text for part in self.parts if isinstance(part, spoken))


def system(text: str) -> Message:
    """Return a system turn."""
    return Message("system", text)


def user(*content: str | Audio | Part) -> Message:
    """Return a user turn from any mix of strings, sounds and parts; a single string stays one piece."""
    if len(content) == 1 and isinstance(content[0], str):
        return Message("user", content[0])
    return Message("user", tuple(_part(item) for item in content))


def assistant(*content: str | Part) -> Message:
    """Return a finished assistant turn."""
    if len(content) == 1 and isinstance(content[0], str):
        return Message("assistant", content[0])
    return Message("assistant", tuple(_part(item) for item in content))


def tool_result(
    text: str, *, name: str = "", id: str = "", instruction: str = "", error: str | None = None
) -> Message:
    """Return a tool's result; `instruction` is a further text piece that tells how to use it."""
    parts: tuple[Part, ...] = (ToolResultPart(text, name, id, error),)
    return Message("tool", (*parts, TextPart(instruction)) if instruction else parts)


def open_turn(prefix: str | None = None) -> Message:
    """Return the assistant turn to be generated; `prefix` (for example ``<tts_start>``) is already said."""
    return Message("assistant", prefix, closed=prefix is None)


def _part(item: str | Audio | Part) -> Part:
    if isinstance(item, str):
        return TextPart(item)
    return AudioPart(item) if isinstance(item, Audio) else item


def tools_json(tools: Sequence[dict[str, Any]]) -> str:
    """Return tool schemas (OpenAI style: type, function) as the JSON text the models were trained with."""
    return json.dumps(list(tools), ensure_ascii=False)
