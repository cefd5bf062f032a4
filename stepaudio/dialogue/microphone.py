"""A conversation at this machine's microphone and loudspeaker (extra `mic`: sounddevice)."""

from collections.abc import Callable, Iterator
from queue import Queue
from threading import Event
from typing import Any

import numpy as np

from stepaudio.audio import Audio
from stepaudio.dialogue.chat import Chat
from stepaudio.dialogue.events import AudioDelta, Done, Heard, SpeechStarted
from stepaudio.dialogue.turns import RATE
from stepaudio.errors import AudioError

BLOCK = RATE // 20  # 50 ms a chunk


def _sounddevice() -> Any:
    try:
        import sounddevice
    except (ImportError, OSError) as error:
        raise AudioError(
            f"no microphone support ({error}); install it with: pip install 'stepaudio[mic]' "
            "(Linux also needs the PortAudio library), or give a QUESTION file"
        ) from None
    return sounddevice


def microphone_chunks(device: Any, muted: Callable[[], bool]) -> Iterator[Audio]:
    """Yield 50 ms chunks of the default microphone for ever; while `muted` says so, nothing is kept."""
    queue: Queue[np.ndarray] = Queue()

    def receive(block: np.ndarray, frames: int, time: Any, status: Any) -> None:
        if not muted():
            queue.put(block[:, 0].copy())

    with device.InputStream(RATE, BLOCK, channels=1, dtype="float32", callback=receive):
        while True:
            yield Audio(queue.get(), RATE)


def converse(chat: Chat, tell: Callable[[str], None]) -> None:
    """Talk until Ctrl-C; the microphone is muted while the reply plays, so that it does not hear itself.

    Raises:
        AudioError: there is no microphone or loudspeaker, or sounddevice is not installed.
    """
    device = _sounddevice()
    speaking = Event()
    rate = chat.family.mouth.sample_rate
    try:
        with device.OutputStream(rate, channels=1, dtype="float32") as speaker:
            tell("Listening. Speak, then pause; Ctrl-C ends the conversation.")
            for event in chat.stream(microphone_chunks(device, speaking.is_set)):
                if isinstance(event, SpeechStarted):
                    tell("…")
                elif isinstance(event, Heard):
                    speaking.set()
                    tell(f"You:   {event.transcript.text}")
                elif isinstance(event, AudioDelta):
                    speaker.write(event.audio.samples[:, None])
                elif isinstance(event, Done):
                    speaking.clear()
                    tell(f"Reply: {event.reply.text}")
    except device.PortAudioError as error:
        raise AudioError(f"the microphone or loudspeaker cannot be opened ({error})") from None
