"""The family step-audio-2 (mini, Base, Think): one model hears, thinks and writes speech codes."""

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from stepaudio.audio import Audio, concat
from stepaudio.cancel import CancelToken
from stepaudio.errors import InputError
from stepaudio.families.base import Answer, Ears, Family
from stepaudio.families.cascade import PromptedEars
from stepaudio.families.clip_voice import SPEAKERS, Speakers
from stepaudio.families.options import Options
from stepaudio.families.step2_model import Step2Model
from stepaudio.families.step2_voice import FAMILY, Step2Voices
from stepaudio.families.step2_writer import LocalWriter, Piece, ServedWriter, Writer
from stepaudio.features.mel import PROMPT_24000
from stepaudio.lm.prompts import tasks
from stepaudio.lm.prompts.messages import Message, ToolCallPart, open_turn, system, user
from stepaudio.lm.prompts.tasks import Task
from stepaudio.lm.prompts.think import THINK_STOP, speech_turn, thought_of, thought_turn
from stepaudio.lm.prompts.tool_calls import SUMMARY_INSTRUCTION
from stepaudio.lm.prompts.vocabulary import TTS_START
from stepaudio.results import Reply, Timings, ToolCall
from stepaudio.speech.tempo import Pacer
from stepaudio.styles import RATE_TAGS, Style
from stepaudio.voices import Voice

Kind = Literal["instruct", "base", "think"]
WRITTEN = replace(tasks.CHAT_TEXT.sampling, max_new_tokens=2048)
# A clause that takes longer than this is a loop: seconds at most for any text, and for each of its letters.
_MOST_S, _MOST_S_A_LETTER, _IDS_A_SECOND = 4.0, 0.5, 125 / 4


class StepAudio2:
    """Mind, mouth and partner in one, and the tasks that the model was trained for.

    Args:
        writer: writes words and codes.
        voices: turns codes into sound.
        kind: which checkpoint it is: that decides the prompts.
    """

    sample_rate = PROMPT_24000.sample_rate
    languages: tuple[str, ...] = ("zh", "en", "ja")
    tags = RATE_TAGS
    uses_tools = True
    result_instruction = SUMMARY_INSTRUCTION
    keeps_sound = True  # earlier questions stay sound, as in the released client

    def __init__(self, writer: Writer, voices: Step2Voices, *, name: str = FAMILY, kind: Kind = "instruct"):
        self.writer = writer
        self.voices = voices
        self.name = name
        self.kind = kind

    @property
    def default_voice(self) -> str:
        """The first voice there is; raises `InputError` when there is none."""
        names = self.voices.names()
        if not names:
            raise InputError(
                f"{self.name} has no voices: put clips into {self.voices.speakers.folder}, "
                "or give a voice made with `stepaudio clone`"
            )
        return names[0]

    def load(self) -> object:
        """Read the weights, which otherwise happens at first use."""
        return self.writer.load()

    def voice(self, name: str) -> Voice:
        """Return a voice by name or file; raises `InputError`."""
        return self.voices.voice(name)

    def stream(self, messages: Sequence[Message], *, cancel: CancelToken | None = None) -> Iterator[str]:
        """Yield a written reply to `messages`, which may hold sound."""
        said = [*_with_system(messages, tasks.CHAT_TEXT.instruction), open_turn()]
        for piece in self.writer.write(said, sampling=WRITTEN, cancel=cancel):
            if piece.text:
                yield piece.text

    def stream_with_tools(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[dict[str, Any]],
        cancel: CancelToken | None = None,
    ) -> Iterator[str | ToolCallPart]:
        """Yield a written reply to `messages` and the tools it calls."""
        said = [*_with_system(messages, tasks.CHAT_TEXT.instruction), open_turn()]
        for piece in self.writer.write(said, sampling=WRITTEN, tools=tools, cancel=cancel):
            if piece.text:
                yield piece.text
            yield from piece.calls

    def answer(
        self,
        messages: Sequence[Message],
        *,
        voice: Voice,
        style: Style,
        seed: int | None = None,
        cancel: CancelToken | None = None,
        tools: Sequence[dict[str, Any]] = (),
    ) -> Iterator[Answer]:
        """Yield a spoken reply to `messages` in pieces: words, then the sound that carries them.

        A Think checkpoint first writes a thought, which is neither said nor kept.
        """
        said = _with_system(messages, tasks.CHAT_SPEECH.instruction)
        sampling = tasks.CHAT_SPEECH.sampling
        turn = open_turn(TTS_START)
        if self.kind == "think":
            turn = speech_turn(self.think(said, tools=tools, seed=seed, cancel=cancel))
        write = partial(self.writer.write, sampling=sampling, tools=tools, seed=seed, cancel=cancel)
        yield from self._sound(write([*said, turn]), voice, style, seed)

    def think(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[dict[str, Any]] = (),
        seed: int | None = None,
        cancel: CancelToken | None = None,
    ) -> str:
        """Return the thought that a Think checkpoint has before it answers `messages`."""
        thought = ""
        asked = [*messages, thought_turn()]
        sampling = tasks.CHAT_SPEECH.sampling
        for piece in self.writer.write(asked, sampling=sampling, tools=tools, seed=seed, cancel=cancel):
            thought += piece.text
            if THINK_STOP in thought:
                break
        return thought_of(thought)

    def speak(self, text: str, *, voice: Voice, style: Style, seed: int | None = None) -> Iterator[Audio]:
        """Yield the speech of one clause in chunks of a second; its pace is changed afterwards."""
        language = "zh" if any("\u4e00" <= char <= "\u9fff" for char in text) else "en"
        asked = [user(tasks.READ_ALOUD[language] + text), open_turn(TTS_START)]
        most = int((_MOST_S + _MOST_S_A_LETTER * len(text)) * _IDS_A_SECOND)
        sampling = replace(tasks.CHAT_SPEECH.sampling, max_new_tokens=most)
        for answer in self._sound(self.writer.write(asked, sampling=sampling, seed=seed), voice, style, seed):
            if answer.audio is not None:
                yield answer.audio

    def listen(self, messages: Sequence[Message]) -> Iterator[str]:
        """Yield the words of a recognition task, without chance."""
        for piece in self.writer.write([*messages, open_turn()], sampling=tasks.ASR.sampling):
            if piece.text:
                yield piece.text

    def caption(self, audio: Audio, *, seed: int | None = None) -> str:
        """Describe the events heard in a clip."""
        return self._written(tasks.CAPTION, audio, seed=seed)

    def ask(self, audio: Audio, question: str, *, seed: int | None = None) -> str:
        """Answer a question about a clip: who speaks, in which mood, what else is heard."""
        return tasks.response(self._written(tasks.AUDIO_QA, audio, question, seed=seed))

    def translate(
        self,
        audio: Audio,
        target: str,
        *,
        voice: Voice | None = None,
        style: Style | None = None,
        seed: int | None = None,
    ) -> Reply:
        """Translate what is said in a clip.

        Args:
            audio: the clip.
            target: ``zh``, ``en`` or ``ja``; spoken ``zh`` or ``en``.
            voice: speak the translation too, with this voice.
            style: how.
            seed: makes it repeatable.

        Raises:
            InputError: the model does not translate into `target`.
        """
        task = tasks.translation(target, speech=voice is not None)
        if voice is None:
            return self._reply(self._written(task, audio, seed=seed), None)
        asked = tasks.task_messages(task, audio)
        pieces = self.writer.write(asked, sampling=task.sampling, seed=seed)
        return self._collect(self._sound(pieces, voice, style or Style(), seed))

    def reply(
        self,
        messages: Sequence[Message],
        *,
        voice: Voice,
        style: Style | None = None,
        seed: int | None = None,
        tools: Sequence[dict[str, Any]] = (),
    ) -> Reply:
        """Return the whole spoken reply to `messages`, with the tools it calls."""
        answer = partial(self.answer, voice=voice, style=style or Style(), seed=seed, tools=tools)
        return self._collect(answer(messages))

    def _written(self, task: Task, audio: Audio, question: str = "", *, seed: int | None = None) -> str:
        pieces = self.writer.write(
            tasks.task_messages(task, audio, question), sampling=task.sampling, seed=seed
        )
        return "".join(piece.text for piece in pieces).strip()

    def _sound(
        self, pieces: Iterator[Piece], voice: Voice, style: Style, seed: int | None
    ) -> Iterator[Answer]:
        """Put the sound of their codes between the words; the last piece carries the turn."""
        seed = secrets.randbits(31) if seed is None else seed
        state = self.voices.start(voice, seed=seed)
        pacer = Pacer(style.speed)
        spoken = False
        for piece in pieces:
            if piece.text or piece.spoken or piece.calls:
                yield Answer(text=piece.spoken + piece.text, calls=piece.calls)
            if piece.codes:
                spoken = True
                for chunk in self.voices.push(state, piece.codes):
                    yield from (Answer(audio=paced) for paced in pacer.push(chunk))
            if piece.turn is not None:
                for chunk in self.voices.finish(state) if spoken else ():
                    yield from (Answer(audio=paced) for paced in pacer.push(chunk))
                yield from (Answer(audio=paced) for paced in pacer.finish())
                yield Answer(turn=piece.turn)

    def _collect(self, answers: Iterator[Answer]) -> Reply:
        parts = list(answers)
        sound = [part.audio for part in parts if part.audio is not None]
        reply = self._reply("".join(part.text for part in parts).strip(), concat(sound) if sound else None)
        calls = [ToolCall(call.name, call.arguments) for part in parts for call in part.calls]
        return replace(reply, tool_calls=tuple(calls))

    def _reply(self, text: str, audio: Audio | None) -> Reply:
        return Reply("", text, audio, Timings(), model=self.name)


def load_step_audio_2(name: str, root: Path, options: Options, *, whisper: Ears | None = None) -> Family:
    """Return the family with the converted folder `root`; weights are read at first use.

    Args:
        name: of the model; one with ``base`` or ``think`` in it is that checkpoint.
        root: the folder.
        options: device, and the server that writes instead of the weights here.
        whisper: ears to use instead of the model's own.

    Raises:
        InputError: the device or the server's address is not usable.
    """
    device = options.torch_device()
    kind: Kind = "base" if "base" in name else "think" if "think" in name else "instruct"
    server = options.at_server("step-audio-2", "step-audio-2-mini")
    writer: Writer
    if server is not None:
        from stepaudio.serving.openai_client import OpenAIClient

        writer = ServedWriter(OpenAIClient(server))
    else:
        writer = LocalWriter(Step2Model(root, device=device), base=kind == "base")
    voices = Step2Voices(root, Speakers(root / SPEAKERS), device=device)
    model = StepAudio2(writer, voices, name=name, kind=kind)
    ears = whisper or PromptedEars(model.listen, model.load)
    return Family(name, ears, model, model, voices, voices, model)


def _with_system(messages: Sequence[Message], instruction: str) -> list[Message]:
    if messages and messages[0].role == "system":
        return list(messages)
    return [system(instruction), *messages]
