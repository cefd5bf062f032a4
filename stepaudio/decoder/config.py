"""Configuration of the flow-matching decoder: one schema for both official families and for nano."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Strict(BaseModel):
    """Base of the decoder configurations: frozen, unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ConformerLayers(Strict):
    """Sizes of a conformer without convolution and macaron modules.

    Attributes:
        input_size: width of the code embedding.
        output_size: width of the layers.
        attention_heads: heads of the relative-position attention; divides `output_size`.
        linear_units: inner width of the feed-forward layers.
        num_blocks: layers.
        key_bias: whether the key projection has a bias.
        layer_norm_eps: epsilon of the layer norms inside the layers (the outer ones use 1e-5).
    """

    input_size: int = Field(default=512, gt=0)
    output_size: int = Field(default=512, gt=0)
    attention_heads: int = Field(default=8, gt=0)
    linear_units: int = Field(default=2048, gt=0)
    num_blocks: int = Field(default=6, ge=0)
    key_bias: bool = True
    layer_norm_eps: float = Field(default=1e-12, gt=0)


class ConformerConfig(ConformerLayers):
    """The plain encoder with full attention (Step-Audio)."""

    kind: Literal["conformer"] = "conformer"


class UpsampleConformerConfig(ConformerLayers):
    """Conformer with a short look-ahead and an up-sampling second stage (Step-Audio 2), streamable.

    Attributes:
        pre_lookahead_len: future codes that a code sees before the first layer.
        num_up_blocks: layers after the up-sampling.
        up_scale: frames per code.
    """

    kind: Literal["upsample"] = "upsample"
    pre_lookahead_len: int = Field(default=3, ge=0)
    num_up_blocks: int = Field(default=4, ge=0)
    up_scale: int = Field(default=2, gt=0)


class RegulatorConfig(Strict):
    """Interpolating length regulator: code rate to frame rate, then a few convolutions (Step-Audio).

    Attributes:
        input_frame_rate: codes per second; the default is the 2:3 interleave of 16.67 and 25 Hz.
        sample_rate: Hz of the waveform that the frames describe.
        hop: samples per frame.
        stages: convolution + group norm + Mish stages.
    """

    input_frame_rate: float = Field(default=41.67, gt=0)
    sample_rate: int = Field(default=22050, gt=0)
    hop: int = Field(default=256, gt=0)
    stages: int = Field(default=4, ge=0)

    def frames(self, codes: int) -> int:
        """Frames that `codes` codes last, rounded down as the reference does."""
        return int(codes / self.input_frame_rate * self.sample_rate / self.hop)


class UNetConfig(Strict):
    """U-Net estimator of the velocity field (Step-Audio): ResNet blocks with transformer blocks.

    Attributes:
        channels: width of each down stage; time is halved between stages.
        n_blocks: transformer blocks after each ResNet block.
        num_mid_blocks: stages at the bottom.
        num_heads: attention heads; the inner width is `num_heads * attention_head_dim`.
        attention_head_dim: width of a head.
        groups: groups of the group norms; divides every width.
    """

    kind: Literal["unet"] = "unet"
    channels: tuple[int, ...] = Field(default=(256, 256), min_length=1)
    n_blocks: int = Field(default=4, ge=0)
    num_mid_blocks: int = Field(default=12, ge=0)
    num_heads: int = Field(default=8, gt=0)
    attention_head_dim: int = Field(default=64, gt=0)
    groups: int = Field(default=8, gt=0)


class DiTConfig(Strict):
    """Diffusion-transformer estimator of the velocity field (Step-Audio 2), streamable.

    Attributes:
        hidden_size: width.
        depth: blocks of attention, causal convolution and MLP.
        num_heads: attention heads; the inner width is `num_heads * head_dim`.
        head_dim: width of a head.
        mlp_ratio: inner width of the MLP over `hidden_size`.
    """

    kind: Literal["dit"] = "dit"
    hidden_size: int = Field(default=512, gt=0)
    depth: int = Field(default=16, ge=0)
    num_heads: int = Field(default=8, gt=0)
    head_dim: int = Field(default=64, gt=0)
    mlp_ratio: float = Field(default=4.0, gt=0)


class SolverConfig(Strict):
    """Conditional flow matching: the Euler solver and the training noise.

    Attributes:
        steps: Euler steps.
        schedule: spacing of the time steps; cosine is dense near the noise.
        guidance: classifier-free guidance g, v = (1 + g) v_cond - g v_uncond; 0 halves the work.
        sigma_min: noise left at the end of the path (training).
        drop: share of the training items whose conditions are dropped, which guidance needs.
    """

    steps: int = Field(default=10, gt=0)
    schedule: Literal["cosine", "linear"] = "cosine"
    guidance: float = Field(default=0.7, ge=0)
    sigma_min: float = Field(default=1e-6, ge=0)
    drop: float = Field(default=0.2, ge=0, le=1)


class StreamOptions(Strict):
    """How a stream of codes is cut into chunks, and what is remembered.

    Attributes:
        chunk_codes: codes decoded at once (25 are one second in Step-Audio 2).
        first_chunk_codes: a smaller first chunk, for an earlier first sound.
        cache: "official" reproduces the reference, whose estimator cache is newest-first, so that beyond
            `keep_frames` it keeps the newest frames of the prompt's length and the oldest `keep_frames`, and
            repeats one stretch of noise; "recent" keeps the prompt and the newest `keep_frames`, and every
            frame has its own noise. The same up to the cut.
        keep_frames: frames that the estimator keeps besides as many as the prompt has.
        encoder_codes: bound of the encoder's caches, which the reference lets grow; None for no bound.
        lookahead_codes: codes seen after a chunk by decoders without caches; the others fix it.
        context_codes: decoded codes that decoders without caches see again before a chunk.
    """

    chunk_codes: int = Field(default=25, gt=0)
    first_chunk_codes: int | None = Field(default=None, gt=0)
    cache: Literal["official", "recent"] = "official"
    keep_frames: int = Field(default=100, ge=0)
    encoder_codes: int | None = Field(default=None, gt=0)
    lookahead_codes: int = Field(default=10, ge=0)
    context_codes: int = Field(default=125, ge=0)


class FlowConfig(Strict):
    """The whole decoder: code table, speaker projection, encoder, regulator, estimator, solver.

    Attributes:
        vocab_size: rows of the code table.
        output_size: channels of a frame (80 mel bins in the official families).
        speaker_size: width of the speaker embedding.
        encoder: with its own up-sampling, or followed by `regulator`: exactly one of the two.
    """

    vocab_size: int = Field(gt=0)
    output_size: int = Field(default=80, gt=0)
    speaker_size: int = Field(default=192, gt=0)
    encoder: Annotated[ConformerConfig | UpsampleConformerConfig, Field(discriminator="kind")]
    regulator: RegulatorConfig | None = None
    estimator: Annotated[UNetConfig | DiTConfig, Field(discriminator="kind")]
    solver: SolverConfig = SolverConfig()

    @model_validator(mode="after")
    def _one_way_to_frames(self) -> "FlowConfig":
        if isinstance(self.encoder, UpsampleConformerConfig) == (self.regulator is not None):
            raise ValueError("a conformer encoder needs a regulator; an up-sampling one takes none")
        return self

    @property
    def streams_with_caches(self) -> bool:
        """Whether every part keeps caches, so that a chunk costs the same wherever it stands."""
        return isinstance(self.encoder, UpsampleConformerConfig) and isinstance(self.estimator, DiTConfig)

    def frames(self, codes: int) -> int:
        """Frames that `codes` codes become."""
        if isinstance(self.encoder, UpsampleConformerConfig):
            return codes * self.encoder.up_scale
        assert self.regulator is not None
        return self.regulator.frames(codes)


def step_audio_flow(vocab_size: int = 5120, input_frame_rate: float = 41.67) -> FlowConfig:
    """Step-Audio's flow at its real size (CosyVoice-300M-25Hz and its music variant).

    Both arguments must be read from the checkpoint's yaml; the defaults are the 1024 + 4096 codes of the
    joint table and the rate of their 2:3 interleave.
    """
    return FlowConfig(
        vocab_size=vocab_size,
        encoder=ConformerConfig(),
        regulator=RegulatorConfig(input_frame_rate=input_frame_rate),
        estimator=UNetConfig(),
    )


def step_audio_2_flow() -> FlowConfig:
    """Step-Audio 2's token2wav flow at its real size."""
    return FlowConfig(vocab_size=6561, encoder=UpsampleConformerConfig(), estimator=DiTConfig())
