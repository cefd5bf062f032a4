"""What the ear learns from a recording: to write it down, to answer it, and to tell how it was said.

Source: arXiv 2507.16632, section 4 (the stages of training), at nano's size.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stepaudio.lm.prompts.chatml import ASSISTANT_OPEN, END, START
from stepaudio.lm.prompts.listening import WRITE_DOWN, heard_turn
from stepaudio.lm.prompts.questions import QUESTIONS
from stepaudio.lm.text import TextTokenizer
from stepaudio.training.disturb import Background, change_speed

LOW_HZ, HIGH_HZ = 135.0, 180.0
"""Median F0 up to which a voice is low, and from which it is high."""
SLOW, NORMAL, FAST = 11.5, (12.8, 15.2), 16.5
"""Phonemes a second, marks and spaces counted: slow up to the first, normal between, fast from the last."""
BACKGROUNDS: Mapping[str, Background] = {"quiet": "none", "noise": "noise", "music": "music"}


@dataclass(frozen=True, eq=False)
class Recording:
    """Something said.

    Attributes:
        name: of the recording.
        sound: (n,) int16 at 16 kHz.
        text: what is said, as the ear is to write it (`listening_run.written`); "" if nobody knows.
        asked: the same as somebody would type it, if it may be answered.
        answer: what the language model answers to it in text, if that is known.
        facts: what is known of how it was said, by name of the question.
    """

    name: str
    sound: np.ndarray
    text: str = ""
    asked: str = ""
    answer: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Spoken:
    """A lesson: a sound, and what the language model is to write on hearing it.

    Attributes:
        sound: (n,) int16 at 16 kHz; or (T, width) float16, features of the encoder at 50 Hz.
        text: what is said, if it is known; "" else.
        before: ids that stand before the sound.
        after: ids between the sound and the reply.
        reply: ids to write, the stop id last.
        read: ids of the same conversation with words for the sound; with them, the distribution over the
            reply's ids is learned that the language model has on reading.
        background: what to put behind the sound.
    """

    sound: np.ndarray
    text: str = ""
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()
    reply: tuple[int, ...] = ()
    read: tuple[int, ...] = ()
    background: Background = "any"


@dataclass(frozen=True)
class Teaching:
    """Makes lessons.

    Attributes:
        tokenizer: of the language model.
        opening: what stands before a conversation, rendered.
    """

    tokenizer: TextTokenizer
    opening: str = ""

    def write(self, recording: Recording, random: np.random.Generator | None = None) -> Spoken:
        """Write it down, at another speed now and then if `random`."""
        turn = heard_turn(self.tokenizer, WRITE_DOWN)
        sound = recording.sound if random is None else change_speed(recording.sound, random)
        reply = tuple(self.tokenizer.encode(recording.text + END))
        return Spoken(sound, recording.text, turn.before, turn.after, reply)

    def answer(self, recording: Recording, random: np.random.Generator | None = None) -> Spoken:
        """Answer it as its words would be answered."""
        turn = heard_turn(self.tokenizer, so_far=self.opening)
        sound = recording.sound if random is None else change_speed(recording.sound, random)
        words = f"{self.opening}{START}user\n{recording.asked}{END}\n{ASSISTANT_OPEN}"
        reply = tuple(self.tokenizer.encode(recording.answer + END))
        read = tuple(self.tokenizer.encode(words))
        return Spoken(sound, recording.text, turn.before, turn.after, reply, read)

    def ask(self, recording: Recording, random: np.random.Generator, name: str | None = None) -> Spoken:
        """Ask how it was said: one of the questions whose answer is known, or what is in the background."""
        known = [each for each in QUESTIONS if each.name in recording.facts or each.name == "background"]
        asked = next((each for each in known if each.name == name), None)
        if asked is None:
            asked = known[int(random.integers(len(known)))]
        background: Background = "any"
        if asked.name == "background":
            value = list(BACKGROUNDS)[int(random.integers(len(BACKGROUNDS)))]
            background = BACKGROUNDS[value]
        else:
            value = recording.facts[asked.name]
        wording = asked.wordings[int(random.integers(len(asked.wordings)))]
        turn = heard_turn(self.tokenizer, "\n" + wording)
        reply = tuple(self.tokenizer.encode(asked.answers[value] + END))
        return Spoken(recording.sound, recording.text, turn.before, turn.after, reply, background=background)


def facts(take: Mapping[str, Any]) -> dict[str, str]:
    """What is known of how a take of the data engine was said; what lies between two answers is left out.

    Args:
        take: ``voices``, ``ids``, ``seconds``, ``pitch`` in Hz at 80 Hz, ``style`` and ``speaker`` if any.
    """
    found = {}
    style = (take.get("style") or {}).get("name", "")
    genders = {name[1] for name in take["voices"]}
    if len(genders) == 1 and not take.get("speaker") and style != "whisper":
        found["gender"] = "woman" if genders == {"f"} else "man"
    voiced = [value for value in take["pitch"] if value > 60]
    if voiced and style != "whisper":
        found |= of_pitch(float(np.median(voiced)))
    rate = len(take["ids"]) / max(0.1, take["seconds"] - 0.5)  # the teacher's silence at both ends
    if len(take["ids"]) >= 15:
        found |= of_rate(rate)
    kinds = {"": "neutral", "calm": "calm", "excited": "excited", "whisper": "whispering"}
    if style in kinds and (style or 0.85 < take["speed"] < 1.15):
        found["emotion"] = kinds[style]
    return found


def of_pitch(median: float) -> dict[str, str]:
    """The answer to the question of pitch, if it is clear."""
    if median <= LOW_HZ:
        return {"pitch": "low"}
    return {"pitch": "high"} if median >= HIGH_HZ else {}


def of_rate(rate: float) -> dict[str, str]:
    """The answer to the question of speed, if it is clear."""
    if rate <= SLOW:
        return {"speed": "slow"}
    if rate >= FAST:
        return {"speed": "fast"}
    return {"speed": "normal"} if NORMAL[0] <= rate <= NORMAL[1] else {}


def by_fact(recordings: Sequence[Recording]) -> dict[tuple[str, str], list[int]]:
    """Indices of recordings by question and answer, so that each answer is drawn as often."""
    found: dict[tuple[str, str], list[int]] = {}
    for index, recording in enumerate(recordings):
        for name, value in recording.facts.items():
            found.setdefault((name, value), []).append(index)
    return found
