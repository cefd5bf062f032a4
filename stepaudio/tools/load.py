"""Tools from a module: what ``--tools MODULE`` names."""

import importlib
import importlib.util
import inspect
import sys
from pathlib import Path
from types import ModuleType

from stepaudio.errors import InputError
from stepaudio.tools.registry import Tool, make_tool


def load_tools(name: str) -> tuple[Tool, ...]:
    """Return the tools of a module: those in its list ``TOOLS``, or else all public functions it defines.

    Args:
        name: ``package.module``, or the path of a ``.py`` file. Its code is run.

    Raises:
        InputError: there is no such module, it fails, or it has no functions that can be tools.
    """
    module = _module(name)
    listed = getattr(module, "TOOLS", None)
    if listed is None:
        listed = [
            value
            for key, value in vars(module).items()
            if inspect.isfunction(value) and value.__module__ == module.__name__ and not key.startswith("_")
        ]
    if not isinstance(listed, list | tuple) or not listed:
        raise InputError(f"{name}: has no public functions and no list TOOLS of them")
    return tuple(item if isinstance(item, Tool) else make_tool(item) for item in listed)


def _module(name: str) -> ModuleType:
    path = Path(name)
    is_file = path.suffix == ".py"
    if is_file and not path.is_file():
        raise InputError(f"{name}: no such file")
    try:
        if not is_file:
            return importlib.import_module(name)
        spec = importlib.util.spec_from_file_location(f"_tools_{path.stem}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        # Dataclasses look their module up by name.
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        return module
    except ModuleNotFoundError as error:
        raise InputError(f"{name}: no module {error.name!r}") from None
    except (Exception, SystemExit) as error:
        # The module is the user's own; any failure in it is bad input here.
        raise InputError(f"{name}: cannot be imported ({type(error).__name__}: {error})") from error
