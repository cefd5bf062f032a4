"""Plain functions as tools: signature and docstring become the schema, pydantic checks the arguments."""

import functools
import inspect
import re
import typing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PydanticSchemaGenerationError,
    ValidationError,
    create_model,
)
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticUserError

from stepaudio.errors import InputError
from stepaudio.tools.docstring import EXAMPLES, read_docstring

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True)
class Tool:
    """A function that a model may call.

    Attributes:
        name: what the model calls it by.
        description: the docstring's text and its examples.
        parameters: JSON schema of the arguments, without references.
        function: what is run, sync or async.
        model: checks and converts the arguments.
    """

    name: str
    description: str
    parameters: dict[str, Any]
    function: Callable[..., Any] = field(repr=False)
    model: type[BaseModel] = field(repr=False)

    @property
    def schema(self) -> dict[str, Any]:
        """The tool as models are told of it, in OpenAI's form."""
        about = {"name": self.name, "description": self.description, "parameters": self.parameters}
        return {"type": "function", "function": about}

    def check(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return the keyword arguments for the function, converted to its types, defaults left out.

        Raises:
            InputError: an argument is missing, unknown or of the wrong kind.
        """
        try:
            values = self.model.model_validate(arguments)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(str(step) for step in first["loc"]) or "the arguments"
            raise InputError(f"{self.name}: {place}: {first['msg']}") from None
        # By attribute, so that nested models stay models.
        return {name: getattr(values, name) for name in values.model_fields_set}


class Toolbox:
    """The tools of one conversation.

    Args:
        tools: functions, or tools made before.

    Raises:
        InputError: a function cannot be a tool, or two have one name.
    """

    def __init__(self, tools: Sequence[Callable[..., Any] | Tool] = ()):
        self._tools: dict[str, Tool] = {}
        for item in tools:
            tool = item if isinstance(item, Tool) else make_tool(item)
            if tool.name in self._tools:
                raise InputError(f"two tools are called {tool.name}")
            self._tools[tool.name] = tool

    def __len__(self) -> int:
        return len(self._tools)

    def __iter__(self) -> Iterator[Tool]:
        return iter(self._tools.values())

    @property
    def schemas(self) -> tuple[dict[str, Any], ...]:
        """The schemas of all tools."""
        return tuple(tool.schema for tool in self)

    def find(self, name: str) -> Tool:
        """Return a tool by name; raises `InputError` when there is none."""
        if name not in self._tools:
            raise InputError(f"there is no tool {name!r}; there are: {', '.join(self._tools) or 'none'}")
        return self._tools[name]


def make_tool(function: Callable[..., Any]) -> Tool:
    """Make a tool of a function.

    Args:
        function: every parameter annotated with a type that JSON can carry; a Google-style docstring. Lines
            under ``Examples:`` are what users may say; small models need some to know when to call.

    Raises:
        InputError: it has no docstring, ``*args`` or ``**kwargs``, an unannotated parameter, or a type that
            JSON cannot carry.
    """
    if not callable(function) or isinstance(function, type):
        raise InputError(f"{function!r} cannot be a tool: it is not a function")
    name = _name(function)
    if not _NAME.fullmatch(name):
        raise InputError(f"{name} cannot be a tool: its name may have letters, digits and _ only")
    text = read_docstring(inspect.getdoc(function) if inspect.isroutine(function) else function.__doc__)
    if not text.summary:
        raise InputError(f"{name} cannot be a tool: its docstring must say what it does")
    model = _arguments_model(name, function, text.arguments)
    try:
        parameters = _inline(model.model_json_schema())
    except (PydanticInvalidForJsonSchema, PydanticUserError, RecursionError) as error:
        raise InputError(f"{name} cannot be a tool: {str(error).splitlines()[0]}") from None
    description = text.summary
    if text.examples:
        description += "\n".join(("", EXAMPLES, *(f"- {example}" for example in text.examples)))
    return Tool(name, description, parameters, function, model)


def _name(function: Callable[..., Any]) -> str:
    if isinstance(function, functools.partial):
        return _name(function.func)
    return str(getattr(function, "__name__", type(function).__name__))


def _arguments_model(
    name: str, function: Callable[..., Any], descriptions: dict[str, str]
) -> type[BaseModel]:
    try:
        signature = inspect.signature(function)
        inner = function.func if isinstance(function, functools.partial) else function
        hints = typing.get_type_hints(inner, include_extras=True)
    except (TypeError, ValueError, NameError) as error:
        raise InputError(f"{name} cannot be a tool: its signature cannot be read ({error})") from None
    fields: dict[str, Any] = {}
    for parameter in signature.parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise InputError(f"{name} cannot be a tool: *{parameter.name} has no schema")
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise InputError(f"{name} cannot be a tool: {parameter.name} can only be given by position")
        if parameter.name not in hints:
            raise InputError(f"{name} cannot be a tool: the parameter {parameter.name} has no type")
        default = ... if parameter.default is parameter.empty else parameter.default
        about = Field(default, description=descriptions.get(parameter.name))
        fields[parameter.name] = (hints[parameter.name], about)
    try:
        # A name of pydantic's own (such as `copy`) only draws a warning; `model_` ones are let through.
        config = ConfigDict(extra="forbid", protected_namespaces=())
        return create_model(name, __config__=config, **fields)
    except (PydanticSchemaGenerationError, PydanticUserError, NameError, TypeError) as error:
        raise InputError(f"{name} cannot be a tool: {str(error).splitlines()[0]}") from None


def _inline(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema without references and titles, which models do not need."""
    definitions = schema.get("$defs", {})

    def walk(node: Any, names: bool = False) -> Any:
        if isinstance(node, list):
            return [walk(item) for item in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node and not names:
            rest = {key: value for key, value in node.items() if key != "$ref"}
            return walk({**definitions[str(node["$ref"]).rsplit("/", 1)[-1]], **rest})
        # Below `properties` the keys are the arguments' names, and one may be called title.
        kept = node.items() if names else ((k, v) for k, v in node.items() if k not in ("title", "$defs"))
        return {key: walk(value, names=not names and key == "properties") for key, value in kept}

    out: dict[str, Any] = walk(schema)
    return out
