"""Style: does a tag change the speech the way it says, without costing intelligibility.

Layout: ``styles.jsonl`` of ``id``, ``text`` and ``style`` (one tag or setting). Every text is said
plainly and in the style, with the same seed; the effect is the ratio of the two.
"""

from pathlib import Path

import numpy as np

from stepaudio.audio import Audio
from stepaudio.errors import InputError
from stepaudio.evaluation.items import Item, Metric, Output, Score, Verdict, flag
from stepaudio.evaluation.suites.base import Bench, Stage, Suite, SuiteConfig, output_of
from stepaudio.evaluation.suites.layout import check_fields, read_json_lines, wrong
from stepaudio.evaluation.suites.speech_quality import METRICS, intelligibility, quality, unheard
from stepaudio.styles import parse_style

# A change smaller than this is not counted as an effect.
NOTICEABLE = 0.05


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
        return (
            Metric("rate_effect", "Rate changed as asked"),
            Metric("rate_error", "Distance from the asked rate", "lower"),
            Metric("rate_ratio", "Speaking rate against plain", percent=False),
            Metric("pitch_ratio", "Median pitch against plain", percent=False),
            Metric("range_ratio", "Pitch range against plain", percent=False),
            Metric("level_change", "Level against plain in dB", percent=False),
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
            items.append(Item(row["id"], row["style"], {"text": row["text"], "style": row["style"]}))
        return items

    def perform(self, item: Item, stage: Stage) -> Output:
        """Say the text plainly and in the style; the styled speech is kept."""
        text, seed = item.content["text"], self.config.seed
        plain = stage.system.speak(text, style=None, seed=seed)
        styled = stage.system.speak(text, style=item.content["style"], seed=seed)
        return output_of(styled, plain=_measure(plain.audio))

    def judge(self, item: Item, output: Output, bench: Bench) -> Verdict:
        """Compare the two."""
        if output.audio is None or output.details["plain"] is None:
            return self.missed(item)
        text = item.content["text"]
        plain, styled = output.details["plain"], _measure(output.audio)
        assert styled is not None
        scores, heard = intelligibility(output.audio, text, bench, self.config.ears, self.config.language)
        scores |= quality(output.audio, bench)
        scores |= self._effect(item, plain, styled)
        return Verdict(scores, {"text": text, "heard": heard, "plain": plain, "styled": styled})

    def missed(self, item: Item) -> Verdict:
        """A text that was not said is all errors."""
        return Verdict(unheard(item.content["text"], self.config.language))

    def _effect(self, item: Item, plain: dict[str, float], styled: dict[str, float]) -> dict[str, Score]:
        rate = plain["seconds"] / styled["seconds"]
        scores: dict[str, Score] = {"rate_ratio": (rate, 1.0)}
        asked = parse_style(item.content["style"]).speed
        if asked != 1.0:
            towards = rate - 1 if asked > 1 else 1 - rate
            scores["rate_effect"] = flag(towards > NOTICEABLE)
            scores["rate_error"] = (abs(rate / asked - 1), 1.0)
        if plain["pitch"] and styled["pitch"]:
            scores["pitch_ratio"] = (styled["pitch"] / plain["pitch"], 1.0)
        if plain["range"] and styled["range"]:
            scores["range_ratio"] = (styled["range"] / plain["range"], 1.0)
        scores["level_change"] = (styled["level"] - plain["level"], 1.0)
        return scores


def _measure(audio: Audio | None) -> dict[str, float] | None:
    """Return length of the speech (s), median pitch (Hz), pitch range (semitones) and level (dB)."""
    if audio is None:
        return None
    from stepaudio.decoder.world import analyse
    from stepaudio.features.normalise import sound_span

    start, stop = sound_span(audio.resample(16_000).samples)
    f0 = analyse(audio).f0
    voiced = f0[f0 > 0]
    low, high = np.quantile(voiced, [0.1, 0.9]) if voiced.size else (1.0, 1.0)
    return {
        "seconds": max((stop - start) / 16_000, 1e-3),
        "pitch": float(np.median(voiced)) if voiced.size else 0.0,
        "range": float(12 * np.log2(high / low)),
        "level": audio.rms_db if np.isfinite(audio.rms_db) else -100.0,
    }
