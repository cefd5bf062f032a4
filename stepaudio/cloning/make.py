"""A clip becomes a voice: checked, agreed to, then made by the family's own cloner."""

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

from stepaudio.audio import Audio
from stepaudio.cloning.consent import HOW, Challenges, Consent, check_reading
from stepaudio.errors import InputError
from stepaudio.families.base import Cloner, Ears

if TYPE_CHECKING:
    from stepaudio.decoder.ge2e import SpeakerEncoder
    from stepaudio.voices import Voice


class CloneWarning(UserWarning):
    """A clip is usable but not as good as it could be."""


def clone_voice(
    cloner: Cloner,
    ears: Ears,
    clip: Audio,
    *,
    name: str,
    transcript: str | None,
    consent: Audio | Consent | None,
    check: bool,
    encoder: "Callable[[], SpeakerEncoder]",
) -> "Voice":
    """Make a voice.

    Args:
        cloner: makes it.
        ears: hear the consent.
        clip: the speaker, any rate.
        name: what the voice is called.
        transcript: exactly what is said in `clip`; such a clip is never cut.
        consent: the recording of an open sentence (`stepaudio.cloning.consent`), or a declared consent.
        check: whether the clip is checked (`stepaudio.cloning.clip`); what it lacks is a `CloneWarning`.
        encoder: gives the speaker encoder where it is needed.

    Raises:
        AudioError: the clip cannot be made a voice.
        InputError: there is no consent, or the recording does not give it.
    """
    if consent is None:
        raise InputError(HOW)
    if check:
        from stepaudio.cloning.clip import check_clip

        checked = check_clip(clip, encoder(), cut=transcript is None)
        for warning in checked.warnings:
            warnings.warn(warning, CloneWarning, stacklevel=3)
        clip = checked.audio
    if isinstance(consent, Audio):
        from stepaudio.cloning.people import likeness

        consent = check_reading(
            consent,
            clip,
            hear=lambda audio, language: " ".join(part.text for part in ears.transcribe(audio, language)),
            alike=lambda one, other: likeness(encoder(), one, other),
            challenges=Challenges.default(),
        )
    return cloner.clone(clip, name=name, transcript=transcript, consent=consent.record)
