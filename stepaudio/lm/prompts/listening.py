"""How nano's language model is asked about what it hears: ChatML with the sound in the user's turn."""

from dataclasses import dataclass

from stepaudio.lm.prompts.chatml import ASSISTANT_OPEN, END, START
from stepaudio.lm.text import TextTokenizer

WRITE_DOWN = "\nWrite down what I said."
"""Behind the sound; a plain question has nothing there and is answered."""


@dataclass(frozen=True)
class HeardTurn:
    """The ids about the sound of a user's turn, the last one of the conversation.

    Attributes:
        before: ids before the sound, the conversation so far included.
        after: ids behind it; the reply comes next.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]


def heard_turn(tokenizer: TextTokenizer, instruction: str = "", so_far: str = "") -> HeardTurn:
    """Frame a sound.

    Args:
        tokenizer: of the language model.
        instruction: what to do with the sound.
        so_far: the conversation before this turn, rendered.
    """
    before = tokenizer.encode(f"{so_far}{START}user\n")
    after = tokenizer.encode(f"{instruction}{END}\n{ASSISTANT_OPEN}")
    return HeardTurn(tuple(before), tuple(after))
