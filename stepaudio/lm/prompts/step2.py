"""Step-Audio 2's prompts: pieces that are tokenised one by one (spec: step-audio-2.md, section 3).

Where the pieces are cut matters to the BPE, so it is part of the format: a turn whose content is a string is
one piece with its markers; in a turn made of parts the header, each part and the end marker are pieces of
their own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from stepaudio.audio import Audio
from stepaudio.errors import InputError
from stepaudio.lm.prompts.messages import (
    AudioPart,
    Message,
    Part,
    SpeechPart,
    TextPart,
    TokenPart,
    ToolCallPart,
    ToolResultPart,
    tools_json,
)
from stepaudio.lm.prompts.tool_calls import render_call
from stepaudio.lm.prompts.vocabulary import AUDIO_END, AUDIO_PATCH, AUDIO_START, BOT, EOT
from stepaudio.pieces import ENCODER_RATE, placeholder_count, split_pieces

if TYPE_CHECKING:
    from stepaudio.lm.text import TextTokenizer

ROLES = {"system": "system", "user": "human", "assistant": "assistant", "tool": "input"}
TOOLS_ROLE = "tool_json_schemas"

Piece = str | tuple[int, ...]
Interleave = Callable[[SpeechPart], Sequence[int]]
ResultRole = Literal["input", "function_output"]


@dataclass(frozen=True)
class Dialect:
    """How tools are written where the released client and the serving fork differ; the client is the default.

    Attributes:
        result_role: ``"input"`` gives the result text alone; ``"function_output"`` puts the tool's name on a
            line before it, as the fork does for the OpenAI role ``tool``.
        unterminated_system: with tools but no system turn first, open a system turn and never close it
            (a quirk of the fork).
    """

    result_role: ResultRole = "input"
    unterminated_system: bool = False


@dataclass(frozen=True, eq=False)
class Prompt:
    """A rendered conversation.

    Attributes:
        pieces: strings to tokenise one by one, and ids to take as they are.
        audio: the sound behind each ``<audio_start>``, in order: float32 mono at 16 kHz, at most 25 s each.
    """

    pieces: tuple[Piece, ...]
    audio: tuple[np.ndarray, ...] = field(default=())

    def ids(self, tokenizer: "TextTokenizer") -> list[int]:
        """Return the prompt as ids."""
        out: list[int] = []
        for piece in self.pieces:
            out.extend(tokenizer.encode(piece) if isinstance(piece, str) else piece)
        return out

    def rendered(self) -> str:
        """Return the prompt as readable text; ids appear as ``{TOKENS:…}``."""
        return "".join(
            p if isinstance(p, str) else "{TOKENS:" + ",".join(map(str, p)) + "}" for p in self.pieces
        )


def chat_prompt(
    messages: Sequence[Message],
    *,
    tools: Sequence[dict[str, Any]] = (),
    dialect: Dialect | None = None,
    interleave: Interleave | None = None,
) -> Prompt:
    """Render a conversation for the instruct and think checkpoints.

    End `messages` with ``open_turn()`` for a text reply or ``open_turn("<tts_start>")`` for speech; nothing
    is added here.

    Args:
        messages: the turns, in order.
        tools: OpenAI-style schemas, declared right after the leading system turn.
        dialect: see `Dialect`.
        interleave: turns speech of the history into ids (``ta4.interleave`` with the model's vocabulary); not
            needed when the raw ids were kept (`TokenPart`), which is exact.
    """
    style = dialect or Dialect()
    builder = _Builder(style, interleave)
    declaration = f"{BOT}{TOOLS_ROLE}\n{tools_json(tools)}{EOT}" if tools else ""
    leading_system = bool(messages) and messages[0].role == "system"
    if declaration and not leading_system:
        if style.unterminated_system:
            builder.pieces.append(f"{BOT}system\n")
        builder.pieces.append(declaration)
    for index, message in enumerate(messages):
        builder.turn(message)
        if declaration and leading_system and index == 0:
            builder.pieces.append(declaration)
    return Prompt(tuple(builder.pieces), tuple(builder.audio))


def base_prompt(items: Sequence[str | Part]) -> Prompt:
    """Render a flat prompt for the base checkpoint, which knows no roles: each item is a piece."""
    builder = _Builder(Dialect())
    for item in items:
        builder.part(TextPart(item) if isinstance(item, str) else item)
    return Prompt(tuple(builder.pieces), tuple(builder.audio))


def audio_group(samples: int) -> str:
    """Return the placeholders of one piece of `samples` samples at 16 kHz."""
    return AUDIO_START + AUDIO_PATCH * placeholder_count(samples) + AUDIO_END


def encoder_samples(audio: Audio) -> np.ndarray:
    """Return the sound as the encoder takes it: float32 mono at 16 kHz."""
    if audio.sample_rate == ENCODER_RATE:
        return audio.samples
    import torch

    from stepaudio.features.resample import resample

    # The checkpoints were trained behind this filter, not behind soxr's.
    waveform = torch.from_numpy(np.ascontiguousarray(audio.samples))
    return resample(waveform, audio.sample_rate, ENCODER_RATE).numpy()


class _Builder:
    """Collects pieces and the sounds behind them."""

    def __init__(self, dialect: Dialect, interleave: Interleave | None = None):
        self.dialect = dialect
        self.interleave = interleave
        self.pieces: list[Piece] = []
        self.audio: list[np.ndarray] = []

    def turn(self, message: Message) -> None:
        header = f"{BOT}{self._role(message)}\n"
        if message.content is None:
            self.pieces.append(header)
        elif isinstance(message.content, str):
            self.pieces.append(header + message.content + (EOT if message.closed else ""))
        else:
            self.pieces.append(header)
            for part in message.content:
                self.part(part)
            if message.closed:
                self.pieces.append(EOT)

    def part(self, part: Part) -> None:
        if isinstance(part, AudioPart):
            for samples in split_pieces(encoder_samples(part.audio)):
                self.audio.append(samples)
                # One piece per 25 s: the tokenizer sees each group on its own.
                self.pieces.append(audio_group(len(samples)))
        elif isinstance(part, TokenPart):
            self.pieces.append(part.ids)
        elif isinstance(part, SpeechPart):
            if self.interleave is None:
                raise InputError("speech in the history needs `interleave`, which knows the vocabulary")
            self.pieces.append(tuple(self.interleave(part)))
        elif isinstance(part, ToolCallPart):
            self.pieces.append(render_call(part))
        elif isinstance(part, ToolResultPart):
            named = self.dialect.result_role == "function_output" and part.name
            self.pieces.append(f"{part.name}\n{part.text}" if named else part.text)
        elif isinstance(part, TextPart):
            self.pieces.append(part.text)
        else:
            raise InputError(f"a prompt cannot hold a {type(part).__name__}")

    def _role(self, message: Message) -> str:
        if message.role != "tool":
            return ROLES[message.role]
        named = any(isinstance(part, ToolResultPart) and part.name for part in message.parts)
        return "function_output" if self.dialect.result_role == "function_output" and named else "input"
