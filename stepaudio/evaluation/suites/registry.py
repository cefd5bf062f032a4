"""Which suites there are: their YAML descriptions, and the classes that read them."""

from importlib import import_module
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from stepaudio.errors import InputError
from stepaudio.evaluation.suites.base import Suite

_KINDS = {
    "asr": "asr:AsrSuite",
    "codec": "codec:CodecSuite",
    "spoken-qa": "spoken_qa:SpokenQaSuite",
    "stepeval-360": "stepeval_360:Stepeval360Suite",
    "paralinguistic": "paralinguistic:ParalinguisticSuite",
    "style": "style:StyleSuite",
    "toolcall": "toolcall:ToolcallSuite",
    "tts": "tts:TtsSuite",
}


def list_suites() -> list[str]:
    """Return the names of the suites that come with the package."""
    return sorted(path.stem for path in _folder().glob("*.yaml"))


def load_suite(name: str) -> Suite:
    """Return the suite called `name`, or described by the YAML file of that path.

    Raises:
        InputError: there is none, or its description is not right.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else _folder() / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(list_suites())
        raise InputError(f"there is no suite {name!r}; there are: {known}, or the path of a YAML file")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        kind = values["kind"]
        suite_class = _class(kind)
        return suite_class(suite_class.Config.model_validate(values))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise InputError(f"{path}: {field}: {first['msg'].lower()}") from None
    except (yaml.YAMLError, OSError, TypeError, KeyError, UnicodeDecodeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path}: not the description of a suite ({reason})") from None


def suite_of(values: dict[str, Any]) -> Suite:
    """Return the suite that a run was planned with, from its written description.

    Raises:
        InputError: it is of a kind or form that this version does not know.
    """
    try:
        suite_class = _class(str(values.get("kind")))
        return suite_class(suite_class.Config.model_validate(values))
    except ValidationError as error:
        raise InputError(f"the run's suite is of another version ({error.errors()[0]['msg']})") from None


def _class(kind: str) -> type[Suite]:
    if kind not in _KINDS:
        raise InputError(f"unknown kind of suite {kind!r}; there are: {', '.join(_KINDS)}")
    module, _, name = _KINDS[kind].partition(":")
    made: type[Suite] = getattr(import_module(f"stepaudio.evaluation.suites.{module}"), name)
    return made


def _folder() -> Path:
    return Path(__file__).parent
