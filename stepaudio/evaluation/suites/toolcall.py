"""StepEval-Audio-Toolcall: spoken dialogues that should, or should not, call one of four tools.

Layout: ``{get_date_time,get_weather,timbre,web_search}_{positive,negative}.jsonl`` and ``wav/`` (or
``wav.tar``). A line is a list of turns ``{session_id, turn_idx, from: Human|Assistant|Input, text,
value}``; ``value`` is ``{type: "wav", value: "wav/…"}`` for speech, or a string for tool calls and
results. A positive dialogue ends with the call that should be made; a negative one ends with a human
turn, which must not call this tool.
"""

import json
from pathlib import Path
from typing import Any

from stepaudio.errors import InputError
from stepaudio.evaluation.items import Item, Metric, Output, Verdict, flag
from stepaudio.evaluation.judges.rubrics import ARGUMENTS
from stepaudio.evaluation.metrics.tools import same_arguments, tool_scores
from stepaudio.evaluation.suites.base import Bench, Stage, Suite, SuiteConfig, output_of
from stepaudio.evaluation.suites.layout import (
    check_fields,
    check_sound,
    read_json_lines,
    unpack_beside,
    wrong,
)
from stepaudio.evaluation.systems.base import Conversation
from stepaudio.lm.prompts.messages import Message, assistant, system, tool_result, user
from stepaudio.lm.prompts.tool_calls import parse_reply

TARGETS = ("get_date_time", "get_weather", "timbre", "web_search")
SIGNS = ("positive", "negative")
TURN: dict[str, type | tuple[type, ...]] = {
    "session_id": (str, int),
    "turn_idx": int,
    "from": str,
    "text": (str, type(None)),
    "value": (str, dict),
}


class ToolcallConfig(SuiteConfig):
    """The tools as they are told to the system.

    Attributes:
        instructions: system prompt.
        tools: OpenAI-style schemas.
        targets: names of the tool that each file is about, by the file's first part.
    """

    instructions: str = ""
    tools: tuple[dict[str, Any], ...]
    targets: dict[str, tuple[str, ...]]


class ToolcallSuite(Suite):
    """Dialogues in which a tool may be needed."""

    Config = ToolcallConfig
    needs = "tools"

    def metrics(self) -> tuple[Metric, ...]:
        """Trigger precision and recall, type and parameter accuracy."""
        return (
            Metric("trigger_precision", "Trigger precision"),
            Metric("trigger_recall", "Trigger recall"),
            Metric("type_accuracy", "Type accuracy"),
            Metric("parameter_accuracy", "Parameter accuracy"),
            Metric("total", "Whole turn in s, median", "lower", False, 0.5, noisy=True),
        )

    def read(self, data: Path) -> list[Item]:
        """Read all eight files."""
        files = [(data / f"{target}_{sign}.jsonl", target, sign) for target in TARGETS for sign in SIGNS]
        if missing := [path.name for path, _, _ in files if not path.is_file()]:
            raise wrong(data, f"the eight TOOL_SIGN.jsonl files and wav/; {missing[0]} is missing")
        unpack_beside(data / "wav.tar", data / "wav")
        return [
            self._item(data, path, number, row, target, sign)
            for path, target, sign in files
            for number, row in enumerate(read_json_lines(path), 1)
        ]

    def _item(self, data: Path, path: Path, number: int, row: Any, target: str, sign: str) -> Item:
        where = f"{path}: item {number}"
        if not isinstance(row, list) or not row:
            raise wrong(path, f"a list of turns on every line (line {number} has not)")
        turns = [_turn(data, turn, f"{where}, turn {at}") for at, turn in enumerate(row, 1)]
        content: dict[str, Any] = {
            "positive": sign == "positive",
            "target": list(self.config.targets[target]),
        }
        if content["positive"]:
            gold = turns.pop()
            calls = parse_reply(gold["text"]).calls if gold["role"] == "assistant" else ()
            if not calls:
                raise InputError(f"{where}: a positive dialogue must end with a tool call")
            content["gold"] = [{"name": call.name, "arguments": call.arguments} for call in calls]
            if not any(call.name in content["target"] for call in calls):
                raise InputError(f"{where}: the last turn does not call {content['target'][0]}")
        elif turns[-1]["role"] == "assistant":
            turns.pop()  # what a model answered there; it is not a call of this tool
        if not turns or turns[-1]["role"] != "user":
            raise InputError(f"{where}: the system must be asked something last")
        content["turns"] = turns
        return Item(f"{path.stem}-{number:04}", target, content)

    def perform(self, item: Item, stage: Stage) -> Output:
        """Hold the dialogue up to the last request."""
        messages: list[Message] = [system(self.config.instructions)] if self.config.instructions else []
        for turn in item.content["turns"]:
            if turn["role"] == "user":
                messages.append(user(stage.sound(turn["audio"]) if turn["audio"] else turn["text"]))
            elif turn["role"] == "tool":
                messages.append(tool_result(turn["text"]))
            else:
                messages.append(_said(turn["text"]))
        conversation = Conversation(
            tuple(messages), self.config.tools, language=self.config.language or None, seed=self.config.seed
        )
        return output_of(stage.system.reply(conversation))

    def judge(self, item: Item, output: Output, bench: Bench) -> Verdict:
        """Count the call, and compare its arguments by rule or by the judge."""
        content = item.content
        called = [call["name"] for call in output.tool_calls]
        scores = tool_scores(content["target"], content["positive"], called)
        if "total_s" in output.timings:
            scores["total"] = (output.timings["total_s"], 1.0)
        details: dict[str, Any] = {"calls": list(output.tool_calls), "text": output.text}
        if content["positive"]:
            details["gold"] = content["gold"]
            gold = next(call for call in content["gold"] if call["name"] in content["target"])
            given = next((call for call in output.tool_calls if call["name"] in content["target"]), None)
            # A tool without parameters has none to get right.
            if given is not None and gold["arguments"]:
                scores["parameter_accuracy"] = flag(self._agree(item, gold, given, bench, details))
        return Verdict(scores, details)

    def missed(self, item: Item) -> Verdict:
        """A dialogue that broke off called nothing."""
        return Verdict(tool_scores(item.content["target"], item.content["positive"], []))

    def _agree(
        self, item: Item, gold: dict[str, Any], given: dict[str, Any], bench: Bench, details: dict[str, Any]
    ) -> bool:
        if same_arguments(gold["arguments"], given["arguments"]):
            return True
        if bench.llm is None:
            return False
        dialogue = "\n".join(f"{turn['role']}: {turn['text']}" for turn in item.content["turns"])
        fields = {
            "dialogue": dialogue,
            "tool": gold["name"],
            "expected": json.dumps(gold["arguments"], ensure_ascii=False),
            "given": json.dumps(given["arguments"], ensure_ascii=False),
        }
        ruling = bench.llm.rule(ARGUMENTS, fields)
        details["ruling"] = ruling.as_dict()
        return bool(ruling.values["correct"])


def _turn(data: Path, turn: Any, where: str) -> dict[str, str]:
    check_fields(turn, TURN, where)
    role = {"Human": "user", "Assistant": "assistant", "Input": "tool"}.get(turn["from"])
    if role is None:
        raise InputError(f"{where}: from is Human, Assistant or Input, not {turn['from']!r}")
    value, text = turn["value"], (turn["text"] or "").strip()
    if isinstance(value, str):
        return {"role": role, "text": value, "audio": ""}
    check_fields(value, {"type": str, "value": str}, f"{where}, value")
    if value["type"] != "wav":
        raise InputError(f"{where}: the type of a value is wav, not {value['type']!r}")
    # What an assistant said earlier is read, not heard again.
    audio = check_sound(data, value["value"], where) if role == "user" else ""
    return {"role": role, "text": text, "audio": audio}


def _said(text: str) -> Message:
    """Return an assistant turn, with its calls as calls."""
    parsed = parse_reply(text)
    if not parsed.calls:
        return assistant(text)
    return assistant(*([parsed.text] if parsed.text.strip() else []), *parsed.calls)
