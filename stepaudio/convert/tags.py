"""HyperPyYAML files read as data: known tags become plain descriptions, everything else is refused."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import yaml

from stepaudio.errors import ModelError

_MAX_DEPTH = 40
_MAX_LENGTH = 1 << 18
_PLAIN = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null", "seq", "map")}
_KINDS = ("!new:", "!name:", "!apply:")
_REFERENCE = re.compile(r"<(?P<key>\w+)(?P<path>(\[\w+\]|\.\w+)*)>")


@dataclass(frozen=True)
class Call:
    """What a `!new:`, `!name:` or `!apply:` tag asks for; it is never done.

    Attributes:
        kind: "new", "name" or "apply".
        name: dotted name of the class or function.
        arguments: keyword arguments.
        line: where it stands, counted from 1.
    """

    kind: str
    name: str
    arguments: dict[str, Any]
    line: int


@dataclass(frozen=True)
class _Reference:
    text: str
    line: int


@dataclass
class _Reader:
    where: str
    allowed: Callable[[str, str], bool]
    constructor: yaml.constructor.SafeConstructor = field(default_factory=yaml.constructor.SafeConstructor)

    def error(self, node: yaml.Node, reason: str) -> ModelError:
        return ModelError(f"{self.where}, line {node.start_mark.line + 1}: {reason}")

    def read(self, node: yaml.Node) -> Any:
        tag = node.tag
        if tag == "!ref":
            if not isinstance(node, yaml.ScalarNode):
                raise self.error(node, "!ref needs a name")
            return _Reference(node.value.strip(), node.start_mark.line + 1)
        for kind in _KINDS:
            if tag.startswith(kind):
                return self._call(node, kind.strip("!:"), tag.removeprefix(kind))
        if tag not in _PLAIN:
            raise self.error(node, f"unknown tag {tag.replace('tag:yaml.org,2002:', '!!')[:80]!r}")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node)
        if isinstance(node, yaml.SequenceNode):
            return [self.read(item) for item in node.value]
        return self._scalar(node)

    def _call(self, node: yaml.Node, kind: str, name: str) -> Call:
        if not self.allowed(kind, name):
            raise self.error(node, f"tag !{kind}:{name[:80]} is not one of those this conversion knows")
        arguments: dict[str, Any] = {}
        if isinstance(node, yaml.MappingNode):
            arguments = self._mapping(node)
        elif isinstance(node, yaml.SequenceNode):
            arguments = {"": [self.read(item) for item in node.value]}
        elif node.value:
            raise self.error(node, f"tag !{kind}:{name[:80]} needs named arguments")
        return Call(kind, name, arguments, node.start_mark.line + 1)

    def _mapping(self, node: yaml.MappingNode) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag != "tag:yaml.org,2002:str":
                raise self.error(key, "keys must be plain words")
            if key.value in values:
                raise self.error(key, f"{key.value!r} is given twice")
            values[key.value] = self.read(value)
        return values

    def _scalar(self, node: yaml.Node) -> Any:
        kind = node.tag.rpartition(":")[2]
        try:
            return getattr(self.constructor, f"construct_yaml_{kind}")(node)
        except (ValueError, yaml.YAMLError, AttributeError) as error:
            raise self.error(node, f"not a valid {kind}: {error}") from None


def read_tagged(text: str, where: str, allowed: Callable[[str, str], bool]) -> dict[str, Any]:
    """Read a HyperPyYAML document without carrying anything out.

    Args:
        text: the document.
        where: its name, for messages.
        allowed: says of (kind, dotted name) whether such a tag may stand in the document at all.

    Returns:
        The top mapping, with `Call` objects for tags and every `!ref` replaced by what it names.

    Raises:
        ModelError: not YAML, an unknown tag, an anchor, a doubled key, a reference to nothing or to itself.
    """
    try:
        _check_events(text, where)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        reader = _Reader(where, allowed)
        top = reader.read(node) if node is not None else None
    except yaml.YAMLError as error:
        raise ModelError(f"{where}: not valid YAML: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(top, dict):
        raise ModelError(f"{where}: a mapping is expected")
    return _resolve_all(top, where)


def _check_events(text: str, where: str) -> None:
    """Refuse what makes reading slow before it is read: PyYAML takes quadratic time for deep nesting."""
    if len(text) > _MAX_LENGTH:
        raise ModelError(f"{where}: {len(text)} characters are too many for a configuration")
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        # Anchors could repeat a piece a billion times; no official file has one.
        if getattr(event, "anchor", None):
            raise ModelError(f"{where}: anchors and aliases are not allowed")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _MAX_DEPTH:
            raise ModelError(f"{where}: nested too deeply")


def _resolve_all(top: dict[str, Any], where: str) -> dict[str, Any]:
    done: dict[str, Any] = {}
    busy: list[str] = []

    def named(key: str, line: int) -> Any:
        if key in done:
            return done[key]
        if key not in top:
            raise ModelError(f"{where}, line {line}: !ref to {key!r}, which is not there")
        if key in busy:
            raise ModelError(
                f"{where}, line {line}: !ref goes in a circle ({' -> '.join([*busy, key])[:120]})"
            )
        busy.append(key)
        done[key] = resolved(top[key])
        busy.pop()
        return done[key]

    def resolved(value: Any) -> Any:
        if isinstance(value, _Reference):
            return followed(value)
        if isinstance(value, Call):
            arguments = {key: resolved(item) for key, item in value.arguments.items()}
            return Call(value.kind, value.name, arguments, value.line)
        if isinstance(value, dict):
            return {key: resolved(item) for key, item in value.items()}
        if isinstance(value, list):
            return [resolved(item) for item in value]
        return value

    def followed(reference: _Reference) -> Any:
        found = _REFERENCE.fullmatch(reference.text)
        if not found:
            raise ModelError(
                f"{where}, line {reference.line}: !ref {reference.text[:80]!r} is not a plain reference"
            )
        value = named(found["key"], reference.line)
        for step in re.findall(r"\w+", found["path"]):
            if not isinstance(value, dict) or step not in value:
                raise ModelError(
                    f"{where}, line {reference.line}: !ref {reference.text[:80]!r} names nothing"
                )
            value = value[step]
        return value

    return {key: named(key, 0) for key in top}
