"""Sentences that the teacher says in a manner that is known: to learn from, and to be measured by."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stepaudio.audio import Audio
from stepaudio.features.heard import RATE, Hearing
from stepaudio.lm.prompts.questions import QUESTIONS
from stepaudio.training.heard import KINDS, PER_SHARD, of_pitch, said_in, save_shard, with_background

if TYPE_CHECKING:
    from stepaudio.api import StepAudio

LOW, HIGH = (85.0, 125.0), (190.0, 260.0)
"""Median F0 in Hz of voices that are clearly low, and high."""
SET = "acted"
"""Name of the set."""
LEARNED = 1000
"""Numbers of takes to learn from start here; those below are for measurements."""


def hear_acted(
    teacher: "StepAudio", texts: Sequence[str], out: Path, hearing: Hearing, count: int
) -> Iterator[Path]:
    """Say sentences in every manner, hear them, and yield shards as they are written.

    Args:
        teacher: speaks.
        texts: to say.
        out: gets the shards; those that exist already are left.
        hearing: hears.
        count: takes in all.
    """
    out.mkdir(parents=True, exist_ok=True)
    told = [(question.name, value) for question in QUESTIONS for value in question.words]
    for first in range(0, count, PER_SHARD):
        path = out / f"{SET}-plain-{first // PER_SHARD:04d}.npz"
        if path.exists():
            continue
        found, rows = [], []
        for index in range(first, min(count, first + PER_SHARD)):
            name, value = told[index % len(told)]
            text = texts[(7 * index) % len(texts)]
            clip = in_manner(teacher, text, name, value, LEARNED + index)
            heard = hearing(clip.resample(RATE).samples)
            facts = {name: value}
            if name in ("gender", "speed", "pitch"):
                facts |= {"background": "quiet"}
            if name in ("gender", "speed"):
                facts |= of_pitch(heard.median_hz)
            if name in ("gender", "pitch"):
                facts |= {"speed": "normal", "emotion": "neutral"}
            found.append(heard)
            rows.append({"name": f"{SET}/{index}", "variant": "plain", "text": text, "facts": facts})
        save_shard(path, found, rows)
        yield path


def in_manner(teacher: "StepAudio", text: str, name: str, value: str, seed: int) -> Audio:
    """A sentence said so that the answer to a question is known."""
    from stepaudio.voices import list_voices

    random = np.random.default_rng((1, seed))
    gender = {"man": "male", "woman": "female"}.get(value)
    voices = [info for info in list_voices("kokoro") if gender in (None, info.gender)]
    voice = voices[int(random.integers(len(voices)))].name
    speed = {"slow": random.uniform(0.6, 0.75), "fast": random.uniform(1.35, 1.6)}.get(value, 1.0)
    clip = teacher.speak(text, voice=voice, style=f"speed={speed:.2f}")
    if name == "pitch":
        return at_pitch(clip, random.uniform(*LOW if value == "low" else HIGH))
    if name == "emotion":
        style = next(style for style, told in KINDS.items() if told == value)
        return said_in(clip, style, random)
    if name == "background":
        return Audio(with_background(clip.resample(RATE).samples, value, random), RATE)
    return clip


def at_pitch(clip: Audio, hz: float) -> Audio:
    """A clip whose median F0 is `hz`."""
    from stepaudio.decoder.world import analyse, synthesise

    frames = analyse(clip)
    voiced = frames.f0[frames.f0 > 0]
    return synthesise(frames.pitched(hz / float(np.median(voiced)))) if len(voiced) else clip
