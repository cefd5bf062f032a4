"""A family without weights: scripted ears and mind, and a mouth that says each clause as a tone."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from stepaudio.audio import Audio
from stepaudio.families.base import Family
from stepaudio.results import Segment
from stepaudio.voices import Voice, VoiceInfo, find_voice


@dataclass
class FakeEars:
    text: str = "How are you today?"
    heard: list[Audio] = field(default_factory=list)

    def load(self) -> None: ...

    def transcribe(self, audio: Audio, language: str | None = None) -> Iterator[Segment]:
        self.heard.append(audio)
        if self.text:
            yield Segment(0.0, audio.seconds, self.text)


@dataclass
class FakeMind:
    reply: str = "I am fine, thank you very much. And how are you doing today? Well, I hope."
    asked: list[list[tuple[str, str]]] = field(default_factory=list)

    def load(self) -> None: ...

    def stream(self, messages, *, cancel=None) -> Iterator[str]:
        self.asked.append([(m.role, m.text) for m in messages])
        for word in self.reply.split(" "):
            yield word + " "


@dataclass
class FakeMouth:
    sample_rate: int = 8000
    default_voice: str = "ada"
    languages: tuple[str, ...] = ("en",)
    said: list[tuple[str, str, str, int | None]] = field(default_factory=list)

    def load(self) -> None: ...

    def voice(self, name: str):
        return find_voice(name)

    def speak(self, text, *, voice, style, seed=None) -> Iterator[Audio]:
        self.said.append((text, voice.name, str(style), seed))
        time = np.arange(80 * len(text)) / self.sample_rate
        yield Audio((0.5 * np.sin(2 * np.pi * 200 * time)).astype(np.float32), self.sample_rate)


@dataclass
class FakeCloner:
    made: list[tuple[Audio, str | None, str]] = field(default_factory=list)

    def clone(self, audio: Audio, *, name: str, transcript: str | None, consent: str) -> Voice:
        self.made.append((audio, transcript, consent))
        info = VoiceInfo(name, "fake", "cloned", "en", "unknown", "the speaker's own", consent, "clip")
        return Voice(info, {"speaker": np.ones(4, np.float32)})


def fake_family(**parts) -> Family:
    boxes = {"ears": FakeEars(), "mind": FakeMind(), "mouth": FakeMouth()} | parts
    return Family(name="fake", **boxes)


def tone(seconds: float = 1.0, rate: int = 16_000) -> Audio:
    time = np.arange(round(seconds * rate)) / rate
    return Audio((0.3 * np.sin(2 * np.pi * 220 * time)).astype(np.float32), rate)
