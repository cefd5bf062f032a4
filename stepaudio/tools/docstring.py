"""Google-style docstrings, read for what a model must know of a tool."""

import inspect
import re
from dataclasses import dataclass, field

_SECTION = re.compile(r"^(Args|Arguments|Returns?|Yields?|Raises|Examples?|Notes?|Attributes):\s*$")
_ARGUMENT = re.compile(r"^\*{0,2}(\w+)\s*(?:\([^)]*\))?:\s*(.*)$")
EXAMPLES = "Examples:"


@dataclass(frozen=True)
class Docstring:
    """What a docstring says.

    Attributes:
        summary: everything before the first section, in one line a paragraph.
        arguments: descriptions by name.
        examples: the lines of the ``Examples:`` section: what a user may say when the tool is wanted.
    """

    summary: str = ""
    arguments: dict[str, str] = field(default_factory=dict)
    examples: tuple[str, ...] = ()


def read_docstring(text: str | None) -> Docstring:
    """Read a docstring; sections that mean nothing to a model are left out."""
    sections: dict[str, list[str]] = {"": []}
    current = ""
    for line in inspect.cleandoc(text or "").splitlines():
        if heading := _SECTION.match(line):
            current = heading.group(1)
            sections.setdefault(current, [])
        else:
            sections[current].append(line)
    paragraphs = re.split(r"\n\s*\n", "\n".join(sections[""]).strip())
    summary = "\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    examples = sections.get("Examples", []) + sections.get("Example", [])
    arguments = _arguments(sections.get("Args", []) + sections.get("Arguments", []))
    said = (line.strip().lstrip("-* ").strip("\"'") for line in examples)
    return Docstring(summary, arguments, tuple(line for line in said if line and not line.startswith(">>>")))


def _arguments(lines: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    name, margin = "", None
    for line in lines:
        if not line.strip():
            continue
        indent = len(line) - len(line.lstrip())
        margin = indent if margin is None else margin
        started = _ARGUMENT.match(line.strip()) if indent <= margin else None
        if started:
            name = started.group(1)
            found[name] = started.group(2).strip()
        elif name:
            found[name] = f"{found[name]} {line.strip()}".strip()
    return found
