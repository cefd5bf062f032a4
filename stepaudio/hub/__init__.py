"""Model weights: what exists (cards), where it comes from (sources), where it lies (the cache).

The cache is one folder (``STEPAUDIO_HOME``, else ``stepaudio`` in the user's cache folder)::

    models/NAME/...           the files of a model, verified
    models/NAME/.stamp.json   what was verified, so that a start costs a few ``stat`` calls
    work/NAME/...             what an interrupted pull has already fetched; gone once the pull is done
    locks/NAME.lock           one pull of a model at a time

Nothing here touches the network except :func:`pull` (and :func:`ensure`, which calls it), and that only for
files which are not there.
"""

from stepaudio.hub.cache import Cache
from stepaudio.hub.card import Card, list_cards, load_card
from stepaudio.hub.models import ensure, folder, folders, is_present, pull, remove
from stepaudio.hub.progress import Bar, Progress

__all__ = [
    "Bar",
    "Cache",
    "Card",
    "Progress",
    "ensure",
    "folder",
    "folders",
    "is_present",
    "list_cards",
    "load_card",
    "pull",
    "remove",
]
