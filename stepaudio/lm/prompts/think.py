"""Think mode: the model first writes a thought, then speaks (spec: step-audio-2.md, 3.8)."""

from typing import Literal

from stepaudio.lm.prompts.messages import Message, open_turn
from stepaudio.lm.prompts.vocabulary import TTS_START

THINK_STOP = "</think>"
Style = Literal["client", "server"]
_OPENERS: dict[Style, str] = {"client": "\n<think>\n", "server": "<think>"}


def thought_turn(style: Style = "client") -> Message:
    """Return the open turn of the first pass; generate until ``</think>``."""
    return open_turn(_OPENERS[style])


def thought_of(generated: str) -> str:
    """Return the thought alone: what stands before ``</think>``, which may lack its last character."""
    if THINK_STOP in generated:
        return generated.partition(THINK_STOP)[0]
    cut = next((n for n in range(len(THINK_STOP) - 1, 0, -1) if generated.endswith(THINK_STOP[:n])), 0)
    # A lone "<" or "</" may belong to the thought; the reference only ever cuts the last character.
    return generated[:-cut] if cut >= len("</think") else generated


def speech_turn(thought: str, style: Style = "client") -> Message:
    """Return the open turn of the second pass: the thought, closed, then ``<tts_start>``.

    Keep only the spoken reply in the history, not the thought.
    """
    return open_turn(f"{_OPENERS[style]}{thought}{THINK_STOP}\n\n{TTS_START}")
