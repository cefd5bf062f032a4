"""Functions as tools, their calls, and tool rounds in a chat with a scripted mind."""

import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal

import pytest
from fakes import FakeMind, fake_family

from stepaudio.api import StepAudio
from stepaudio.cancel import Cancel
from stepaudio.dialogue.chat import GAVE_UP, MOST_ROUNDS
from stepaudio.dialogue.events import Done, Interrupted, TextDelta, ToolUsed
from stepaudio.errors import InputError
from stepaudio.lm.prompts.messages import ToolCallPart
from stepaudio.tools import Toolbox, load_tools, make_tool, run_tool


class Unit(Enum):
    C = "celsius"
    F = "fahrenheit"


def weather(
    place: str, days: int = 1, unit: Unit = Unit.C, parts: list[Literal["rain", "wind"]] | None = None
) -> str:
    """Return the weather.

    It may be wrong.

    Args:
        place: A town,
            or a region.
        days (int): How many days.

    Returns:
        A sentence.

    Examples:
        - Will it rain?
        How cold is it in Rome?
    """
    return f"{place}, {days}, {unit.value}, {parts}"


def test_the_schema_comes_from_signature_and_docstring():
    schema = make_tool(weather).schema
    function = schema["function"]
    assert schema["type"] == "function"
    assert function["name"] == "weather"
    assert function["description"] == (
        "Return the weather.\nIt may be wrong.\nExamples:\n- Will it rain?\n- How cold is it in Rome?"
    )
    properties = function["parameters"]["properties"]
    assert properties["place"] == {"type": "string", "description": "A town, or a region."}
    assert properties["days"] == {"type": "integer", "default": 1, "description": "How many days."}
    assert properties["unit"]["enum"] == ["celsius", "fahrenheit"]
    assert properties["parts"]["anyOf"][0]["items"]["enum"] == ["rain", "wind"]
    assert function["parameters"]["required"] == ["place"]
    assert "$ref" not in json.dumps(schema)


def test_arguments_are_converted_and_defaults_kept():
    tool = make_tool(weather)
    given = {"place": "Rome", "unit": "fahrenheit", "parts": ["rain"]}
    assert run_tool(tool, given).text == "Rome, 1, fahrenheit, ['rain']"


@pytest.mark.parametrize(
    "arguments", [{}, {"place": 3}, {"place": "x", "days": "many"}, {"place": "x", "colour": "red"}]
)
def test_wrong_arguments_are_an_outcome(arguments):
    outcome = run_tool(make_tool(weather), arguments)
    assert outcome.failed
    assert "weather" in outcome.error
    assert "\n" not in outcome.error


def no_docstring(x: int) -> int:
    return x


def untyped(x) -> int:
    """Double."""
    return x


def stars(*things: str) -> int:
    """Count."""
    return len(things)


def handle(file: asyncio.Queue) -> None:
    """Take what JSON cannot carry."""


@pytest.mark.parametrize("function", [no_docstring, untyped, stars, handle, "weather", int])
def test_what_cannot_be_a_tool_says_why(function):
    with pytest.raises(InputError, match="cannot be a tool"):
        make_tool(function)


def test_two_tools_of_one_name_are_refused():
    with pytest.raises(InputError, match="two tools"):
        Toolbox([weather, weather])


def test_async_functions_and_other_results():
    async def sum_up(numbers: list[float]) -> dict[str, float]:
        """Add."""
        await asyncio.sleep(0)
        return {"sum": sum(numbers)}

    def nothing() -> None:
        """Do it."""

    assert json.loads(run_tool(make_tool(sum_up), {"numbers": [1, 2]}).text) == {"sum": 3}
    assert run_tool(make_tool(nothing), {}).text == "Done."


def test_failures_timeouts_and_cancellation_are_outcomes():
    def fail() -> None:
        """Fail."""
        raise SystemExit("the service\nis down.")

    def hang() -> None:
        """Hang."""
        time.sleep(30)

    assert run_tool(make_tool(fail), {}).error == "the service is down"
    assert "did not answer within 0.05 seconds" in run_tool(make_tool(hang), {}, timeout_s=0.05).error
    cancel = Cancel()
    token = cancel.token()
    cancel.cancel()
    assert "interrupted" in run_tool(make_tool(hang), {}, cancel=token).error


def test_modules_of_tools(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        'import json\ndef _helper() -> None: "No."\n'
        'def double(x: int) -> int:\n    "Double x."\n    return 2 * x\n'
    )
    (tool,) = load_tools(str(path))
    assert run_tool(tool, {"x": 4}).text == "8"
    path.write_text(path.read_text() + "TOOLS = []\n")
    with pytest.raises(InputError, match="no public functions"):
        load_tools(str(path))
    path.write_text("1 / 0")
    with pytest.raises(InputError, match="ZeroDivisionError"):
        load_tools(str(path))
    with pytest.raises(InputError, match="no such file"):
        load_tools(str(tmp_path / "absent.py"))
    with pytest.raises(InputError, match="no module"):
        load_tools("absent_module_of_tools")


@dataclass
class CallingMind(FakeMind):
    """Replies with the next list of pieces each time it is asked."""

    script: list[list[str | ToolCallPart]] = field(default_factory=list)
    declared: list[int] = field(default_factory=list)

    def stream_with_tools(self, messages, *, tools, cancel=None) -> Iterator[str | ToolCallPart]:
        self.asked.append([(m.role, m.text) for m in messages])
        self.declared.append(len(tools))
        yield from self.script[min(len(self.asked), len(self.script)) - 1]


CALL = ToolCallPart("weather", {"place": "Rome"}, "c1")


def chat_of(script: list[Any], **settings: Any):
    mind = CallingMind(script=script)
    return mind, StepAudio(fake_family(mind=mind)).chat(tools=[weather], **settings)


def test_a_call_is_run_and_answered_in_the_same_turn():
    mind, chat = chat_of([["One moment.", CALL], ["It is ", "fine."]])
    events = list(chat.turn(text="How is Rome?"))
    (used,) = [event.call for event in events if isinstance(event, ToolUsed)]
    reply = events[-1].reply
    assert reply.tool_calls == (used,)
    assert (used.name, used.arguments, used.error) == ("weather", {"place": "Rome"}, None)
    assert used.result == "Rome, 1, celsius, None"
    assert reply.text == "One moment. It is fine."
    assert "".join(e.text for e in events if isinstance(e, TextDelta)) == reply.text
    assert mind.asked[1][-1] == ("tool", used.result)
    assert [m.role for m in chat.history] == ["user", "assistant", "tool", "assistant"]
    assert chat.history[2].parts[0].id == "c1"
    chat.send(text="And now?")
    assert len(mind.asked[2]) == 5


@pytest.mark.parametrize("call", [ToolCallPart("nothing"), ToolCallPart("weather", {"planet": "Mars"})])
def test_a_bad_call_does_not_break_the_turn(call):
    mind, chat = chat_of([[call], ["Sorry, that did not work."]])
    reply = chat.send(text="hm")
    assert reply.tool_calls[0].result is None
    assert reply.tool_calls[0].error
    assert mind.asked[1][-1][1].startswith("The tool failed")
    assert reply.audio is not None


def test_endless_calls_end_with_an_honest_sentence():
    mind, chat = chat_of([[CALL]])
    reply = chat.send(text="hm")
    assert len(reply.tool_calls) == MOST_ROUNDS
    assert mind.declared == [1] * MOST_ROUNDS + [0]
    assert reply.text == GAVE_UP
    assert chat.history[-1].text == GAVE_UP


def test_an_interruption_during_a_call_leaves_no_call_open():
    def stop() -> str:
        """Stop."""
        chat.interrupt()
        return "x"

    mind = CallingMind(script=[[ToolCallPart("stop"), ToolCallPart("stop")]])
    chat = StepAudio(fake_family(mind=mind)).chat(tools=[stop])
    events = list(chat.turn(text="go"))
    assert isinstance(events[-1], Interrupted)
    assert not any(isinstance(event, Done) for event in events)
    assert [m.role for m in chat.history] == ["user", "assistant", "tool", "tool", "assistant"]


def test_a_family_that_cannot_call_tools_says_so():
    with pytest.raises(InputError, match="cannot call tools"):
        StepAudio(fake_family()).chat(tools=[weather])
