"""Systems and data for tests of the evaluation, importable inside worker processes."""

import json
import os
import time
from pathlib import Path

import numpy as np

from stepaudio.audio import Audio
from stepaudio.evaluation.systems.base import Answer, Unable

NAP = float(os.environ.get("EVAL_FAKE_NAP", "0"))


class Napping(Unable):
    """Hears a clip's length as its words, after a nap; fails or dies where it is told to."""

    name = "napping"
    abilities = frozenset({"transcribe", "speak", "reply"})

    def transcribe(self, audio, language):
        time.sleep(NAP)
        number = round(audio.seconds * 1000)
        if str(number) in os.environ.get("EVAL_FAKE_FAIL", "").split(","):
            raise RuntimeError("it does not work")
        mark = os.environ.get("EVAL_FAKE_DEATH")
        if mark and number == 110 and not Path(mark).exists():
            Path(mark).touch()
            os.kill(os.getpid(), 9)
        return Answer(f"clip {number}", audio, timings={"total_s": NAP})

    def speak(self, text, *, style, seed, prompt=None, prompt_text=""):
        return Answer(text, tone(len(text) / 20), timings={"total_s": 0.1, "first_audio_s": 0.05})

    def reply(self, conversation):
        return Answer("It is Paris, of course.", tone(0.5), timings={"total_s": 0.1})


def tone(seconds: float) -> Audio:
    time_axis = np.arange(round(16_000 * seconds)) / 16_000
    return Audio((0.3 * np.sin(2 * np.pi * 220 * time_axis)).astype(np.float32), 16_000)


def write_clips(folder: Path, count: int) -> Path:
    """A manifest of `count` clips whose words are their length in ms; every fifth is wrong by one word."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for at in range(count):
        number = 100 + at
        tone(number / 1000).save(folder / f"{at:04}.wav")
        text = f"clip {number}" if at % 5 else "tape " + str(number)
        lines.append(json.dumps({"audio": f"{at:04}.wav", "text": text, "group": f"g{at % 3}"}))
    (folder / "manifest.jsonl").write_text("\n".join(lines) + "\n")
    return folder
