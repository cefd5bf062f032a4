"""From a model's name to a loaded family."""

from stepaudio.errors import ModelError
from stepaudio.families.base import Family


def load_family(name: str, *, pull: bool = True) -> Family:
    """Return the family called `name`; see `stepaudio.load`."""
    from stepaudio import hub

    card = hub.load_card(name)
    if card.family == "nano":
        from stepaudio.families.nano import load_nano

        if pull and not hub.is_present(card):
            from stepaudio.hub.progress import terminal_progress

            hub.pull(card, progress=terminal_progress())
        return load_nano(hub.folders(card))
    raise ModelError(f"{name}: no loader for the family {card.family!r}")
