"""How far a judge agrees with people: share of equal verdicts and Cohen's kappa on labelled answers."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepaudio.errors import InputError
from stepaudio.evaluation.judges.llm import LlmJudge
from stepaudio.evaluation.judges.rubrics import RUBRICS
from stepaudio.evaluation.metrics.stats import Interval, ratio_interval


@dataclass(frozen=True)
class Agreement:
    """A judge against people on one field of one rubric.

    Attributes:
        rubric: which rubric.
        field: which of its values.
        same: share of equal verdicts, with its interval (numbers count as equal within 1).
        kappa: Cohen's kappa: 0 is chance, 1 is perfect.
    """

    rubric: str
    field: str
    same: Interval
    kappa: float


def read_labels(path: Path) -> list[dict[str, Any]]:
    """Read labelled answers: JSON lines of ``rubric``, ``fields`` and ``verdict``.

    Raises:
        InputError: no such file, or a line of another form.
    """
    rubrics = {rubric.name: rubric for rubric in RUBRICS}
    labels = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    for number, line in enumerate(lines, 1):
        try:
            label = json.loads(line)
            rubric = rubrics[label["rubric"]]
            rubric.ask(label["fields"])
            rubric.form.model_validate({"reason": "", **label["verdict"]})
        except (ValueError, KeyError, TypeError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"{path}: line {number} is not a labelled answer ({reason})") from None
        labels.append(label)
    return labels


def agreement(labels: Sequence[dict[str, Any]], judge: LlmJudge) -> list[Agreement]:
    """Put every labelled question to the judge and compare.

    Raises:
        RemoteError: the judge fails.
    """
    rubrics = {rubric.name: rubric for rubric in RUBRICS}
    pairs: dict[tuple[str, str], list[tuple[Any, Any]]] = {}
    for label in labels:
        ruling = judge.rule(rubrics[label["rubric"]], label["fields"])
        for name, human in label["verdict"].items():
            pairs.setdefault((label["rubric"], name), []).append((human, ruling.values[name]))
    found = []
    for (rubric, name), both in pairs.items():
        same = ratio_interval([float(_equal(*pair)) for pair in both], [1.0] * len(both))
        assert same is not None
        found.append(Agreement(rubric, name, same, cohen_kappa(both)))
    return found


def cohen_kappa(pairs: Sequence[tuple[Any, Any]]) -> float:
    """Return Cohen's kappa of two raters' verdicts; 1 when both say one and the same always."""
    if not pairs:
        raise ValueError("no pairs")
    pairs = [(_bin(a), _bin(b)) for a, b in pairs]
    observed = sum(a == b for a, b in pairs) / len(pairs)
    first, second = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    expected = sum(first[each] * second[each] for each in first) / len(pairs) ** 2
    return 1.0 if expected == 1 else (observed - expected) / (1 - expected)


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, bool | str):
        return bool(a == b)
    return abs(a - b) <= 1


def _bin(value: Any) -> Any:
    return value if isinstance(value, bool | str) else round(value)
