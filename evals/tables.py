"""Prints the result tables of this folder's README from finished runs.

    python evals/tables.py runs/*          # Markdown, a table for each suite and data set

Figures only: times are left out, because they say more about the machine than about the system.
"""

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from stepaudio.evaluation.report.figures import written


def main(folders: list[str]) -> None:
    """Print one table for each suite and data set, a column for each model."""
    reports = [
        json.loads(path.read_text()) for folder in folders for path in Path(folder).glob("report.json")
    ]
    by_data: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for report in reports:
        by_data[report["suite"], data_name(report)].append(report)
    for (suite, data), found in sorted(by_data.items()):
        print(f"\n### `{suite}`, {data} ({found[0]['items']} items)\n")
        print("\n".join(table(found)))


def data_name(report: dict[str, Any]) -> str:
    """Return how the data are called: the miniature, or the folder's name."""
    folder = Path(report["data"])
    return "miniature" if folder.parent.name == "miniatures" else folder.name


def table(reports: list[dict[str, Any]]) -> list[str]:
    """Return the lines of a table with the figures and intervals of all models."""
    names = [report["model"] for report in reports]
    rows = [{row["name"]: row for row in report["scores"]} for report in reports]
    titles = {name: row["title"] for each in rows for name, row in each.items()}
    lines = ["| | " + " | ".join(names) + " |", "|---" * (1 + len(names)) + "|"]
    for name, title in titles.items():
        cells = [cell(each[name]) if name in each else "-" for each in rows]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    for title, key in (("Failed items", "failed"), ("Items not supported, counted nowhere", "unsupported")):
        counts = [len(report.get(key, ())) for report in reports]  # older runs know no unsupported items
        if any(counts):
            lines.append(f"| {title} | " + " | ".join(map(str, counts)) + " |")
    return lines


def cell(row: dict[str, Any]) -> str:
    """Return a figure with its interval."""
    return f"{written(row)} ({written(row, 'low')} to {written(row, 'high')})"


if __name__ == "__main__":
    main(sys.argv[1:])
