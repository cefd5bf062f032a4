"""One call of a tool: checked, run in a thread with a time limit, and never a crash."""

import asyncio
import contextvars
import dataclasses
import inspect
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_json

from stepaudio.cancel import CancelToken
from stepaudio.errors import InputError
from stepaudio.tools.registry import Tool

TIMEOUT_S = 10.0  # someone waits in silence meanwhile
_MOST_TEXT = 4000  # characters of a result that a model is given
_POLL_S = 0.05


@dataclass(frozen=True)
class Outcome:
    """What came of a call: `text` for the model, and why it failed, in a few words, where it did."""

    text: str
    error: str | None = None

    @property
    def failed(self) -> bool:
        """Whether there is no result."""
        return self.error is not None


def failure(reason: str) -> Outcome:
    """Return the outcome of a call that gave no result; the model is told to be honest about it."""
    return Outcome(f"The tool failed: {reason}. Say so; do not make up a result.", reason)


def run_tool(
    tool: Tool,
    arguments: dict[str, Any],
    *,
    timeout_s: float = TIMEOUT_S,
    cancel: CancelToken | None = None,
) -> Outcome:
    """Call a tool with the arguments a model gave; whatever goes wrong is in the outcome.

    Args:
        tool: the tool.
        arguments: as the model gave them; checked here.
        timeout_s: how long to wait. A function that takes longer is left behind: Python cannot stop it.
        cancel: of the turn; nobody waits for the result any more once it is stale.
    """
    try:
        values = tool.check(arguments)
    except InputError as error:
        return failure(f"it cannot be asked like that ({_one_line(str(error))})")
    done = threading.Event()
    box: list[Outcome] = []

    def work() -> None:
        try:
            box.append(Outcome(as_text(_call(tool.function, values))))
        except BaseException as error:  # a tool that raises SystemExit has failed too
            box.append(failure(_one_line(str(error)) or type(error).__name__))
        finally:
            done.set()

    # A daemon, so that a tool that hangs does not keep the program from ending.
    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(work,), name=f"tool-{tool.name}", daemon=True).start()
    until = time.monotonic() + timeout_s
    while not done.wait(min(_POLL_S, max(0.0, until - time.monotonic()))):
        if cancel is not None and cancel.cancelled:
            return failure("the turn was interrupted")
        if time.monotonic() >= until:
            return failure(f"it did not answer within {timeout_s:g} seconds")
    return box[0]


def as_text(result: Any) -> str:
    """Return a tool's result as the text that a model reads: strings as they are, the rest as JSON."""
    if result is None:
        return "Done."
    if dataclasses.is_dataclass(result) and not isinstance(result, type):
        result = dataclasses.asdict(result)
    if not isinstance(result, str | BaseModel | dict | list | tuple | int | float | bool):
        result = str(result)
    text = result if isinstance(result, str) else to_json(result, fallback=str).decode()
    return text if len(text) <= _MOST_TEXT else text[: _MOST_TEXT - 1] + "…"


def _call(function: Callable[..., Any], values: dict[str, Any]) -> Any:
    result = function(**values)
    if not inspect.isawaitable(result):
        return result

    async def wait() -> Any:
        return await result

    return asyncio.run(wait())


def _one_line(text: str) -> str:
    return " ".join(text.split())[:300].rstrip(".")
