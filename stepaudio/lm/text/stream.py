"""Generated ids to text deltas, never cutting a character."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from stepaudio.lm.text.protocol import TextTokenizer

# An unfinished UTF-8 character has at most three bytes, each shown as one replacement; more are broken.
_UNFINISHED = 3


@dataclass
class TextState:
    """Ids whose text is not out yet; make one with `start_text`.

    Attributes:
        tokenizer: decodes.
        ids: ids whose text is out (the first `done`, kept as context) and ids whose text is not.
        done: how many of `ids` are only context.
    """

    tokenizer: TextTokenizer
    ids: list[int] = field(default_factory=list)
    done: int = 0


def start_text(tokenizer: TextTokenizer) -> TextState:
    """Begin to turn generated ids into text deltas."""
    return TextState(tokenizer)


def push_text(state: TextState, ids: Iterable[int]) -> str:
    """Return the text that `ids` complete; a character cut in the middle is held until its bytes are there.

    Special ids without text must be left out by the caller.
    """
    state.ids.extend(ids)
    before = state.tokenizer.decode(state.ids[: state.done])
    after = state.tokenizer.decode(state.ids)
    if 0 < len(after) - len(after.rstrip("\ufffd")) <= _UNFINISHED:
        return ""
    # What is out stays as context, so that a word's leading blank is not taken for the start of a text.
    if len(state.ids) > state.done:
        del state.ids[: state.done]
        state.done = len(state.ids)
    return after[len(before) :]


def finish_text(state: TextState) -> str:
    """Return what is still held, broken characters included."""
    before = state.tokenizer.decode(state.ids[: state.done])
    after = state.tokenizer.decode(state.ids)
    state.ids.clear()
    state.done = 0
    return after[len(before) :]
