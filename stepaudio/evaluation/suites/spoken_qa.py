"""Spoken questions with known answers: LLaMA Questions, Web Questions and the like.

Layouts: ``questions.jsonl`` of ``question`` and ``answers`` (a list; any is enough), with ``audio``
where the question was recorded, ``id`` and ``category`` if known, anything else ignored; parquet files of
``audio``, ``question`` and ``answer`` or ``answers`` (so the hub has LLaMA and Spoken Web Questions); or
WebQuestions' own ``*.json``: a list of ``utterance`` and ``targetValue``. A question that exists as text
only is spoken by a voice of ours.
"""

import re
from pathlib import Path
from typing import Any

from stepaudio.errors import InputError
from stepaudio.evaluation.items import Item, Metric, Output, Verdict, flag
from stepaudio.evaluation.judges.rubrics import CORRECT
from stepaudio.evaluation.metrics.answers import contains_answer, exact_match, token_f1
from stepaudio.evaluation.suites.base import Bench, JudgedByEar, Stage, Suite, output_of
from stepaudio.evaluation.suites.layout import check_fields, check_sound, read_json, read_json_lines, wrong
from stepaudio.evaluation.suites.tables import column_names, read_sound_tables
from stepaudio.evaluation.systems.base import Conversation
from stepaudio.lm.prompts.messages import Message, system, user

_DESCRIPTION = re.compile(r'\(description (?:"((?:[^"\\]|\\.)*)"|([^()]*))\)')


class SpokenQaConfig(JudgedByEar):
    """How questions are put.

    Attributes:
        asker: model that speaks questions which exist as text only.
        instructions: system prompt.
    """

    asker: str = "nano"
    instructions: str = ""


class SpokenQaSuite(Suite):
    """Questions put by voice."""

    Config = SpokenQaConfig
    needs = "reply"

    def metrics(self) -> tuple[Metric, ...]:
        """Accuracy by the judge, and by rules that need none."""
        return (
            Metric("correct", "Correct (judge)"),
            Metric("contains", "Contains a reference answer"),
            Metric("exact", "Exact match"),
            Metric("f1", "Token F1"),
            Metric("first_audio", "First sound in s, median", "lower", False, 0.5, noisy=True),
            Metric("total", "Whole turn in s, median", "lower", False, 0.5, noisy=True),
        )

    def read(self, data: Path) -> list[Item]:
        """Read any of the three layouts."""
        if (data / "questions.jsonl").is_file():
            return self._questions(data, data / "questions.jsonl")
        if files := sorted(data.glob("*.json")):
            return [item for path in files for item in self._webquestions(path)]
        if files := sorted(data.rglob("*.parquet")):
            return self._tables(data, files)
        expected = (
            "questions.jsonl of question and answers, or *.parquet of audio, question and answer(s), or "
        )
        raise wrong(data, expected + "WebQuestions' *.json")

    def _tables(self, data: Path, files: list[Path]) -> list[Item]:
        items = []
        several = "answers" in column_names(files[0])
        for row in read_sound_tables(data, files, ["question", "answers" if several else "answer"]):
            answers = row["answers"] if several else [row["answer"]]
            if not isinstance(answers, list) or not all(isinstance(each, str) and each for each in answers):
                raise InputError(f"{data}: {row['audio']}: the answers must be texts")
            content = {"question": str(row["question"]), "answers": answers, "audio": row["audio"]}
            items.append(Item(Path(row["audio"]).stem, "", content))
        return items

    def _questions(self, data: Path, path: Path) -> list[Item]:
        items = []
        for number, row in enumerate(read_json_lines(path), 1):
            where = f"{path}: item {number}"
            check_fields(row, {"question": str, "answers": list}, where, optional=None)
            if not row["answers"] or not all(isinstance(each, str) and each for each in row["answers"]):
                raise InputError(f"{where}: answers must be a list of texts")
            content: dict[str, Any] = {"question": row["question"], "answers": row["answers"]}
            if row.get("audio"):
                content["audio"] = check_sound(data, str(row["audio"]), where)
            key = str(row.get("id") or f"{path.stem}-{number:05}")
            items.append(Item(key, str(row.get("category", "")), content))
        return items

    def _webquestions(self, path: Path) -> list[Item]:
        rows = read_json(path)
        if not isinstance(rows, list):
            raise wrong(path, "a list of utterance and targetValue")
        items = []
        for number, row in enumerate(rows, 1):
            where = f"{path}: item {number}"
            check_fields(row, {"utterance": str, "targetValue": str}, where, optional=["url"])
            found = [quoted or plain for quoted, plain in _DESCRIPTION.findall(row["targetValue"])]
            if not found:
                raise InputError(f"{where}: targetValue holds no (description …)")
            content = {"question": row["utterance"], "answers": found}
            items.append(Item(f"{path.stem}-{number:05}", "", content))
        return items

    def perform(self, item: Item, stage: Stage) -> Output:
        """Ask aloud and take the answer."""
        if "audio" in item.content:
            question = stage.sound(item.content["audio"])
        else:
            question = stage.ask(item.content["question"], self.config.asker, self.config.seed)
        told: list[Message] = [system(self.config.instructions)] if self.config.instructions else []
        conversation = Conversation(
            (*told, user(question)), language=self.config.language or None, seed=self.config.seed
        )
        return output_of(stage.system.reply(conversation))

    def judge(self, item: Item, output: Output, bench: Bench) -> Verdict:
        """Compare with the references, by rules and by the judge where there is one."""
        answer, references = heard_answer(output, self.config, bench), item.content["answers"]
        scores = {
            "contains": flag(contains_answer(answer, references)),
            "exact": flag(exact_match(answer, references)),
            "f1": (token_f1(answer, references), 1.0),
            **turn_times(output),
        }
        details: dict[str, Any] = {"question": item.content["question"], "answer": answer}
        if bench.llm is not None:
            fields = {"question": item.content["question"], "references": "\n".join(references)}
            ruling = bench.llm.rule(CORRECT, {**fields, "answer": answer})
            scores["correct"] = flag(ruling.values["correct"])
            details["ruling"] = ruling.as_dict()
        return Verdict(scores, {**details, "references": references})

    def missed(self, item: Item) -> Verdict:
        """A question without an answer is not answered correctly by any count."""
        return Verdict(dict.fromkeys(("correct", "contains", "exact", "f1"), (0.0, 1.0)))


def heard_answer(output: Output, config: JudgedByEar, bench: Bench) -> str:
    """Return the words to judge: those written, or those heard in the speech where the suite wants that."""
    if config.answer == "speech" and output.audio is not None:
        return bench.hear(output.audio, config.ears, config.language)
    return output.text


def turn_times(output: Output) -> dict[str, tuple[float, float]]:
    """Return the times of a turn as scores."""
    named = {"first_audio": "first_audio_s", "total": "total_s"}
    return {
        name: (output.timings[key], 1.0) for name, key in named.items() if output.timings.get(key) is not None
    }
