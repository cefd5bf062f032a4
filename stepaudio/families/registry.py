"""From a model's name, or a converted folder, to a loaded family."""

from dataclasses import replace
from typing import TYPE_CHECKING

from stepaudio.errors import InputError, ModelError
from stepaudio.families.base import Family
from stepaudio.families.options import CASCADE, UNIFIED, Options

if TYPE_CHECKING:
    from stepaudio.hub import Card


def load_family(name: str, *, pull: bool = True, options: Options | None = None) -> Family:
    """Return the family called `name`; see `stepaudio.load`."""
    options = (options or Options()).from_environment()
    return _on_path(_load(name, pull, options), options)


def _load(name: str, pull: bool, options: Options) -> Family:
    from stepaudio import hub

    card = hub.load_card(name)
    if card.family == "nano":
        from stepaudio.families.nano import load_nano

        family = load_nano(card.name, hub.ensure(card, pull=pull), options.path)
        return _with_choices(family, options, pull=pull)
    if card.family not in ("step-audio", "step-audio-2"):
        raise ModelError(f"{name}: a part of a model (family {card.family!r}), not one to talk to")
    _check_files(card)
    root = hub.ensure(card, pull=pull)[card.name]
    if card.family == "step-audio":
        from stepaudio.families.step_audio import load_step_audio

        return load_step_audio(card.name, root, options, whisper=options.whisper(pull=pull))
    from stepaudio.families.step_audio_2 import load_step_audio_2

    return load_step_audio_2(card.name, root, options, whisper=options.whisper(pull=pull))


def _on_path(family: Family, options: Options) -> Family:
    """Hold a family to the path that was asked for.

    Raises:
        InputError: it does not have that one.
    """
    if options.path == UNIFIED and family.partner is None:
        why = "behind a server it reads" if options.server else "its ears write it down first"
        raise InputError(f"{family.name} does not hear a question by itself: {why}")
    return replace(family, partner=None) if options.path == CASCADE else family


def _with_choices(family: Family, options: Options, *, pull: bool) -> Family:
    """Put a served mind or other ears into a family of its own."""
    if options.server:
        from stepaudio.families.remote import RemoteMind
        from stepaudio.serving.openai_client import OpenAIClient

        if not options.server_model:
            raise InputError("say which model of the server to use (STEPAUDIO_SERVER_MODEL)")
        server = options.at_server("openai", options.server_model)
        assert server is not None
        family = replace(family, mind=RemoteMind(OpenAIClient(server)), partner=None)
    whisper = options.whisper(pull=pull)
    return family if whisper is None else replace(family, ears=whisper)


def _check_files(card: "Card") -> None:
    """Refuse a converted folder that is no longer what its card lists."""
    if card.checkpoint or card.location is None:
        return
    for file in card.files:
        path = card.location / file.path
        if not path.is_file():
            raise ModelError(f"{card.location}: {file.path} is missing")
        if path.stat().st_size != file.size:
            raise ModelError(f"{path}: has {path.stat().st_size} bytes, not the {file.size} of card.yaml")
