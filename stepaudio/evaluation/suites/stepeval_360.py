"""StepEval-Audio-360: multi-turn spoken dialogues in nine categories.

Layout: ``data/*.parquet`` with exactly the columns ``conversation_id``, ``category`` and
``conversation`` (a list of ``role``, ``type``, ``content`` and ``audio_filename``), and the sounds in
``audios/`` (or ``audios.tar.gz``). The column names are not confirmed by a public document.
``checklists.jsonl`` (``conversation_id``, ``checklist``) may lie beside them: requirements of one's own,
which rules or the judge check.

An assistant turn in the data is taken as said. A user turn that none follows is answered by the system,
and the last of these answers is judged, on the text of the dialogue.
"""

from pathlib import Path
from typing import Any

from stepaudio.errors import InputError
from stepaudio.evaluation.items import Item, Metric, Output, Verdict, flag
from stepaudio.evaluation.judges.checklist import check, checklist_score, parse_checklist
from stepaudio.evaluation.judges.rubrics import DIALOGUE
from stepaudio.evaluation.suites.base import Bench, JudgedByEar, Stage, Suite, output_of
from stepaudio.evaluation.suites.layout import (
    check_fields,
    check_sound,
    read_json_lines,
    read_parquet,
    unpack_beside,
    wrong,
)
from stepaudio.evaluation.suites.spoken_qa import heard_answer, turn_times
from stepaudio.evaluation.systems.base import Answer, Conversation
from stepaudio.lm.prompts.messages import Message, assistant, system, user

COLUMNS = ("conversation_id", "category", "conversation")
TURN: dict[str, type | tuple[type, ...]] = {
    "role": str,
    "type": str,
    "content": (str, type(None)),
    "audio_filename": (str, type(None)),
}


class Stepeval360Config(JudgedByEar):
    """How the dialogues are held.

    Attributes:
        instructions: system prompt.
    """

    instructions: str = ""


class Stepeval360Suite(Suite):
    """Dialogues judged as a whole."""

    Config = Stepeval360Config
    needs = "reply"

    def metrics(self) -> tuple[Metric, ...]:
        """The three published figures, the checklist, and whether there was an answer at all."""
        return (
            Metric("factuality", "Factuality (judge)"),
            Metric("relevance", "Relevance (judge)"),
            Metric("chat", "Chat score 1-5 (judge)", percent=False),
            Metric("checklist", "Checklist"),
            Metric("answered", "Answered"),
            Metric("first_audio", "First sound in s, median", "lower", False, 0.5, noisy=True),
            Metric("total", "Whole turn in s, median", "lower", False, 0.5, noisy=True),
        )

    def read(self, data: Path) -> list[Item]:
        """Read the parquet files."""
        files = sorted((data / "data").glob("*.parquet"))
        if not files:
            raise wrong(data, "data/*.parquet and audios/ or audios.tar.gz")
        unpack_beside(data / "audios.tar.gz", data / "audios")
        checklists = _read_checklists(data / "checklists.jsonl")
        items = []
        for row in read_parquet(files, COLUMNS):
            key = str(row["conversation_id"])
            content: dict[str, Any] = {"turns": _turns(data, row["conversation"], f"dialogue {key}")}
            if key in checklists:
                content["checklist"] = checklists[key]
            items.append(Item(key, str(row["category"]), content))
        return items

    def perform(self, item: Item, stage: Stage) -> Output:
        """Hold the dialogue."""
        messages: list[Message] = [system(self.config.instructions)] if self.config.instructions else []
        transcript: list[str] = []
        answer = Answer()
        turns = item.content["turns"]
        for at, turn in enumerate(turns):
            if turn["role"] == "assistant":
                messages.append(assistant(turn["text"]))
                transcript.append(f"assistant: {turn['text']}")
                continue
            messages.append(user(stage.sound(turn["audio"]) if turn["audio"] else turn["text"]))
            transcript.append(f"user: {turn['text']}")
            if at + 1 < len(turns) and turns[at + 1]["role"] == "assistant":
                continue
            answer = stage.system.reply(
                Conversation(tuple(messages), language=self.config.language or None, seed=self.config.seed)
            )
            if not turn["text"]:
                transcript[-1] = f"user: {answer.heard or '(no transcript)'}"
            if at + 1 < len(turns):
                messages.append(assistant(answer.text))
                transcript.append(f"assistant: {answer.text}")
        return output_of(answer, dialogue="\n".join(transcript))

    def judge(self, item: Item, output: Output, bench: Bench) -> Verdict:
        """Put the dialogue to the judge, and the answer to the checklist."""
        answer, dialogue = heard_answer(output, self.config, bench), output.details["dialogue"]
        scores = {"answered": flag(bool(answer.strip())), **turn_times(output)}
        details: dict[str, Any] = {"dialogue": dialogue, "answer": answer}
        if "checklist" in item.content:
            items = parse_checklist(item.content["checklist"], item.id)
            found = check(items, dialogue, answer, bench.llm)
            if found:
                scores["checklist"] = (checklist_score(found), 1.0)
                details["checklist"] = [{"text": each.text, "met": met} for each, met in found]
        if bench.llm is not None:
            fields = {"category": item.group, "dialogue": dialogue, "answer": answer}
            ruling = bench.llm.rule(DIALOGUE, fields)
            scores["factuality"] = flag(ruling.values["factual"])
            scores["relevance"] = flag(ruling.values["relevant"])
            scores["chat"] = (float(ruling.values["chat"]), 1.0)
            details["ruling"] = ruling.as_dict()
        return Verdict(scores, details)

    def missed(self, item: Item) -> Verdict:
        """A dialogue that broke off is neither factual nor relevant, and the worst of chats."""
        scores = dict.fromkeys(("factuality", "relevance", "answered"), (0.0, 1.0))
        if "checklist" in item.content:
            scores["checklist"] = (0.0, 1.0)
        return Verdict({**scores, "chat": (1.0, 1.0)})


def _turns(data: Path, conversation: Any, where: str) -> list[dict[str, str]]:
    if not isinstance(conversation, list) or not conversation:
        raise InputError(f"{where}: conversation must be a list of turns")
    turns = []
    for number, turn in enumerate(conversation, 1):
        place = f"{where}, turn {number}"
        check_fields(turn, TURN, place)
        role = {"user": "user", "human": "user", "assistant": "assistant"}.get(turn["role"].lower())
        if role is None:
            raise InputError(f"{place}: the role is user or assistant, not {turn['role']!r}")
        text, audio = (turn["content"] or "").strip(), turn["audio_filename"] or ""
        if role == "user" and audio:
            audio = check_sound(data, _sound_name(data, audio), place)
        if not text and not audio:
            raise InputError(f"{place}: neither words nor sound")
        turns.append({"role": role, "text": text, "audio": audio if role == "user" else ""})
    if turns[-1]["role"] != "user":
        turns.pop()  # a reference answer to the last question is what the system is asked for
    if not turns:
        raise InputError(f"{where}: no user turn")
    return turns


def _sound_name(data: Path, name: str) -> str:
    return name if (data / name).is_file() else f"audios/{name}"


def _read_checklists(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    found = {}
    for number, row in enumerate(read_json_lines(path), 1):
        where = f"{path}: item {number}"
        check_fields(row, {"conversation_id": str, "checklist": list}, where)
        parse_checklist(row["checklist"], where)
        found[row["conversation_id"]] = row["checklist"]
    return found
