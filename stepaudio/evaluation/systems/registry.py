"""From what is given as ``--model`` to a system under test."""

import importlib

from stepaudio.errors import InputError
from stepaudio.evaluation.systems.base import System

CASCADE = "whisper-base,smollm2-135m-instruct,kokoro-82m"


def load_system(spec: str) -> System:
    """Load the system that `spec` names.

    - a model card or a folder (``nano``): a family of this package;
    - ``http://HOST/v1#MODEL``, or with ``?voice=NAME``: an OpenAI-compatible server;
    - ``cascade`` or ``cascade:EARS,MIND,MOUTH``: separate recogniser, language model and synthesiser;
    - ``world``: copy synthesis, the anchor of the codec suite;
    - ``python:MODULE:NAME``: what a function of yours returns; it must be a `System`.

    Raises:
        InputError: the spec cannot be read.
        ModelError: there is no such model, or its weights are missing.
    """
    if spec.startswith(("http://", "https://")):
        from stepaudio.evaluation.systems.endpoint import EndpointSystem

        return EndpointSystem(spec)
    if spec == "world":
        from stepaudio.evaluation.systems.world import WorldSystem

        return WorldSystem()
    if spec == "cascade" or spec.startswith("cascade:"):
        from stepaudio.evaluation.systems.family import load_cascade

        return load_cascade(spec.removeprefix("cascade").removeprefix(":") or CASCADE)
    if spec.startswith("python:"):
        return _own(spec)
    from stepaudio.evaluation.systems.family import FamilySystem

    return FamilySystem.load(spec)


def _own(spec: str) -> System:
    module, _, name = spec.removeprefix("python:").partition(":")
    try:
        made: System = getattr(importlib.import_module(module), name)()
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise InputError(f"{spec}: cannot make a system of it ({error}); use python:MODULE:NAME") from None
    return made
