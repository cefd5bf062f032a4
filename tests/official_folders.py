"""Folders in the layout of the official releases, with tiny random weights, for tests."""

import io
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from stepaudio.convert.language import read_encoder
from stepaudio.convert.linguistic import PARAFORMER
from stepaudio.convert.shapes import encoder_shapes, lm_shapes
from stepaudio.lm.config import LMConfig

GOLDEN = Path(__file__).parent / "golden"

COSYVOICE_YAML = """\
# made for a test
__set_seed1: !apply:random.seed [1986]
__set_seed2: !apply:torch.manual_seed [1986]

sample_rate: 22050
text_encoder_input_size: 512
spk_embed_dim: 192

llm: !new:cosyvoice.llm.llm.TransformerLM
    text_encoder_input_size: !ref <text_encoder_input_size>
    spk_embed_dim: !ref <spk_embed_dim>

flow: !new:cosyvoice.flow.flow.MaskedDiffWithXvec
    input_size: 24
    output_size: 80
    spk_embed_dim: !ref <spk_embed_dim>
    output_type: 'mel'
    vocab_size: 5120
    input_frame_rate: 41.67
    only_mask_loss: True
    encoder: !new:cosyvoice.transformer.encoder.ConformerEncoder
        output_size: 32
        attention_heads: 4
        linear_units: 64
        num_blocks: 2
        dropout_rate: 0.1
        positional_dropout_rate: 0.1
        attention_dropout_rate: 0.1
        normalize_before: True
        input_layer: 'linear'
        pos_enc_layer_type: 'rel_pos_espnet'
        selfattention_layer_type: 'rel_selfattn'
        input_size: 24
        use_cnn_module: False
        macaron_style: False
    length_regulator: !new:cosyvoice.flow.length_regulator.InterpolateRegulator
        channels: 80
        sampling_ratios: [1, 1, 1, 1]
    decoder: !new:cosyvoice.flow.flow_matching.ConditionalCFM
        in_channels: 240
        n_spks: 1
        spk_emb_dim: 80
        cfm_params: !new:omegaconf.DictConfig
            content:
                sigma_min: 1e-06
                solver: 'euler'
                t_scheduler: 'cosine'
                training_cfg_rate: 0.2
                inference_cfg_rate: 0.7
                reg_loss_type: 'l1'
        estimator: !new:cosyvoice.flow.decoder.ConditionalDecoder
            in_channels: 320
            out_channels: 80
            channels: [24, 24]
            dropout: 0.0
            attention_head_dim: 10
            n_blocks: 1
            num_mid_blocks: 2
            num_heads: 3
            act_fn: 'gelu'

hift: !new:cosyvoice.hifigan.generator.HiFTGenerator
    in_channels: 80
    base_channels: 32
    nb_harmonics: 8
    sampling_rate: !ref <sample_rate>
    nsf_alpha: 0.1
    nsf_sigma: 0.003
    nsf_voiced_threshold: 10
    upsample_rates: [8, 8]
    upsample_kernel_sizes: [16, 16]
    istft_params:
        n_fft: 16
        hop_len: 4
    resblock_kernel_sizes: [3, 7, 11]
    resblock_dilation_sizes: [[1, 3, 5], [1, 3, 5], [1, 3, 5]]
    source_resblock_kernel_sizes: [7, 11]
    source_resblock_dilation_sizes: [[1, 3, 5], [1, 3, 5]]
    lrelu_slope: 0.1
    audio_limit: 0.99
    f0_predictor: !new:cosyvoice.hifigan.f0_predictor.ConvRNNF0Predictor
        num_class: 1
        in_channels: 80
        cond_channels: 32

get_tokenizer: !name:whisper.tokenizer.get_tokenizer
    multilingual: True
feat_extractor: !name:matcha.utils.audio.mel_spectrogram
    n_fft: 1024
    num_mels: 80
    sampling_rate: !ref <sample_rate>
    center: False
data_pipeline: [!ref <get_tokenizer>, !ref <feat_extractor>]
"""

FLOW_YAML = """\
flow: !new:cosyvoice2.flow.flow.CausalMaskedDiffWithXvec
  input_size: 32
  output_size: 80
  spk_embed_dim: 192
  output_type: 'mel'
  vocab_size: 6561
  encoder: !new:cosyvoice2.transformer.upsample_encoder_v2.UpsampleConformerEncoderV2
    input_size: 32
    output_size: 32
    input_layer: 'linear'
    pre_lookahead_len: 3
    num_blocks: 2
    num_up_blocks: 2
    up_stride: 2
    up_scale_factor: 2
    attention_heads: 4
    pos_enc_layer_type: 'rel_pos_espnet'
    selfattention_layer_type: 'rel_selfattn'
    key_bias: true
    linear_units: 64
    dropout_rate: 0.1
    positional_dropout_rate: 0.1
    attention_dropout_rate: 0.1
    normalize_before: True
    activation_type: 'swish'
  decoder: !new:cosyvoice2.flow.flow_matching.CausalConditionalCFM
    inference_cfg_rate: 0.7
    estimator: !new:cosyvoice2.flow.decoder_dit.DiT
      in_channels: 320
      out_channels: 80
      mlp_ratio: 4.0
      depth: 2
      num_heads: 2
      head_dim: 12
      hidden_size: 32
"""

# The official file has no such part (the vocoder has its class defaults); a small one must say its size.
SMALL_HIFT_YAML = """\
hift: !new:cosyvoice2.hifigan.generator.HiFTGenerator
  in_channels: 80
  base_channels: 32
  nb_harmonics: 8
  sampling_rate: 24000
  upsample_rates: [8, 5, 3]
  upsample_kernel_sizes: [16, 11, 7]
  source_resblock_kernel_sizes: [7, 7, 11]
  source_resblock_dilation_sizes: [[1, 3, 5], [1, 3, 5], [1, 3, 5]]
  f0_predictor: !new:cosyvoice2.hifigan.f0_predictor.ConvRNNF0Predictor
    num_class: 1
    in_channels: 80
    cond_channels: 32
"""

PARAFORMER_YAML = """\
# network architecture
model: ParaformerStreaming
model_conf:
    ctc_weight: 0.0
encoder: SANMEncoderChunkOpt
encoder_conf:
    output_size: 32
    attention_heads: 4
    linear_units: 64
    num_blocks: 3
    dropout_rate: 0.1
    input_layer: pe_online
    pos_enc_class: SinusoidalPositionEncoder
    normalize_before: true
    kernel_size: 11
    sanm_shfit: 0
    selfattention_layer_type: sanm
    chunk_size:
    - 12
    - 15
frontend: WavFrontendOnline
frontend_conf:
    fs: 16000
    window: hamming
    n_mels: 80
    frame_length: 25
    frame_shift: 10
    lfr_m: 7
    lfr_n: 6
"""

STEP1_CONFIG: dict[str, Any] = {
    "architectures": ["Step1ForCausalLM"],
    "model_type": "step1",
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_attention_heads": 6,
    "num_attention_groups": 2,
    "num_hidden_layers": 2,
    "max_seq_len": 1024,
    "vocab_size": 74752,
    "rms_norm_eps": 1e-5,
    "bos_token_id": 1,
    "eos_token_id": 3,
    "pad_token_id": 0,
    "torch_dtype": "bfloat16",
}

STEP2_CONFIG: dict[str, Any] = {
    "architectures": ["StepAudio2ForCausalLM"],
    "model_type": "step_audio_2",
    "text_config": {
        "hidden_size": 48,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_attention_groups": 2,
        "num_key_value_heads": 2,
        "vocab_size": 158720,
        "max_seq_len": 2048,
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0,
        "rope_scaling": None,
        "eos_token_id": 151643,
        "pad_token_id": 151643,
        "torch_dtype": "bfloat16",
    },
    "audio_encoder_config": {
        "n_mels": 128,
        "n_audio_ctx": 1500,
        "n_audio_state": 40,
        "n_audio_head": 4,
        "n_audio_layer": 2,
        "n_codebook_size": 4096,
        "llm_dim": 48,
        "kernel_size": 3,
        "adapter_stride": 2,
        "adapter_hidden": 64,
    },
}


def golden_weights(name: str, prefix: str = "") -> dict[str, torch.Tensor]:
    tensors = load_file(GOLDEN / f"{name}.safetensors")
    return {prefix + key[2:]: value for key, value in tensors.items() if key.startswith("w.")}


def fake_onnx() -> bytes:
    """The outermost fields of an ONNX model with an empty graph: whole, but not to be run."""
    return b"\x08\x08" + b"\x3a\x02\x12\x00"


def write_shards(folder: Path, shapes: dict[str, tuple[int, ...]], count: int = 2) -> None:
    generator = torch.Generator().manual_seed(0)
    keys = list(shapes)
    size = -(-len(keys) // count)
    weight_map = {}
    for index in range(count):
        name = f"model-{index + 1:05}-of-{count:05}.safetensors"
        part = keys[index * size : (index + 1) * size]
        tensors = {}
        for key in part:
            noise = torch.randn(shapes[key], generator=generator)
            is_norm = len(shapes[key]) == 1 and key.endswith("weight")
            tensors[key] = (1 + 0.1 * noise if is_norm else 0.05 * noise).to(torch.bfloat16)
        save_file(tensors, folder / name)
        weight_map |= dict.fromkeys(part, name)
    index_text = json.dumps({"metadata": {"total_size": 0}, "weight_map": weight_map})
    (folder / "model.safetensors.index.json").write_text(index_text)


def cosyvoice(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "cosyvoice.yaml").write_text(COSYVOICE_YAML)
    torch.save(golden_weights("sa1_flow_prompt"), folder / "flow.pt")
    torch.save(golden_weights("sa1_hift"), folder / "hift.pt")
    (folder / "campplus.onnx").write_bytes(fake_onnx())
    (folder / "speech_tokenizer_v1.onnx").write_bytes(fake_onnx())
    return folder


def token2wav(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "flow.yaml").write_text(FLOW_YAML + SMALL_HIFT_YAML)
    torch.save(golden_weights("sa2_flow_offline"), folder / "flow.pt")
    torch.save(golden_weights("sa2_hift", "generator."), folder / "hift.pt")
    (folder / "campplus.onnx").write_bytes(fake_onnx())
    (folder / "speech_tokenizer_v2_25hz.onnx").write_bytes(fake_onnx())
    return folder


def tokenizer(folder: Path) -> Path:
    paraformer = folder / PARAFORMER
    paraformer.mkdir(parents=True)
    case = load_file(GOLDEN / "sa1_paraformer_vq02.safetensors")
    np.save(folder / "linguistic_tokenizer.npy", case["in.centroids"].numpy())
    (folder / "speech_tokenizer_v1.onnx").write_bytes(fake_onnx())
    other = {"decoder.embed.0.weight": torch.zeros(3, 2), "predictor.cif_output.bias": torch.zeros(1)}
    weights = {f"module.{key}": value for key, value in golden_weights("sa1_paraformer_vq02").items()}
    torch.save({"state_dict": {**weights, **other}}, paraformer / "model.pt")
    (paraformer / "config.yaml").write_text(PARAFORMER_YAML)
    (paraformer / "am.mvn").write_text(mvn(case["in.cmvn_shift"], case["in.cmvn_scale"]))
    return folder


def mvn(shift: torch.Tensor, scale: torch.Tensor) -> str:
    out = io.StringIO()
    out.write("<Nnet>\n<Splice> 560 560\n[ 0 ]\n")
    for tag, values in (("AddShift", shift), ("Rescale", scale)):
        numbers = " ".join(f"{value:.9g}" for value in values.tolist())
        out.write(f"<{tag}> 560 560\n<LearnRateCoef> 0 [ {numbers} ]\n")
    out.write("</Nnet>\n")
    return out.getvalue()


def step1(folder: Path, config: dict[str, Any] = STEP1_CONFIG) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.model").write_bytes(b"stand-in")
    (folder / "tokenizer_config.json").write_text("{}")
    (folder / "modeling_step1.py").write_text("raise SystemExit('code of the folder ran')\n")
    write_shards(folder, lm_shapes(LMConfig.from_official(config)))
    return folder


def tts(folder: Path, config: dict[str, Any] = STEP1_CONFIG) -> Path:
    step1(folder, config)
    cosyvoice(folder / "CosyVoice-300M-25Hz")
    cosyvoice(folder / "CosyVoice-300M-25Hz-Music")
    return folder


def step_audio_2(folder: Path, config: dict[str, Any] = STEP2_CONFIG) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "vocab.json").write_text("{}")
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "modeling_step_audio_2.py").write_text("raise SystemExit('code of the folder ran')\n")
    encoder = encoder_shapes(read_encoder(config, "config.json"))
    write_shards(folder, {**lm_shapes(LMConfig.from_official(config)), **encoder}, count=3)
    token2wav(folder / "token2wav")
    return folder


def truncate(path: Path, keep: float = 0.6) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])


def rewrite_header(path: Path, change: Any) -> None:
    """Change the JSON header of a safetensors file in place of the old one."""
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + size :])
