"""The two jobs of a run, made inside the workers: performing items, and judging outputs."""

from dataclasses import dataclass
from pathlib import Path

from stepaudio.audio import Audio
from stepaudio.evaluation.items import Item, Output
from stepaudio.workers.work import PATIENCE, Job, Patience, Patient, Result, Task


@dataclass(frozen=True)
class JudgeSpec:
    """Which language model judges, if any.

    Attributes:
        address: ``URL#MODEL``; empty for none.
        votes: how often each question is put.
        cache: folder of kept verdicts; ``None`` is the user's cache.
    """

    address: str = ""
    votes: int = 3
    cache: Path | None = None


BY_RULES = JudgeSpec()


@dataclass(frozen=True)
class Performing:
    """Makes the job that puts items to a system.

    Attributes:
        suite: name or YAML file.
        system: what was given as ``--model``.
        data: the data folder.
        patience: how often a failed item is tried again.
    """

    suite: str
    system: str
    data: Path
    patience: Patience = PATIENCE

    def __call__(self) -> Job:
        """Load suite and system."""
        from stepaudio.evaluation.suites.base import Stage
        from stepaudio.evaluation.suites.registry import load_suite
        from stepaudio.evaluation.systems.base import Unsupported
        from stepaudio.evaluation.systems.registry import load_system

        suite = load_suite(self.suite)
        stage = Stage(load_system(self.system), self.data)

        def perform(task: Task) -> Result:
            try:
                output = suite.perform(_item(task), stage)
            except Unsupported as error:
                return Result(task.id, {"id": task.id, "ok": True, "unsupported": str(error)})
            record = {
                "id": task.id,
                "ok": True,
                "text": output.text,
                "tool_calls": list(output.tool_calls),
                "timings": output.timings,
                "details": output.details,
                "audio": None,
            }
            return Result(task.id, record, None if output.audio is None else to_flac(output.audio))

        return Patient(perform, self.patience)


@dataclass(frozen=True)
class Judging:
    """Makes the job that judges outputs.

    Attributes:
        suite: name or YAML file.
        data: the data folder.
        judge: the language model, if any.
        patience: how often a failed verdict is tried again.
    """

    suite: str
    data: Path
    judge: JudgeSpec = BY_RULES
    patience: Patience = PATIENCE

    def __call__(self) -> Job:
        """Load suite and instruments."""
        from stepaudio.evaluation.judges.cache import VerdictCache
        from stepaudio.evaluation.judges.llm import LlmJudge
        from stepaudio.evaluation.suites.base import Bench
        from stepaudio.evaluation.suites.registry import load_suite

        suite = load_suite(self.suite)
        llm = None
        if self.judge.address:
            cache = VerdictCache(self.judge.cache) if self.judge.cache else None
            llm = LlmJudge(self.judge.address, votes=self.judge.votes, cache=cache)
        bench = Bench(self.data, llm)

        def judge(task: Task) -> Result:
            verdict = suite.judge(_item(task), _output(task), bench)
            scores = {name: list(score) for name, score in verdict.scores.items()}
            return Result(task.id, {"id": task.id, "ok": True, "scores": scores, "details": verdict.details})

        return Patient(judge, self.patience)


def to_flac(audio: Audio) -> bytes:
    """Return a clip as 16-bit FLAC."""
    import io

    import soundfile

    stream = io.BytesIO()
    soundfile.write(stream, audio.samples.clip(-1, 1), audio.sample_rate, format="FLAC", subtype="PCM_16")
    return stream.getvalue()


def _item(task: Task) -> Item:
    item = task.content["item"]
    return Item(item["id"], item["group"], item["content"])


def _output(task: Task) -> Output:
    line = task.content["output"]
    audio = None if task.data is None else Audio.read(task.data)
    return Output(line["text"], audio, tuple(line["tool_calls"]), line["timings"], line["details"])
