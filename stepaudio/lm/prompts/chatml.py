"""ChatML, the format SmolLM2 was trained with: turns between ``<|im_start|>`` and ``<|im_end|>``."""

from collections.abc import Sequence

from stepaudio.errors import InputError
from stepaudio.lm.prompts.messages import Message, TextPart, ToolResultPart

START, END = "<|im_start|>", "<|im_end|>"
ASSISTANT_OPEN = f"{START}assistant\n"


def render(messages: Sequence[Message]) -> str:
    """Return the conversation as the string the tokenizer gets; it ends with an open assistant turn.

    Raises:
        InputError: a message has a part that a text model cannot read, or writes the markers itself.
    """
    text = "".join(_turn(message) for message in messages)
    last = messages[-1] if messages else None
    is_open = last is not None and last.role == "assistant" and (last.content is None or not last.closed)
    return text if is_open else text + ASSISTANT_OPEN


def _turn(message: Message) -> str:
    for part in message.parts:
        if not isinstance(part, (TextPart, ToolResultPart)):
            raise InputError(f"this model reads text only: a {type(part).__name__} cannot be put to it")
    # A marker inside a message would open a turn that nobody said.
    content = message.text.replace(START, "").replace(END, "")
    if message.content is None:
        return f"{START}{message.role}\n"
    return f"{START}{message.role}\n{content}" + (f"{END}\n" if message.closed else "")
