"""The sizes of a HiFT vocoder, and how the reference names them."""

from collections.abc import Mapping
from math import prod
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from stepaudio.errors import ModelError

Size = tuple[int, ...]


class HiftConfig(BaseModel):
    """A HiFT vocoder: mel frames in, a waveform out (CosyVoice, arXiv 2407.05407, section 2.4).

    `source` chooses how the harmonic source keeps its phase: "sample" adds it up at the sample rate from
    random initial phases (22.05 kHz models), "frame" adds it up once a frame and interpolates (24 kHz
    models). `phase_precision` is that of the "frame" sum: float32 rounds as the reference does, and its error
    grows with the length of a clip (a few tenths of a radian at 30 s); float64 keeps the harmonics pure.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    mel_bins: int = Field(default=80, ge=1)
    channels: int = Field(default=512, ge=2)
    sample_rate: int = Field(ge=1)
    source: Literal["sample", "frame"]
    phase_precision: Literal["float32", "float64"] = "float32"
    harmonics: int = Field(default=8, ge=0)
    sine_amplitude: float = 0.1
    noise_std: float = 0.003
    voiced_threshold: float = 10.0
    upsample_rates: Size = Field(min_length=1)
    upsample_kernels: Size
    n_fft: int = Field(default=16, ge=2)
    hop: int = Field(default=4, ge=1)
    resblock_kernels: Size = (3, 7, 11)
    resblock_dilations: tuple[Size, ...] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))
    source_resblock_kernels: Size
    source_resblock_dilations: tuple[Size, ...]
    leaky_slope: float = 0.1
    limit: float = 0.99
    f0_channels: int = Field(default=512, ge=1)

    @model_validator(mode="after")
    def _lengths_agree(self) -> "HiftConfig":
        stages = len(self.upsample_rates)
        for name in ("upsample_kernels", "source_resblock_kernels", "source_resblock_dilations"):
            if len(getattr(self, name)) != stages:
                raise ValueError(f"{name} must have one entry for each of the {stages} upsampling stages")
        if len(self.resblock_kernels) != len(self.resblock_dilations):
            raise ValueError("resblock_kernels and resblock_dilations must have the same length")
        if self.channels % 2**stages:
            raise ValueError(f"channels must be divisible by 2 ** {stages}")
        return self

    @property
    def samples_per_frame(self) -> int:
        """Samples of sound for each mel frame."""
        return prod(self.upsample_rates) * self.hop

    @classmethod
    def step_audio(cls) -> "HiftConfig":
        """The 22.05 kHz vocoder of Step-Audio-TTS-3B."""
        return cls(
            sample_rate=22050,
            source="sample",
            upsample_rates=(8, 8),
            upsample_kernels=(16, 16),
            source_resblock_kernels=(7, 11),
            source_resblock_dilations=((1, 3, 5), (1, 3, 5)),
        )

    @classmethod
    def step_audio_2(cls) -> "HiftConfig":
        """The 24 kHz vocoder of Step-Audio 2's token2wav."""
        return cls(
            sample_rate=24000,
            source="frame",
            upsample_rates=(8, 5, 3),
            upsample_kernels=(16, 11, 7),
            source_resblock_kernels=(7, 7, 11),
            source_resblock_dilations=((1, 3, 5), (1, 3, 5), (1, 3, 5)),
        )

    @classmethod
    def from_reference(cls, arguments: Mapping[str, Any]) -> "HiftConfig":
        """Read the reference's own constructor arguments, as they stand in its yaml files.

        Raises:
            ModelError: an argument is unknown or its value cannot be used.
        """
        rest = dict(arguments)
        values: dict[str, Any] = {}
        try:
            for theirs, ours in _REFERENCE_NAMES.items():
                if theirs in rest:
                    values[ours] = rest.pop(theirs)
            istft = dict(rest.pop("istft_params", {}))
            for theirs, ours in (("n_fft", "n_fft"), ("hop_len", "hop")):
                if theirs in istft:
                    values[ours] = istft.pop(theirs)
            f0 = dict(rest.pop("f0_predictor", {}))
            values["f0_channels"] = f0.pop("cond_channels", cls.model_fields["f0_channels"].default)
            if f0.pop("num_class", 1) != 1 or f0.pop("in_channels", 80) != values.get("mel_bins", 80):
                raise ModelError("the vocoder's F0 predictor must read the mel and give one value a frame")
        except (TypeError, ValueError) as error:
            raise ModelError(f"the vocoder's settings cannot be read: {error}") from None
        unknown = sorted(map(str, [*rest, *istft, *f0]))
        if unknown:
            raise ModelError(f"unknown vocoder settings: {', '.join(unknown)}")
        # The reference picks its harmonic source by the sample rate alone.
        values["source"] = "sample" if values.get("sample_rate") == 22050 else "frame"
        try:
            return cls(**values)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "sizes"
            raise ModelError(f"vocoder settings: {where}: {first['msg']}") from None


_REFERENCE_NAMES = {
    "in_channels": "mel_bins",
    "base_channels": "channels",
    "nb_harmonics": "harmonics",
    "sampling_rate": "sample_rate",
    "nsf_alpha": "sine_amplitude",
    "nsf_sigma": "noise_std",
    "nsf_voiced_threshold": "voiced_threshold",
    "upsample_rates": "upsample_rates",
    "upsample_kernel_sizes": "upsample_kernels",
    "resblock_kernel_sizes": "resblock_kernels",
    "resblock_dilation_sizes": "resblock_dilations",
    "source_resblock_kernel_sizes": "source_resblock_kernels",
    "source_resblock_dilation_sizes": "source_resblock_dilations",
    "lrelu_slope": "leaky_slope",
    "audio_limit": "limit",
}
