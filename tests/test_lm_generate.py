"""The generation engine: batches, stops, seeds, grammars, cancelling in the middle."""

import pytest
import torch
from test_lm_model import SHAPES, tiny

from stepaudio.cancel import Cancel
from stepaudio.errors import InputError
from stepaudio.lm.generate import Generation, Limits, Prompt, generate, generate_ids
from stepaudio.lm.model import DecoderLM
from stepaudio.lm.sampling import IdSet, Pattern, Sampling

GREEDY = Sampling(temperature=0)


@pytest.fixture(params=list(SHAPES))
def lm(request: pytest.FixtureRequest) -> DecoderLM:
    return tiny(request.param)


def columns(steps: list[list[int | None]], row: int) -> list[int]:
    return [token for step in steps if (token := step[row]) is not None]


@torch.inference_mode()
def by_full_forwards(lm: DecoderLM, ids: list[int], count: int) -> list[int]:
    out = list(ids)
    for _ in range(count):
        out.append(int(lm(torch.tensor([out]))[0, -1].argmax()))
    return out[len(ids) :]


def test_greedy_equals_full_forwards(lm: DecoderLM) -> None:
    got = list(generate_ids(lm, Prompt([5, 6, 7]), sampling=GREEDY, limits=Limits(15)))
    assert got == by_full_forwards(lm, [5, 6, 7], 15)


def test_a_batch_writes_what_each_row_alone_writes(lm: DecoderLM) -> None:
    prompts = [Prompt([5], seed=1), Prompt([8, 9, 10, 11, 12], seed=2), Prompt([4, 4], seed=3)]
    sampling, limits = Sampling(temperature=1.3, top_k=20), Limits(12, frozenset({3, 17, 30}))
    together = list(generate(lm, prompts, sampling=sampling, limits=limits))
    for row, prompt in enumerate(prompts):
        alone = list(generate_ids(lm, prompt, sampling=sampling, limits=limits))
        assert columns(together, row) == alone
        assert all(token not in limits.stop for token in alone[:-1])


def test_long_prompts_are_read_in_chunks(lm: DecoderLM, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = [Prompt(torch.randint(0, 50, (n,)).tolist()) for n in (70, 3, 40)]
    whole = list(generate(lm, prompts, sampling=GREEDY, limits=Limits(5)))
    monkeypatch.setattr("stepaudio.lm.generate._chunk", lambda *_: 16)
    assert list(generate(lm, prompts, sampling=GREEDY, limits=Limits(5))) == whole


def test_embeddings_as_prompt(lm: DecoderLM) -> None:
    ids = [5, 6, 7, 8]
    with torch.inference_mode():
        embeds = lm.embed(torch.tensor(ids))
    prompts = [Prompt(embeds=embeds), Prompt([1, 2])]
    got = list(generate(lm, prompts, sampling=GREEDY, limits=Limits(6)))
    assert columns(got, 0) == by_full_forwards(lm, ids, 6)
    assert columns(got, 1) == by_full_forwards(lm, [1, 2], 6)


def test_why_rows_end() -> None:
    lm = tiny("llama")
    ends: list[Generation] = []
    free = by_full_forwards(lm, [5], 6)
    stop = frozenset({free[3]})
    steps = list(
        generate(
            lm, [Prompt([5]), Prompt([5] * 127)], sampling=GREEDY, limits=Limits(99, stop), on_end=ends.append
        )
    )
    assert columns(steps, 0) == free[: free.index(free[3]) + 1]
    assert ends[0].rows[0].finished == "stop"
    assert ends[0].rows[1].finished in {"context", "stop"}
    list(generate(lm, [Prompt([5])], sampling=GREEDY, limits=Limits(2), on_end=ends.append))
    assert ends[1].rows[0].finished == "length"


def test_cancelling_in_the_middle() -> None:
    lm, cancel, ends = tiny("qwen2"), Cancel(), list[Generation]()
    token = cancel.token()
    got = []
    for step in generate(
        lm, [Prompt([5])], sampling=GREEDY, limits=Limits(50), cancel=token, on_end=ends.append
    ):
        got.append(step)
        if len(got) == 4:
            cancel.cancel()
    assert len(got) == 4
    assert ends[0].rows[0].finished == "cancelled"
    # The stale token stays stale, a new one works.
    assert list(generate(lm, [Prompt([5])], sampling=GREEDY, limits=Limits(5), cancel=token)) == []
    assert (
        len(list(generate(lm, [Prompt([5])], sampling=GREEDY, limits=Limits(5), cancel=cancel.token()))) == 5
    )


def test_grammar_and_sampling_by_modality() -> None:
    lm = tiny("step1")
    text, audio, end = IdSet(((0, 10),)), IdSet(((10, 40),)), IdSet(singles=(45,))
    grammar = Pattern(50, (("text", text), *[("audio", audio)] * 4), end)
    prompts = [Prompt([1, 2], seed=s, grammar=grammar) for s in range(3)]
    sampling = {"text": GREEDY, "audio": Sampling(temperature=2.0)}
    steps = list(generate(lm, prompts, sampling=sampling, limits=Limits(25, frozenset({45}))))
    for row in range(3):
        for place, token in enumerate(columns(steps, row)):
            assert token in (audio if place % 5 else text | end)
    with pytest.raises(InputError, match="audio"):
        list(generate(lm, prompts, sampling={"text": GREEDY}, limits=Limits(9)))


def test_bad_prompts() -> None:
    lm = tiny("llama")
    for prompts, why in (([], "no prompts"), ([Prompt()], "empty"), ([Prompt([1] * 129)], "context")):
        with pytest.raises(InputError, match=why):
            list(generate(lm, prompts, sampling=GREEDY, limits=Limits(1)))
