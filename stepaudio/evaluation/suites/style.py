"""Style: does a tag change the speech the way it says, without costing intelligibility.

Layout: ``styles.jsonl`` of ``id``, ``text`` and ``style`` (one tag or setting; empty for plain speech, the
yardstick of quality). Every text is said plainly and in the style, with the same seed; the effect is the
change between the two, held against the bounds that the tag states.
"""

from dataclasses import asdict
from math import isnan
from pathlib import Path
from typing import Any

from stepaudio.errors import InputError
from stepaudio.evaluation.items import Item, Metric, Output, Score, Verdict, flag
from stepaudio.evaluation.metrics.delivery import Prosody, measure
from stepaudio.evaluation.suites.base import Bench, Stage, Suite, SuiteConfig, output_of
from stepaudio.evaluation.suites.effects import changes, kept, told
from stepaudio.evaluation.suites.layout import check_fields, read_json_lines, wrong
from stepaudio.evaluation.suites.speech_quality import METRICS, intelligibility, quality, unheard
from stepaudio.styles import parse_style

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
        """Say the text plainly (once for all its styles) and in the style; the styled speech is kept."""
        text, seed = item.content["text"], self.config.seed

        def plainly() -> dict[str, float] | None:
            said = stage.system.speak(text, style=None, seed=seed).audio
            return None if said is None else asdict(measure(said))

        plain = stage.once(("plain", text, seed), plainly)
        styled = stage.system.speak(text, style=item.content["style"] or None, seed=seed)
        return output_of(styled, plain=plain)

    def judge(self, item: Item, output: Output, bench: Bench) -> Verdict:
        """Compare the two."""
        if output.audio is None or output.details["plain"] is None:
            return self.missed(item)
        text, language = item.content["text"], self.config.language
        style = parse_style(item.content["style"])
        plain, styled = Prosody(**output.details["plain"]), measure(output.audio)
        found = changes(plain, styled)
        scores: dict[str, Score] = {name: (value, 1.0) for name, value in found.items() if not isnan(value)}
        details: dict[str, Any] = {"text": text, "changes": told(found)}
        if promised := kept(style, found):
            scores["effect"] = flag(all(promised.values()))
            details["stated"] = promised
        if style.speed != 1.0:
            scores["rate_error"] = (abs(found["rate"] / style.speed - 1), 1.0)
        scores |= quality(output.audio, bench)
        if not WORDLESS & set(style.tags):
            errors, details["heard"] = intelligibility(output.audio, text, bench, self.config.ears, language)
            scores |= errors
        return Verdict(scores, {**details, "plain": asdict(plain), "styled": asdict(styled)})

    def missed(self, item: Item) -> Verdict:
        """A text that was not said is all errors, and shows no effect."""
        scores = unheard(item.content["text"], self.config.language)
        if item.content["style"]:
            scores["effect"] = (0.0, 1.0)
        return Verdict(scores)
