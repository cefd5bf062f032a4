"""What a frozen Whisper encoder makes of WORLD frames: a loss that hears, and that does not over-fit.

The encoder sees the log-mel of the spectral envelope, which has a gradient where WORLD's synthesis has none.
Whisper understands it as well as sound: tiny.en gets 13 of 453 words of the VCTK recordings wrong either way.
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stepaudio.convert.ctranslate2_file import read_ctranslate2
from stepaudio.decoder.envelope import basis
from stepaudio.decoder.world import FFT, FRAME_RATE, RATE, SPECTRAL, SPECTRUM
from stepaudio.decoder.world_voice import Scale
from stepaudio.encoder import Encoder, EncoderConfig
from stepaudio.features.mel import MelConfig, mel_filterbank, whisper_scale
from stepaudio.training.loop import Losses

TINY = EncoderConfig(n_mels=80, n_state=384, n_head=6, n_layer=4, key_bias=True, pool=False)
"""Whisper tiny's encoder."""
LAYERS = (2, TINY.n_layer)
"""Blocks behind which decoded and wanted frames are compared; the last one also tells the phonemes."""
WINDOW_POWER = 150.0
"""Sum of the squares of Whisper's Hann window of 400 samples: what noise of power 1 has in a bin."""
SPACING, WHISPER_SPACING = RATE / FFT, 40.0
"""Hz between two bins of WORLD's envelopes, and of Whisper's spectra."""
HEARD = 8000.0
"""Hz up to which Whisper hears."""
LOUDEST = 20.0
"""Natural logarithm of more power than any sound has: early in training frames may be anything."""


def load_encoder(folder: Path) -> Encoder:
    """The encoder of a Whisper tiny card in CTranslate2 form, frozen."""
    held = read_ctranslate2(folder / "model.bin", "encoder/")
    tensors = {name: torch.from_numpy(value.copy()).float() for name, value in held.items()}
    state = {
        "positional_embedding.weight": tensors["position_encodings/encodings"],
        "after_norm.weight": tensors["layer_norm/gamma"],
        "after_norm.bias": tensors["layer_norm/beta"],
    }
    for part in ("weight", "bias"):
        state |= {f"{name}.{part}": tensors[f"{name}/{part}"] for name in ("conv1", "conv2")}
    for index in range(TINY.n_layer):
        ours, theirs = f"blocks.{index}", f"layer_{index}"
        for part in ("weight", "bias"):
            heard = tensors[f"{theirs}/self_attention/linear_0/{part}"].chunk(3)
            for name, value in zip(("query", "key", "value"), heard, strict=True):
                state[f"{ours}.attn.{name}.{part}"] = value
            state[f"{ours}.attn.out.{part}"] = tensors[f"{theirs}/self_attention/linear_1/{part}"]
            state[f"{ours}.mlp.0.{part}"] = tensors[f"{theirs}/ffn/linear_0/{part}"]
            state[f"{ours}.mlp.2.{part}"] = tensors[f"{theirs}/ffn/linear_1/{part}"]
        for part, name in (("weight", "gamma"), ("bias", "beta")):
            state[f"{ours}.attn_ln.{part}"] = tensors[f"{theirs}/self_attention/layer_norm/{name}"]
            state[f"{ours}.mlp_ln.{part}"] = tensors[f"{theirs}/ffn/layer_norm/{name}"]
    encoder = Encoder(TINY)
    encoder.load_state_dict(state)
    return encoder.eval().requires_grad_(False)


class Perception(nn.Module):
    """Decoded WORLD frames to the inner values of a frozen Whisper encoder.

    Args:
        encoder: of Whisper tiny's size.
        scale: of the frames and of the voices.
        classifier: the features (batch, T, 384) of the encoder to logits of phonemes, which tell the
            differences that matter to words from the others.
    """

    def __init__(self, encoder: Encoder, scale: Scale, classifier: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.classifier = classifier.eval().requires_grad_(False)
        self.basis: Tensor
        self.filters: Tensor
        self.frame_scale: Tensor
        self.voice_mean: Tensor
        self.voice_deviation: Tensor
        mels = MelConfig(
            sample_rate=RATE, n_fft=FFT, hop_length=RATE // FRAME_RATE, n_mels=TINY.n_mels, fmax=HEARD
        )
        bins = int(HEARD / SPACING) + 1
        # Whisper's bins are further apart than WORLD's: fewer of them fall into a filter.
        power = WINDOW_POWER * SPACING / WHISPER_SPACING
        self.register_buffer("basis", torch.from_numpy(basis()[:, :bins].copy()).float())
        self.register_buffer("filters", power * mel_filterbank(mels)[:, :bins])
        self.register_buffer("frame_scale", torch.from_numpy(scale.frames[SPECTRAL]))
        # The voicing is left out of a voice's values, so all lie one place lower.
        centre = slice(SPECTRAL.start - 1, SPECTRAL.stop - 1)
        self.register_buffer("voice_mean", torch.from_numpy(scale.voice_mean[centre]))
        self.register_buffer("voice_deviation", torch.from_numpy(scale.voice_deviation[centre]))

    def log_mel(self, spectrum: Tensor) -> Tensor:
        """Coded spectra (batch, T, 40) to what Whisper would see of them, (batch, 80, T) float32."""
        power = (spectrum.float() @ self.basis).clamp(max=LOUDEST).exp() @ self.filters.T
        return whisper_scale(power.transpose(1, 2))

    def forward(self, spectrum: Tensor) -> list[Tensor]:
        """Coded spectra (batch, T, 40) to the inner values (batch, T / 2, 384) behind each of `LAYERS`."""
        hidden, found = self.encoder.embed(self.log_mel(spectrum)), []
        for index, block in enumerate(self.encoder.blocks, start=1):
            hidden = block(hidden, None)
            if index in LAYERS:
                found.append(hidden.float())
        return found

    def compare(self, made: Tensor, wanted: Tensor, voice: Tensor, whisper: Tensor) -> Losses:
        """How differently decoded and wanted frames sound, but for pitch and voicing.

        The phonemes are to be those that the recording itself tells: frames of a noisy one tell them worse.

        Args:
            made: (batch, T, 45) relative and scaled, as decoded.
            wanted: (batch, T, 45) the same, as recorded.
            voice: (batch, 85 + 256) the voice of both.
            whisper: (batch, T / 2, 384) features of the recording.

        Returns:
            ``perceived``, the mean absolute difference of the inner values in their standard deviations, and
            ``phonetic``, the divergence of the phonemes' probabilities from those of the recording.
        """
        centre = SPECTRAL.start - 1
        told = voice[:, centre : centre + SPECTRUM] * self.voice_deviation + self.voice_mean
        with torch.no_grad():
            said = self.classifier(whisper).float()
            aims = self(wanted[..., SPECTRAL] * self.frame_scale + told[:, None])
        heard = self(made[..., SPECTRAL] * self.frame_scale + told[:, None])
        guessed = self.classifier(self.encoder.after_norm(heard[-1])).float()
        spreads = [aim.flatten(0, 1).std(0) + 1e-3 for aim in aims]
        parts = [((x - y) / s).abs().mean() for x, y, s in zip(heard, aims, spreads, strict=True)]
        divergence = F.kl_div(
            guessed.log_softmax(-1).flatten(0, 1),
            said.log_softmax(-1).flatten(0, 1),
            reduction="batchmean",
            log_target=True,
        )
        return {"perceived": torch.stack(parts).mean(), "phonetic": divergence}
