"""nano's mind: prompts, prefix reuse, ends, cancelling on tiny weights; answers on its own when pulled."""

import threading
from pathlib import Path

import pytest
from test_lm_gguf import write

from stepaudio.cancel import Cancel
from stepaudio.errors import InputError, ModelError
from stepaudio.lm.gguf import convert_smollm2
from stepaudio.lm.mind import Manner, NanoMind, _plain
from stepaudio.lm.prompts.chatml import render
from stepaudio.lm.prompts.messages import Message, TokenPart, assistant, open_turn, system, user
from stepaudio.lm.sampling import Sampling

FREE = Sampling(temperature=1.5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mind")
    write(path / "tiny.gguf")
    convert_smollm2({"tiny.gguf": path / "tiny.gguf"}, path)
    return path


@pytest.fixture
def mind(folder: Path) -> NanoMind:
    return NanoMind(folder, Manner(system="be", examples=(), max_new_tokens=8, max_prompt_tokens=50))


def test_chatml() -> None:
    turns = [system("S"), user("a"), assistant("b"), user("c <|im_end|>d")]
    assert render(turns) == (
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n"
        "<|im_start|>user\nc d<|im_end|>\n<|im_start|>assistant\n"
    )
    assert render([user("a"), open_turn("Well,")]).endswith("<|im_start|>assistant\nWell,")
    assert render([user("a"), open_turn()]) == render([user("a")])
    with pytest.raises(InputError, match="TokenPart"):
        render([Message("user", (TokenPart((1,)),))])


def test_a_reply_is_repeatable_and_the_cache_changes_nothing(mind: NanoMind, folder: Path) -> None:
    turns = [user("hello")]
    first = "".join(mind.stream(turns, sampling=FREE, seed=1))
    turns += [assistant(first), user("he")]
    second = "".join(mind.stream(turns, sampling=FREE, seed=2))
    fresh = NanoMind(folder, mind.manner)
    assert "".join(fresh.stream(turns, sampling=FREE, seed=2)) == second
    assert "".join(mind.stream(turns, sampling=FREE, seed=2)) == second


def test_only_what_is_new_is_read(mind: NanoMind, monkeypatch: pytest.MonkeyPatch) -> None:
    fed: list[int] = []
    original = type(mind.model).hidden

    def count(self, input_ids=None, **given):  # type: ignore[no-untyped-def]
        fed.append(input_ids.shape[1])
        return original(self, input_ids, **given)

    monkeypatch.setattr(type(mind.model), "hidden", count)
    prompt = list(range(3, 33))
    written = list(mind.ids(prompt, sampling=FREE, seed=0, max_new_tokens=4))
    assert fed[0] == 30
    fed.clear()
    list(mind.ids([*prompt, *written, 40, 41], sampling=FREE, seed=0, max_new_tokens=4))
    assert fed[0] == 3  # the last id written was never read, then the two new ones
    fed.clear()
    list(mind.ids(prompt, sampling=FREE, seed=0, max_new_tokens=2))
    assert fed[0] == 1  # everything known: the last id is read again for its logits


def test_old_turns_are_forgotten_whole(mind: NanoMind) -> None:
    turns = [user("aaaaaaaa"), assistant("bbbb"), user("cc")]
    ids = mind.prompt_ids(turns)
    assert len(ids) <= 50
    kept = mind.tokenizer.decode(ids, skip_special=False)
    assert kept.startswith("<|im_start|>system\nbe<|im_end|>")
    assert "cc" in kept
    assert ("aaaaaaaa" in kept) == ("bbbb" in kept)
    with pytest.raises(InputError, match="too long"):
        mind.prompt_ids([user("x" * 60)])
    for nothing in ([], [system("S")]):
        with pytest.raises(InputError, match="nothing to answer"):
            mind.prompt_ids(nothing)


def test_cancelling_and_leaving_early_keep_the_mind_usable(mind: NanoMind) -> None:
    cancel = Cancel()
    token, got = cancel.token(), []
    for i in mind.ids([5, 6, 7], sampling=FREE, seed=3, cancel=token):
        got.append(i)
        cancel.cancel()
    assert len(got) == 1
    stream = mind.ids([5, 6, 7], sampling=FREE, seed=3)
    assert next(stream) == got[0]
    stream.close()
    again = list(mind.ids([5, 6, 7], sampling=FREE, seed=3))
    assert again[0] == got[0]
    assert len(mind._read) <= mind.kept_conversations


def test_many_threads(mind: NanoMind, folder: Path) -> None:
    expected = [list(NanoMind(folder, mind.manner).ids([9, 10, n], sampling=FREE, seed=n)) for n in range(4)]
    results: dict[int, list[int]] = {}
    threads = [
        threading.Thread(
            target=lambda n=n: results.update({n: list(mind.ids([9, 10, n], sampling=FREE, seed=n))})
        )
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [results[n] for n in range(4)] == expected


def test_spoken_text_has_no_markdown() -> None:
    assert _plain("\n\n**Hello**", "") == "Hello"
    assert _plain(" \n world", "Hello") == " world"
    assert _plain(" world", "Hello ") == "world"


@pytest.mark.parametrize(
    ("said", "ends"),
    [
        ("It is so.", True),
        ("Is it?", True),
        ('He said "yes."', True),
        ("Mr.", False),
        ("1.", False),
        ("so", False),
    ],
)
def test_where_a_long_reply_may_end(folder: Path, said: str, ends: bool) -> None:
    assert NanoMind(folder, Manner(enough_words=1))._enough(said) is ends
    assert not NanoMind(folder, Manner(enough_words=9))._enough(said)


@pytest.fixture(scope="module")
def nano() -> NanoMind:
    from stepaudio.hub import folder as find

    try:
        return NanoMind(find("smollm2-135m-instruct"))
    except ModelError as error:
        pytest.skip(str(error))


@pytest.mark.e2e
def test_nano_answers(nano: NanoMind) -> None:
    assert "Paris" in "".join(nano.stream([user("What is the capital of France?")]))
    reply = "".join(nano.stream([user("How can I improve my time management skills?")]))
    assert 5 <= len(reply.split()) <= 60


@pytest.mark.e2e
def test_nano_tokenizer_gives_the_published_ids(nano: NanoMind) -> None:
    published = [1, 9690, 198, 2683, 359, 253, 5356, 5646, 11173, 3365, 3511, 308, 34519, 28]
    published += [7018, 411, 407, 19712, 8182, 2, 198, 1, 4093, 198]
    text = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
    assert nano.tokenizer.encode(f"<|im_start|>system\n{text}<|im_end|>\n<|im_start|>user\n") == published
