"""Writing down by sounds and language together: prefix scores, the lexicon, branches, the search."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stepaudio.cancel import Cancel
from stepaudio.errors import InputError, ModelError
from stepaudio.lm.config import LMConfig
from stepaudio.lm.joint import JointRules, write_down
from stepaudio.lm.lexicon import Lexicon, read_lexicon, words_of, write_lexicon
from stepaudio.lm.model import Branches, DecoderLM
from stepaudio.lm.prefixes import Prefix, Prefixes

LM = LMConfig(
    vocab_size=24,
    hidden_size=24,
    intermediate_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    head_dim=12,
    max_position_embeddings=4096,
    rms_norm_eps=1e-5,
    position="rope",
    tie_word_embeddings=True,
)
END = 23
SOUNDS = {"see": "si", "sea": "si", "eye": "i", "tea": "ti", "teases": "tisis", "is": "is"}


class Pieces:
    """A tokenizer whose words have one or two tokens; the first word of a text has other ones."""

    def encode(self, text: str) -> list[int]:
        word = text.strip().lower()
        place = sorted(SOUNDS).index(word) + 1
        first = [place] if text.startswith(" ") else [place + 6]
        return [*first, 14] if word == "teases" else first


def language_model() -> DecoderLM:
    torch.manual_seed(3)
    return DecoderLM(LM).eval().requires_grad_(False)


def prefix_of(prefixes: Prefixes, symbols: tuple[int, ...]) -> Prefix:
    prefix = prefixes.empty
    for symbol in symbols:
        (prefix,) = prefixes.extend([(prefix, symbol)])
    return prefix


def exactly(logits: np.ndarray, symbols: tuple[int, ...]) -> float:
    """torch's probability of the symbols, relative to the likeliest course."""
    shares = torch.from_numpy(logits).double().log_softmax(-1)
    if not symbols:
        return float(shares[:, 0].sum() - shares.amax(1).sum())
    loss = torch.nn.functional.ctc_loss(
        shares[:, None], torch.tensor([symbols]), [len(logits)], [len(symbols)], reduction="sum"
    )
    return float(-loss - shares.amax(1).sum())


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.integers(1, 3), max_size=5).map(tuple))
def test_prefix_scores_are_those_of_all_that_may_follow(seed: int, symbols: tuple[int, ...]) -> None:
    logits = np.random.default_rng(seed).normal(size=(12, 4)) * 2
    prefixes = Prefixes(logits)
    prefix = prefix_of(prefixes, symbols)
    wanted = exactly(logits, symbols)
    # A course that is far less likely than going on counts as impossible.
    if wanted > prefix.score - 15:
        assert prefixes.whole(prefix) == pytest.approx(wanted, abs=1e-6)
    # It ends here, or goes on with one of the symbols.
    parts = [prefixes.whole(prefix), *prefix.longer[1:]]
    assert prefix.score == pytest.approx(float(np.logaddexp.reduce(parts)), abs=1e-6)
    assert all(
        longer.score == prefix.longer[symbol]
        for symbol, longer in zip((1, 2), prefixes.extend([(prefix, 1), (prefix, 2)]), strict=True)
    )


def test_long_recordings_keep_only_the_frames_that_count() -> None:
    # Each symbol sounds for 10 frames of 1,000; the rest is blank.
    logits = np.zeros((1000, 4))
    said = [1 + place % 3 for place in range(40)]
    for place, symbol in enumerate(said):
        logits[25 * place + 5 : 25 * place + 15, symbol] = 12
        logits[25 * place + 15 : 25 * place + 30, 0] = 12
    logits[:5, 0] = 12
    prefixes = Prefixes(logits)
    prefix = prefix_of(prefixes, tuple(said[:20]))
    assert len(prefix.blank_last) < 80
    assert prefixes.whole(prefix) < -100
    assert prefixes.whole(prefix_of(prefixes, tuple(said))) == pytest.approx(0.0, abs=0.1)


def test_the_lexicon_is_a_tree_of_sounds(tmp_path: Path) -> None:
    lexicon = Lexicon(SOUNDS, "sit", Pieces())
    s, i = 1, 2
    (node,) = lexicon.children([0])[:, s]
    assert not lexicon.words(int(node))
    node = lexicon.children([int(node)])[0, i]
    assert {word.text for word in lexicon.words(int(node))} == {"see", "See", "sea", "Sea"}
    assert not lexicon.children([int(node)]).any()
    write_lexicon(SOUNDS, tmp_path / "lexicon.txt")
    assert read_lexicon(tmp_path / "lexicon.txt") == SOUNDS
    (tmp_path / "bad.txt").write_text("word without sounds\n", "utf-8")
    with pytest.raises(ModelError, match="not a lexicon"):
        read_lexicon(tmp_path / "bad.txt")
    with pytest.raises(ModelError, match="unknown: 'x'"):
        Lexicon({"ax": "ax"}, "a", Pieces())
    with pytest.raises(ModelError, match="no words"):
        Lexicon({}, "a", Pieces())
    assert words_of(["It’s 5 o'clock, Bob!"]) == {"it's", "o'clock", "bob"}


def test_branches_are_read_as_if_each_stood_alone() -> None:
    model = language_model()
    cache = model.new_cache()
    model(torch.tensor([[1, 2, 3]]), cache=cache)
    # After 1 2 3: 4, then 5 or 6; and 7.
    seen = torch.zeros(4, 7, dtype=torch.bool)
    seen[:, :3] = True
    for row, slots in enumerate(([3], [3, 4], [3, 5], [6])):
        seen[row, slots] = True
    told = model(
        torch.tensor([[4, 5, 6, 7]]), cache=cache, branches=Branches(torch.tensor([3, 4, 4, 3]), seen)
    )[0]
    for row, branch in enumerate(([4], [4, 5], [4, 6], [7])):
        alone = model(torch.tensor([[1, 2, 3, *branch]]))[0, -1]
        assert torch.allclose(told[row], alone, atol=1e-5)
    with pytest.raises(InputError, match="position and what is seen"):
        model(torch.tensor([[4]]), cache=cache, branches=Branches(torch.tensor([3]), seen))
    with pytest.raises(InputError, match="one row"):
        model(torch.tensor([[4]]), branches=Branches(torch.tensor([0]), seen))


def sounded(symbols: str, clear: float, seed: int = 0) -> np.ndarray:
    """Logits of symbols, two frames each and a blank after each, with noise."""
    logits = np.random.default_rng(seed).normal(size=(3 * len(symbols) + 1, 4))
    for place, symbol in enumerate(symbols):
        logits[3 * place + 1 : 3 * place + 3, "sit".index(symbol) + 1] += clear
        logits[3 * place, 0] += clear
    logits[-1, 0] += clear
    return logits


def best_of_all(model: DecoderLM, before: list[int], logits: np.ndarray, rules: JointRules) -> list[int]:
    """The best writing of at most three words, found by trying them all."""
    prefixes, pieces, options = Prefixes(logits), Pieces(), []
    for count in range(4):
        for words in itertools.product(sorted(SOUNDS), repeat=count):
            symbols = "".join(SOUNDS[word] for word in words)
            ids = [
                token
                for place, word in enumerate(words)
                for token in pieces.encode(word if place == 0 else " " + word)
            ]
            shares = model(torch.tensor([[*before, *ids, END]]))[0].log_softmax(-1)
            language = sum(
                float(shares[len(before) - 1 + place, token]) for place, token in enumerate([*ids, END])
            )
            prefix = prefix_of(prefixes, tuple("sit".index(symbol) + 1 for symbol in symbols))
            heard = prefixes.whole(prefix) + rules.symbol * len(symbols) + rules.word * count
            options.append((rules.language * language + heard, ids))
    return max(options)[1]


@pytest.mark.parametrize(("symbols", "seed"), [("si", 0), ("tisi", 1), ("isis", 2), ("tisis", 3), ("", 4)])
def test_the_search_finds_what_trying_everything_finds(symbols: str, seed: int) -> None:
    model, before = language_model(), [1, 2, 3]
    cache = model.new_cache()
    after = model(torch.tensor([before]), cache=cache)[0, -1]
    rules = JointRules(symbol=0.0, word=0.0, beam=40, offers=40, near=60.0, sounds=40.0, width=60)
    logits = sounded(symbols, 4.0, seed)
    lexicon = Lexicon(SOUNDS, "sit", Pieces())
    found = write_down(model, cache, after, logits, lexicon, END, rules)
    assert found == best_of_all(model, before, logits, rules)
    assert cache.lengths == [3]


def test_narrow_searches_find_clear_words_and_silence_is_nothing() -> None:
    model = language_model()
    cache = model.new_cache()
    after = model(torch.tensor([[1]]), cache=cache)[0, -1]
    lexicon = Lexicon(SOUNDS, "sit", Pieces())
    found = write_down(model, cache, after, sounded("titisis", 9.0), lexicon, END)
    assert found[0] == Pieces().encode("tea")[0]
    assert write_down(model, cache, after, sounded("", 9.0), lexicon, END) == []
    marked = write_down(model, cache, after, sounded("ti", 9.0), lexicon, END, JointRules(marks=(20, 21)))
    assert [token for token in marked if token < 20] == Pieces().encode("tea")
    cancel = Cancel()
    over = cancel.token()
    cancel.cancel()
    assert write_down(model, cache, after, sounded("ti", 9.0), lexicon, END, cancel=over) == []
    assert cache.lengths == [1]
    assert math.isfinite(Prefixes(sounded("ti", 900.0)).empty.score)
