"""What every suite is: a strict YAML description and a class that reads, performs and judges its items."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from stepaudio.audio import Audio
from stepaudio.errors import InputError
from stepaudio.evaluation.items import Item, Metric, Output, Verdict
from stepaudio.evaluation.systems.base import Ability, Answer, System

if TYPE_CHECKING:
    from stepaudio.api import StepAudio
    from stepaudio.decoder.ge2e import SpeakerEncoder
    from stepaudio.evaluation.judges.llm import LlmJudge
    from stepaudio.evaluation.metrics.dnsmos import Dnsmos
    from stepaudio.recognition import WhisperEars


class SuiteConfig(BaseModel):
    """What the YAML of a suite holds; the suites add fields of their own.

    Attributes:
        name: what users call it.
        kind: which class reads it.
        title: one line.
        about: where it comes from, its licence and its paper.
        dataset: ``owner/name`` on the hub, or empty when there is no public one.
        dataset_files: patterns of the files to fetch of it; empty for all.
        language: of the speech in it, ISO 639-1; empty leaves it to whoever listens.
        seed: for systems that sample.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    kind: str
    title: str
    about: str = ""
    dataset: str = ""
    dataset_files: tuple[str, ...] = ()
    language: str = "en"
    seed: int = 0


class JudgedByEar(SuiteConfig):
    """A suite that may judge what is heard in a spoken reply.

    Attributes:
        ears: card of the recogniser that the judge listens with.
        answer: ``text`` judges the words the system wrote; ``speech`` what the judge hears of its
            speech, where it gave any.
    """

    ears: str = "whisper-base"
    answer: Literal["text", "speech"] = "text"


class Bench:
    """The judge's instruments in one worker, loaded when first used.

    Args:
        data: folder that the items' sounds lie in.
        llm: a language model as judge, or ``None``.
    """

    def __init__(self, data: Path, llm: "LlmJudge | None" = None):
        self.data = data
        self.llm = llm
        self._ears: dict[str, WhisperEars] = {}

    def reference(self, name: str) -> Audio:
        """Read a sound of the data folder."""
        return Audio.read(inside(self.data, name))

    def hear(self, audio: Audio, card: str, language: str) -> str:
        """Transcribe a clip with the recogniser of `card`."""
        if card not in self._ears:
            from stepaudio import hub
            from stepaudio.recognition import WhisperEars

            self._ears[card] = WhisperEars(hub.ensure(card)[card])
        # An English-only checkpoint takes no language but English.
        spoken = None if card.endswith(".en") else language or None
        return " ".join(segment.text for segment in self._ears[card].transcribe(audio, spoken))

    @cached_property
    def speaker(self) -> "SpeakerEncoder":
        """The speaker encoder."""
        from stepaudio import hub
        from stepaudio.decoder.ge2e import CARD, SpeakerEncoder

        return SpeakerEncoder.load(hub.ensure(CARD)[CARD])

    @cached_property
    def dnsmos(self) -> "Dnsmos":
        """The predictor of opinion scores."""
        from stepaudio import hub
        from stepaudio.evaluation.metrics.dnsmos import CARD, Dnsmos

        return Dnsmos(hub.ensure(CARD)[CARD])


class Stage:
    """What an item is performed on: the system under test, the data, and a voice to ask with.

    Args:
        system: under test.
        data: folder that the items' sounds lie in.
    """

    def __init__(self, system: System, data: Path):
        self.system = system
        self.data = data
        self._askers: dict[str, StepAudio] = {}
        self._kept: dict[Any, Any] = {}

    def sound(self, name: str) -> Audio:
        """Read a sound of the data folder.

        Raises:
            AudioError: it cannot be read.
            InputError: the name leads out of the folder.
        """
        return Audio.read(inside(self.data, name))

    def ask(self, text: str, model: str, seed: int) -> Audio:
        """Say a question that exists as text only, the same way every time."""
        if model not in self._askers:
            from stepaudio.api import load

            self._askers[model] = load(model)
        return self._askers[model].speak(text, seed=seed)

    def once(self, key: Any, make: Callable[[], Any]) -> Any:
        """Return what `make` gives, and the same again for the same `key`: for what several items share."""
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]


class Suite(ABC):
    """A kind of evaluation.

    Args:
        config: of this suite's `Config`.
    """

    Config: ClassVar[type[SuiteConfig]] = SuiteConfig
    needs: Ability  # what a system must be able to do; the same for all suites of a class

    def __init__(self, config: Any):
        self.config = config

    @property
    def name(self) -> str:
        """What users call it."""
        return str(self.config.name)

    @abstractmethod
    def metrics(self) -> tuple[Metric, ...]:
        """All figures it can give, in the order of the report; those without items are left out there."""

    @abstractmethod
    def read(self, data: Path) -> list[Item]:
        """Read the items of a data folder in the published layout, in a stable order.

        Raises:
            InputError: the folder is not in that layout; one line says what was expected.
        """

    @abstractmethod
    def perform(self, item: Item, stage: Stage) -> Output:
        """Put one item to the system under test."""

    @abstractmethod
    def judge(self, item: Item, output: Output, bench: Bench) -> Verdict:
        """Say what an output is worth."""

    def missed(self, item: Item) -> Verdict:
        """Say what an item is worth that the system failed at; by default it counts nowhere."""
        return Verdict({})


def output_of(answer: Answer, **details: Any) -> Output:
    """Return a system's answer as what is written down."""
    if answer.heard:
        details["heard"] = answer.heard
    timings = {name: round(value, 4) for name, value in answer.timings.items()}
    return Output(answer.text, answer.audio, answer.tool_calls, timings, details)


def inside(folder: Path, name: str) -> Path:
    """Return the path of `name` in `folder`.

    Raises:
        InputError: it leads out of the folder.
    """
    path = folder / name
    if Path(name).is_absolute() or not path.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{name}: leads out of the data folder {folder}")
    return path
