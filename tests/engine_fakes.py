"""A quick teacher and recogniser for tests of the data engine, importable inside worker processes."""

import os
from pathlib import Path

import numpy as np

from stepaudio.results import Segment
from stepaudio.training.engine.teacher import Intent

TICKS = 6  # of every token
DEAF = "zebra"  # a text with this word is misheard


class Humming:
    """Every letter is a token of 150 ms; the sound carries the text's number, so that the ears know it."""

    def phonemes(self, text, language):
        return text, [1 + ord(char) % 100 for char in text]

    def intend(self, ids, voices, speed):
        mark = os.environ.get("ENGINE_FAKE_DEATH")
        if mark and not Path(mark).exists() and len(ids) % 7 == 0:
            Path(mark).touch()
            os.kill(os.getpid(), 9)
        durations = np.full(len(ids) + 2, max(1, round(TICKS / speed)), np.int64)
        ticks = int(durations.sum())
        pitch = np.full(2 * ticks, 120.0, np.float32)
        pitch[: ticks // 2] = 4.0
        return Intent(durations, np.zeros((1, 1, ticks)), pitch, np.zeros(2 * ticks), np.zeros((1, 256)))

    def say(self, intent):
        phase = 2 * np.pi * np.cumsum(np.repeat(intent.pitch, 300)) / 24_000
        return (0.3 * np.sin(phase)).astype(np.float32)


class Mute(Humming):
    """A teacher that is broken."""

    def say(self, intent):
        raise RuntimeError("no voice today")


class Hopeful:
    """Hears whatever it is asked to expect, but for the takes whose length is in ENGINE_FAKE_WRONG (ms)."""

    def transcribe(self, audio, language=None):
        wrong = os.environ.get("ENGINE_FAKE_WRONG", "").split(",")
        if str(round(1000 * audio.seconds)) in wrong:
            return [Segment(0.0, 1.0, "something else altogether was said here")]
        return [Segment(0.0, 1.0, os.environ.get("ENGINE_FAKE_TEXT", ""))]


def hopeful(card):
    return Hopeful()


def killing(folder: Path):
    """A teacher whose process dies once."""
    os.environ["ENGINE_FAKE_DEATH"] = str(folder / "died")
    return Humming()
