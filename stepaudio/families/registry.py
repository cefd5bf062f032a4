"""From a model's name to a loaded family."""

from stepaudio.errors import ModelError
from stepaudio.families.base import Family


def load_family(name: str, *, pull: bool = True) -> Family:
    """Return the family called `name`; see `stepaudio.load`."""
    from stepaudio.hub import ensure, load_card

    card = load_card(name)
    if card.family == "nano":
        from stepaudio.families.nano import load_nano

        ensure(name, pull=pull)
        return load_nano()
    raise ModelError(f"{name}: family {card.family!r} has no loader")
