"""The tools of one conversation at work: the calls a model asks for, run in order, and what it then reads."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stepaudio.cancel import CancelToken
from stepaudio.errors import InputError
from stepaudio.lm.prompts.messages import Message, ToolCallPart, tool_result
from stepaudio.results import ToolCall
from stepaudio.tools.call import TIMEOUT_S, failure, run_tool
from stepaudio.tools.registry import Toolbox

MOST_CALLS = 8  # in one round


@dataclass(frozen=True)
class Used:
    """A call that was made: for the program, and for the model."""

    call: ToolCall
    message: Message


def use(
    toolbox: Toolbox,
    calls: Sequence[ToolCallPart],
    *,
    instruction: str = "",
    timeout_s: float = TIMEOUT_S,
    cancel: CancelToken | None = None,
) -> Iterator[Used]:
    """Run `calls` one after the other; every one gives an outcome, whatever goes wrong.

    Args:
        toolbox: the declared tools.
        calls: what the model asks for.
        instruction: what is put behind the last result.
        timeout_s: for each call.
        cancel: of the turn.
    """
    for number, part in enumerate(calls, 1):
        if number > MOST_CALLS:
            outcome = failure(f"more than {MOST_CALLS} calls at once")
        else:
            try:
                tool = toolbox.find(part.name)
            except InputError as error:
                outcome = failure(str(error))
            else:
                outcome = run_tool(tool, part.arguments, timeout_s=timeout_s, cancel=cancel)
        result = None if outcome.failed else outcome.text
        message = tool_result(
            outcome.text,
            name=part.name,
            id=part.id,
            instruction=instruction if number == len(calls) else "",
            error=outcome.error,
        )
        yield Used(ToolCall(part.name, part.arguments, result, outcome.error), message)
