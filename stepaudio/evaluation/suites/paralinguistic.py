"""StepEval-Audio-Paralinguistic: eleven properties of voices and sounds, fifty clips each.

Layout: a folder for each property with ``NAME/NAME.json``, a list of ``audio`` and ``task`` (``name``,
``label``, ``answer``), and ``NAME/audio/*.wav``. The question is spoken in the clip, so the system gets
the clip and a general instruction; ``task.name`` is not told to it. Without a judge the label is looked
for in the answer.
"""

from pathlib import Path
from typing import Any

from stepaudio.evaluation.items import Item, Metric, Output, Verdict, flag
from stepaudio.evaluation.judges.rubrics import PARALINGUISTIC
from stepaudio.evaluation.metrics.answers import contains_answer, token_f1
from stepaudio.evaluation.suites.base import Bench, JudgedByEar, Stage, Suite, output_of
from stepaudio.evaluation.suites.layout import check_fields, check_sound, read_json, wrong
from stepaudio.evaluation.suites.spoken_qa import heard_answer
from stepaudio.evaluation.systems.base import Conversation
from stepaudio.lm.prompts.messages import system, user

DIMENSIONS = (
    "age",
    "emotions",
    "event",
    "gender",
    "pitch",
    "rhythm",
    "scene",
    "speed",
    "vocalsound",
    "voice_styles",
    "voice_tone",
)


class ParalinguisticConfig(JudgedByEar):
    """How the questions are put.

    Attributes:
        instructions: the general instruction that goes with every clip.
    """

    instructions: str


class ParalinguisticSuite(Suite):
    """Questions about how something sounds."""

    Config = ParalinguisticConfig
    needs = "reply"

    def metrics(self) -> tuple[Metric, ...]:
        """Accuracy by the judge, and two figures that need none."""
        return (
            Metric("correct", "Correct (judge)"),
            Metric("label", "Names the label"),
            Metric("f1", "Token F1 with the reference answer"),
        )

    def read(self, data: Path) -> list[Item]:
        """Read the folders that are there."""
        # The released archive has one more folder around them.
        root = next((path for path in (data, data / "Step-Audio_Paralinguistic") if _folders(path)), None)
        if root is None:
            raise wrong(data, f"folders NAME with NAME/NAME.json, of {', '.join(DIMENSIONS)}")
        return [item for folder in _folders(root) for item in self._folder(data, folder)]

    def _folder(self, data: Path, folder: Path) -> list[Item]:
        path = folder / f"{folder.name}.json"
        rows = read_json(path)
        if not isinstance(rows, list):
            raise wrong(path, "a list of audio and task")
        items = []
        for number, row in enumerate(rows, 1):
            where = f"{path}: item {number}"
            check_fields(row, {"audio": str, "task": dict}, where)
            task = check_fields(row["task"], {"name": str, "label": str, "answer": str}, f"{where}, task")
            name = row["audio"] if (folder / row["audio"]).is_file() else f"audio/{row['audio']}"
            sound = check_sound(data, str((folder / name).relative_to(data)), where)
            content = {"audio": sound, "label": task["label"], "answer": task["answer"]}
            items.append(Item(f"{folder.name}-{number:03}", folder.name, content))
        return items

    def perform(self, item: Item, stage: Stage) -> Output:
        """Play the clip and take the answer."""
        messages = (system(self.config.instructions), user(stage.sound(item.content["audio"])))
        conversation = Conversation(messages, language=self.config.language or None, seed=self.config.seed)
        return output_of(stage.system.reply(conversation))

    def judge(self, item: Item, output: Output, bench: Bench) -> Verdict:
        """Look for the label, and ask the judge where there is one."""
        answer, label = heard_answer(output, self.config, bench), item.content["label"]
        scores = {
            "label": flag(contains_answer(answer, [label])),
            "f1": (token_f1(answer, [item.content["answer"]]), 1.0),
        }
        details: dict[str, Any] = {"label": label, "reference": item.content["answer"], "answer": answer}
        if bench.llm is not None:
            fields = {"dimension": item.group, "label": label, "reference": item.content["answer"]}
            ruling = bench.llm.rule(PARALINGUISTIC, {**fields, "answer": answer})
            scores["correct"] = flag(ruling.values["correct"])
            details["ruling"] = ruling.as_dict()
        return Verdict(scores, details)

    def missed(self, item: Item) -> Verdict:
        """No answer names nothing."""
        return Verdict(dict.fromkeys(("correct", "label", "f1"), (0.0, 1.0)))


def _folders(root: Path) -> list[Path]:
    return [root / name for name in DIMENSIONS if (root / name / f"{name}.json").is_file()]
