"""From a model's name to a loaded family."""

from stepaudio.errors import ModelError
from stepaudio.families.base import Family


def load_family(name: str, *, pull: bool = True) -> Family:
    """Return the family called `name`; see `stepaudio.load`."""
    from stepaudio import hub

    card = hub.load_card(name)
    if card.family == "nano":
        from stepaudio.families.nano import load_nano

        return load_nano(hub.ensure(name, pull=pull))
    raise ModelError(f"{name}: no loader for the family {card.family!r}")
