"""A tool's result in spoken words: said as it is where it is prose, so that a small model cannot bend it."""

import json
from typing import Any

_MOST_WORDS = 60  # of a result that is read out
_MOST_VALUES = 8


def tell(name: str, text: str, error: str | None) -> str:
    """Return the sentence that tells a result, or honestly that there is none.

    Args:
        name: of the tool.
        text: the result: prose, or JSON.
        error: why there is none.
    """
    what = name.replace("_", " ").replace("-", " ").strip()
    if error is not None:
        return f"Sorry, I could not use {what}: {_sentence(error)}"
    try:
        value: Any = json.loads(text)
    except ValueError:
        value = text
    said = _spoken(value)
    words = said.split()
    if not words:
        return f"There was no result from {what}."
    if len(words) > _MOST_WORDS:
        said = " ".join(words[:_MOST_WORDS]).rstrip(",;:") + " and so on"
    # A bare number or name needs a frame to be understood.
    if len(words) < 4 and not isinstance(value, bool) and said[-1] not in ".!?":
        said = f"The answer from {what} is {said}"
    return _sentence(said)


def _spoken(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        pairs = [(str(key).replace("_", " "), _spoken(item)) for key, item in value.items()]
        return ", ".join(f"{key}: {item}" for key, item in pairs[:_MOST_VALUES] if item)
    if isinstance(value, list):
        return ", ".join(filter(None, map(_spoken, value[:_MOST_VALUES])))
    return "" if value is None else " ".join(str(value).split())


def _sentence(said: str) -> str:
    said = said.strip()
    said = said[:1].upper() + said[1:]
    return said if said.endswith((".", "!", "?")) else said + "."
