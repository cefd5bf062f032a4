"""One turn of the page: what the visitor asked becomes updates of the page, and sound for the loudspeaker."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from stepaudio.dialogue.chat import Chat
from stepaudio.dialogue.events import AudioDelta, Done, Heard, TextDelta
from stepaudio.results import Timings

if TYPE_CHECKING:
    import numpy as np

    from stepaudio.page.loudspeaker import Loudspeaker


@dataclass(frozen=True)
class View:
    """What the page shows.

    Attributes:
        log: the conversation so far, one role and content a message.
        ticket: whose sound the browser plays now.
        times: the latency line.
        sound: the whole reply (Hz, int16 samples) once it is complete.
    """

    log: tuple[dict[str, str], ...]
    ticket: str = ""
    times: str = "…"
    sound: "tuple[int, np.ndarray] | None" = None

    def said(self, role: str, text: str) -> "View":
        """Return the view with `text` as the last message of `role`."""
        earlier = self.log[:-1] if self.log and self.log[-1]["role"] == role else self.log
        return replace(self, log=(*earlier, {"role": role, "content": text}))


def latency(timings: Timings) -> str:
    """Return the timings of a turn as one line of Markdown."""
    parts = (
        ("heard", timings.transcribe_s),
        ("first text", timings.first_text_s),
        ("first sound", timings.first_audio_s),
        ("complete", timings.total_s),
    )
    return " · ".join(f"{name} **{seconds:.2f} s**" for name, seconds in parts if seconds is not None)


def answer(
    chat: Chat, log: tuple[dict[str, str], ...], loudspeaker: "Loudspeaker", spoken: str | None, typed: str
) -> Iterator[View]:
    """Answer one turn, sending its sound to the loudspeaker and yielding each change of the page.

    Args:
        chat: the visitor's session.
        log: the conversation so far.
        loudspeaker: where the sound goes.
        spoken: path of a recorded question, or ``None``.
        typed: the question in text, used when nothing is spoken.

    Raises:
        AudioError: the recording cannot be read.
        InputError: nothing was said in it.
    """
    from stepaudio.audio.writing import to_int16

    ticket = loudspeaker.open()
    view = View(log, ticket)
    if not spoken:
        view = view.said("user", typed)
    yield view
    reply = ""
    try:
        for event in chat.turn(spoken) if spoken else chat.turn(text=typed):
            if isinstance(event, AudioDelta):
                loudspeaker.say(ticket, event.audio)
                continue
            if isinstance(event, Heard):
                view = view.said("user", event.transcript.text or "(nothing was heard)")
            elif isinstance(event, TextDelta):
                reply += event.text
                view = view.said("assistant", reply)
            elif isinstance(event, Done):
                audio = event.reply.audio
                sound = None if audio is None else (audio.sample_rate, to_int16(audio.samples))
                view = replace(view, times=latency(event.reply.timings), sound=sound)
            yield view
    finally:
        loudspeaker.close(ticket)
