import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepaudio.errors import InputError
from stepaudio.styles import TAGS, Style, parse_style


@pytest.mark.parametrize(
    ("text", "speed"),
    [
        ("", 1.0),
        ("slow", 0.8),
        ("慢速", 0.8),
        ("（快速）", 1.25),
        ("Very  Fast", 1.5),
        ("speed=1.2", 1.2),
        ("slow, speed = 1.5", 1.2),
        ("fast，fast", 1.25),
    ],
)
def test_speed_of_a_style(text: str, speed: float) -> None:
    assert parse_style(text).speed == pytest.approx(speed)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("operatic", "unknown style tag 'operatic'.*very slow.*slow.*fast.*speed"),
        ("slow, fast", "contradict"),
        ("speed=quick", "not a number"),
        ("speed=nan", "out of range"),
        ("speed=3", "0.5 to 2"),
        ("very fast, speed=1.9", "out of range"),
        ("speed=1, speed=1", "twice"),
        ("loudness=2", "unknown style setting"),
        ("=2", "unknown style setting"),
    ],
)
def test_a_bad_style_says_why(text: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        parse_style(text)


def test_every_word_of_the_table_is_a_tag_of_its_own() -> None:
    words = [word for tag in TAGS for word in (tag.name, *tag.synonyms)]
    assert len(words) == len(set(words))
    for tag in TAGS:
        assert {parse_style(word) for word in (tag.name, *tag.synonyms)} == {Style(tag.speed, (tag.name,))}


@given(st.sampled_from([(), *((tag.name,) for tag in TAGS)]), st.floats(0.8, 1.3))
def test_a_style_as_text_reads_back(tags: tuple[str, ...], factor: float) -> None:
    style = parse_style(", ".join([*tags, f"speed={factor!r}"]))
    again = parse_style(str(style))
    assert again.tags == style.tags
    assert again.speed == pytest.approx(style.speed)


@given(st.text(max_size=30))
def test_any_text_is_a_style_or_one_clear_error(text: str) -> None:
    try:
        parse_style(text)
    except InputError as error:
        assert str(error)  # noqa: PT017
