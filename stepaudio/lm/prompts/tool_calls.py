"""The tool-call syntax of the Step-Audio families: rendered, and parsed without ever losing what was said."""

import json
import re
from dataclasses import dataclass

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
    return f"{CALL_START}function\n{call.name}\n{call.arguments_json()}{CALL_END}"


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
