"""A codec's resynthesis: what is left of the words, the voice and the quality after codes and back.

Layout: ``manifest.jsonl`` of ``audio`` and ``text``, as for speech recognition. The judge rates the
original too, so that the loss can be told from what the recording or the judge's own ears lack.
"""

from stepaudio.evaluation.items import Item, Metric, Output, Verdict
from stepaudio.evaluation.suites.asr import AsrSuite
from stepaudio.evaluation.suites.base import Bench, Stage, SuiteConfig, output_of
from stepaudio.evaluation.suites.speech_quality import (
    METRICS,
    SPEED,
    intelligibility,
    likeness,
    quality,
    speed,
    unheard,
)
from stepaudio.evaluation.systems.base import Ability


class CodecConfig(SuiteConfig):
    """How the copies are judged.

    Attributes:
        ears: card of the recogniser that the judge listens with.
    """

    ears: str = "whisper-base"


class CodecSuite(AsrSuite):
    """Clips taken through a codec and back."""

    Config = CodecConfig
    needs: Ability = "resynthesise"

    def metrics(self) -> tuple[Metric, ...]:
        """The copies' figures, and those of the originals beside them."""
        originals = (
            Metric("original_wer", "Word error rate of the originals", "lower"),
            Metric("original_cer", "Character error rate of the originals", "lower"),
            Metric("original_mos", "DNSMOS overall of the originals", percent=False),
        )
        return METRICS + originals + SPEED[:1]

    def perform(self, item: Item, stage: Stage) -> Output:
        """Copy the clip."""
        return output_of(stage.system.resynthesise(stage.sound(item.content["audio"])))

    def judge(self, item: Item, output: Output, bench: Bench) -> Verdict:
        """Listen to the copy and to the original."""
        if output.audio is None:
            return self.missed(item)
        text, language = item.content["text"], item.content["language"]
        original = bench.reference(item.content["audio"])
        scores, heard = intelligibility(output.audio, text, bench, self.config.ears, language)
        before, heard_before = intelligibility(original, text, bench, self.config.ears, language)
        scores |= quality(output.audio, bench) | likeness(output.audio, original, bench)
        scores |= speed(output.timings, output.audio)
        scores |= {f"original_{name}": score for name, score in before.items()}
        scores["original_mos"] = quality(original, bench)["mos"]
        return Verdict(scores, {"text": text, "heard": heard, "heard_original": heard_before})

    def missed(self, item: Item) -> Verdict:
        """A clip that was not copied has lost all its words."""
        return Verdict(unheard(item.content["text"], item.content["language"]))
