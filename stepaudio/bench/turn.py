"""The suite `turn`: a spoken question answered aloud by nano, step by step and end to end."""

import time
from collections.abc import Callable

from stepaudio.bench.result import BenchResult, Figure, peak_memory_mb

QUESTION = "Can you tell me what the capital of {} is?"  # ten words
PLACES = ("France", "Italy", "Spain", "Japan", "Egypt", "Greece", "Poland", "Norway", "Canada", "Kenya")
SENTENCE = (
    "The quick brown fox jumps over the lazy dog, and then it walks home through the quiet evening rain."
)


def run_turn(repeats: int, progress: Callable[[str], None]) -> BenchResult:
    """Measure transcribe RTF, LM tokens/s, speak RTF, first audio, the whole turn and peak memory.

    Every figure is taken `repeats` times after one warm-up turn that loads the weights. Each turn asks about
    another place: what was heard before would be remembered.
    """
    from stepaudio.api import load
    from stepaudio.bench.lm import nano_tokens_per_second
    from stepaudio.bench.speech import voices_of
    from stepaudio.lm.mind import NanoMind

    sa = load("nano")
    mind = sa.family.mind
    assert isinstance(mind, NanoMind)
    progress("bench: making the questions")
    voices = voices_of(sa)
    first, *questions = (
        sa.speak(QUESTION.format(PLACES[turn % len(PLACES)]), voice=voices[turn // len(PLACES) % len(voices)])
        for turn in range(repeats + 1)
    )
    started = time.perf_counter()
    sa.chat(seed=0).send(first)
    warm_up = time.perf_counter() - started

    samples: dict[str, list[float]] = {name: [] for name in UNITS}
    for turn, question in enumerate(questions):
        progress(f"bench: turn {turn + 1} of {repeats}")
        samples["transcribe_rtf"].append(sa.transcribe(question).rtf)
        samples["lm_tokens_per_s"].append(nano_tokens_per_second(mind))
        started = time.perf_counter()
        speech = sa.speak(SENTENCE, seed=0)
        samples["speak_rtf"].append((time.perf_counter() - started) / speech.seconds)
        timings = sa.chat(seed=0).send(question).timings
        samples["first_text_s"].append(timings.first_text_s or 0.0)
        samples["first_audio_s"].append(timings.first_audio_s or 0.0)
        samples["turn_s"].append(timings.total_s or 0.0)
    samples["peak_memory_mb"].append(peak_memory_mb())
    figures = tuple(Figure(name, UNITS[name], tuple(values)) for name, values in samples.items())
    asked = f"Question: {first.seconds:.1f} s, {len(QUESTION.split())} words."
    return BenchResult("turn", figures, (f"{asked} First turn, with loading: {warm_up:.1f} s.",))


UNITS = {
    "transcribe_rtf": "s/s",
    "lm_tokens_per_s": "tokens/s",
    "speak_rtf": "s/s",
    "first_text_s": "s",
    "first_audio_s": "s",
    "turn_s": "s",
    "peak_memory_mb": "MB",
}
