"""Families of this package as systems under test, and the cascade baseline put together from cards."""

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepaudio.api import StepAudio, load
from stepaudio.audio import Audio, concat
from stepaudio.cloning.consent import Consent
from stepaudio.errors import InputError
from stepaudio.evaluation.systems.base import Ability, Answer, Conversation, Unable, Unsupported
from stepaudio.lm.prompts.messages import AudioPart, Message, TextPart, system

if TYPE_CHECKING:
    from stepaudio.voices import Voice

_TOOL_PROMPT = (
    "You can call tools. To call one, answer with nothing but\n"
    "<tool_call>function\nNAME\nARGUMENTS AS JSON</tool_call>\n"
    "Call a tool only when the request needs it; otherwise answer in a sentence or two. The tools:\n"
)


class FamilySystem(Unable):
    """A loaded family.

    Args:
        sa: the family behind its verbs.
        cards: names of the cards its weights come from, for the report.
    """

    def __init__(self, sa: StepAudio, cards: Iterable[str] = ()):
        self.sa = sa
        self.name = sa.name
        self._cards = tuple(cards)
        abilities: set[Ability] = {"transcribe", "speak", "reply", "tools"}
        if sa.family.cloner is not None:
            abilities.add("clone")
        if sa.family.codec is not None:
            abilities.add("resynthesise")
        self.abilities = frozenset(abilities)

    @classmethod
    def load(cls, name: str) -> "FamilySystem":
        """Load a family by card name or folder, as `stepaudio.load` does.

        Raises:
            ModelError: there is no such model, or its weights are missing.
        """
        return cls(load(name), [name])

    def describe(self) -> dict[str, Any]:
        """Return the name and the SHA-256 of every weight file."""
        weights: dict[str, str] = {}
        for card in self._cards:
            weights |= weight_hashes(card)
        return {"name": self.name, "weights": weights}

    def transcribe(self, audio: Audio, language: str | None) -> Answer:
        """Recognise a clip."""
        found = self.sa.transcribe(audio, language=language)
        return Answer(found.text, timings={"total_s": found.seconds})

    def speak(
        self, text: str, *, style: str | None, seed: int, prompt: Audio | None = None, prompt_text: str = ""
    ) -> Answer:
        """Say `text` in the voice of `prompt`, or in the family's default voice; cloning is not timed."""
        try:
            self.sa.style(style)
        except InputError as error:
            raise Unsupported(str(error)) from None
        voice = None if prompt is None else self._voice_of(prompt, prompt_text or None)
        started = time.perf_counter()
        first, chunks = None, []
        for chunk in self.sa.stream(text, voice=voice, style=style, seed=seed, watermark=False):
            first = first or time.perf_counter() - started
            chunks.append(chunk)
        timings = {"total_s": time.perf_counter() - started}
        if first is not None:
            timings["first_audio_s"] = first
        return Answer(text, concat(chunks) if chunks else None, timings=timings)

    def reply(self, conversation: Conversation) -> Answer:
        """Answer through a chat session; with tools, through the mind alone (calls are not spoken)."""
        if conversation.tools:
            return self._reply_with_tools(conversation)
        *before, last = conversation.messages
        chat = self.sa.chat(language=conversation.language, seed=conversation.seed)
        if before and before[0].role == "system":
            chat.system = before.pop(0).text
        chat.history = [self._in_words(message, conversation.language) for message in before]
        reply = chat.send(_sound(last)) if _sound(last) else chat.send(text=last.text)
        timings = {key: value for key, value in vars(reply.timings).items() if value is not None}
        calls = tuple({"name": call.name, "arguments": call.arguments} for call in reply.tool_calls)
        return Answer(reply.text, reply.audio, calls, timings, reply.transcript)

    def _reply_with_tools(self, conversation: Conversation) -> Answer:
        from stepaudio.families.base import ToolMind
        from stepaudio.lm.prompts.tool_calls import parse_reply, render_call

        started = time.perf_counter()
        schemas = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in conversation.tools)
        messages = [self._in_words(message, conversation.language) for message in conversation.messages]
        mind = self.sa.family.mind
        if isinstance(mind, ToolMind):
            pieces = mind.stream_with_tools(messages, tools=conversation.tools)
            said = "".join(piece if isinstance(piece, str) else render_call(piece) for piece in pieces)
        else:
            own = messages.pop(0).text + "\n\n" if messages[0].role == "system" else ""
            said = "".join(mind.stream([system(own + _TOOL_PROMPT + schemas), *messages]))
        parsed = parse_reply(said.strip())
        calls = tuple({"name": call.name, "arguments": call.arguments} for call in parsed.calls)
        heard = messages[-1].text
        return Answer(parsed.text, None, calls, {"total_s": time.perf_counter() - started}, heard)

    def resynthesise(self, audio: Audio) -> Answer:
        """Take a clip through the family's codes and back, in its own voice where the family can clone."""
        voice = None if self.sa.family.cloner is None else self._voice_of(audio)
        started = time.perf_counter()
        copy = self.sa.detokenize(self.sa.tokenize(audio), voice=voice, seed=0, watermark=False)
        return Answer("", copy, timings={"total_s": time.perf_counter() - started})

    def _voice_of(self, clip: Audio, transcript: str | None = None) -> "Voice":
        """Clone a clip of an evaluation set as it is, whatever its length."""
        consent = Consent.declared("reference clip of an evaluation set")
        return self.sa.clone(clip, transcript=transcript, consent=consent, check=False)

    def _in_words(self, message: Message, language: str | None) -> Message:
        """Return a message with its sounds replaced by what the ears hear in them."""
        hears_itself = self.sa.family.partner is not None
        if hears_itself or not any(isinstance(part, AudioPart) for part in message.parts):
            return message
        words = [
            TextPart(self.sa.transcribe(part.audio, language=language).text)
            if isinstance(part, AudioPart)
            else part
            for part in message.parts
        ]
        return Message(message.role, " ".join(part.text for part in words if isinstance(part, TextPart)))


def _sound(message: Message) -> Audio | None:
    return next((part.audio for part in message.parts if isinstance(part, AudioPart)), None)


def load_cascade(parts: str) -> FamilySystem:
    """Put a cascade together: ``EARS,MIND,MOUTH``, each a card's name, the mind also ``URL#MODEL``.

    Raises:
        InputError: not three parts.
        ModelError: there is no such card, or its weights are missing.
    """
    from stepaudio import hub
    from stepaudio.decoder.kokoro import KokoroMouth
    from stepaudio.families.base import Family
    from stepaudio.recognition import WhisperEars

    names = [part.strip() for part in parts.split(",")]
    if len(names) != 3 or not all(names):
        raise InputError(f"cascade:{parts} is not EARS,MIND,MOUTH")
    ears, mind, mouth = names
    cards = [name for name in names if "://" not in name]
    folders: dict[str, Path] = {}
    for card in cards:
        folders |= hub.ensure(card)
    family = Family(
        name="cascade:" + ",".join(names),
        ears=WhisperEars(folders[ears]),
        mind=_mind(mind, folders),
        mouth=KokoroMouth(folders[mouth]),
    )
    return FamilySystem(StepAudio(family), cards)


def _mind(name: str, folders: dict[str, Path]) -> Any:
    if "://" in name:
        from stepaudio.evaluation.systems.endpoint import find_server
        from stepaudio.families.remote import RemoteMind
        from stepaudio.serving.openai_client import OpenAIClient
        from stepaudio.serving.wire import ChatOptions

        return RemoteMind(OpenAIClient(find_server(name)), ChatOptions(temperature=0.0))
    from stepaudio.lm.mind import NanoMind

    return NanoMind(folders[name])


def weight_hashes(card: str) -> dict[str, str]:
    """Return the SHA-256 of every file that was verified for a card and what it requires, by card/file."""
    from stepaudio import hub
    from stepaudio.hub.cache import Stamp

    return {
        f"{name}/{path}": entry.sha256
        for name, folder in hub.folders(card).items()
        for path, entry in sorted(Stamp.read(folder).entries.items())
    }
