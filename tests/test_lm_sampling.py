"""Samplers: each rule's own law, their order, legality above all, and chance that repeats with its seed."""

import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from stepaudio.errors import InputError
from stepaudio.lm.sampling import (
    Draw,
    IdSet,
    Pattern,
    Phase,
    Sampling,
    filters,
    history,
    sample,
    start_sampler,
)
from stepaudio.lm.sampling.sampler import distribution

rows = st.lists(st.floats(-20, 20, width=32), min_size=2, max_size=40).map(lambda v: torch.tensor([v]))
samplings = st.builds(
    Sampling,
    temperature=st.sampled_from([0.0, 0.3, 1.0, 2.0]),
    top_k=st.integers(0, 5),
    top_p=st.sampled_from([0.1, 0.7, 1.0]),
    min_p=st.sampled_from([0.0, 0.2]),
    repetition_penalty=st.sampled_from([1.0, 1.5]),
    step_repetition_rule=st.booleans(),
    no_repeat_ngram=st.integers(0, 3),
    penalise_prompt=st.booleans(),
)


def kept(logits: Tensor) -> list[bool]:
    return torch.isfinite(logits)[0].tolist()


@settings(max_examples=60, deadline=None)
@given(rows, st.integers(1, 50), st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_filters_keep_the_best_and_only_a_front_of_the_ranking(
    z: Tensor, k: int, p: float, share: float
) -> None:
    for out in (filters.top_k(z, k), filters.top_p(z, p), filters.min_p(z, share)):
        flags = kept(out)
        assert flags[int(z.argmax())]
        worst_kept = min(v for v, keep in zip(z[0].tolist(), flags, strict=True) if keep)
        assert all(v < worst_kept for v, keep in zip(z[0].tolist(), flags, strict=True) if not keep)
        assert torch.equal(out[torch.isfinite(out)], z[torch.isfinite(out)])


@settings(max_examples=60, deadline=None)
@given(rows, st.floats(0.05, 0.95))
def test_top_p_reaches_p_with_the_fewest(z: Tensor, p: float) -> None:
    probability = torch.softmax(z.double(), -1)[0]
    chosen = torch.isfinite(filters.top_p(z, p))[0]
    assert probability[chosen].sum() >= p - 1e-5
    least = probability[chosen].min()
    assert probability[chosen & (probability > least)].sum() < p + 1e-5


def test_top_p_beyond_the_head_of_a_flat_vocabulary() -> None:
    z = torch.linspace(0, 0.01, 2000)[None]
    assert abs(sum(kept(filters.top_p(z, 0.5))) - 1000) < 20


def test_rules_off_change_nothing() -> None:
    z = torch.randn(2, 9)
    for out in (filters.top_k(z, 0), filters.top_k(z, 9), filters.top_p(z, 1.0), filters.min_p(z, 0.0)):
        assert torch.equal(out, z)
    assert torch.equal(history.repetition_penalty(z[0], [1, 2], 1.0), z[0])
    assert torch.equal(history.no_repeat_ngram(z[0], [1, 2, 1], 0), z[0])


def test_repetition_penalty_and_ngrams() -> None:
    z = torch.tensor([2.0, -2.0, 1.0, 0.5])
    assert torch.allclose(history.repetition_penalty(z, [0, 1, 0], 2.0), torch.tensor([1.0, -4.0, 1.0, 0.5]))
    assert history.no_repeat_ngram(z, [3, 1, 2, 3, 1], 3)[2] == -math.inf
    assert torch.equal(history.no_repeat_ngram(z, [3, 1, 2, 0, 1], 3), z)
    assert history.no_repeat_ngram(z, [2, 0], 1).isinf().tolist() == [True, False, True, False]


def test_step_audio_repetition_rule_is_the_official_one(golden: Path) -> None:
    cases = json.loads((golden / "prompts.json").read_text())["step_audio_1_repetition_rule"]["cases"]
    for case in cases:
        z = history.step_repetition_rule(torch.zeros(20), case["ids"])
        assert z.isinf().nonzero()[:, 0].tolist() == case["masked_ids"], case
        # Split between prompt and generated ids at any place it is the same.
        for cut in range(len(case["ids"])):
            state = start_sampler(0, case["ids"][:cut])
            state.generated = case["ids"][cut:]
            got = distribution(state, torch.zeros(20), Draw(Sampling(step_repetition_rule=True), Phase()))
            assert torch.equal(got, z)


@settings(max_examples=150, deadline=None)
@given(rows, samplings, st.data())
def test_an_illegal_id_is_never_sampled(z: Tensor, sampling: Sampling, data: st.DataObject) -> None:
    size = z.shape[1]
    legal = data.draw(st.sets(st.integers(0, size - 1), min_size=1))
    ids = st.lists(st.integers(0, size - 1), max_size=14)
    state = start_sampler(data.draw(st.integers(0, 99)), data.draw(ids))
    state.generated = data.draw(ids)
    phase = Phase("x", IdSet(singles=tuple(legal)).mask(size))
    for _ in range(4):
        assert sample(state, z[0], Draw(sampling, phase)) in legal


def test_nothing_to_draw_from_is_an_error() -> None:
    state, free = start_sampler(0), Draw(Sampling(), Phase())
    with pytest.raises(InputError, match="not finite"):
        sample(state, torch.full((4,), math.nan), free)
    with pytest.raises(InputError, match="not finite"):
        sample(
            state, torch.tensor([0.0, -math.inf]), Draw(Sampling(), Phase("x", torch.tensor([False, True])))
        )
    with pytest.raises(InputError, match="empty"):
        IdSet().mask(4)
    with pytest.raises(InputError, match="outside"):
        IdSet(((2, 9),)).mask(4)


def test_seed_repeats_and_fresh_differs() -> None:
    z, draw = torch.zeros(1000), Draw(Sampling(), Phase())

    def course(seed: int | None) -> list[int]:
        state = start_sampler(seed)
        return [sample(state, z, draw) for _ in range(8)]

    assert course(5) == course(5)
    assert course(5) != course(6)
    assert course(None) != course(None)
    torch.manual_seed(0)
    first = course(7)
    torch.manual_seed(1)
    assert course(7) == first  # nobody else's chance is touched or used


def test_draws_follow_the_distribution() -> None:
    state, z = start_sampler(1), torch.tensor([0.7, 0.2, 0.1]).log()
    counts = torch.bincount(torch.tensor([sample(state, z, Draw(Sampling(), Phase())) for _ in range(3000)]))
    assert torch.allclose(counts / 3000, torch.tensor([0.7, 0.2, 0.1]), atol=0.03)


def test_pattern_goes_round_and_stops_only_between_rounds() -> None:
    first, second, stop = IdSet(((0, 4),)), IdSet(((4, 9),)), IdSet(singles=(9,))
    pattern = Pattern(10, (("a", first), ("a", first), ("b", second), ("b", second), ("b", second)), stop)
    for place in range(10):
        phase = pattern.phase([0] * place)
        assert phase.modality == "aabbb"[place % 5]
        assert phase.legal is not None
        legal = phase.legal.nonzero()[:, 0].tolist()
        expected = list(range(4)) if place % 5 < 2 else list(range(4, 9))
        assert legal == expected + ([9] if place % 5 == 0 else [])
