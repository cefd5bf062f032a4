"""What a corpus holds: hours, voices, what was dropped and why, by source of the text."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stepaudio.errors import InputError
from stepaudio.training.engine.shards import finished, read_facts, read_takes


def report(out: Path) -> dict[str, Any]:
    """Count a corpus.

    Returns:
        JSON values: ``hours``, ``shards``, ``takes``, ``dropped``, ``rejection`` (share of the takes made),
        ``reasons``, ``voices`` (of the teacher), ``speakers`` (different mixes and shifts), ``wer`` (mean
        over takes checked and kept), ``mean_seconds``, ``made_per_second`` (of speech, in a second of a
        worker), and tables ``by_source``, ``by_style``, ``by_language``; ``unchecked`` shards; ``recipes``.

    Raises:
        InputError: there is no finished shard.
    """
    tables = {name: defaultdict[str, Counter[str]](Counter) for name in ("source", "style", "language")}
    speakers: set[tuple[Any, ...]] = set()
    voices: set[str] = set()
    total: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    recipes: Counter[str] = Counter()
    errors: list[float] = []
    for _, folder in finished(out):
        rows, facts = read_takes(folder), read_facts(folder)
        total["shards"] += 1
        total["unchecked"] += not facts.get("check")
        recipes[facts.get("recipe", {}).get("fingerprint", "unknown")] += 1
        if "spent_s" in facts:
            total["spent"] += facts["spent_s"]
            total["timed"] += sum(row["seconds"] for row in rows)
        for row in rows:
            voices.update(row["voices"])
            speakers.add(_speaker(row))
            if "wer" in row:
                errors.append(row["wer"])
            for table, key in _keys(row).items():
                tables[table][key].update(takes=1, seconds=row["seconds"])
            total.update(takes=1, seconds=row["seconds"])
        for row in facts.get("dropped", []):
            reasons[row["reason"]] += 1
            total["dropped"] += 1
            for table, key in _keys(row).items():
                tables[table][key]["dropped"] += 1
    if not total["shards"]:
        raise InputError(f"{out}: holds no finished shard")
    return {
        **_row(total),
        "shards": total["shards"],
        "unchecked": total["unchecked"],
        "mean_seconds": round(total["seconds"] / max(1, total["takes"]), 2),
        "voices": len(voices),
        "speakers": len(speakers),
        "wer": round(sum(errors) / len(errors), 4) if errors else None,
        "made_per_second": round(total["timed"] / total["spent"], 2) if total["spent"] else None,
        "reasons": dict(reasons.most_common()),
        "recipes": dict(recipes),
        **{
            f"by_{name}": {key: _row(counts) for key, counts in sorted(table.items())}
            for name, table in tables.items()
        },
    }


def as_text(found: Mapping[str, Any]) -> str:
    """A report for people."""
    lines = [
        f"{found['hours']:.2f} h of speech in {found['takes']} takes of {found['mean_seconds']} s, "
        f"{found['shards']} shards",
        f"{found['voices']} voices of the teacher, {found['speakers']} different speakers",
        f"dropped {found['dropped']} takes ({_percent(found['rejection'])})"
        + (f"; {found['unchecked']} shards are not checked" if found["unchecked"] else ""),
    ]
    if found["wer"] is not None:
        lines.append(f"word error rate of the kept takes, by the recogniser: {_percent(found['wer'])}")
    if found["made_per_second"] is not None:
        lines.append(f"a worker makes {found['made_per_second']} s of speech a second")
    for reason, count in found["reasons"].items():
        lines.append(f"  {count:6d}  {reason}")
    for name in ("source", "style", "language"):
        lines.append(f"\n{'by ' + name:36} {'takes':>7} {'hours':>7} {'dropped':>8}")
        for key, row in found[f"by_{name}"].items():
            lines.append(f"{key:36} {row['takes']:7d} {row['hours']:7.2f} {_percent(row['rejection']):>8}")
    return "\n".join(lines) + "\n"


def _keys(row: Mapping[str, Any]) -> dict[str, str]:
    style = row.get("style")
    return {
        "source": row["set"],
        "style": style["name"] if style else "plain",
        "language": row.get("language", "?"),
    }


def _row(counts: Mapping[str, Any]) -> dict[str, Any]:
    takes, dropped = counts.get("takes", 0), counts.get("dropped", 0)
    return {
        "takes": takes,
        "hours": round(counts.get("seconds", 0) / 3600, 4),
        "dropped": dropped,
        "rejection": round(dropped / max(1, takes + dropped), 4),
    }


def _speaker(row: Mapping[str, Any]) -> tuple[Any, ...]:
    shift = row.get("speaker") or {}
    return (*sorted(row["voices"].items()), *sorted(shift.items()))


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
