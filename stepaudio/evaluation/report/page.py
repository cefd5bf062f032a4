"""The report as one HTML file: no script, no style sheet, no image and no sound outside of it."""

import base64
import json
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from stepaudio.evaluation.report.charts import bars, radar
from stepaudio.evaluation.report.figures import written
from stepaudio.evaluation.runner.folder import RunFolder

MOST_SOUND_BYTES = 8 * 2**20
"""All sounds in a page together; what comes after is named but cannot be played."""
CHAT_TOP = 5.0

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#0f172a;max-width:60rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;margin:1rem 0;display:block;overflow-x:auto}
td,th{border:1px solid #cbd5e1;padding:.25rem .6rem;text-align:left}td.n{text-align:right}
.charts{display:flex;flex-wrap:wrap;gap:1rem}.charts svg{width:28rem;max-width:100%;font-size:12px}
details{border:1px solid #cbd5e1;border-radius:.4rem;padding:.4rem .8rem;margin:.4rem 0}
pre{white-space:pre-wrap;background:#f1f5f9;padding:.6rem;overflow-wrap:anywhere}
"""


def render_page(report: Mapping[str, Any], worst: Iterable[Mapping[str, Any]], folder: RunFolder) -> str:
    """Return the page.

    Args:
        report: what report.json holds.
        worst: the items to show, worst first, each with its output and verdict.
        folder: where their sounds lie.
    """
    title = f"{report['title']}: {report['model']}"
    done = f"{report['done']} of {report['items']} items, {len(report['failed'])} failed"
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{escape(title)}</h1><p>{escape(done)}; judge: {escape(report['judge'])}.</p>",
        f"<p>{escape(report['about'])}</p>" if report["about"] else "",
        _table("Scores", report["scores"]),
        _charts(report["scores"]),
        _table("Times", report["timings"]),
        _failures("Failed", report["failed"]),
        _failures("Not supported, counted nowhere", report["unsupported"]),
        _failures("Not judged", report["unjudged"]),
        _worst(worst, folder),
        _facts(report),
        "</body></html>\n",
    ]
    return "\n".join(part for part in parts if part)


def _table(title: str, rows: list[dict[str, Any]]) -> str:
    if not rows:
        return ""
    lines = [f"<h2>{title}</h2><table><tr><th>metric</th><th>value</th><th>95 % interval</th><th>n</th></tr>"]
    for row in rows:
        interval = f"{written(row, 'low')} to {written(row, 'high')}"
        cells = "".join(
            f'<td class="n">{escape(cell)}</td>' for cell in (written(row), interval, str(row["n"]))
        )
        arrow = "describes only" if row["better"] == "neither" else f"{row['better']} is better"
        lines.append(f'<tr><td title="{arrow}">{escape(row["title"])}</td>{cells}</tr>')
    return "".join(lines) + "</table>"


def _charts(rows: list[dict[str, Any]]) -> str:
    drawn = []
    for row in rows:
        values = {name: found["value"] for name, found in row["groups"].items()}
        if row["better"] == "higher" and (row["percent"] or row["name"] == "chat"):
            drawn.append(radar(values, row["title"], CHAT_TOP if row["name"] == "chat" else 1.0))
        drawn.append(bars(row))
    return f'<div class="charts">{"".join(drawn)}</div>' if any(drawn) else ""


def _failures(title: str, lines: list[dict[str, str]]) -> str:
    if not lines:
        return ""
    rows = "".join(
        f"<tr><td>{escape(line['id'])}</td><td>{escape(line['error'])}</td></tr>" for line in lines[:200]
    )
    return f"<h2>{title} ({len(lines)})</h2><table>{rows}</table>"


def _worst(items: Iterable[Mapping[str, Any]], folder: RunFolder) -> str:
    shown, budget = [], MOST_SOUND_BYTES
    for item in items:
        data = folder.read_sound(item["output"])
        player = ""
        if data is not None and len(data) <= budget:
            budget -= len(data)
            encoded = base64.b64encode(data).decode("ascii")
            player = f'<audio controls preload="none" src="data:audio/flac;base64,{encoded}"></audio>'
        elif data is not None:
            player = f"<p>Sound: audio/{escape(item['output']['audio']['file'])}</p>"
        details = escape(json.dumps(item["verdict"]["details"], ensure_ascii=False, indent=1))
        head = f"{escape(item['id'])}: {escape(item['metric'])} {item['value']:.3g}"
        shown.append(f"<details><summary>{head}</summary>{player}<pre>{details}</pre></details>")
    return f"<h2>Worst items</h2>{''.join(shown)}" if shown else ""


def _facts(report: Mapping[str, Any]) -> str:
    facts = {key: report[key] for key in ("system", "config", "limit", "instruments", "provenance")}
    text = escape(json.dumps(facts, ensure_ascii=False, indent=1))
    head = "<h2>How it was made</h2><details><summary>System, suite, versions</summary>"
    return f"{head}<pre>{text}</pre></details>"
