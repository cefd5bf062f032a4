"""Two runs of one suite side by side: differences on the items they share, and whether they are chance."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stepaudio.errors import InputError
from stepaudio.evaluation.items import Metric
from stepaudio.evaluation.metrics.stats import Difference, holm, paired_difference
from stepaudio.evaluation.report.make import find_key, item_scores
from stepaudio.evaluation.runner.folder import RunFolder
from stepaudio.evaluation.suites.registry import suite_of
from stepaudio.workers.journal import read_journal

LEVEL = 0.05


@dataclass(frozen=True)
class Compared:
    """One metric of two runs.

    Attributes:
        metric: which.
        difference: B against A.
        adjusted: p-value adjusted for all metrics that were tested (Holm).
    """

    metric: Metric
    difference: Difference
    adjusted: float

    @property
    def winner(self) -> str:
        """``A`` or ``B`` where the difference is significant, else empty."""
        if self.adjusted >= LEVEL or self.difference.difference == 0 or self.metric.better == "neither":
            return ""
        return "B" if (self.difference.difference > 0) == (self.metric.better == "higher") else "A"

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "metric": self.metric.name,
            "title": self.metric.title,
            "better": self.metric.better,
            **asdict(self.difference),
            "p_adjusted": self.adjusted,
            "winner": self.winner,
        }


def compare_runs(a: Path, b: Path) -> list[Compared]:
    """Compare two finished runs by every metric that is a ratio of sums.

    Raises:
        InputError: one is not a finished run, they are of different suites, or share no items.
    """
    suite_a, scores_a = _scores(a)
    suite_b, scores_b = _scores(b)
    if suite_a.name != suite_b.name:
        raise InputError(f"{a} is a run of {suite_a.name}, {b} of {suite_b.name}: they cannot be compared")
    if not scores_a.keys() & scores_b.keys():
        raise InputError(f"{a} and {b} share no items")
    found = []
    for metric in suite_a.metrics():
        shared = [
            id
            for id in sorted(scores_a)
            if id in scores_b and metric.name in scores_a[id] and metric.name in scores_b[id]
        ]
        if metric.quantile is not None or not shared:
            continue
        first = [scores_a[id][metric.name] for id in shared]
        difference = paired_difference(first, [scores_b[id][metric.name] for id in shared])
        if difference is not None:
            found.append((metric, difference))
    adjusted = holm([difference.p for _, difference in found])
    return [Compared(metric, difference, p) for (metric, difference), p in zip(found, adjusted, strict=True)]


def _scores(root: Path) -> tuple[Any, dict[str, Any]]:
    folder = RunFolder(root)
    request = folder.request()
    if request is None:
        raise InputError(f"{root}: holds no run")
    suite = suite_of(request["suite"])
    outputs = {line["id"]: line for line in read_journal(folder.outputs)}
    verdicts = {line["id"]: line for line in read_journal(folder.verdicts(find_key(folder)))}
    return suite, item_scores(suite, folder, outputs, verdicts)
