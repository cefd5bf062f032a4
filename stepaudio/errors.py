"""The exceptions that people see: each message is one line that names the thing and the reason."""


class StepAudioError(Exception):
    """Base of every error this package raises on purpose; the CLI prints it and exits with 2."""


class AudioError(StepAudioError):
    """The sound cannot be used: not audio, empty, truncated, beyond the caps."""


class ModelError(StepAudioError):
    """A model, card, weight file or configuration is missing, damaged or not what it claims to be."""


class InputError(StepAudioError):
    """A text, tag, voice name or option is not usable."""


NO_SPEECH = "no speech was found in the question"
"""Of an `InputError`, whoever hears the question."""
