"""What workers do: make the takes of a shard, or check those of a finished one."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stepaudio.audio import Audio
from stepaudio.audio.writing import encoded
from stepaudio.decoder.kokoro_graph import SAMPLE_RATE
from stepaudio.errors import InputError, ModelError, StepAudioError
from stepaudio.training.engine.check import Checker, Ears, Finding
from stepaudio.training.engine.plan import TEACHER_CARD, VOICES_CARD, PlannedTake
from stepaudio.training.engine.recipe import Recipe
from stepaudio.training.engine.shards import pack, read_takes
from stepaudio.training.engine.teacher import Kokoro, Runner, Teacher
from stepaudio.workers.work import Job, Result, Task, failure

Row = dict[str, Any]
_SHORTEST_TOKENS = 3
_TOLD = ("id", "set", "text", "voices", "language", "style", "speaker", "seconds", "wer")


@dataclass(frozen=True)
class Making:
    """Makes the job that makes shards; a task holds ``takes``, as planned.

    Attributes:
        recipe: of the corpus.
        teacher: loads it; must be picklable.
        ears: loads the recogniser of the check by its card.
    """

    recipe: Recipe
    teacher: Callable[[], Teacher]
    ears: Callable[[str], Ears]

    def __call__(self) -> Job:
        """Load the models."""
        maker = ShardMaker(self.recipe, self.teacher(), load_checker(self.recipe, self.ears))
        return maker.make


@dataclass(frozen=True)
class Checking:
    """Makes the job that checks finished shards; a task holds the shard's ``folder``.

    Attributes:
        recipe: with the rules.
        ears: loads the recogniser by its card.
    """

    recipe: Recipe
    ears: Callable[[str], Ears]

    def __call__(self) -> Job:
        """Load the recogniser.

        Raises:
            InputError: the recipe has no check.
        """
        checker = load_checker(self.recipe, self.ears)
        if checker is None:
            raise InputError(f"the recipe {self.recipe.name} has no check")

        def check(task: Task) -> Result:
            rows: list[Row] = []
            dropped: list[Row] = []
            folder = Path(task.content["folder"])
            for row in read_takes(folder):
                sound = Audio.read(folder / row["audio"]).resample(SAMPLE_RATE).samples
                sort(row, checker(sound, row["text"], row["language"], len(row["ids"])), rows, dropped)
            return Result(task.id, {"id": task.id, "ok": True, "rows": rows, "dropped": dropped})

        return check


@dataclass(frozen=True)
class ShardMaker:
    """Speaks planned takes.

    Attributes:
        recipe: of the corpus.
        teacher: who speaks.
        checker: who listens, if the recipe says so.
    """

    recipe: Recipe
    teacher: Teacher
    checker: Checker | None

    def make(self, task: Task) -> Result:
        """Make the takes of a shard; one that fails is dropped with the reason.

        A shard fails as a whole, so that it is tried again another day, if a model is not usable or if not a
        single take could be said.
        """
        started = time.perf_counter()
        suffix = f".{self.recipe.format}"
        rows: list[Row] = []
        dropped: list[Row] = []
        failed: list[Row] = []
        sounds: dict[str, bytes] = {}
        for at, content in enumerate(task.content["takes"]):
            take = PlannedTake.model_validate(content)
            try:
                row, sound = self.speak(take)
                row["audio"] = f"{at:03d}{suffix}"
                finding = Finding()
                if self.checker is not None:
                    finding = self.checker(sound, take.text, take.language, len(row["ids"]))
                data = encoded(Audio(np.clip(sound, -1, 1), SAMPLE_RATE), suffix)
            except ModelError as error:
                return failure(task.id, error, attempts=1)
            # One sentence must not end a night's work; what is wrong is in the report.
            except Exception as error:
                failed.append(unsaid(take, error))
                continue
            if sort(row, finding, rows, dropped):
                sounds[row["audio"]] = data
        if failed and not rows and not dropped:
            return failure(task.id, failed[-1]["reason"], attempts=1)
        dropped += failed
        spent = round(time.perf_counter() - started, 2)
        record = {"id": task.id, "ok": True, "rows": rows, "dropped": dropped, "spent_s": spent}
        return Result(task.id, record, pack(sounds))

    def speak(self, take: PlannedTake) -> tuple[Row, np.ndarray]:
        """Say a take.

        Returns:
            Its line but for the sound's name, and the sound, (n,) float32 at 24 kHz.

        Raises:
            InputError: it has too few or too many tokens.
        """
        phonemes, ids = self.teacher.phonemes(take.text, take.language)
        if not _SHORTEST_TOKENS <= len(ids) <= self.recipe.longest_tokens:
            raise InputError("too few or too many phonemes")
        intent = self.teacher.intend(ids, take.voices, take.speed)
        if take.style is not None:
            intent = take.style.apply(intent)
        sound, pitch = self.teacher.say(intent), intent.pitch
        if take.speaker is not None:
            sound, pitch = take.speaker.apply(sound, pitch)
        row = {
            **take.model_dump(exclude_none=True),
            "phonemes": phonemes,
            "ids": ids,
            "durations": intent.durations.tolist(),
            "pitch": [round(float(value), 1) for value in pitch],
            "seconds": round(len(sound) / SAMPLE_RATE, 3),
        }
        return row, sound


def unsaid(take: PlannedTake, error: Exception) -> Row:
    """What is told of a take that could not be said."""
    known = isinstance(error, StepAudioError)
    reason = str(error) if known else f"{type(error).__name__}: {error}"
    facts: Row = {key: value for key, value in take.model_dump(exclude_none=True).items() if key in _TOLD}
    return facts | {"reason": " ".join(reason.split())[:300]}


def sort(row: Row, finding: Finding, kept: list[Row], dropped: list[Row]) -> bool:
    """Put a take where it belongs, with what the check found; whether it is kept."""
    if finding.wer is not None:
        row = {**row, "wer": finding.wer}
    if not finding.reason:
        kept.append(row)
        return True
    facts: Row = {key: row[key] for key in _TOLD if key in row}
    dropped.append(facts | {"reason": finding.reason, "heard": finding.heard})
    return False


def load_checker(recipe: Recipe, ears: Callable[[str], Ears]) -> Checker | None:
    """The check of a recipe, if it has one."""
    return None if recipe.check is None else Checker(recipe.check, ears(recipe.check.card))


def load_kokoro(runner: Runner = "graph", threads: int = 1) -> Teacher:
    """The real teacher, from the pulled models; the threads of torch are set for the whole process."""
    from stepaudio import hub

    if runner == "torch":
        import torch

        torch.set_num_threads(threads)
    return Kokoro(hub.folder(TEACHER_CARD), hub.folder(VOICES_CARD), runner, threads)


def load_whisper(card: str, threads: int = 1) -> Ears:
    """The recogniser of a card, from the pulled models."""
    from stepaudio import hub
    from stepaudio.recognition import WhisperEars

    ears = WhisperEars(hub.folder(card), threads=threads)
    ears.load()  # what is wrong with it shows before any work is done
    return ears
