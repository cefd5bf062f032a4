"""Official folders whose parts all run: tiny random weights, real tokenizers, tiny real ONNX graphs."""

import io
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import official_folders as official
import torch
from safetensors.torch import load_file, save_file

from stepaudio.audio import Audio
from stepaudio.lm.prompts.tts import HUMMING_PROMPT, RAP_PROMPT, system_prompt

CHAT_CONFIG = official.STEP1_CONFIG | {"max_seq_len": 4096}
FIRST_AUDIO, AUDIO_CODES, STEP1_VOCAB = 65536, 5120, 74752
QWEN_SPECIALS = {
    "<|endoftext|>": 151643,
    "<|im_start|>": 151644,
    "<|im_end|>": 151645,
    "<tool_call>": 151657,
    "</tool_call>": 151658,
    "<|EOT|>": 151665,
    "<|BOT|>": 151666,
    "<think>": 151667,
    "</think>": 151668,
    "<audio_start>": 151688,
    "<audio_end>": 151689,
    "<audio_patch>": 151690,
    "<tts_start>": 151693,
    "<tts_end>": 151694,
    "<tts_pad>": 151695,
}


def campplus(path: Path) -> None:
    """Features (1, T, 80) to an embedding (1, 192): a projection of their mean."""
    from onnx import TensorProto, helper, numpy_helper

    weight = np.random.default_rng(0).standard_normal((80, 192)).astype(np.float32)
    nodes = [
        helper.make_node("ReduceMean", ["feats", "axis"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "weight"], ["linear"]),
        helper.make_node("Tanh", ["linear"], ["embedding"]),
    ]
    # The mean over time of what CAM++ reads is zero, so it is the spread that counts here.
    nodes.insert(0, helper.make_node("Mul", ["raw", "raw"], ["feats"]))
    _save(
        path,
        nodes,
        [helper.make_tensor_value_info("raw", TensorProto.FLOAT, [1, "T", 80])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [1, 192])],
        [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(np.array([1]), "axis")],
    )


def speech_tokenizer(path: Path, codes: int) -> None:
    """Log-mel (1, 128, T) and its length to codes (1, ceil(T / 4))."""
    from onnx import TensorProto, helper, numpy_helper

    constants = {"axis": np.array([1]), "scale": np.float32(9973.0), "codes": np.float32(codes)}
    pool: dict[str, Any] = {"kernel_shape": [3], "strides": [2], "pads": [1, 1]}
    nodes = [
        helper.make_node("ReduceMean", ["mel", "axis"], ["level"], keepdims=1),
        helper.make_node("MaxPool", ["level"], ["half"], **pool),
        helper.make_node("MaxPool", ["half"], ["quarter"], **pool),
        helper.make_node("Mul", ["quarter", "scale"], ["large"]),
        helper.make_node("Abs", ["large"], ["positive"]),
        helper.make_node("Mod", ["positive", "codes"], ["rest"], fmod=1),
        helper.make_node("Floor", ["rest"], ["whole"]),
        helper.make_node("Squeeze", ["whole", "axis"], ["row"]),
        helper.make_node("Cast", ["row"], ["indices"], to=TensorProto.INT32),
    ]
    _save(
        path,
        nodes,
        [
            helper.make_tensor_value_info("mel", TensorProto.FLOAT, [1, 128, "T"]),
            helper.make_tensor_value_info("length", TensorProto.INT32, [1]),
        ],
        [helper.make_tensor_value_info("indices", TensorProto.INT32, [1, "N"])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )


def _save(path: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any], weights: list[Any]) -> None:
    import onnx
    from onnx import helper

    graph = helper.make_graph(nodes, "tiny", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, path)


@cache
def sentencepiece() -> bytes:
    """A model with Step-Audio's ids: EOT 3, BOT 4, words, and the audio pieces from 65536 on."""
    from sentencepiece import SentencePieceTrainer

    corpus = [system_prompt("x"), system_prompt("x", "Tingting"), RAP_PROMPT, HUMMING_PROMPT]
    corpus += [
        "hello world, how are you today?",
        "system human assistant user input",
        "你好，世界。今天天气好",
    ]
    blob = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter("\n".join(corpus * 5).split("\n")),
        model_writer=blob,
        vocab_size=800,
        model_type="bpe",
        byte_fallback=True,
        unk_id=0,
        bos_id=1,
        eos_id=-1,
        pad_id=-1,
        user_defined_symbols=["<two>", "<|EOT|>", "<|BOT|>"],
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    from sentencepiece import SentencePieceProcessor

    known = SentencePieceProcessor(model_proto=blob.getvalue()).get_piece_size()
    pieces = [(f"<unused_{i}>", 5) for i in range(known, FIRST_AUDIO)]
    pieces += [(f"<audio_{i}>", 4) for i in range(AUDIO_CODES)]
    pieces += [(f"<unused_{i}>", 5) for i in range(FIRST_AUDIO + AUDIO_CODES, STEP1_VOCAB)]
    # Appended fields of a serialised message count as if they had been in it.
    return blob.getvalue() + b"".join(_piece(text.encode(), kind) for text, kind in pieces)


def _piece(text: bytes, kind: int) -> bytes:
    body = b"\x0a" + bytes([len(text)]) + text + b"\x15" + bytes(4) + b"\x18" + bytes([kind])
    return b"\x0a" + bytes([len(body)]) + body


def step1_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.model").write_bytes(sentencepiece())
    rules = {"add_bos_token": False, "legacy": False, "tokenizer_class": "LlamaTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(rules))


def qwen_tokenizer(folder: Path) -> None:
    """Bytes, no merges, and the special tokens and codes at their real ids."""
    from tokenizers import pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    (folder / "vocab.json").write_text(json.dumps({char: i for i, char in enumerate(alphabet)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    added = QWEN_SPECIALS | {f"<audio_{k}>": 151696 + k for k in range(6562)}
    (folder / "added_tokens.json").write_text(json.dumps(added))


def steer(folder: Path, bias: np.ndarray, noise: float = 0.2) -> None:
    """Give the language model's head a bias, so that tiny random weights write short replies of known ids.

    One channel of the embeddings is large and the same for all ids; after the final norm it is near
    sqrt(size) wherever the model stands, and the head's column of it acts as a bias.
    """
    index = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    for key in ("model.embed_tokens.weight", "lm_head.weight"):
        is_head = key.startswith("lm_head")
        shard = folder / index[key]
        tensors = load_file(shard)
        weight = (noise if is_head else 0.2) * tensors[key]

        weight[:, 0] = torch.from_numpy(bias).to(weight) / weight.shape[1] ** 0.5 if is_head else 3.0
        save_file(tensors | {key: weight}, shard)


def step1_bias(*, audio: float, text: float, eot: float) -> np.ndarray:
    """EOT with some chance at every step, codes and words by chance, nothing else."""
    from sentencepiece import SentencePieceProcessor

    model = SentencePieceProcessor(model_proto=sentencepiece())
    bias = np.full(STEP1_VOCAB, -30.0, np.float32)
    words = [i for i in range(STEP1_VOCAB) if i > 4 and not model.is_unused(i) and not model.is_byte(i)]
    bias[words] = text
    bias[FIRST_AUDIO : FIRST_AUDIO + AUDIO_CODES] = audio
    bias[3] = eot
    return bias


def step2_bias() -> np.ndarray:
    """Letters, codes, the end of speech and of turns by chance; nothing else."""
    bias = np.full(158720, -30.0, np.float32)
    bias[33:90] = 0.0
    bias[151696:158257] = 0.0
    bias[[151694, 151665, 151643]] = 1.0
    return bias


def step_audio(root: Path, *, chat: bool = True, speakers: bool = True) -> Path:
    """Tokenizer, TTS-3B and (if asked) Chat side by side."""
    official.tokenizer(root / "Step-Audio-Tokenizer")
    speech_tokenizer(root / "Step-Audio-Tokenizer" / "speech_tokenizer_v1.onnx", 4096)
    tts = official.tts(root / "Step-Audio-TTS-3B", CHAT_CONFIG)
    step1_tokenizer(tts)
    steer(tts, step1_bias(audio=0.0, text=-30.0, eot=2.2))
    for name in ("CosyVoice-300M-25Hz", "CosyVoice-300M-25Hz-Music"):
        campplus(tts / name / "campplus.onnx")
    if chat:
        chat_folder = official.step1(root / "Step-Audio-Chat", CHAT_CONFIG)
        step1_tokenizer(chat_folder)
        steer(chat_folder, step1_bias(audio=-30.0, text=0.0, eot=0.1), noise=1.0)
    return root


def step_audio_2(root: Path) -> Path:
    folder = official.step_audio_2(root)
    qwen_tokenizer(folder)
    steer(folder, step2_bias())
    campplus(folder / "token2wav" / "campplus.onnx")
    speech_tokenizer(folder / "token2wav" / "speech_tokenizer_v2_25hz.onnx", 6561)
    return folder


def add_speakers(folder: Path, names: dict[str, str]) -> None:
    """Named voices: clips of noise with a melody, and their transcripts."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "speakers_info.json").write_text(json.dumps(names, ensure_ascii=False), encoding="utf-8")
    for index, name in enumerate(names):
        clip(seconds=1.0, seed=index).save(folder / f"{name}_prompt.wav")


def clip(seconds: float = 1.0, rate: int = 24000, seed: int = 0) -> Audio:
    """Something like a voice: a gliding buzz with noise, which no tokenizer takes for silence."""
    time = np.arange(int(seconds * rate)) / rate
    noise = np.random.default_rng(seed).standard_normal(time.size) * 0.05
    glide = 2 * np.pi * np.cumsum(120 + 40 * np.sin(2 * np.pi * (1 + seed) * time)) / rate
    buzz = sum(np.sin(k * glide) / k for k in range(1, 12))
    return Audio((0.2 * buzz + noise).astype(np.float32), rate)
