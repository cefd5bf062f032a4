"""Runs of the ear: recordings and their texts, the language model's own answers, training, loading."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from stepaudio.audio import Audio
from stepaudio.features.whisper import RATE
from stepaudio.lm import mind
from stepaudio.lm.adaptor import Adaptor, AdaptorConfig, read_spelling
from stepaudio.lm.lowrank import Adapter, LowRankConfig, adapted
from stepaudio.lm.model import DecoderLM
from stepaudio.lm.prompts.chatml import ASSISTANT_OPEN, render
from stepaudio.lm.prompts.messages import user
from stepaudio.training import listening
from stepaudio.training.clips import held_out
from stepaudio.training.disturb import change_speed
from stepaudio.training.engine.shards import TAKES, read_takes
from stepaudio.training.lessons import Recording, Spoken, Teaching, by_fact, facts
from stepaudio.training.listening import Front
from stepaudio.training.loop import Plan, Progress, train
from stepaudio.training.work import Work

if TYPE_CHECKING:
    from stepaudio.lm.text import TextTokenizer

BATCH = 16
SORTED = 8
"""Batches' worth of recordings that are drawn together and sorted by length, so that little is padding."""
READ_AT_ONCE = 350
"""Characters of a text that the normaliser is given."""
COURSE = ("write", "write", "answer", "write", "ask", "answer")
"""Kinds of the batches, one after the other, once the language model takes part."""
LONG = 0.35
"""Share of a batch's usual size for batches of answers, which stand behind a long opening."""
LONGEST_S = 16.0
"""Seconds of a recording that are labelled; longer ones are left out."""
BEHIND = 0.25
"""Share of the questions that ask for the background."""
ANSWER_TOKENS = 48


class Ear(nn.Module):
    """What is trained: the adaptor, and the adapter of the language model."""

    def __init__(self, config: AdaptorConfig, lowrank: LowRankConfig, lm: DecoderLM) -> None:
        super().__init__()
        words = torch.arange(1000, device=lm.device)
        self.adaptor = Adaptor(config, float(lm.embed(words).float().square().mean().sqrt()))
        self.adapter = Adapter(lowrank, lm.config)


def written(text: str) -> str:
    """What the ear is to write: words as they are said, numbers spelled out, in one case."""
    from textwrap import wrap

    from stepaudio.speech.normalise import normalise

    said = " ".join(normalise(piece, "en-us") for piece in wrap(text, READ_AT_ONCE))
    kept = "".join(c if c.isalnum() or c == "'" else " " for c in said.lower().replace("’", "'"))
    return " ".join(kept.split())


def opening() -> str:
    """What stands before a conversation of nano's own, rendered."""
    return render(mind.opening(mind.Manner())).removesuffix(ASSISTANT_OPEN)


@torch.inference_mode()
def answers(
    lm: DecoderLM, tokenizer: "TextTokenizer", texts: Sequence[str], batch: int = 16
) -> Iterator[str]:
    """Yield what the language model answers to texts: the likeliest words, up to the end of a sentence.

    Args:
        lm: the language model, on any device.
        tokenizer: its own.
        texts: what is asked.
        batch: texts at a time.
    """
    before = mind.opening(mind.Manner())
    stops = torch.tensor(lm.config.eos_token_ids, device=lm.device)
    for first in range(0, len(texts), batch):
        prompts = [tokenizer.encode(render([*before, user(text)])) for text in texts[first : first + batch]]
        longest = max(map(len, prompts))
        ids = torch.zeros(len(prompts), longest, dtype=torch.long)
        mask = torch.zeros(len(prompts), longest, dtype=torch.bool)
        for row, prompt in enumerate(prompts):
            ids[row, : len(prompt)], mask[row, : len(prompt)] = torch.tensor(prompt), True
        cache = lm.new_cache(len(prompts), longest + ANSWER_TOKENS)
        logits = lm(ids.to(lm.device), cache=cache, mask=mask.to(lm.device), last_only=True)
        said = []
        ended = torch.zeros(len(prompts), dtype=torch.bool, device=lm.device)
        for _ in range(ANSWER_TOKENS):
            token = logits[:, -1].argmax(-1)
            said.append(token)
            ended |= torch.isin(token, stops)
            if bool(ended.all()):
                break
            logits = lm(token[:, None], cache=cache)
        for row in torch.stack(said, 1).tolist():
            end = next(
                (place for place, token in enumerate(row) if token in lm.config.eos_token_ids), len(row)
            )
            yield _whole(tokenizer.decode(row[:end]))


def _whole(text: str) -> str:
    """A text that may have been cut off, up to its last sentence."""
    text = " ".join(text.split())
    ends = [at for at, char in enumerate(text) if char in ".!?" and text[at + 1 : at + 2] in ("", " ")]
    return text[: ends[-1] + 1] if ends else text


def read_recordings(
    folder: Path, labels: Mapping[str, str], longest: float = LONGEST_S
) -> Iterator[Recording]:
    """Recordings of a data set or takes of a corpus, without long ones and those whose words nobody knows.

    Args:
        folder: with ``manifest.jsonl`` of ``audio`` and ``text``, or a folder of the data engine.
        labels: texts of recordings that have none, by the name of the sound.
        longest: seconds.
    """
    for place, row in _rows(folder):
        path = place / row["audio"]
        text = row.get("text") or labels.get(path.stem, "")
        if not text:
            continue
        audio = Audio.read(path).resample(RATE)
        if audio.seconds > longest:
            continue
        sound = (np.clip(audio.samples, -1, 1) * 32767).astype(np.int16)
        known = facts(row) if "pitch" in row and "ids" in row else {}
        words = text.lower() if text.isupper() else text
        yield Recording(f"{place.name}/{path.stem}", sound, written(words), words, facts=known)


def _rows(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The lines of a data set or of a corpus, each with the folder its sound lies in."""
    manifest = folder / "manifest.jsonl"
    if manifest.is_file():
        for line in manifest.read_text("utf-8").splitlines():
            yield folder, json.loads(line)
        return
    for takes in sorted(folder.glob(f"*/{TAKES}")):
        for row in read_takes(takes.parent):
            yield takes.parent, row


def split(recordings: Iterable[Recording], every: int = 40) -> tuple[list[Recording], list[Recording]]:
    """Recordings that are held out, one in `every` by name, and the others."""
    parts: tuple[list[Recording], list[Recording]] = ([], [])
    for recording in recordings:
        parts[not held_out(recording, every)].append(recording)
    return parts


def with_answers(
    recordings: Sequence[Recording], lm: DecoderLM, tokenizer: "TextTokenizer", batch: int = 16
) -> list[Recording]:
    """Recordings with what the language model answers to those that may be answered."""
    asked = sorted((each for each in recordings if each.asked), key=lambda each: len(each.asked))
    said = answers(lm, tokenizer, [each.asked for each in asked], batch)
    by_name = dict(zip((each.name for each in asked), said, strict=True))
    return [replace(each, answer=by_name.get(each.name, "")) for each in recordings]


class Course:
    """Draws the batch of a step: lessons of one kind on recordings of about equal length.

    Args:
        recordings: to learn from; more may be added between steps.
        teaching: makes lessons for the language model; without, all are to be spelled.
        size: of a batch.
        seed: of the choices.
    """

    def __init__(
        self,
        recordings: Iterable[Recording],
        teaching: Teaching | None = None,
        size: int = BATCH,
        seed: int = 0,
    ) -> None:
        self.teaching, self.size, self.seed = teaching, size, seed
        self.recordings: list[Recording] = []
        self.add(recordings)

    def add(self, recordings: Iterable[Recording]) -> None:
        """Learn from these too."""
        self.recordings += recordings
        in_order = sorted(self.recordings, key=lambda each: (len(each.sound), each.name))
        self._written = [each for each in in_order if each.text]
        self._answered = [each for each in in_order if each.answer]
        self._facts = by_fact(in_order)
        self._in_order = in_order

    def draw(self, step: int) -> list[Spoken]:
        """The batch of a step."""
        random = np.random.default_rng((self.seed, step))
        teaching = self.teaching
        if teaching is None:
            picked = _alike(self._written, self.size, random)
            return [Spoken(change_speed(each.sound, random), each.text) for each in picked]
        kind = COURSE[step % len(COURSE)]
        if kind == "ask" and self._facts:
            return [self._question(teaching, random) for _ in range(self.size)]
        if kind == "answer" and self._answered:
            picked = _alike(self._answered, max(1, round(LONG * self.size)), random)
            return [teaching.answer(each, random) for each in picked]
        return [teaching.write(each, random) for each in _alike(self._written, self.size, random)]

    def _question(self, teaching: Teaching, random: np.random.Generator) -> Spoken:
        """Every answer to every question is drawn as often."""
        keys = list(self._facts)
        name, value = keys[int(random.integers(len(keys)))]
        chosen = self._in_order[int(random.choice(self._facts[name, value]))]
        return teaching.ask(chosen, random, "background" if random.random() < BEHIND else name)


def _alike(in_order: Sequence[Recording], size: int, random: np.random.Generator) -> list[Recording]:
    start = int(random.integers(max(1, len(in_order) - SORTED * size + 1)))
    near = in_order[start : start + SORTED * size]
    return [near[int(i)] for i in random.permutation(len(near))[:size]]


def train_run(
    work: Path,
    run: str,
    course: Course,
    kept: Sequence[Recording],
    lm: DecoderLM,
    plan: Plan,
    front: Front,
    *,
    start: str | None = None,
    rank: int = 16,
) -> Progress:
    """Learn to spell, or where the course has a teaching all that the language model is to write; or go on.

    Args:
        work: the work folder.
        run: name of the run.
        course: of lessons.
        kept: recordings for the evaluation.
        lm: the language model, on the device of the plan; its weights are kept.
        plan: how.
        front: gives the features.
        start: another run to start from.
        rank: of the adapter.
    """
    torch.manual_seed(0)
    lm.requires_grad_(False)
    ear = Ear(AdaptorConfig(), _shape(rank), lm).to(plan.device)
    if start is not None:
        ear.load_state_dict(Work(work).best(start))
    models = None if course.teaching is None else (adapted(lm, ear.adapter), lm)
    tests = evaluations(course.teaching, kept)

    def evaluate(candidate: nn.Module) -> Mapping[str, float]:
        assert isinstance(candidate, Ear)
        figures: dict[str, list[float]] = {}
        for test in tests:
            for name, value in listening.losses(candidate.adaptor, models, test, front).items():
                figures.setdefault(name, []).append(float(value))
        return {name: float(np.mean(values)) for name, values in figures.items()}

    def loss(step: int) -> listening.Losses:
        return listening.losses(ear.adaptor, models, course.draw(step), front, seed=step)

    return train(ear, loss, evaluate, Work(work).folder / "runs" / run, plan)


def evaluations(teaching: Teaching | None, kept: Sequence[Recording]) -> list[list[Spoken]]:
    """Batches of held-out lessons, of each kind."""
    random = np.random.default_rng(0)
    spread = sorted(kept, key=lambda each: len(each.sound))
    written = _every([each for each in spread if each.text], 64)
    if teaching is None:
        return _batches([Spoken(each.sound, each.text) for each in written])
    answered = _every([each for each in spread if each.answer], 32)
    told = _every([each for each in spread if each.facts], 64)
    lessons = [
        [teaching.write(each) for each in written],
        [teaching.answer(each) for each in answered],
        [teaching.ask(each, random) for each in told],
    ]
    return [batch for part in lessons for batch in _batches(part)]


def _every(recordings: Sequence[Recording], count: int) -> Sequence[Recording]:
    return recordings[:: max(1, len(recordings) // count)][:count]


def _batches(lessons: Sequence[Spoken]) -> list[list[Spoken]]:
    return [list(lessons[first : first + BATCH]) for first in range(0, len(lessons), BATCH)]


def _shape(rank: int) -> LowRankConfig:
    return LowRankConfig(rank=rank, alpha=2.0 * rank, dropout=0.05)


def load_ear(work: Path, run: str, lm: DecoderLM) -> Ear:
    """The best model of a run.

    Raises:
        ModelError: there is none.
    """
    weights = Work(work).best(run)
    rank = next(value.shape[0] for name, value in weights.items() if name.endswith(".qkv.a"))
    ear = Ear(AdaptorConfig(), _shape(rank), lm)
    ear.load_state_dict(weights)
    return ear.eval().requires_grad_(False)


@torch.inference_mode()
def spelled(adaptor: Adaptor, spoken: Sequence[Spoken], front: Front) -> Iterator[str]:
    """What the adaptor alone spells."""
    for each in spoken:
        yield read_spelling(adaptor(front([each])[0])[1][0])
