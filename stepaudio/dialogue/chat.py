"""A chat session: the user's turn in (sound or text), the reply out as events, spoken while it is written."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    ToolUsed,
)
from stepaudio.errors import NO_SPEECH, InputError
from stepaudio.families.base import Family, Partner, ToolMind
from stepaudio.results import Reply, Segment, Timings, ToolCall, Transcript
from stepaudio.tools.call import TIMEOUT_S
from stepaudio.tools.registry import Toolbox

if TYPE_CHECKING:
    from stepaudio.dialogue.turns import TurnDetector
    from stepaudio.lm.prompts.messages import Message, ToolCallPart
    from stepaudio.styles import Style
    from stepaudio.voices import Voice

Source = str | Path | bytes | Audio
MOST_ROUNDS = 4  # of tool calls in one turn; then the model has to answer
GAVE_UP = "Sorry, I could not work that out with the tools I have."


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
        toolbox: the tools it may call.
        tool_timeout_s: how long a call may take.

    Raises:
        InputError: there are tools, and the family cannot call any.
    """

    family: Family
    voice: "Voice"
    style: "Style"
    system: str | None = None
    language: str | None = None
    seed: int | None = None
    history: "list[Message]" = field(default_factory=list)
    cancel: Cancel = field(default_factory=Cancel)
    toolbox: Toolbox = field(default_factory=Toolbox)
    tool_timeout_s: float = TIMEOUT_S

    def __post_init__(self) -> None:
        partner, mind = self.family.partner, self.family.mind
        able = isinstance(mind, ToolMind) if partner is None else partner.uses_tools
        if len(self.toolbox) and not able:
            raise InputError(f"{self.family.name} cannot call tools; nano and step-audio-2 can")

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
        that hears the sound itself may answer first, and give `Heard` after the reply.
        """
        if self.family.partner is None:
            yield from self._cascade(source, text)
        else:
            yield from self._with_partner(self.family.partner, source, text)

    def _cascade(self, source: Source | None, text: str | None) -> Iterator[Event]:
        """Transcribe the question, write the reply, speak it."""
        from stepaudio.lm.prompts.messages import user
        from stepaudio.speech.stream import SpeechStream

        token = self.cancel.token()
        started = time.perf_counter()
        transcript = self._question(source, text)
        transcribe_s = time.perf_counter() - started if source is not None else None
        if source is not None:
            yield Heard(transcript)
        if not transcript.text:
            raise InputError(NO_SPEECH)

        speech = SpeechStream(self.family.mouth, voice=self.voice, style=self.style, seed=self.seed)
        turn = _Turn(token, _Clock(started), [user(transcript.text)])
        while turn.goes_on:
            state = speech.start()
            for piece in self._think(turn):
                if token.cancelled:
                    break
                if not isinstance(piece, str):
                    turn.asked.append(piece)
                    continue
                yield turn.write(piece)
                yield from self._say(speech.push(state, piece), turn)
            # What is said before a call is said while the tool works.
            if not token.cancelled:
                yield from self._say(speech.finish(state), turn)
            yield from self._use_tools(turn)
        yield from self._end(turn, transcript, transcribe_s, time.perf_counter() - started)

    def _think(self, turn: "_Turn") -> "Iterator[str | ToolCallPart]":
        messages = [*self._system(), *self.history, *turn.messages]
        if not len(self.toolbox):
            return self.family.mind.stream(messages, cancel=turn.token)
        assert isinstance(self.family.mind, ToolMind)
        return self.family.mind.stream_with_tools(messages, tools=self._declared(turn), cancel=turn.token)

    def _with_partner(self, partner: Partner, source: Source | None, text: str | None) -> Iterator[Event]:
        """Let a partner hear and answer; what it does not tell of the question is written down afterwards."""
        from stepaudio.lm.prompts.messages import user

        token, clock = self.cancel.token(), _Clock(time.perf_counter())
        question = self._sound_or_words(source, text)
        turn = _Turn(token, clock, [user(question)])
        transcript: Transcript | None = None
        answer = partial(partner.answer, voice=self.voice, style=self.style, seed=self.seed, cancel=token)
        while turn.goes_on:
            kept: Message | None = None
            messages = [*self._system(), *self.history, *turn.messages]
            for piece in answer(messages, tools=self._declared(turn)):
                if token.cancelled:
                    break
                if piece.heard and isinstance(question, Audio):
                    took = time.perf_counter() - clock.started
                    transcript = self._heard_early(question, piece.heard, took)
                    yield Heard(transcript)
                kept = piece.turn or kept
                turn.asked += piece.calls
                if piece.text:
                    yield turn.write(piece.text)
                if piece.audio is not None:
                    yield from self._say([piece.audio], turn)
            yield from self._use_tools(turn, kept, partner.result_instruction)
        total_s = time.perf_counter() - clock.started
        if transcript is None:
            transcript = self._question(question if source is not None else None, text)
            if source is not None:
                yield Heard(transcript)
        if not partner.keeps_sound:
            turn.messages[0] = user(transcript.text)
        transcribe_s = None if source is None else transcript.seconds
        yield from self._end(turn, transcript, transcribe_s, total_s)

    def _declared(self, turn: "_Turn") -> tuple[dict[str, Any], ...]:
        return self.toolbox.schemas if turn.rounds < MOST_ROUNDS else ()

    def _use_tools(
        self, turn: "_Turn", kept: "Message | None" = None, instruction: str = ""
    ) -> Iterator[Event]:
        """Close one piece of the reply; run the tools it asks for, whose results the next piece answers."""
        from stepaudio.lm.prompts.messages import assistant
        from stepaudio.tools.use import use

        calls, turn.asked = turn.asked, []
        # A call without a result must not stay in the history, nor can a model ask for ever.
        if turn.token.cancelled or turn.rounds >= MOST_ROUNDS:
            calls, kept = [], kept if not calls else None
        if not calls and not turn.said and turn.calls and not turn.token.cancelled:
            yield turn.write(GAVE_UP)
        said = turn.close()
        turn.messages.append(kept or assistant(*([said] if said or not calls else []), *calls))
        turn.goes_on = bool(calls)
        turn.rounds += 1
        run = partial(use, self.toolbox, instruction=instruction, timeout_s=self.tool_timeout_s)
        for used in run(calls, cancel=turn.token):
            turn.calls.append(used.call)
            turn.messages.append(used.message)
            yield ToolUsed(used.call)
        if turn.token.cancelled and calls:
            turn.messages.append(assistant(""))
            turn.goes_on = False

    def _end(
        self, turn: "_Turn", transcript: Transcript, transcribe_s: float | None, total_s: float
    ) -> Iterator[Event]:
        # What was said before an interruption was said: it belongs to the history.
        self.history += turn.messages
        if turn.token.cancelled:
            yield Interrupted()
            return
        audio = concat(turn.spoken) if turn.spoken else None
        timings = Timings(transcribe_s, turn.clock.first_text_s, turn.clock.first_audio_s, total_s)
        calls = tuple(turn.calls)
        yield Done(Reply(transcript.text, turn.text, audio, timings, calls, self.family.name))

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

    def _heard_early(self, sound: Audio, words: str, seconds: float) -> Transcript:
        segment = Segment(0.0, sound.seconds, words)
        return Transcript(words, self.language or "en", (segment,), sound.seconds, seconds)

    def _system(self) -> "list[Message]":
        from stepaudio.lm.prompts.messages import system

        return [system(self.system)] if self.system else []

    def _say(self, chunks: Iterable[Audio], turn: "_Turn") -> Iterator[Event]:
        for chunk in chunks:
            if turn.token.cancelled:
                return
            turn.clock.audio()
            turn.spoken.append(chunk)
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


@dataclass
class _Turn:
    """A turn under way.

    Attributes:
        token: of this turn.
        clock: of this turn.
        messages: what the history will keep: the question, calls and results, the reply.
        asked: calls of the piece that is being written.
        said: words of that piece.
        earlier: the pieces before it, which ended in calls.
        spoken: the sound so far.
        calls: what came of the calls so far.
        rounds: pieces so far.
        goes_on: whether another piece is to come.
    """

    token: CancelToken
    clock: _Clock
    messages: "list[Message]"
    asked: "list[ToolCallPart]" = field(default_factory=list)
    said: str = ""
    earlier: list[str] = field(default_factory=list)
    spoken: list[Audio] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)
    rounds: int = 0
    goes_on: bool = True

    @property
    def text(self) -> str:
        """The words of all pieces."""
        return " ".join(piece for piece in self.earlier if piece)

    def write(self, delta: str) -> TextDelta:
        """Add words."""
        self.clock.text()
        apart = " " if self.text and not self.said else ""
        self.said += delta
        return TextDelta(apart + delta)

    def close(self) -> str:
        """End the piece and return its words."""
        self.earlier.append(self.said.strip())
        self.said = ""
        return self.earlier[-1]
