"""The last step: read a run folder, compute, and write report.json, report.md and report.html."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from stepaudio.errors import InputError, ModelError
from stepaudio.evaluation.items import Score
from stepaudio.evaluation.report.figures import tabulate, written
from stepaudio.evaluation.runner.folder import RunFolder
from stepaudio.evaluation.suites.base import Suite
from stepaudio.evaluation.suites.registry import suite_of
from stepaudio.workers.journal import read_journal, write_atomically

WORST = 12
"""Items shown with their sound, worst first."""


def make_report(folder: RunFolder, key: str) -> dict[str, Any]:
    """Write the three reports of the verdicts that `key` stands for and return the JSON one.

    Raises:
        InputError: the folder holds no run.
    """
    from stepaudio.evaluation.report.page import render_page

    request = folder.request()
    if request is None:
        raise InputError(f"{folder.root}: holds no run")
    suite = suite_of(request["suite"])
    items = folder.items()
    outputs = {line["id"]: line for line in read_journal(folder.outputs)}
    verdicts = {line["id"]: line for line in read_journal(folder.verdicts(key))}
    scores = item_scores(suite, folder, outputs, verdicts)
    failed = [line for line in outputs.values() if not line["ok"]]
    beyond = [line for line in outputs.values() if "unsupported" in line]
    unjudged = [line for line in verdicts.values() if not line["ok"]]
    rows = tabulate(suite.metrics(), scores, {item.id: item.group for item in items})
    report = {
        "suite": suite.name,
        "title": suite.config.title,
        "about": suite.config.about,
        "model": request["model"],
        "judge": key,
        "items": len(items),
        "done": len(outputs),
        "failed": [{"id": line["id"], "error": line["error"]} for line in failed],
        "unsupported": [{"id": line["id"], "error": line["unsupported"]} for line in beyond],
        "unjudged": [{"id": line["id"], "error": line["error"]} for line in unjudged],
        "scores": [row for row in rows if not row["noisy"]],
        "timings": [row for row in rows if row["noisy"]],
        "data": request["data"],
        "limit": request["limit"],
        "config": request["suite"],
        "system": request["system"],
        "instruments": _instruments(suite),
        "provenance": request["provenance"],
    }
    text = json.dumps(report, ensure_ascii=False, indent=2)
    write_atomically(folder.root / "report.json", text.encode() + b"\n")
    write_atomically(folder.root / "report.md", markdown(report).encode())
    page = render_page(report, worst(suite, scores, outputs, verdicts), folder)
    write_atomically(folder.root / "report.html", page.encode())
    return report


def _instruments(suite: Suite) -> dict[str, str]:
    """Return the hashes of the weights that the judge listened and rated with, as far as they are here."""
    from stepaudio.evaluation.systems.family import weight_hashes

    found: dict[str, str] = {}
    for card in [getattr(suite.config, "ears", ""), "speaker-ge2e", "dnsmos"]:
        if card and hasattr(suite.config, "ears"):
            with suppress(ModelError):
                found |= weight_hashes(card)
    return found


def item_scores(
    suite: Suite, folder: RunFolder, outputs: dict[str, Any], verdicts: dict[str, Any]
) -> dict[str, dict[str, Score]]:
    """Return the scores by item; a failed item counts as the suite says, in metrics that others have too."""
    found: dict[str, dict[str, Score]] = {
        id: {name: (score[0], score[1]) for name, score in line["scores"].items()}
        for id, line in verdicts.items()
        if line["ok"]
    }
    real = {name for given in found.values() for name in given}
    for item in folder.items():
        if item.id in outputs and not outputs[item.id]["ok"]:
            missed = suite.missed(item).scores
            found[item.id] = {name: score for name, score in missed.items() if name in real or not real}
    return found


def worst(
    suite: Suite, scores: dict[str, dict[str, Score]], outputs: dict[str, Any], verdicts: dict[str, Any]
) -> list[dict[str, Any]]:
    """Return the worst items with their output and verdict, by the first metric that tells items apart."""
    for metric in suite.metrics():
        ratios = {
            id: given[metric.name][0] / given[metric.name][1]
            for id, given in scores.items()
            if metric.name in given and given[metric.name][1] and id in verdicts
        }
        if metric.noisy or metric.better == "neither" or len(set(ratios.values())) < 2:
            continue
        order = sorted(ratios, key=lambda id: (ratios[id] if metric.better == "higher" else -ratios[id], id))
        return [
            {
                "id": id,
                "metric": metric.title,
                "value": ratios[id],
                "output": outputs[id],
                "verdict": verdicts[id],
            }
            for id in order[:WORST]
        ]
    return []


def markdown(report: dict[str, Any]) -> str:
    """Return the figures as a Markdown document."""
    done = f"{report['done']} of {report['items']} items"
    lost = f", {len(report['failed'])} failed" if report["failed"] else ""
    lines = [f"# {report['title']}: {report['model']}", "", f"{done}{lost}; judge: {report['judge']}.", ""]
    if beyond := report["unsupported"]:
        lines += [f"Not supported, counted nowhere: {len(beyond)} items. {_example(beyond)}", ""]
    for name, rows in (("Scores", report["scores"]), ("Times", report["timings"])):
        if rows:
            lines += [f"## {name}", "", *table(rows), ""]
    return "\n".join(lines)


def _example(lines: list[dict[str, str]]) -> str:
    first = min(lines, key=lambda line: line["id"])
    return f"For example {first['id']}: {first['error']}"


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Return the lines of a Markdown table: a column for each group, when there are several."""
    groups = sorted({name for row in rows for name in row["groups"]})
    lines = [
        "| " + " | ".join(["metric", "value", "95 % interval", "n", *groups]) + " |",
        "|" + "---|" * (4 + len(groups)),
    ]
    for row in rows:
        cells = [
            row["title"],
            written(row),
            f"{written(row, 'low')} to {written(row, 'high')}",
            str(row["n"]),
        ]
        for name in groups:
            found = row["groups"].get(name)
            cells.append("" if found is None else written({**row, **found}))
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def find_key(folder: RunFolder) -> str:
    """Return the judge's key of the folder's last report.

    Raises:
        InputError: there is no report yet.
    """
    path = folder.root / "report.json"
    try:
        return str(json.loads(Path(path).read_text(encoding="utf-8"))["judge"])
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{folder.root}: no finished run (report.json is missing or damaged)") from None
