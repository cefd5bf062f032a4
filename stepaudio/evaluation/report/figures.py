"""From verdicts to figures: every metric over all items and by group, with its interval."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from stepaudio.evaluation.items import Metric, Score
from stepaudio.evaluation.metrics.stats import Interval, quantile_interval, ratio_interval


def measure(metric: Metric, scores: Sequence[Score]) -> Interval | None:
    """Return one figure over the scores of some items; ``None`` where there is nothing to measure."""
    if metric.quantile is None:
        return ratio_interval([num for num, _ in scores], [den for _, den in scores])
    return quantile_interval([num / den for num, den in scores if den], metric.quantile)


def tabulate(
    metrics: Iterable[Metric], scores: Mapping[str, Mapping[str, Score]], groups: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Return a row for each metric that has items: the figure over all of them and by group.

    Args:
        metrics: of the suite.
        scores: by item and metric.
        groups: group by item; an empty one is left out of the groups.
    """
    rows = []
    for metric in metrics:
        # The seeded bootstrap draws by position, so the order in which workers finished must not show.
        have = {id: scores[id][metric.name] for id in sorted(scores) if metric.name in scores[id]}
        overall = measure(metric, list(have.values()))
        if overall is None:
            continue
        names = sorted({groups[id] for id in have} - {""})
        by_group = {
            name: asdict(found)
            for name in names
            if (found := measure(metric, [score for id, score in have.items() if groups[id] == name]))
        }
        rows.append({**asdict(metric), **asdict(overall), "groups": by_group})
    return rows


def written(row: Mapping[str, Any], key: str = "value") -> str:
    """Return a figure as people read it."""
    value = row[key]
    return f"{100 * value:.1f} %" if row["percent"] else f"{value:.3g}"
