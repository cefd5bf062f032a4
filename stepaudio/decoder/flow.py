"""The flow decoder: codes, a speaker and a prompt in, mel frames out; offline and in chunks.

Step-Audio: plain conformer, interpolating regulator, U-Net. Step-Audio 2: up-sampling conformer, DiT.
Parameter names are those of the official `flow.pt` files.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stepaudio.decoder.cfm import FlowMatching
from stepaudio.decoder.config import ConformerConfig, FlowConfig, StreamOptions, UNetConfig
from stepaudio.decoder.conformer import ConformerEncoder
from stepaudio.decoder.dit import DiT
from stepaudio.decoder.noise import NoiseSource, SeededNoise
from stepaudio.decoder.regulator import LengthRegulator
from stepaudio.decoder.stream import CachedState, StreamState, start_cached, step_cached
from stepaudio.decoder.unet import UNet
from stepaudio.decoder.upsample import UpsampleConformerEncoder
from stepaudio.decoder.window import WindowState, start_window, step_window
from stepaudio.errors import InputError, ModelError


class FlowDecoder(nn.Module):
    """Codes to mel frames by flow matching, in the voice of a prompt and a speaker embedding.

    Frames are (batch, channels, T) everywhere. Inputs are cast to the dtype of the weights: with
    `.to(torch.bfloat16)` every operation, the time steps included, rounds as in Step-Audio's official runs.
    """

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        self.config = config
        channels, encoder = config.output_size, config.encoder
        self.input_embedding = nn.Embedding(config.vocab_size, encoder.input_size)
        self.spk_embed_affine_layer = nn.Linear(config.speaker_size, channels)
        self.encoder: ConformerEncoder | UpsampleConformerEncoder
        if isinstance(encoder, ConformerConfig):
            self.encoder = ConformerEncoder(encoder)
        else:
            self.encoder = UpsampleConformerEncoder(encoder)
        self.encoder_proj = nn.Linear(encoder.output_size, channels)
        if config.regulator is not None:
            self.length_regulator = LengthRegulator(channels, config.regulator)
        estimator: nn.Module
        if isinstance(config.estimator, UNetConfig):
            estimator = UNet(channels, config.estimator)
        else:
            estimator = DiT(channels, config.estimator)
        self.decoder = FlowMatching(estimator, config.solver)

    @torch.inference_mode()
    def mel(
        self,
        codes: Tensor,
        speaker: Tensor,
        prompt_codes: Tensor | None = None,
        prompt_mel: Tensor | None = None,
        *,
        noise: NoiseSource | None = None,
        seed: int = 0,
        steps: int | None = None,
    ) -> Tensor:
        """Decode whole sequences.

        Args:
            codes: (batch, N) integers below `vocab_size`; negative ones count as 0, as in the reference.
            speaker: speaker embedding (batch, speaker_size); its length does not matter.
            prompt_codes: codes of the prompt (batch, P).
            prompt_mel: frames of the prompt (batch, channels, F); an up-sampling encoder wants exactly
                `config.frames(P)` of them, see `fit_frames`.
            noise: the starting noise; made from `seed` by default.
            seed: the same seed gives the same frames.
            steps: Euler steps, the configuration's by default.

        Returns:
            Tensor (batch, channels, config.frames(N)), at least one frame.

        Raises:
            InputError: if there are no codes, or ids or shapes do not fit.
        """
        codes = self.check_codes(codes)
        prompt_codes, prompt_mel = self.check_prompt(codes, prompt_codes, prompt_mel)
        if not codes.shape[1]:
            raise InputError("there are no codes to decode")
        known, made = prompt_mel.shape[2], max(1, self.config.frames(codes.shape[1]))
        segments = [(prompt_codes.shape[1], known), (codes.shape[1], made)]
        mu = self.encode(torch.cat((prompt_codes, codes), 1), segments)
        source = noise or SeededNoise(seed, self.config.output_size)
        out = self.decoder.solve(
            self.starting_noise(source, len(codes), [(0, known + made)]),
            mu,
            self.project_speaker(speaker),
            F.pad(prompt_mel, (0, made)),
            steps=steps,
        )
        return out[:, :, known:]

    def start(
        self,
        speaker: Tensor,
        prompt_codes: Tensor | None = None,
        prompt_mel: Tensor | None = None,
        *,
        options: StreamOptions | None = None,
        noise: NoiseSource | None = None,
        seed: int = 0,
        steps: int | None = None,
    ) -> StreamState:
        """Prepare a stream in a voice; `state.clone()` makes a fresh one without repeating the work.

        With an up-sampling encoder and a DiT every chunk costs the same (`stream.py`); other decoders decode
        each chunk again behind the prompt and the last frames made (`window.py`). Arguments as for `mel`.
        """
        prompt_codes, prompt_mel = self.check_prompt(speaker, prompt_codes, prompt_mel)
        source = noise or SeededNoise(seed, self.config.output_size)
        begin = start_cached if self.config.streams_with_caches else start_window
        with torch.inference_mode():
            speaker = self.project_speaker(speaker)
            return begin(self, speaker, prompt_codes, prompt_mel, source, steps, options or StreamOptions())

    def push(self, state: StreamState, codes: Tensor) -> Tensor:
        """Take codes (batch, any number) and return the frames that are ready, maybe none.

        How the codes are split over the calls does not change the frames.
        """
        state.pending = torch.cat((state.pending, self.check_codes(codes)), 1)
        ready = [self._nothing(state)]
        while state.pending.shape[1] >= (wanted := state.next_chunk + state.lookahead):
            chunk = state.pending[:, :wanted]
            state.pending = state.pending[:, state.next_chunk :]
            ready.append(self.step(state, chunk))
        return torch.cat(ready, 2)

    def finish(self, state: StreamState) -> Tensor:
        """Decode the codes still pending, without look-ahead, and return the last frames."""
        last, state.pending = state.pending, state.pending[:, :0]
        return self.step(state, last, last=True) if last.shape[1] else self._nothing(state)

    @torch.inference_mode()
    def step(self, state: StreamState, codes: Tensor, *, last: bool = False) -> Tensor:
        """Decode one chunk (batch, N + look-ahead), or (batch, N) when no more follow: frames of N codes.

        `push` and `finish` call this; call it instead of them to cut chunks yourself.
        """
        state.chunks += 1
        codes = self.check_codes(codes)
        if isinstance(state, CachedState):
            return step_cached(self, state, codes, last)
        assert isinstance(state, WindowState)
        return step_window(self, state, codes, last)

    def loss(
        self,
        codes: Tensor,
        frames: Tensor,
        speaker: Tensor,
        code_lengths: Tensor,
        frame_lengths: Tensor,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Training loss of a padded batch; half of the items see a prefix of up to 30 % as prompt.

        Args:
            codes: (batch, N) integers, any value behind the ends.
            frames: target (batch, channels, T).
            speaker: speaker embedding (batch, speaker_size).
            code_lengths: codes of each item (batch,).
            frame_lengths: frames of each item (batch,); for an up-sampling encoder `config.frames(codes)`.
            generator: of every random choice; on the device of `frames`.
        """
        code_mask = torch.arange(codes.shape[1], device=codes.device) < code_lengths[:, None]
        place = torch.arange(frames.shape[2], device=frames.device)
        mask = place < frame_lengths[:, None]
        hidden = self.encoder_proj(self.encoder(self.input_embedding(codes.clamp(min=0)), code_mask))
        if self.config.regulator is not None:
            mu = self.length_regulator.batch(hidden, code_lengths.tolist(), frame_lengths.tolist())
        else:
            mu = hidden
        mu = F.pad(mu, (0, 0, 0, frames.shape[2] - mu.shape[1])).transpose(1, 2) * mask[:, None]
        draw = torch.rand(2, len(frames), generator=generator, device=frames.device)
        known = (0.3 * draw[0] * frame_lengths).long() * (draw[1] < 0.5)
        cond = frames * (place < known[:, None])[:, None]
        return self.decoder.loss(frames, mu, self.project_speaker(speaker), cond, mask, generator)

    def encode(self, codes: Tensor, segments: Sequence[tuple[int, int]]) -> Tensor:
        """Codes (batch, N) to the frames' condition mu (batch, channels, T).

        Args:
            codes: prompt and new codes together.
            segments: (codes, frames) of each stretch; only their sum matters to an up-sampling encoder.
        """
        hidden = self.encoder_proj(self.encoder(self.input_embedding(codes)))
        if self.config.regulator is not None:
            hidden = self.length_regulator(hidden, segments)
        out: Tensor = hidden.transpose(1, 2)
        return out

    def project_speaker(self, speaker: Tensor) -> Tensor:
        """(batch, speaker_size) -> (batch, channels); only the direction counts."""
        if speaker.dim() != 2 or speaker.shape[1] != self.config.speaker_size:
            raise InputError(
                f"the speaker embedding has shape {_shape(speaker)}, not (1, {self.config.speaker_size})"
            )
        weight = self.spk_embed_affine_layer.weight
        out: Tensor = self.spk_embed_affine_layer(F.normalize(speaker.to(weight), dim=1))
        return out

    def starting_noise(self, source: NoiseSource, batch: int, stretches: Sequence[tuple[int, int]]) -> Tensor:
        """Noise (batch, channels, T) of the (start, length) stretches, put together."""
        noise = torch.cat([source.frames(start, length) for start, length in stretches], 2)
        return noise.to(self.encoder_proj.weight).expand(batch, -1, -1)

    def check_codes(self, codes: Tensor) -> Tensor:
        """Codes on the decoder's device, negative ones as 0; an error where one is not in the table."""
        if codes.dim() != 2:
            raise InputError(f"codes have shape {_shape(codes)}, not (batch, number)")
        if codes.numel() and int(codes.max()) >= self.config.vocab_size:
            raise InputError(f"code {int(codes.max())} is not below {self.config.vocab_size}")
        return codes.to(self.input_embedding.weight.device, torch.long).clamp(min=0)

    def check_prompt(self, like: Tensor, codes: Tensor | None, mel: Tensor | None) -> tuple[Tensor, Tensor]:
        """The prompt's codes and frames on the decoder's device; empty ones where there is no prompt."""
        batch, channels = len(like), self.config.output_size
        if (codes is None) != (mel is None):
            raise InputError("a prompt needs both its codes and its frames")
        if codes is None or mel is None:
            codes, mel = torch.zeros(batch, 0, dtype=torch.long), torch.zeros(batch, channels, 0)
        if mel.dim() != 3 or mel.shape[:2] != (batch, channels):
            raise InputError(
                f"the prompt's frames have shape {_shape(mel)}, not ({batch}, {channels}, frames)"
            )
        codes = self.check_codes(codes)
        wanted = self.config.frames(codes.shape[1])
        if self.config.regulator is None and mel.shape[2] != wanted:
            raise InputError(
                f"a prompt of {codes.shape[1]} codes needs {wanted} frames, it has {mel.shape[2]}"
            )
        if not codes.shape[1] and mel.shape[2]:
            raise InputError(f"the prompt has {mel.shape[2]} frames but no codes")
        return codes, mel.to(self.encoder_proj.weight)

    def _nothing(self, state: StreamState) -> Tensor:
        return state.speaker.new_zeros(len(state.speaker), self.config.output_size, 0)


def fit_frames(mel: Tensor, frames: int) -> Tensor:
    """Cut (batch, channels, T) to `frames`, or repeat its last frame, as Step-Audio 2 does with prompts."""
    if not mel.shape[2]:
        raise InputError("the prompt has no frames")
    return F.pad(mel, (0, max(0, frames - mel.shape[2])), mode="replicate")[:, :, :frames]


def load_flow(config: FlowConfig, weights: Mapping[str, Tensor]) -> FlowDecoder:
    """Build the decoder around tensors under the official names, in their dtype and on their device.

    Raises:
        ModelError: if a tensor is missing, unknown or has another shape than the configuration says.
    """
    with torch.device("meta"):
        decoder = FlowDecoder(config)
    expected = decoder.state_dict()
    for kind, keys in (
        ("lacks", expected.keys() - weights.keys()),
        ("also has", weights.keys() - expected.keys()),
    ):
        if keys:
            more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
            raise ModelError(
                f"the flow weights do not fit the configuration: the file {kind} {min(keys)}{more}"
            )
    for key, value in expected.items():
        if weights[key].shape != value.shape:
            raise ModelError(f"{key} of the flow has shape {_shape(weights[key])}, expected {_shape(value)}")
    decoder.load_state_dict(dict(weights), assign=True)
    return decoder.eval().requires_grad_(False)


def _shape(tensor: Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape)
