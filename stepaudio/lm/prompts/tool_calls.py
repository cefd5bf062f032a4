"""The tool-call syntax of the Step-Audio families: rendered, and parsed without ever losing what was said."""

import json
import re
from dataclasses import dataclass, field

from stepaudio.lm.prompts.messages import ToolCallPart

CALL_START, CALL_END = "<tool_call>", "</tool_call>"
# What the official example adds after a tool's result so that the reply is short and spoken.
SUMMARY_INSTRUCTION = "\n\n\n请用口语化形式总结检索结果，简短地回答用户的问题。"
_CALL = re.compile(re.escape(CALL_START) + r"(.*?)" + re.escape(CALL_END), re.DOTALL)


@dataclass(frozen=True)
class ParsedReply:
    """A reply split into words and tool calls.

    Attributes:
        text: what is left to say; the whole reply when a call in it is malformed.
        calls: the calls in order; none when one is malformed.
        problem: why a call could not be read, or ``None``.
    """

    text: str
    calls: tuple[ToolCallPart, ...]
    problem: str | None = None


def render_call(call: ToolCallPart) -> str:
    """Return `call` as the model writes it."""
    # An end mark inside an argument would end the call; JSON lets the slash be escaped.
    arguments = call.arguments_json().replace(CALL_END, CALL_END.replace("/", "\\/"))
    return f"{CALL_START}function\n{call.name}\n{arguments}{CALL_END}"


def parse_reply(reply: str) -> ParsedReply:
    """Split `reply` into words and calls: ``<tool_call>function NL name NL json</tool_call>``, any number.

    Blanks around the kind, the name and the JSON are dropped. All or nothing, as in the reference: one
    malformed or unfinished call makes the whole reply text, with `problem` saying why.
    """
    calls: list[ToolCallPart] = []
    for found in _CALL.finditer(reply):
        parsed = parse_call(found.group(1))
        if isinstance(parsed, str):
            return ParsedReply(reply, (), parsed)
        calls.append(parsed)
    text = _CALL.sub("", reply)
    if CALL_START in text:
        return ParsedReply(reply, (), "a tool call is not finished")
    return ParsedReply(text, tuple(calls))


@dataclass
class CallsState:
    """What is held back of a streamed reply; make one with `start_calls`."""

    held: str = field(default="")


def start_calls() -> CallsState:
    """Begin a streamed reply."""
    return CallsState()


def push_text(state: CallsState, delta: str) -> ParsedReply:
    """Give out what can be said already and the calls that are complete.

    Text is held back only while it may be a call. A malformed call is dropped from what is said (it is no
    speech) and `problem` tells it.
    """
    state.held += delta
    text, problem = "", None
    calls: list[ToolCallPart] = []
    while (at := state.held.find(CALL_START)) >= 0:
        text += state.held[:at]
        state.held = state.held[at:]
        end = state.held.find(CALL_END)
        if end < 0:
            return ParsedReply(text, tuple(calls), problem)
        parsed = parse_call(state.held[len(CALL_START) : end])
        if isinstance(parsed, str):
            problem = problem or parsed
        else:
            calls.append(parsed)
        state.held = state.held[end + len(CALL_END) :]
    keep = next((n for n in range(len(CALL_START) - 1, 0, -1) if state.held.endswith(CALL_START[:n])), 0)
    cut = len(state.held) - keep
    text, state.held = text + state.held[:cut], state.held[cut:]
    return ParsedReply(text, tuple(calls), problem)


def finish_calls(state: CallsState) -> ParsedReply:
    """Give out what is still held: the start of a call that never ended is text, with `problem` set."""
    held, state.held = state.held, ""
    return ParsedReply(held, (), "a tool call is not finished" if held.startswith(CALL_START) else None)


def parse_call(body: str) -> ToolCallPart | str:
    """Return the call between the two marks, or the reason why it is none."""
    fields = body.split("\n", 2)
    if len(fields) < 3:
        return "a tool call needs three fields: function, name, arguments"
    kind, name, arguments = (item.strip() for item in fields)
    if kind != "function":
        return f"a tool call of kind {kind!r} is not known"
    if not name:
        return "a tool call names no tool"
    try:
        values = json.loads(arguments or "{}")
    except json.JSONDecodeError as error:
        return f"the arguments of {name} are not JSON ({error.msg} at {error.pos})"
    if not isinstance(values, dict):
        return f"the arguments of {name} are not a JSON object"
    return ToolCallPart(name, values)
