"""What cloning needs besides the family: the speaker encoder and the watermark, each fetched at first use."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepaudio.decoder.ge2e import SpeakerEncoder
    from stepaudio.voices import Voice
    from stepaudio.watermark.mark import Watermark


@dataclass
class CloningParts:
    """Two small models, loaded when they are first needed.

    Attributes:
        pull: whether their weights may be fetched.
    """

    pull: bool = True
    _encoder: "SpeakerEncoder | None" = field(default=None, repr=False)
    _watermark: "Watermark | None" = field(default=None, repr=False)

    def encoder(self) -> "SpeakerEncoder":
        """Return the speaker encoder; raises `ModelError` when its weights cannot be had."""
        if self._encoder is None:
            from stepaudio import hub
            from stepaudio.decoder.ge2e import CARD, SpeakerEncoder

            self._encoder = SpeakerEncoder.load(hub.ensure(CARD, pull=self.pull)[CARD])
        return self._encoder

    def watermark(self, voice: "Voice", wanted: bool | None) -> "Watermark | None":
        """Return what marks the speech of `voice`; see `StepAudio.watermark`."""
        if not (voice.info.consent_kind in ("read", "declared") if wanted is None else wanted):
            return None
        if self._watermark is None:
            from stepaudio.watermark.mark import load_watermark

            self._watermark = load_watermark(pull=self.pull)
        return self._watermark
