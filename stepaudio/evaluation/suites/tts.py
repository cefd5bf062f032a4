"""Text to speech over lists as in SEED-TTS-eval: is it intelligible, whose voice, how good, how fast.

Layout: ``*.lst`` files of ``ID|PROMPT TEXT|PROMPT SOUND|TEXT`` (a fifth field, the true recording, is
ignored); or ``texts.jsonl`` of ``id`` and ``text``, for systems that speak in a voice of their own.
"""

from pathlib import Path
from typing import Literal

from stepaudio.evaluation.items import Item, Metric, Output, Verdict
from stepaudio.evaluation.suites.base import Bench, Stage, Suite, SuiteConfig, output_of
from stepaudio.evaluation.suites.layout import check_fields, check_sound, read_json_lines, wrong
from stepaudio.evaluation.suites.speech_quality import (
    METRICS,
    SPEED,
    intelligibility,
    likeness,
    quality,
    speed,
    unheard,
)


class TtsConfig(SuiteConfig):
    """How the made speech is judged.

    Attributes:
        ears: card of the recogniser that the judge listens with.
        prompts: ``clone`` speaks in the voice of the prompt, ``ignore`` in the system's own, ``auto`` clones
            where the system can.
    """

    ears: str = "whisper-base"
    prompts: Literal["auto", "clone", "ignore"] = "auto"


class TtsSuite(Suite):
    """Speech made of known texts."""

    Config = TtsConfig
    needs = "speak"

    def metrics(self) -> tuple[Metric, ...]:
        """Intelligibility, likeness, quality and speed."""
        return METRICS + SPEED

    def read(self, data: Path) -> list[Item]:
        """Read the lists, each a group, or the plain texts."""
        if (data / "texts.jsonl").is_file():
            return self._texts(data / "texts.jsonl")
        lists = sorted(data.glob("*.lst")) or sorted(data.glob("*/*.lst"))
        if not lists:
            raise wrong(data, "*.lst of ID|PROMPT TEXT|PROMPT SOUND|TEXT, or texts.jsonl of id and text")
        return [item for path in lists for item in self._list(data, path, several=len(lists) > 1)]

    def _texts(self, path: Path) -> list[Item]:
        items = []
        for number, row in enumerate(read_json_lines(path), 1):
            check_fields(row, {"id": str, "text": str}, f"{path}: item {number}", ["group", "language"])
            language = row.get("language") or self.config.language
            content = {"text": row["text"], "language": language}
            items.append(Item(row["id"], row.get("group", ""), content))
        return items

    def _list(self, data: Path, path: Path, *, several: bool) -> list[Item]:
        items = []
        # SEED's folders are called after their language: en/meta.lst, zh/meta.lst.
        language = path.parent.name if path.parent.name in ("en", "zh") else self.config.language
        group = (path.parent.name if path.parent != data else path.stem) if several else ""
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if not line.strip():
                continue
            fields = [field.strip() for field in line.split("|")]
            if len(fields) not in (4, 5) or not all(fields[:4]):
                raise wrong(path, f"lines of ID|PROMPT TEXT|PROMPT SOUND|TEXT (line {number} has not)")
            key, prompt_text, prompt, text = fields[:4]
            sound = check_sound(data, str((path.parent / prompt).relative_to(data)), f"{path}: line {number}")
            content = {"text": text, "prompt": sound, "prompt_text": prompt_text, "language": language}
            items.append(Item(f"{group}/{key}" if group else key, group, content))
        return items

    def perform(self, item: Item, stage: Stage) -> Output:
        """Say the text."""
        can = "clone" in stage.system.abilities
        clone = self.config.prompts == "clone" or (self.config.prompts == "auto" and can)
        prompt = stage.sound(item.content["prompt"]) if clone and "prompt" in item.content else None
        text, told = item.content["text"], item.content.get("prompt_text", "")
        answer = stage.system.speak(
            text, style=None, seed=self.config.seed, prompt=prompt, prompt_text=told if prompt else ""
        )
        return output_of(answer, cloned=item.content["prompt"] if prompt else "")

    def judge(self, item: Item, output: Output, bench: Bench) -> Verdict:
        """Listen to the speech and rate it."""
        if output.audio is None:
            return self.missed(item)
        text, language = item.content["text"], item.content["language"]
        scores, heard = intelligibility(output.audio, text, bench, self.config.ears, language)
        scores |= quality(output.audio, bench) | speed(output.timings, output.audio)
        if output.details.get("cloned"):
            reference = bench.reference(output.details["cloned"])
            scores |= likeness(output.audio, reference, bench)
        return Verdict(scores, {"text": text, "heard": heard})

    def missed(self, item: Item) -> Verdict:
        """A text that was not said is all errors."""
        return Verdict(unheard(item.content["text"], item.content["language"]))
