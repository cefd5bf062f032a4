"""stepaudio: someone speaks; the program hears, thinks and speaks back, on any CPU.

import stepaudio
sa = stepaudio.load()
sa.speak("Good morning!").save("hello.wav")
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepaudio.api import StepAudio, load
    from stepaudio.audio import Audio
    from stepaudio.cloning.consent import Consent
    from stepaudio.dialogue.chat import Chat
    from stepaudio.errors import StepAudioError
    from stepaudio.results import Reply, Transcript
    from stepaudio.voices import Voice

__all__ = [
    "Audio",
    "Chat",
    "Consent",
    "Reply",
    "StepAudio",
    "StepAudioError",
    "Transcript",
    "Voice",
    "load",
]

_HOMES = {
    "Audio": "stepaudio.audio",
    "Chat": "stepaudio.dialogue.chat",
    "Consent": "stepaudio.cloning.consent",
    "Reply": "stepaudio.results",
    "StepAudio": "stepaudio.api",
    "StepAudioError": "stepaudio.errors",
    "Transcript": "stepaudio.results",
    "Voice": "stepaudio.voices",
    "load": "stepaudio.api",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used, so that `import stepaudio` stays quick."""
    if name not in _HOMES:
        raise AttributeError(f"module 'stepaudio' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
