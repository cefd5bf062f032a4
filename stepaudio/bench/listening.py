"""The suite `listening`: nano's two paths beside each other, the one that hears and the one that reads.

Recordings of people come from a folder; questions and clips in different manners are made with the teacher's
voices, which the ear has heard in training, saying what it has not.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stepaudio.audio import Audio
from stepaudio.bench.result import BenchResult, Figure
from stepaudio.bench.speech import TEACHER, read_lines, read_recordings, sentences, voices_of
from stepaudio.families.base import Listener
from stepaudio.families.options import CASCADE, UNIFIED

if TYPE_CHECKING:
    from stepaudio.api import StepAudio

SAME = 0.5
"""Token F1 from which two answers count as the same."""


def run_listening(
    repeats: int, progress: Callable[[str], None], *, model: str, data: Path | None, limit: int
) -> BenchResult:
    """Measure words written down, answers, questions about manner, and the wait for the first word.

    Args:
        repeats: questions that are timed.
        progress: told what is being done.
        model: name of the model; questions about manner are asked if its card requires an ear.
        data: a folder of recordings with ``manifest.jsonl``; without it the teacher's speech is written down.
        limit: recordings, questions, and clips of each question about manner, at most.

    Raises:
        InputError: the model does not hear by itself.
    """
    from stepaudio.api import load

    systems = {path: load(model, path=path) for path in (UNIFIED, CASCADE)}
    teacher = load(TEACHER)
    asked = questions()[:limit]
    figures: list[Figure] = []
    progress(f"bench: {len(asked)} questions are spoken")
    voices = voices_of(teacher)
    spoken = [teacher.speak(text, voice=voices[i % len(voices)]) for i, text in enumerate(asked)]
    if data is not None:
        recordings = [(each.audio, each.text) for each in read_recordings(data)][:limit]
    else:
        recordings = list(zip(spoken, asked, strict=True))
    # In text both paths answer by the same mind.
    answers = [reply_to(systems[CASCADE], text) for text in asked]
    for path, system in systems.items():
        progress(f"bench: {path}")
        # First, while no question has been heard: what was heard is remembered.
        system.warm_up()
        waits = [first_text_s(system, sound) for sound in spoken[: repeats + 1]][1:]
        figures.append(Figure(f"{path}_first_text_s", "s", tuple(waits)))
        wer, rtf = writing_down(system, recordings)
        figures.append(Figure(f"{path}_wer", "", (wer,)))
        figures.append(Figure(f"{path}_transcribe_rtf", "s/s", (rtf,)))
        figures.append(Figure(f"{path}_agreement", "", (agreement(system, spoken, answers),)))
    if isinstance(ear := systems[CASCADE].family.mind, Listener):
        for name, share in manner_accuracy(ear, teacher, limit, progress).items():
            figures.append(Figure(f"ask_{name}", "", (share,)))
    origin = f"recordings of {data.name}" if data else "the questions themselves"
    notes = (f"{len(asked)} questions; written down: {origin}; the same answer: token F1 of {SAME} or more.",)
    return BenchResult("listening", tuple(figures), notes)


def questions() -> list[str]:
    """Fifty questions of our own, one a line, none of which the ear has learned from."""
    return read_lines("questions.txt")


def writing_down(sa: "StepAudio", recordings: Sequence[tuple[Audio, str]]) -> tuple[float, float]:
    """Words wrong of all, after Whisper's normaliser, and seconds for a second of sound."""
    from stepaudio.evaluation.metrics.text import text_errors

    sa.family.ears.load()
    began = time.perf_counter()
    written = [sa.transcribe(audio).text for audio, _ in recordings]
    seconds = time.perf_counter() - began
    errors = [text_errors(text, wrote) for (_, text), wrote in zip(recordings, written, strict=True)]
    wrong = sum(each.count for each in errors) / max(1, sum(each.length for each in errors))
    return wrong, seconds / sum(audio.seconds for audio, _ in recordings)


def agreement(sa: "StepAudio", spoken: Sequence[Audio], answers: Sequence[str]) -> float:
    """Share of spoken questions that are answered as the same words were in text."""
    from stepaudio.evaluation.metrics.answers import token_f1

    same = 0
    for sound, answer in zip(spoken, answers, strict=True):
        same += token_f1(reply_to(sa, sound), [answer]) >= SAME
    return same / len(answers)


def reply_to(sa: "StepAudio", question: Audio | str) -> str:
    """The written reply, without a mouth."""
    from stepaudio.lm.prompts.messages import AudioPart, user

    if isinstance(question, Audio) and sa.family.partner is None:
        question = sa.transcribe(question).text
    turn = user(question if isinstance(question, str) else AudioPart(question))
    return "".join(sa.family.mind.stream([turn]))


def first_text_s(sa: "StepAudio", sound: Audio) -> float:
    """Seconds from the end of a question to the first words of the reply."""
    from stepaudio.dialogue.events import TextDelta

    began = time.perf_counter()
    for event in sa.chat().turn(sound):
        if isinstance(event, TextDelta):
            return time.perf_counter() - began
    return float("nan")


def manner_accuracy(
    mind: Listener, teacher: "StepAudio", limit: int, progress: Callable[[str], None]
) -> dict[str, float]:
    """Share of right answers to each question about how something is said, over sentences of our own."""
    from stepaudio.lm.prompts.questions import QUESTIONS
    from stepaudio.training.acted import in_manner

    shares = {}
    texts = [text for text in sentences() if len(text.split()) >= 5]
    for question in QUESTIONS:
        progress(f"bench: asking for the {question.name}")
        values = list(question.answers)
        right = 0
        for index in range(limit):
            value = values[index % len(values)]
            clip = in_manner(teacher, texts[(7 * index) % len(texts)], question.name, value, index)
            said = mind.ask(clip, question.wordings[0])
            right += question.value(said) == value
        shares[question.name] = right / limit
    return shares
