"""The suite `styles`: does every tag have the effect that the table of tags states, on any voice."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from stepaudio.bench.result import BenchResult, Figure

if TYPE_CHECKING:
    from stepaudio.api import StepAudio
    from stepaudio.style_tags import Tag

TEXTS = (
    "The kettle is boiling in the kitchen, and the table is set.",
    "My brother works at the harbour on weekends and in summer.",
    "Would you like to leave a message, or shall I call again?",
    "A rainbow appeared over the wet fields behind the village.",
    "Please put the fish in the oven for about forty minutes.",
    "Nobody knew why the lights had gone out in the old theatre.",
    "He carried the heavy box up four flights of narrow stairs.",
    "We ran out of milk, so I went to the shop around the corner.",
    "Most birds fly south long before the cold winter comes.",
    "The orchestra will play at the town hall on Thursday night.",
)
VOICES = 5


def run_styles(progress: Callable[[str], None], *, model: str, limit: int) -> BenchResult:
    """Say the texts plainly and in every tag that the mouth has, in several voices, and measure the changes.

    Args:
        progress: told what is being done.
        model: name of the model.
        limit: texts, ten at most.
    """
    from stepaudio.api import load
    from stepaudio.bench.speech import voices_of

    sa = load(model)
    names, texts = voices_of(sa)[:VOICES], TEXTS[:limit]
    plain = {(name, text): sa.speak(text, voice=name, seed=0) for name in names for text in texts}
    figures, missed = [], []
    for tag in tags_of(sa):
        progress(f"bench: {tag.name}")
        broken = list(_broken(sa, tag, plain))
        held = len(plain) - len(broken)
        figures.append(Figure(tag.name, "share", (held / len(plain),)))
        if broken:
            missed.append(f"{tag.name}: {broken[0]}")
    note = f"{len(names)} voices, {len(texts)} texts; share of the {len(plain)} in which all bounds hold."
    return BenchResult("styles", tuple(figures), (note, *missed))


def tags_of(sa: "StepAudio") -> list["Tag"]:
    """The tags that a model's mouth has and that state something measurable."""
    from stepaudio.style_tags import TAGS
    from stepaudio.styles import RATE_TAGS

    can = getattr(sa.family.mouth, "tags", RATE_TAGS)
    return [tag for tag in TAGS if tag.name in can and tag.bounds]


def _broken(sa: "StepAudio", tag: "Tag", plain: dict) -> Iterator[str]:
    from stepaudio.evaluation.metrics import prosody
    from stepaudio.speech.rhythm import slot_of
    from stepaudio.styles import parse_style

    slot = slot_of(parse_style(tag.name))
    for (voice, text), audio in plain.items():
        styled = sa.speak(text, voice=voice, style=tag.name, seed=0)
        change = prosody.changes(prosody.measure(audio, slot=slot), prosody.measure(styled, slot=slot))
        if missed := prosody.broken(tag.bounds, change):
            yield f"{voice}: {'; '.join(missed)}"
