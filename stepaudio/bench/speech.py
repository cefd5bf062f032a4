"""The suite `speech`: what a mouth, a codec and cloned voices are worth, the teacher beside them.

Judges are models that nano is not made of: Whisper base, GE2E and DNSMOS. Recordings of people come from a
folder; without one the teacher's speech stands for them, and cloning is not measured.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stepaudio.audio import Audio
from stepaudio.bench.result import BenchResult, Figure
from stepaudio.errors import InputError

if TYPE_CHECKING:
    from stepaudio.api import StepAudio
    from stepaudio.training.judge import Judge, Take

TEACHER = "nano-kokoro"
TEXTS_A_CLONE = 6
LONG = 30
"""Characters from which a sentence takes the 1.6 s that the speaker encoder wants to hear."""
LOST, ADDED = 2, 3
"""Words at the end that may be lost, or added, before an ending counts as cut or babble."""


@dataclass(frozen=True)
class Recording:
    """A recording of a person: its sound, what is said, and by whom."""

    audio: Audio
    text: str
    speaker: str


@dataclass
class Bench:
    """What all parts need.

    Attributes:
        sa: the model under test.
        teacher: its teacher.
        judge: of speech.
        texts: sentences to say.
        progress: told what is being done.
        figures: measured so far.
    """

    sa: "StepAudio"
    teacher: "StepAudio"
    judge: "Judge"
    texts: Sequence[str]
    progress: Callable[[str], None]
    figures: list[Figure] = field(default_factory=list)

    def add(self, name: str, unit: str, samples: Sequence[float]) -> None:
        """Keep a figure."""
        self.figures.append(Figure(name, unit, tuple(float(value) for value in samples)))


def run_speech(
    repeats: int, progress: Callable[[str], None], *, model: str, data: Path | None, limit: int
) -> BenchResult:
    """Measure resynthesis, speaking, cloning, endings, speed and memory.

    Args:
        repeats: runs of what is timed.
        progress: told what is being done.
        model: name of the model.
        data: a folder of recordings with ``manifest.jsonl`` (``audio``, ``text``, ``speaker``).
        limit: sentences, and recordings, at most.

    Raises:
        InputError: the model has no codec, or the folder holds no recordings.
    """
    from stepaudio.api import load
    from stepaudio.training.autoencoder_run import default_judge

    texts = sentences()[:limit]
    bench = Bench(load(model), load(TEACHER), default_judge(), texts, progress)
    memory = memory_of_mouth(bench.sa)
    speed(bench, repeats)
    bench.add("memory_added_mb", "MB", [memory])
    speaking(bench)
    recordings = list(read_recordings(data))[:limit] if data else teacher_recordings(bench, min(limit, 12))
    resynthesis(bench, recordings)
    if data:
        cloning(bench, recordings)
    origin = f"recordings of {data.name}" if data else "the teacher's speech in place of recordings"
    return BenchResult("speech", tuple(bench.figures), (f"{len(texts)} sentences; {origin}.",))


def sentences() -> list[str]:
    """A hundred sentences of our own, one a line: numbers, dates, names, questions, short and long."""
    return read_lines("sentences.txt")


def read_lines(name: str) -> list[str]:
    """The lines of a file of texts of our own."""
    text = files("stepaudio.bench").joinpath("data", name).read_text("utf-8")
    return [line for line in text.splitlines() if line.strip()]


def read_recordings(folder: Path) -> Iterator[Recording]:
    """Read a folder's manifest and its clips.

    Raises:
        InputError: there is no manifest.
    """
    manifest = folder / "manifest.jsonl"
    if not manifest.is_file():
        raise InputError(f"{folder}: no manifest.jsonl of audio, text and speaker")
    for line in manifest.read_text("utf-8").splitlines():
        row = json.loads(line)
        if row.get("text"):
            yield Recording(Audio.read(folder / row["audio"]), row["text"], str(row.get("speaker", "")))


def teacher_recordings(bench: Bench, count: int) -> list[Recording]:
    """The teacher's own speech, where no recordings are at hand."""
    texts = bench.texts[-count:]
    return [Recording(bench.teacher.speak(text, voice="ben"), text, "ben") for text in texts]


def memory_of_mouth(sa: "StepAudio") -> float:
    """MB that the process grows by when the mouth is loaded and says a sentence."""
    before = _resident_mb()
    sa.family.mouth.load()
    sa.speak("This is what a mouth needs to say one sentence of ordinary length.")
    return _resident_mb() - before


def speed(bench: Bench, repeats: int) -> None:
    """Real-time factor and first sound, the teacher's beside them."""
    text = "The quick brown fox jumps over the lazy dog, and then it walks home through the evening rain."
    for name, sa in (("", bench.sa), ("teacher_", bench.teacher)):
        sa.speak(text)
        factors, firsts = [], []
        for _ in range(repeats):
            began = time.perf_counter()
            chunks, first = [], 0.0
            for chunk in sa.stream(text):
                first = first or time.perf_counter() - began
                chunks.append(chunk.seconds)
            factors.append((time.perf_counter() - began) / sum(chunks))
            firsts.append(first)
        bench.add(f"{name}speak_rtf", "s/s", factors)
        bench.add(f"{name}first_audio_s", "s", firsts)


def speaking(bench: Bench) -> None:
    """Say all sentences in shipped voices, in turn; judge words, opinion and endings."""
    from stepaudio.training.judge import Take

    names = voices_of(bench.sa)
    for prefix, sa in (("tts_", bench.sa), ("teacher_", bench.teacher)):
        bench.progress(f"bench: {sa.name} says {len(bench.texts)} sentences")
        takes = [Take(sa.speak(t, voice=names[i % len(names)]), t) for i, t in enumerate(bench.texts)]
        verdict = bench.judge(takes)
        bench.add(f"{prefix}wer", "", [verdict.wer])
        bench.add(f"{prefix}mos", "DNSMOS", [verdict.mos])
        bench.add(f"{prefix}bad_endings", "sentences", [bad_endings(bench.judge, takes)])


def voices_of(sa: "StepAudio") -> list[str]:
    """Names of the shipped voices of a model's mouth."""
    from stepaudio.voices import list_voices

    family = sa.voice(None).info.family
    return [info.name for info in list_voices(family) if info.source != "a clip"]


def bad_endings(judge: "Judge", takes: "Sequence[Take]") -> int:
    """How many takes lack their last words or go on behind them, as the judge hears them."""
    return sum(ends_badly(take.text, judge.hear(take.audio)) for take in takes)


def ends_badly(text: str, heard: str) -> bool:
    """Whether a take lacks its last words or goes on behind them."""
    import jiwer

    from stepaudio.evaluation.metrics.text import normalise

    wanted, got = normalise(text), normalise(heard)
    if not wanted or not got:
        return bool(wanted)
    (chunks,) = jiwer.process_words(wanted, got).alignments
    last = chunks[-1]
    if last.type == "delete":
        return last.ref_end_idx - last.ref_start_idx >= min(LOST, len(wanted.split()))
    return last.type == "insert" and last.hyp_end_idx - last.hyp_start_idx >= ADDED


def resynthesis(bench: Bench, recordings: Sequence[Recording]) -> None:
    """Recordings through the codes and back in their own cloned voice, against the recordings."""
    from stepaudio.training.judge import Take

    bench.progress(f"bench: {len(recordings)} recordings to codes and back")
    originals, copies = [], []
    codec, cloner = bench.sa.codec, bench.sa.family.cloner
    if cloner is None:
        raise InputError(f"{bench.sa.name} cannot clone voices")
    spent = sounded = 0.0
    for each in recordings:
        voice = cloner.clone(each.audio, name="copy", transcript=None, consent="benchmark")
        began = time.perf_counter()
        made = codec.decode(codec.encode(each.audio), voice=voice)
        spent, sounded = spent + time.perf_counter() - began, sounded + each.audio.seconds
        originals.append(Take(each.audio, each.text))
        copies.append(Take(made, each.text, each.audio, each.audio))
    before, after = bench.judge(originals), bench.judge(copies)
    bench.add("original_wer", "", [before.wer])
    bench.add("resynthesis_wer", "", [after.wer])
    bench.add("original_mos", "DNSMOS", [before.mos])
    bench.add("resynthesis_mos", "DNSMOS", [after.mos])
    bench.add("resynthesis_similarity", "GE2E", [after.similarity])
    bench.add("pitch_correlation", "", [after.pitch])
    bench.add("codec_rtf", "s/s", [spent / sounded])


def cloning(bench: Bench, recordings: Sequence[Recording]) -> None:
    """Voices of clips say sentences; how like the speaker's other clips they are, and those each other."""
    from stepaudio.decoder.ge2e import similarity
    from stepaudio.training.judge import Take

    by_speaker: dict[str, list[Recording]] = {}
    for each in recordings:
        by_speaker.setdefault(each.speaker, []).append(each)
    cloner, embed = bench.sa.family.cloner, bench.judge.embed
    assert cloner is not None
    cloned: list[float] = []
    same: list[float] = []
    takes: list[Take] = []
    texts = [text for text in sentences() if len(text) >= LONG]
    for speaker, clips in by_speaker.items():
        if len(clips) < 2:
            continue
        bench.progress(f"bench: the voice of {speaker}")
        voice = cloner.clone(clips[0].audio, name="clone", transcript=None, consent="benchmark")
        others = [embed(clip.audio) for clip in clips[1:6]]
        same += [similarity(embed(clips[0].audio), other) for other in others]
        for index in range(TEXTS_A_CLONE):
            text = texts[(7 * len(takes) + 3 * index) % len(texts)]
            made = bench.sa.speak(text, voice=voice)
            takes.append(Take(made, text))
            cloned.append(float(np.mean([similarity(embed(made), other) for other in others])))
    if cloned:
        verdict = bench.judge(takes)
        bench.add("clone_similarity", "GE2E", cloned)
        bench.add("same_speaker_similarity", "GE2E", same)
        bench.add("clone_wer", "", [verdict.wer])


def _resident_mb() -> float:
    try:
        with open("/proc/self/status") as lines:
            return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) * 1024 / 1e6
    except (OSError, StopIteration):
        return 0.0
