"""A chat session: the user's turn in (sound or text), the reply out as events, spoken while it is written."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from stepaudio.audio import Audio, concat
from stepaudio.cancel import Cancel, CancelToken
from stepaudio.dialogue.events import (
    AudioDelta,
    Done,
    Event,
    Heard,
    Interrupted,
    SpeechStarted,
    TextDelta,
)
from stepaudio.errors import InputError
from stepaudio.families.base import Family, Partner
from stepaudio.results import Reply, Segment, Timings, Transcript

if TYPE_CHECKING:
    from stepaudio.dialogue.turns import TurnDetector
    from stepaudio.lm.prompts.messages import Message
    from stepaudio.styles import Style
    from stepaudio.voices import Voice

Source = str | Path | bytes | Audio


def transcribe(family: Family, source: Source, language: str | None = None) -> Transcript:
    """Recognise one clip with the family's ears.

    Raises:
        AudioError: the clip cannot be read.
        InputError: the family does not know `language`.
    """
    started = time.perf_counter()
    audio = source if isinstance(source, Audio) else Audio.read(source)
    segments: tuple[Segment, ...] = tuple(family.ears.transcribe(audio, language))
    return Transcript(
        text=" ".join(segment.text for segment in segments),
        language=language or "en",
        segments=segments,
        audio_seconds=audio.seconds,
        seconds=time.perf_counter() - started,
    )


@dataclass
class Chat:
    """A conversation with one family; keeps the history and can be interrupted from another thread.

    Args:
        family: the loaded ears, mind and mouth.
        voice: the voice of the replies.
        style: the style of the replies.
        system: instructions to the mind; ``None`` keeps the family's own for spoken answers.
        seed: makes the speech of the replies repeatable.
    """

    family: Family
    voice: "Voice"
    style: "Style"
    system: str | None = None
    language: str | None = None
    seed: int | None = None
    history: "list[Message]" = field(default_factory=list)
    cancel: Cancel = field(default_factory=Cancel)

    def interrupt(self) -> None:
        """Stop the reply that is being made; nothing of it is emitted from here on."""
        self.cancel.cancel()

    def send(self, source: Source | None = None, *, text: str | None = None) -> Reply:
        """Take one turn and return the complete reply.

        Args:
            source: a spoken question: path, encoded bytes or `Audio`.
            text: a typed question instead.

        Raises:
            AudioError: the question cannot be read.
            InputError: neither or both are given, or nothing was said in the question.
        """
        for event in self.turn(source, text=text):
            if isinstance(event, Done):
                return event.reply
        raise InputError("the turn was interrupted before the reply was complete")

    def turn(self, source: Source | None = None, *, text: str | None = None) -> Iterator[Event]:
        """Take one turn and yield its events; speech follows each clause as soon as it is written.

        The first event is `Heard` when the question was sound, the last is `Done` or `Interrupted`. A family
        that hears the sound itself answers first, and gives `Heard` after the reply.
        """
        if self.family.partner is None:
            yield from self._cascade(source, text)
        else:
            yield from self._with_partner(self.family.partner, source, text)

    def _cascade(self, source: Source | None, text: str | None) -> Iterator[Event]:
        """Transcribe the question, write the reply, speak it."""
        from stepaudio.lm.prompts.messages import assistant, user
        from stepaudio.speech.stream import SpeechStream

        token = self.cancel.token()
        started = time.perf_counter()
        transcript = self._question(source, text)
        transcribe_s = time.perf_counter() - started if source is not None else None
        if source is not None:
            yield Heard(transcript)
        if not transcript.text:
            raise InputError("no speech was found in the question")

        messages = [*self._system(), *self.history, user(transcript.text)]
        speech = SpeechStream(self.family.mouth, voice=self.voice, style=self.style, seed=self.seed)
        state = speech.start()
        clock = _Clock(started)
        written: list[str] = []
        spoken: list[Audio] = []
        for delta in self.family.mind.stream(messages, cancel=token):
            if token.cancelled:
                break
            clock.text()
            written.append(delta)
            yield TextDelta(delta)
            yield from self._say(speech.push(state, delta), spoken, clock, token)
        if not token.cancelled:
            yield from self._say(speech.finish(state), spoken, clock, token)

        # What was said before an interruption was said: it belongs to the history.
        reply_text = "".join(written).strip()
        self.history += [user(transcript.text), assistant(reply_text)]
        if token.cancelled:
            yield Interrupted()
            return
        audio = concat(spoken) if spoken else None
        timings = Timings(
            transcribe_s, clock.first_text_s, clock.first_audio_s, time.perf_counter() - started
        )
        yield Done(Reply(transcript.text, reply_text, audio, timings, model=self.family.name))

    def _with_partner(self, partner: Partner, source: Source | None, text: str | None) -> Iterator[Event]:
        """Let a partner hear and answer; write the question down afterwards, when nobody waits for it."""
        from stepaudio.lm.prompts.messages import assistant, user

        token, clock = self.cancel.token(), _Clock(time.perf_counter())
        question = self._sound_or_words(source, text)
        kept: Message | None = None
        written: list[str] = []
        spoken: list[Audio] = []
        messages = [*self._system(), *self.history, user(question)]
        pieces = partner.answer(messages, voice=self.voice, style=self.style, seed=self.seed, cancel=token)
        for piece in pieces:
            if token.cancelled:
                break
            kept = piece.turn or kept
            if piece.text:
                clock.text()
                written.append(piece.text)
                yield TextDelta(piece.text)
            if piece.audio is not None:
                yield from self._say([piece.audio], spoken, clock, token)
        total_s, started = time.perf_counter() - clock.started, time.perf_counter()
        transcript = self._question(question if source is not None else None, text)
        transcribe_s = time.perf_counter() - started if source is not None else None
        reply_text = "".join(written).strip()
        remembered = question if partner.keeps_sound else transcript.text
        self.history += [user(remembered), kept or assistant(reply_text)]
        if source is not None:
            yield Heard(transcript)
        if token.cancelled:
            yield Interrupted()
            return
        audio = concat(spoken) if spoken else None
        timings = Timings(transcribe_s, clock.first_text_s, clock.first_audio_s, total_s)
        yield Done(Reply(transcript.text, reply_text, audio, timings, model=self.family.name))

    def _sound_or_words(self, source: Source | None, text: str | None) -> Audio | str:
        if (source is None) == (text is None):
            raise InputError("give either a spoken question or text, not both and not none")
        if source is None:
            words = (text or "").strip()
            if not words:
                raise InputError("the question is empty")
            return words
        return source if isinstance(source, Audio) else Audio.read(source)

    def stream(self, chunks: Iterable[Audio], detector: "TurnDetector | None" = None) -> Iterator[Event]:
        """Hold a conversation over microphone `chunks`: every turn found in them is answered.

        The chunks are read between turns only; speech over a reply is handled by calling `interrupt`.
        """
        from stepaudio.dialogue.turns import TurnDetector, TurnStarted, find_turns

        for found in find_turns(chunks, detector or TurnDetector()):
            if isinstance(found, TurnStarted):
                yield SpeechStarted(found.at)
            else:
                yield from self._spoken_turn(found.audio)

    def _spoken_turn(self, audio: Audio) -> Iterator[Event]:
        try:
            yield from self.turn(audio)
        except InputError:
            return  # a cough or a slammed door: nothing was said, so nothing is answered

    def _question(self, source: Source | None, text: str | None) -> Transcript:
        if (source is None) == (text is None):
            raise InputError("give either a spoken question or text, not both and not none")
        if source is not None:
            return transcribe(self.family, source, self.language)
        return Transcript((text or "").strip(), self.language or "en", (), 0.0, 0.0)

    def _system(self) -> "list[Message]":
        from stepaudio.lm.prompts.messages import system

        return [system(self.system)] if self.system else []

    def _say(
        self, chunks: Iterable[Audio], spoken: list[Audio], clock: "_Clock", token: CancelToken
    ) -> Iterator[Event]:
        for chunk in chunks:
            if token.cancelled:
                return
            clock.audio()
            spoken.append(chunk)
            yield AudioDelta(chunk)


@dataclass
class _Clock:
    """Notes when the first text and the first sound of a reply came, in seconds since `started`."""

    started: float
    first_text_s: float | None = None
    first_audio_s: float | None = None

    def text(self) -> None:
        if self.first_text_s is None:
            self.first_text_s = time.perf_counter() - self.started

    def audio(self) -> None:
        if self.first_audio_s is None:
            self.first_audio_s = time.perf_counter() - self.started
