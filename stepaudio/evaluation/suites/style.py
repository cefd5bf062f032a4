"""Style: does a tag change the speech the way it says, without costing intelligibility.

Layout: ``styles.jsonl`` of ``id``, ``text`` and ``style`` (one tag or setting; empty for plain speech, the
yardstick of quality). Every text is said plainly and in the style, with the same seed; the effect is the
change between the two, held against the bounds that the tag states.
"""

from collections.abc import Mapping
from dataclasses import asdict
from math import isnan, nan, prod
from pathlib import Path
from typing import Any

from stepaudio.audio import Audio
from stepaudio.effects import Bound, Measure
from stepaudio.errors import AudioError, InputError
from stepaudio.evaluation.items import Item, Metric, Output, Score, Verdict, flag
from stepaudio.evaluation.metrics.prosody import Prosody, broken, changes, measure
from stepaudio.evaluation.suites.base import Bench, Stage, Suite, SuiteConfig, output_of
from stepaudio.evaluation.suites.layout import check_fields, read_json_lines, wrong
from stepaudio.evaluation.suites.speech_quality import METRICS, intelligibility, quality, unheard
from stepaudio.speech.rhythm import slot_of
from stepaudio.styles import Style, find_tag, parse_style

WORDLESS = frozenset({"humming"})


class StyleConfig(SuiteConfig):
    """How the styled speech is judged.

    Attributes:
        ears: card of the recogniser that the judge listens with.
    """

    ears: str = "whisper-base"


class StyleSuite(Suite):
    """Pairs of plain and styled speech."""

    Config = StyleConfig
    needs = "speak"

    def metrics(self) -> tuple[Metric, ...]:
        """The effect by tag (a tag is a group), and what it costs."""

        def change(name: str, title: str) -> Metric:
            return Metric(name, title, "neither", percent=False)

        return (
            Metric("effect", "Stated effect measured"),
            Metric("rate_error", "Distance from the asked rate", "lower"),
            change("rate", "Speaking rate against plain"),
            change("pitch", "Median F0 against plain in semitones"),
            change("range", "F0 range against plain"),
            change("level", "Level against plain in dB"),
            change("brightness", "Share of the power above 1 kHz against plain in dB"),
            change("voiced", "Voiced share"),
            change("beat", "Onsets on a beat, more than plain"),
            change("held", "Held notes, more than plain"),
            *(metric for metric in METRICS if metric.name != "similarity"),
        )

    def read(self, data: Path) -> list[Item]:
        """Read the pairs; a tag that does not exist is an error."""
        path = data / "styles.jsonl"
        if not path.is_file():
            raise wrong(data, "styles.jsonl of id, text and style")
        items = []
        for number, row in enumerate(read_json_lines(path), 1):
            where = f"{path}: item {number}"
            check_fields(row, {"id": str, "text": str, "style": str}, where)
            try:
                parse_style(row["style"])
            except InputError as error:
                raise InputError(f"{where}: {error}") from None
            content = {"text": row["text"], "style": row["style"]}
            items.append(Item(row["id"], row["style"] or "plain", content))
        return items

    def perform(self, item: Item, stage: Stage) -> Output:
        """Say the text in the style, which is kept, and plainly, once for all styles that are timed alike."""
        text, seed = item.content["text"], self.config.seed
        styled = stage.system.speak(text, style=item.content["style"] or None, seed=seed)
        slot = slot_of(parse_style(item.content["style"]))

        def plainly() -> dict[str, float | None] | None:
            found = _measured(stage.system.speak(text, style=None, seed=seed).audio, slot)
            return None if found is None else _told(asdict(found))

        return output_of(styled, plain=stage.once(("plain", text, seed, slot), plainly))

    def judge(self, item: Item, output: Output, bench: Bench) -> Verdict:
        """Compare the two."""
        text, style = item.content["text"], parse_style(item.content["style"])
        plain, styled = output.details["plain"], _measured(output.audio, slot_of(style))
        if output.audio is None or styled is None or plain is None:
            return self.missed(item)
        found = changes(_read_back(plain), styled)
        scores: dict[str, Score] = {name: (value, 1.0) for name, value in found.items() if not isnan(value)}
        details: dict[str, Any] = {"text": text, "changes": _told(found)}
        if promised := promises(style):
            details["broken"] = broken(promised, found)
            scores["effect"] = flag(not details["broken"])
        if style.speed != 1.0 and style.effect.delivery == "speech":
            scores["rate_error"] = (abs(found["rate"] / style.speed - 1), 1.0)
        scores |= quality(output.audio, bench)
        if not WORDLESS & set(style.tags):
            language = self.config.language
            errors, details["heard"] = intelligibility(output.audio, text, bench, self.config.ears, language)
            scores |= errors
        return Verdict(scores, {**details, "plain": plain, "styled": _told(asdict(styled))})

    def missed(self, item: Item) -> Verdict:
        """A text that was not said is all errors, and shows no effect."""
        scores = unheard(item.content["text"], self.config.language)
        if item.content["style"]:
            scores["effect"] = (0.0, 1.0)
        return Verdict(scores)


def promises(style: Style) -> list[Bound]:
    """Return what a style promises: the bounds of its tags, and half of what each setting asks for."""
    tags = [find_tag(name) for name in style.tags]
    found = [bound for tag in tags for bound in tag.bounds]
    # Songs and raps take their time and pitch from notes and beats, not from plain speech.
    if style.effect.delivery == "speech":
        found += _halfway("rate", style.speed / prod(tag.speed for tag in tags), 1.0)
        found += _halfway("pitch", style.pitch, 0.0)
    return found + _halfway("range", style.range, 1.0) + _halfway("level", style.energy, 0.0)


def _halfway(measure: Measure, asked: float, neutral: float) -> list[Bound]:
    middle = (asked + neutral) / 2
    if abs(asked - neutral) < 1e-6:
        return []
    return [Bound(measure, low=middle) if asked > neutral else Bound(measure, high=middle)]


def _measured(audio: Audio | None, slot: float | None) -> Prosody | None:
    """Measure a take; ``None`` for silence and for what was not said."""
    try:
        return None if audio is None else measure(audio, slot=slot)
    except AudioError:
        return None


def _told(values: Mapping[Any, float]) -> dict[str, float | None]:
    """Return measures as JSON takes them: NaN, as of the pitch of a whisper, becomes ``None``."""
    return {name: None if isnan(value) else value for name, value in values.items()}


def _read_back(told: Mapping[str, float | None]) -> Prosody:
    return Prosody(**{name: nan if value is None else value for name, value in told.items()})
