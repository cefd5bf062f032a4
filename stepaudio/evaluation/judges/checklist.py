"""The checklist judge: an answer against weighted requirements and faults, by rules or by a language model.

Scoring as in Step-DeepResearch: a requirement pays its weight only when it is met in full; a fault costs
its weight as soon as it is there in part. The sum is divided by all that could be earned and cut off at
0.
"""

from collections.abc import Sequence
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from stepaudio.errors import InputError
from stepaudio.evaluation.judges.llm import LlmJudge
from stepaudio.evaluation.judges.rubrics import CHECKLIST, CHECKLIST_FAULT
from stepaudio.evaluation.metrics.answers import contains_answer, tokens

Met = Literal["full", "partial", "none"]


class CheckItem(BaseModel):
    """One requirement, or one fault.

    With a rule (``any_of``, ``all_of`` or ``at_most_words``) no language model is needed for it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str = Field(min_length=1)
    weight: float = Field(default=1.0, gt=0)
    fault: bool = False
    any_of: tuple[str, ...] = ()
    all_of: tuple[str, ...] = ()
    at_most_words: int | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        if sum((bool(self.any_of), bool(self.all_of), self.at_most_words is not None)) > 1:
            raise ValueError("one rule an item: any_of, all_of or at_most_words")
        return self

    @property
    def has_rule(self) -> bool:
        """Whether it can be checked without a language model."""
        return bool(self.any_of or self.all_of) or self.at_most_words is not None


def parse_checklist(values: Any, where: str) -> tuple[CheckItem, ...]:
    """Read a list of items.

    Raises:
        InputError: it is not one; `where` is named.
    """
    try:
        return tuple(CheckItem.model_validate(value) for value in values)
    except (ValidationError, TypeError) as error:
        raise InputError(f"{where}: not a checklist ({str(error).splitlines()[-1].strip()})") from None


def check_by_rule(item: CheckItem, answer: str) -> Met:
    """Apply an item's rule."""
    if item.at_most_words is not None:
        return "full" if len(tokens(answer)) <= item.at_most_words else "none"
    if item.any_of:
        return "full" if contains_answer(answer, item.any_of) else "none"
    found = sum(contains_answer(answer, [each]) for each in item.all_of)
    return "full" if found == len(item.all_of) else "partial" if found else "none"


def check(
    items: Sequence[CheckItem], dialogue: str, answer: str, llm: LlmJudge | None
) -> list[tuple[CheckItem, Met]]:
    """Return the verdicts on the items that can be judged: those with a rule, with an `llm` all."""
    found: list[tuple[CheckItem, Met]] = []
    for item in items:
        if item.has_rule:
            found.append((item, check_by_rule(item, answer)))
        elif llm is not None:
            rubric = CHECKLIST_FAULT if item.fault else CHECKLIST
            fields = {"dialogue": dialogue, "answer": answer, "requirement": item.text}
            met: Met = llm.rule(rubric, fields).values["met"]
            found.append((item, met))
    return found


def checklist_score(verdicts: Sequence[tuple[CheckItem, Met]]) -> float:
    """Return the score, 0 to 1; with nothing to earn it is 1 less the faults."""
    earned = sum(item.weight for item, met in verdicts if not item.fault and met == "full")
    lost = sum(item.weight for item, met in verdicts if item.fault and met != "none")
    possible = sum(item.weight for item, _ in verdicts if not item.fault)
    if not possible:
        return max(0.0, 1.0 - lost)
    return max(0.0, (earned - lost) / possible)
