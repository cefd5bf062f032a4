"""Tool calling: was the tool called when it should be, was it the right one, with the right arguments.

Definitions, over dialogues that should call the target tool (positive) or should not (negative):

- trigger precision: of the dialogues in which the target was called, those that are positive;
- trigger recall: of the positive dialogues, those in which the target was called;
- type accuracy: of the positive dialogues with any call, those whose calls include the gold tool;
- parameter accuracy: of those with the right type, those whose arguments agree with the gold arguments.
"""

import unicodedata
from collections.abc import Collection, Sequence
from typing import Any

from stepaudio.evaluation.items import Score, flag


def tool_scores(target: Collection[str], positive: bool, called: Sequence[str]) -> dict[str, Score]:
    """Return what one dialogue adds to precision, recall and type accuracy.

    Args:
        target: names of the tool that the dialogue is about.
        positive: whether it should be called.
        called: names of the tools that were called.
    """
    hit = any(name in target for name in called)
    scores: dict[str, Score] = {}
    if hit:
        scores["trigger_precision"] = flag(positive)
    if positive:
        scores["trigger_recall"] = flag(hit)
        if called:
            scores["type_accuracy"] = flag(hit)
    return scores


def same_arguments(gold: dict[str, Any], given: dict[str, Any]) -> bool:
    """Whether two argument objects say the same, up to case, blanks, punctuation and number formats."""
    return _plain(gold) == _plain(given)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | float):
        return float(value)
    text = unicodedata.normalize("NFKC", str(value)).casefold()
    try:
        return float(text)
    except ValueError:
        return "".join(char for char in text if unicodedata.category(char)[0] in "LN")
