"""Speech recognition: word error rate, or character error rate for languages without blanks.

Layouts, recognised by what is there:

- ``manifest.jsonl``: objects with ``audio`` and ``text``, perhaps ``group`` and ``language``;
- LibriSpeech: ``*.trans.txt`` files of ``ID TEXT`` beside ``ID.flac``;
- LibriSpeech on the hub: parquet files with ``audio``, ``text`` and ``id``;
- AISHELL: ``transcript/aishell_transcript_*.txt`` of ``ID TEXT`` and ``wav/**/ID.wav`` (its part ``test``).
"""

from pathlib import Path

from stepaudio.errors import InputError
from stepaudio.evaluation.items import Item, Metric, Output, Verdict
from stepaudio.evaluation.metrics.text import counts_characters, normalise, text_errors
from stepaudio.evaluation.suites.base import Bench, Stage, Suite, output_of
from stepaudio.evaluation.suites.layout import check_fields, check_sound, read_json_lines, wrong
from stepaudio.evaluation.suites.tables import read_sound_tables
from stepaudio.evaluation.systems.base import Ability


class AsrSuite(Suite):
    """Recognition of clips with known words."""

    needs: Ability = "transcribe"

    def metrics(self) -> tuple[Metric, ...]:
        """Error rate, share of clips without an error, speed."""
        return (
            Metric("wer", "Word error rate", "lower"),
            Metric("cer", "Character error rate", "lower"),
            Metric("exact", "Clips without an error"),
            Metric("rtf", "Real-time factor, median", "lower", percent=False, quantile=0.5, noisy=True),
        )

    def read(self, data: Path) -> list[Item]:
        """Read any of the four layouts."""
        if (data / "manifest.jsonl").is_file():
            return self._manifest(data)
        if scripts := sorted(data.rglob("*.trans.txt")):
            return self._librispeech(data, scripts)
        if scripts := sorted(data.glob("transcript/aishell_transcript_*.txt")):
            return self._aishell(data, scripts[0])
        if files := sorted(data.rglob("*.parquet")):
            return self._tables(data, files)
        raise wrong(
            data,
            "manifest.jsonl, or LibriSpeech's *.trans.txt or *.parquet, or AISHELL's transcript/ and wav/",
        )

    def perform(self, item: Item, stage: Stage) -> Output:
        """Transcribe the clip."""
        audio = stage.sound(item.content["audio"])
        answer = stage.system.transcribe(audio, item.content["language"])
        return output_of(answer, audio_seconds=round(audio.seconds, 4))

    def judge(self, item: Item, output: Output, bench: Bench) -> Verdict:
        """Align the transcript with the reference."""
        language = item.content["language"]
        errors = text_errors(item.content["text"], output.text, language)
        scores = {_unit(language): (float(errors.count), float(errors.length))}
        scores["exact"] = (float(errors.count == 0), 1.0)
        if "total_s" in output.timings:
            scores["rtf"] = (output.timings["total_s"], output.details["audio_seconds"])
        found = {"substitutions": errors.substitutions, "deletions": errors.deletions}
        texts = {"reference": normalise(item.content["text"], language), "hypothesis": output.text}
        return Verdict(scores, {**texts, **found, "insertions": errors.insertions})

    def missed(self, item: Item) -> Verdict:
        """A clip that failed was heard as nothing."""
        language = item.content["language"]
        errors = text_errors(item.content["text"], "", language)
        return Verdict({_unit(language): (float(errors.count), float(errors.length)), "exact": (0.0, 1.0)})

    def _item(
        self, data: Path, audio: str, text: str, where: str, group: str = "", language: str = ""
    ) -> Item:
        name = check_sound(data, audio, where)
        if not text.strip():
            raise InputError(f"{where}: {audio} has no reference text")
        content = {"audio": name, "text": text, "language": language or self.config.language}
        return Item(str(Path(name).with_suffix("")), group, content)

    def _manifest(self, data: Path) -> list[Item]:
        items = []
        for number, row in enumerate(read_json_lines(data / "manifest.jsonl"), 1):
            where = f"{data / 'manifest.jsonl'}: item {number}"
            check_fields(row, {"audio": str, "text": str}, where, optional=None)
            items.append(
                self._item(
                    data,
                    row["audio"],
                    row["text"],
                    where,
                    str(row.get("group", "")),
                    str(row.get("language", "")),
                )
            )
        return items

    def _librispeech(self, data: Path, scripts: list[Path]) -> list[Item]:
        items = []
        for script in scripts:
            for key, text in _pairs(script):
                sound = (script.parent / f"{key}.flac").relative_to(data)
                items.append(self._item(data, str(sound), text, str(script)))
        return items

    def _tables(self, data: Path, files: list[Path]) -> list[Item]:
        items = []
        for row in read_sound_tables(data, files, ["id", "text"]):
            item = self._item(data, row["audio"], str(row["text"]), f"{data}: {row['id']}")
            items.append(Item(str(row["id"]), item.group, item.content))
        return items

    def _aishell(self, data: Path, script: Path) -> list[Item]:
        folder = data / "wav" / "test" if (data / "wav" / "test").is_dir() else data / "wav"
        sounds = {path.stem: path.relative_to(data) for path in sorted(folder.rglob("*.wav"))}
        texts = dict(_pairs(script))
        if not sounds.keys() & texts.keys():
            raise wrong(data, f"wav/**/ID.wav for the ids of {script.name}")
        return [
            self._item(data, str(sound), texts[key], str(script), language="zh")
            for key, sound in sounds.items()
            if key in texts
        ]


def _unit(language: str) -> str:
    return "cer" if counts_characters(language) else "wer"


def _pairs(script: Path) -> list[tuple[str, str]]:
    pairs = []
    for number, line in enumerate(script.read_text(encoding="utf-8").splitlines(), 1):
        if line.strip():
            key, _, text = line.strip().partition(" ")
            if not text.strip():
                raise InputError(f"{script}: line {number} is not ID TEXT")
            pairs.append((key, text.strip()))
    return pairs
