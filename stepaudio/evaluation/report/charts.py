"""Charts as inline SVG, so that the report is one file and needs no plotting library."""

from collections.abc import Mapping, Sequence
from html import escape
from math import cos, pi, sin
from typing import Any

from stepaudio.evaluation.report.figures import written

_GREY, _INK, _BLUE = "#cbd5e1", "#334155", "#2563eb"


def radar(values: Mapping[str, float], title: str, top: float = 1.0) -> str:
    """Return a radar chart of at least three axes, each from 0 to `top`; empty for fewer."""
    if len(values) < 3:
        return ""
    middle, radius = 200.0, 130.0

    def point(axis: int, share: float) -> tuple[float, float]:
        angle = 2 * pi * axis / len(values) - pi / 2
        return middle + radius * share * cos(angle), middle + radius * share * sin(angle)

    def polygon(share: Sequence[float]) -> str:
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in (point(at, each) for at, each in enumerate(share)))

    parts = [f'<svg viewBox="0 0 400 400" role="img" aria-label="{escape(title)}">']
    for ring in (0.25, 0.5, 0.75, 1.0):
        parts.append(f'<polygon points="{polygon([ring] * len(values))}" fill="none" stroke="{_GREY}"/>')
    for at, name in enumerate(values):
        x, y = point(at, 1.0)
        parts.append(f'<line x1="{middle}" y1="{middle}" x2="{x:.1f}" y2="{y:.1f}" stroke="{_GREY}"/>')
        x, y = point(at, 1.12)
        anchor = "middle" if abs(x - middle) < 20 else "start" if x > middle else "end"
        label = f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{_INK}">{escape(name)}</text>'
        parts.append(label)
    shares = [max(0.0, min(1.0, value / top)) for value in values.values()]
    parts.append(f'<polygon points="{polygon(shares)}" fill="{_BLUE}" fill-opacity="0.2" stroke="{_BLUE}"/>')
    parts.append(
        f'<text x="{middle}" y="390" text-anchor="middle" fill="{_INK}">{escape(title)}</text></svg>'
    )
    return "".join(parts)


def bars(row: Mapping[str, Any]) -> str:
    """Return a bar for every group of a metric's row, with its interval; empty without groups."""
    groups: Mapping[str, Mapping[str, Any]] = row["groups"]
    if not groups:
        return ""
    top = max((max(found["high"], found["value"]) for found in groups.values()), default=0.0)
    top = 1.0 if row["percent"] and top <= 1 else top or 1.0
    height, parts = 24 * len(groups) + 30, []
    for at, (name, found) in enumerate(groups.items()):
        y = 24 * at + 30
        x = [170 + 300 * max(0.0, min(1.0, found[key] / top)) for key in ("value", "low", "high")]
        parts.append(f'<text x="160" y="{y + 12}" text-anchor="end" fill="{_INK}">{escape(name)}</text>')
        parts.append(
            f'<rect x="170" y="{y}" width="{x[0] - 170:.1f}" height="16" fill="{_BLUE}" fill-opacity="0.5"/>'
        )
        parts.append(f'<line x1="{x[1]:.1f}" y1="{y + 8}" x2="{x[2]:.1f}" y2="{y + 8}" stroke="{_INK}"/>')
        label = f"{written({**row, **found})} (n={found['n']})"
        parts.append(f'<text x="480" y="{y + 12}" fill="{_INK}">{escape(label)}</text>')
    title = f'<text x="170" y="18" fill="{_INK}">{escape(row["title"])}</text>'
    return f'<svg viewBox="0 0 600 {height}" role="img">{title}{"".join(parts)}</svg>'
