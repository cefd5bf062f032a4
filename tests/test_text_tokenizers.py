"""Text tokenizers on tiny models trained here: ids, specials, round trips, streaming, clear errors."""

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from stepaudio.errors import InputError, ModelError
from stepaudio.lm.prompts import step2, step_chat, tts
from stepaudio.lm.prompts.messages import TokenPart, assistant, open_turn, system, user
from stepaudio.lm.prompts.vocabulary import CODEBOOK_SIZE, Vocabulary
from stepaudio.lm.text import (
    BpeText,
    LlamaRules,
    SentencePieceText,
    finish_text,
    load_text_tokenizer,
    push_text,
    start_text,
)
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

CORPUS = [
    "hello world, this is a small corpus",
    "system human assistant",
    "你好，世界。今天天气真好",
    "the quick brown fox jumps over the lazy dog",
] * 20
SPECIALS = [
    "<|endoftext|>", "<|im_end|>", "<|BOT|>", "<|EOT|>", "<audio_start>", "<audio_end>", "<audio_patch>",
    "<tts_start>", "<tts_end>", "<tts_pad>",
]  # fmt: skip


@pytest.fixture(scope="module")
def piece_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model laid out like Step-Audio's: <unk> 0, <s> 1, <|EOT|> 3, <|BOT|> 4, audio pieces."""
    from sentencepiece import SentencePieceTrainer

    blob = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS),
        model_writer=blob,
        vocab_size=400,
        model_type="bpe",
        byte_fallback=True,
        unk_id=0,
        bos_id=1,
        eos_id=-1,
        pad_id=-1,
        user_defined_symbols=["<two>", "<|EOT|>", "<|BOT|>", *(f"<audio_{i}>" for i in range(8))],
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    path = tmp_path_factory.mktemp("pieces") / "tokenizer.model"
    path.write_bytes(blob.getvalue())
    return path


@pytest.fixture(scope="module")
def qwen_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """vocab.json, merges.txt and added_tokens.json with all audio codes, as in Step-Audio 2's folder."""
    folder = tmp_path_factory.mktemp("qwen")
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer: Any = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet)
    trained.train_from_iterator(CORPUS, trainer)
    saved = json.loads(trained.to_str())["model"]
    vocabulary = saved["vocab"]
    merges = [" ".join(pair) if isinstance(pair, list) else pair for pair in saved["merges"]]
    added = {item: len(vocabulary) + i for i, item in enumerate([*SPECIALS, "<tool_call>", "</tool_call>"])}
    # A gap before the codes: ids must be kept, not counted up.
    added |= {f"<audio_{k}>": len(vocabulary) + 40 + k for k in range(CODEBOOK_SIZE + 1)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    (folder / "added_tokens.json").write_text(json.dumps(added))
    return folder


@pytest.fixture(scope="module")
def qwen(qwen_folder: Path) -> BpeText:
    return BpeText.from_qwen_files(qwen_folder)


NEW = LlamaRules(add_bos=True, legacy=False, specials=("<s>", "<|EOT|>", "<unk>"))
OLD = LlamaRules(add_bos=True, legacy=True, specials=("<s>", "<|EOT|>", "<unk>"))


def pieces(tokenizer: SentencePieceText, text: str) -> list[str]:
    return [tokenizer._processor.id_to_piece(i) for i in tokenizer.encode(text)]


def test_llama_rules(piece_model: Path) -> None:
    new, old = SentencePieceText(piece_model, NEW), SentencePieceText(piece_model, OLD)
    assert (new.token_id("<|EOT|>"), new.token_id("<|BOT|>"), new.token_id("<s>")) == (3, 4, 1)
    # A blank in front of the text, in both; BOT is no special token here, so the blank stays before it.
    for tokenizer in (new, old):
        assert pieces(tokenizer, "<|BOT|>human")[:3] == ["<s>", "▁", "<|BOT|>"]
        assert pieces(tokenizer, "<audio_5><audio_0>") == ["<s>", "▁", "<audio_5>", "<audio_0>"]
        assert tokenizer.encode("") == [1]
    # Behind a special token the old rule puts another blank, the new one does not.
    assert pieces(new, "<|EOT|>a") == ["<s>", "<|EOT|>", "a"]
    assert pieces(old, "<|EOT|>a") == ["<s>", "<|EOT|>", "▁a"]
    # A real blank at the front is kept besides the rule's own.
    assert "".join(pieces(new, " a")[1:]) == "▁▁a"


def test_bos_is_explicit(piece_model: Path) -> None:
    bare = SentencePieceText(piece_model, LlamaRules(add_bos=False, legacy=False, specials=("<s>",)))
    with_bos = SentencePieceText(piece_model, NEW)
    assert with_bos.encode("hello") == [1, *bare.encode("hello")]
    assert bare.encode("") == []


@settings(max_examples=60, deadline=None)
@given(
    text=st.text(
        st.characters(codec="utf-8", exclude_characters="▁\x00", exclude_categories=("Cs",)), max_size=20
    )
)
def test_pieces_round_trip(piece_model: Path, text: str) -> None:
    # The names of special tokens are left out of decoded text, see below.
    assume(not any(name in text for name in NEW.specials))
    for rules in (NEW, OLD):
        tokenizer = SentencePieceText(piece_model, rules)
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_specials_in_decoded_text(piece_model: Path) -> None:
    tokenizer = SentencePieceText(piece_model, NEW)
    ids = tokenizer.encode("hello<|EOT|>world")
    assert tokenizer.decode(ids) == "helloworld"
    assert tokenizer.decode(ids, skip_special=False) == "<s> hello<|EOT|>world"


def test_llama_rules_from_config() -> None:
    assert LlamaRules.from_config({}) == LlamaRules(
        add_bos=True, legacy=True, specials=("<s>", "</s>", "<unk>")
    )
    config = {
        "add_bos_token": False,
        "legacy": False,
        "eos_token": {"content": "<|EOT|>"},
        "pad_token": "<unk>",
        "additional_special_tokens": ["<|BOT|>"],
    }
    assert LlamaRules.from_config(config) == LlamaRules(False, False, ("<s>", "<|EOT|>", "<unk>", "<|BOT|>"))


def test_speech_prompt_with_a_real_tokenizer(piece_model: Path) -> None:
    """The transcript has no leading blank piece, and the layout stands whatever the folder says of BOS."""
    for add_bos in (False, True):
        rules = LlamaRules(add_bos=add_bos, legacy=False, specials=("<s>",))
        tokenizer = SentencePieceText(piece_model, rules)
        prompt = tts.speech_prompt(tokenizer.encode, "hello", clip_text="world", clip_ids=[9, 9])
        tail = [tts.BOT, *tokenizer.encode("human\n"), *plain(tokenizer, "hello"), tts.EOT]
        tail += [tts.BOT, *tokenizer.encode("assistant\n")]
        assert list(prompt.ids[-len(tail) :]) == tail
        assert prompt.ids[:2] == (1, 4)


def plain(tokenizer: SentencePieceText, text: str) -> list[int]:
    """The ids of `text` without anything in front, asked of SentencePiece itself."""
    return list(tokenizer._processor.encode_as_ids(text))


def test_chat_prompt_with_a_real_tokenizer(piece_model: Path) -> None:
    tokenizer = SentencePieceText(piece_model, NEW)
    ids = tokenizer.encode(step_chat.render([system("hello"), user("world")]))
    assert ids[0] == 1
    assert ids.count(4) == 3
    assert ids.count(3) == 2


def test_qwen_files(qwen: BpeText, qwen_folder: Path) -> None:
    added = json.loads((qwen_folder / "added_tokens.json").read_text())
    for piece in ("<|BOT|>", "<tts_pad>", "<audio_0>", "<audio_6561>", "<tool_call>"):
        assert qwen.token_id(piece) == added[piece]
        assert qwen.encode(f"a{piece}b") == [*qwen.encode("a"), added[piece], *qwen.encode("b")]
    assert qwen.vocab_size == added["<audio_6561>"] + 1
    assert qwen.decode(qwen.encode("<tool_call>x</tool_call><|EOT|>")) == "<tool_call>x</tool_call>"
    assert qwen.decode(qwen.encode("x<|EOT|>"), skip_special=False) == "x<|EOT|>"


def test_qwen_cuts_digits_and_words(qwen: BpeText) -> None:
    """One digit at a time, blanks with the word that follows, line breaks apart."""
    texts = [qwen.decode([token]) for token in qwen.encode("the 42 the\n\nthe")]
    assert "42" not in texts
    assert texts[0] == "the"
    assert qwen.encode("the\nthe") == [*qwen.encode("the"), *qwen.encode("\n"), *qwen.encode("the")]


@settings(max_examples=60, deadline=None)
@given(text=st.text(st.characters(codec="utf-8"), max_size=24))
def test_bpe_round_trip(qwen: BpeText, text: str) -> None:
    import unicodedata

    assume(re.search("<.*>", text) is None)  # a control token is not text
    assert qwen.decode(qwen.encode(text)) == unicodedata.normalize("NFC", text)


def test_tokenizer_json_gives_the_same_ids(qwen: BpeText, tmp_path: Path) -> None:
    qwen._tokenizer.save(str(tmp_path / "tokenizer.json"))
    again = load_text_tokenizer(tmp_path)
    for text in ("hello 你好 42\n\n x", "<|BOT|>human\nhi<|EOT|>", " lead"):
        assert again.encode(text) == qwen.encode(text)
    assert again.vocab_size == qwen.vocab_size


def test_vocabulary_from_strings(qwen: BpeText) -> None:
    vocabulary = Vocabulary.from_tokenizer(qwen, stop=("<|EOT|>", "<|im_end|>"))
    assert vocabulary.first_code == qwen.token_id("<audio_0>")
    assert vocabulary.code_padding == qwen.token_id("<audio_6561>")
    assert vocabulary.tts_pad == qwen.token_id("<tts_pad>")
    assert vocabulary.stop == {qwen.token_id("<|EOT|>"), qwen.token_id("<|im_end|>")}
    turns = [user("hello"), assistant("<tts_start>"), assistant(TokenPart((7, 8))), open_turn("<tts_start>")]
    ids = step2.chat_prompt(turns).ids(qwen)
    assert ids[0] == qwen.token_id("<|BOT|>")
    assert ids[-1] == vocabulary.tts_start
    with pytest.raises(ModelError, match="no token '<gone>'"):
        Vocabulary.from_tokenizer(qwen, stop=("<gone>",))


@settings(max_examples=60, deadline=None)
@given(text=st.text("ab 你好🎉é\n", max_size=20), sizes=st.lists(st.integers(1, 4), max_size=30))
def test_streamed_text_is_the_whole_text(
    qwen: BpeText, piece_model: Path, text: str, sizes: list[int]
) -> None:
    for tokenizer in (qwen, SentencePieceText(piece_model, LlamaRules(False, False, ()))):
        ids = tokenizer.encode(text)
        state, out, at = start_text(tokenizer), "", 0
        for size in [*sizes, *[1] * len(ids)]:
            out += push_text(state, ids[at : at + size])
            at += size
            assert "\ufffd" not in out
        assert out + finish_text(state) == tokenizer.decode(ids)


def test_broken_bytes_come_out_in_the_end(qwen: BpeText) -> None:
    half = qwen.encode("🎉")[:1]
    state = start_text(qwen)
    assert push_text(state, half) == ""
    assert finish_text(state) == "\ufffd"


def test_loading_by_what_the_folder_has(piece_model: Path, qwen_folder: Path, tmp_path: Path) -> None:
    assert isinstance(load_text_tokenizer(qwen_folder), BpeText)
    (tmp_path / "tokenizer.model").write_bytes(piece_model.read_bytes())
    loaded = load_text_tokenizer(tmp_path)
    assert isinstance(loaded, SentencePieceText)
    assert loaded.encode("hello")[0] == 1
    (tmp_path / "tokenizer_config.json").write_text('{"add_bos_token": false, "legacy": false}')
    assert load_text_tokenizer(tmp_path).encode("hello")[0] != 1


def damaged(kind: str, folder: Path) -> Any:
    def write(**files: str) -> None:
        for name, text in files.items():
            (folder / name.replace("__", ".")).write_text(text)

    if kind == "empty":
        return load_text_tokenizer(folder)
    if kind == "tokenizer":
        write(tokenizer__json='{"a": 1}')
    elif kind == "vocab":
        write(vocab__json="{", merges__txt="")
    elif kind == "ids":
        write(vocab__json='{"a": "b"}', merges__txt="")
    elif kind == "list":
        write(vocab__json="[]", merges__txt="")
    elif kind == "merges":
        write(vocab__json='{"a": 0}')
    elif kind == "unfit":
        write(vocab__json='{"a": 0}', merges__txt="x y\n")
    elif kind == "clash":
        write(vocab__json='{"a": 0}', merges__txt="", added_tokens__json='{"<s>": 0}')
    elif kind == "flags":
        write(
            vocab__json='{"a": 0}',
            merges__txt="",
            tokenizer_config__json='{"added_tokens_decoder": {"1": 2}}',
        )
    elif kind == "pieces":
        (folder / "tokenizer.model").write_bytes(b"not a model")
        return load_text_tokenizer(folder).encode("a")
    return load_text_tokenizer(folder)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("empty", "no tokenizer.json"),
        ("tokenizer", "not a tokenizer"),
        ("vocab", "not JSON"),
        ("ids", "non-negative integer id"),
        ("list", "object is expected"),
        ("merges", "cannot be read"),
        ("unfit", "do not fit"),
        ("clash", "is both"),
        ("flags", "malformed"),
        ("pieces", "not a SentencePiece model"),
    ],
)
def test_damaged_folders(kind: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=reason) as caught:
        damaged(kind, tmp_path)
    assert "\n" not in str(caught.value)


def test_unknown_ids_and_pieces(qwen: BpeText, piece_model: Path) -> None:
    for tokenizer in (qwen, SentencePieceText(piece_model, NEW)):
        with pytest.raises(InputError, match="not in the vocabulary"):
            tokenizer.decode([tokenizer.vocab_size])
        with pytest.raises(InputError, match="id -1"):
            tokenizer.decode([-1])
        with pytest.raises(ModelError, match="<nowhere>"):
            tokenizer.token_id("<nowhere>")
