import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepaudio.speech.split import RAMP, ClauseSplitter, split

PROSE = st.lists(
    st.one_of(
        st.sampled_from(
            [
                "Dr. Smith",
                "e.g.",
                "3.14",
                "U.S.",
                "http://a.b/c?d=1",
                '"Hi!"',
                "...",
                "…",
                "\n\n",
                "\n- ",
                "1. ",
                "好。",
                "?!",
                ", ",
                ". ",
                " and ",
                "a" * 300,
                "(x)",
                "😀",
            ]
        ),
        st.text(max_size=12),
    ),
    max_size=60,
).map(" ".join)


def pieces(text: str, sizes: list[int]) -> list[str]:
    splitter, out, at, turn = ClauseSplitter(), [], 0, 0
    while at < len(text):
        size = sizes[turn % len(sizes)]
        out += splitter.push(text[at : at + size])
        at, turn = at + size, turn + 1
    return [*out, *splitter.finish()]


@given(PROSE, st.lists(st.integers(1, 40), min_size=1, max_size=8))
@settings(max_examples=300, deadline=None)
def test_nothing_is_lost_and_streaming_cuts_as_offline(text: str, sizes: list[int]) -> None:
    clauses = split(text)
    assert "".join(clauses) == text
    assert pieces(text, sizes) == clauses
    assert all(len(clause.strip()) <= RAMP[-1][1] for clause in clauses)


@pytest.mark.parametrize(
    "text",
    [
        "It is 3.14 or so.",
        "Dr. Smith and Mr. J. Jones met.",
        "Take fruit, e.g. apples.",
        "See https://example.com/a.b?c=d now.",
        "We met at 5 p.m. on Jan. 3 in No. 10.",
        '"Stop!" he said.',
        "Wait... what is it?",
        "1. Wash it",
        "It costs $1,234.50 today.",
    ],
)
def test_one_clause_stays_whole(text: str) -> None:
    assert split(text) == [text]


@pytest.mark.parametrize(
    ("text", "clauses"),
    [
        ("One. Two! Three?", ["One. ", "Two! ", "Three?"]),
        ("He said no. Then he left.", ["He said no. ", "Then he left."]),
        ("It was 5 p.m. Then it rained.", ["It was 5 p.m. ", "Then it rained."]),
        ('He said "no." She left.', ['He said "no." ', "She left."]),
        ("你好。再见！", ["你好。", "再见！"]),
        ("Title\n\nBody text", ["Title\n\n", "Body text"]),
        ("Buy:\n- milk\n- eggs", ["Buy:\n", "- milk\n", "- eggs"]),
        ("soft\nwrap", ["soft\nwrap"]),
        ("Once upon a time, there was a king.", ["Once upon a time, ", "there was a king."]),
        ("", []),
    ],
)
def test_cuts(text: str, clauses: list[str]) -> None:
    assert split(text) == clauses


def test_the_first_clause_comes_before_its_sentence_is_over() -> None:
    splitter = ClauseSplitter()
    assert splitter.push("Well, as a matter of fact, I ") == ["Well, as a matter of fact, "]


def test_a_long_sentence_is_cut_at_a_phrase() -> None:
    words = "the man with the long grey coat walked slowly down the very narrow street because he was tired"
    first, *_ = split(words)
    assert len(first) <= RAMP[0][1]
    assert words[len(first) :].split()[0] in ("because", "down", "with", "of")
