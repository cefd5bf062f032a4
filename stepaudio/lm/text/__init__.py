"""Text tokenizers: text to ids and back, whichever kind a checkpoint has."""

from pathlib import Path

from stepaudio.errors import ModelError
from stepaudio.lm.text.bpe import BpeText
from stepaudio.lm.text.files import read_json
from stepaudio.lm.text.llama import LlamaRules, SentencePieceText
from stepaudio.lm.text.protocol import TextTokenizer
from stepaudio.lm.text.stream import TextState, finish_text, push_text, start_text

__all__ = [
    "BpeText",
    "LlamaRules",
    "SentencePieceText",
    "TextState",
    "TextTokenizer",
    "finish_text",
    "load_text_tokenizer",
    "push_text",
    "start_text",
]


def load_text_tokenizer(folder: Path) -> TextTokenizer:
    """Load the tokenizer of a checkpoint folder, whichever kind it has.

    Raises:
        ModelError: the folder has none, or it is damaged.
    """
    if (folder / "tokenizer.json").is_file():
        return BpeText.from_file(folder / "tokenizer.json")
    if (folder / "vocab.json").is_file():
        return BpeText.from_qwen_files(folder)
    if (folder / "tokenizer.model").is_file():
        path = folder / "tokenizer_config.json"
        config = read_json(path) if path.is_file() else {}
        return SentencePieceText(folder / "tokenizer.model", LlamaRules.from_config(config))
    raise ModelError(f"{folder}: no tokenizer.json, vocab.json or tokenizer.model")
