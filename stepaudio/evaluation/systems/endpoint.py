"""Any OpenAI-compatible server as a system under test, so that peers can be measured beside us."""

import json
import time
from typing import Any

import numpy as np

from stepaudio.audio import Audio
from stepaudio.errors import InputError
from stepaudio.evaluation.http import parse_address, post, request
from stepaudio.evaluation.systems.base import Ability, Answer, Conversation, Unable
from stepaudio.serving.endpoint import RemoteError, Server
from stepaudio.serving.wire import (
    ChatOptions,
    SpeechDelta,
    ToolCalls,
    finish_reply,
    push_chunk,
    request_body,
    server_events,
    start_reply,
)

_PCM_RATE = 24_000  # what the format "pcm16" of the chat route means


def find_server(address: str) -> Server:
    """Return the server that ``URL#MODEL`` names; see `parse_address` for errors."""
    return parse_address(address)[0]


class EndpointSystem(Unable):
    """A model behind ``/chat/completions``, ``/audio/transcriptions`` and ``/audio/speech``.

    Spoken turns are sent as WAV. Replies are asked for greedily, and as speech too where a voice is given.

    Args:
        address: ``URL#MODEL?voice=NAME``; see `parse_address`.
    """

    abilities: frozenset[Ability] = frozenset({"transcribe", "speak", "reply", "tools"})

    def __init__(self, address: str):
        self.server, options = parse_address(address)
        self.voice = options.get("voice", "")
        self.name = self.server.model

    def describe(self) -> dict[str, Any]:
        """Return the address and the model's name."""
        return {"name": self.name, "address": self.server.url, "voice": self.voice}

    def transcribe(self, audio: Audio, language: str | None) -> Answer:
        """Recognise a clip."""
        started = time.perf_counter()
        data = {"model": self.server.model, "response_format": "json", "temperature": "0"}
        if language:
            data["language"] = language
        files = {"file": ("clip.wav", audio.to_wav_bytes(), "audio/wav")}
        found = post(self.server, "/audio/transcriptions", data=data, files=files).json(self.server.url)
        return Answer(str(found.get("text", "")), timings={"total_s": time.perf_counter() - started})

    def speak(
        self, text: str, *, style: str | None, seed: int, prompt: Audio | None = None, prompt_text: str = ""
    ) -> Answer:
        """Say `text` in the voice of the address."""
        if prompt is not None:
            raise InputError(f"{self.name}: the speech route cannot speak in the voice of a recording")
        started = time.perf_counter()
        body = {
            "model": self.server.model,
            "input": text,
            "voice": self.voice or "default",
            "response_format": "wav",
        }
        if style:
            body["instructions"] = style
        said = post(self.server, "/audio/speech", body=body)
        timings = {"first_audio_s": said.first_byte_s, "total_s": time.perf_counter() - started}
        return Answer(text, Audio.read(said.body), timings=timings)

    def reply(self, conversation: Conversation) -> Answer:
        """Answer a conversation, streamed, so that the first sound can be timed."""
        options = ChatOptions(temperature=0.0, seed=conversation.seed, tools=conversation.tools)
        body = request_body(
            self.server.model, conversation.messages, options, dialect=self.server.dialect, audio_text=None
        )
        if self.voice:
            body |= {"modalities": ["text", "audio"], "audio": {"voice": self.voice, "format": "pcm16"}}
        started = time.perf_counter()
        state, sound, timings = start_reply(), b"", dict[str, float]()
        try:
            with request(self.server, "/chat/completions", body) as response:
                for data in server_events(response.iter_lines()):
                    if data == "[DONE]":
                        break
                    for event in push_chunk(state, json.loads(data)):
                        now = time.perf_counter() - started
                        timings.setdefault("first_text_s", now)
                        if isinstance(event, SpeechDelta) and event.sound:
                            timings.setdefault("first_audio_s", now)
                            sound += event.sound
            calls = [
                {"name": call.name, "arguments": call.arguments}
                for event in finish_reply(state)
                if isinstance(event, ToolCalls)
                for call in event.calls
            ]
        except ValueError as error:
            raise RemoteError(f"{self.server.url}: unreadable reply ({error})", state.text) from None
        timings["total_s"] = time.perf_counter() - started
        return Answer(state.text.strip(), _pcm(sound), tuple(calls), timings)


def _pcm(sound: bytes) -> Audio | None:
    if not sound:
        return None
    return Audio.from_array(np.frombuffer(sound[: len(sound) // 2 * 2], "<i2"), _PCM_RATE)
