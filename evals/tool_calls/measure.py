"""Measure nano's tool calls: trigger precision and recall, validity and overhead of the arguments.

Run it from here: ``python measure.py`` (half ``test``; ``--half dev`` is what the weights were fitted on).
"""

import argparse
import json
import time
from collections import defaultdict
from pathlib import Path

import tools

from stepaudio.errors import InputError
from stepaudio.evaluation.metrics.tools import tool_scores
from stepaudio.tools import Toolbox

HERE = Path(__file__).parent


def main() -> None:
    """Print one JSON object."""
    import stepaudio
    from stepaudio.lm.mind import NanoMind

    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--half", choices=("dev", "test"), default="test")
    options.add_argument("--show", action="store_true", help="also print each call")
    given = options.parse_args()
    mind = stepaudio.load("nano", pull=False).family.mind
    assert isinstance(mind, NanoMind)
    box = Toolbox(tools.TOOLS)
    user, schemas = mind.tool_user, box.schemas
    user.scores("Hello.", schemas)
    sums: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    valid, choosing, filling = [], [], []
    for line in (HERE / "requests.jsonl").read_text().splitlines():
        row = json.loads(line)
        if row["split"] != given.half:
            continue
        started = time.perf_counter()
        wanted = user.scores(row["text"], schemas)
        choosing.append(time.perf_counter() - started)
        name = max(wanted, key=wanted.__getitem__)
        called = [name] if wanted[name] > 0 else []
        scores = tool_scores([row["target"]], row["positive"], called)
        for metric, (value, _) in scores.items():
            sums[row["target"]][metric].append(value)
            sums["all"][metric].append(value)
        if called and row["positive"]:
            started = time.perf_counter()
            arguments = user.arguments(box.find(name).schema["function"], row["text"])
            filling.append(time.perf_counter() - started)
            try:
                box.find(name).check(arguments or {})
                valid.append(arguments is not None)
            except InputError:
                valid.append(False)
            if given.show:
                print(row["target"], "|", row["text"], "|", name, json.dumps(arguments))
        elif given.show and (row["positive"] or row["target"] in called):
            print("WRONG", row["target"], row["positive"], "|", row["text"], "|", called)
    table = {
        tool: {metric: round(sum(values) / len(values), 3) for metric, values in metrics.items()}
        for tool, metrics in sums.items()
    }
    mean = {"choose_s": sum(choosing) / len(choosing), "fill_in_s": sum(filling) / len(filling)}
    print(
        json.dumps({"scores": table, "valid": sum(valid) / len(valid), "calls": len(valid), **mean}, indent=1)
    )


if __name__ == "__main__":
    main()
