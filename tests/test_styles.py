import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepaudio.effects import Effect
from stepaudio.errors import InputError
from stepaudio.styles import FRAME_STYLES, RATE_TAGS, TAGS, Style, check_tags, parse_style


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
        ("=2", "unknown style setting.*melody"),
        ("pitch=13", "-12 to 12 semitones"),
        ("range=-1", "0 to 3"),
        ("energy=nan", "-20 to 10 dB"),
        ("happy, very fast, speed=2", "out of range.*happy and very fast"),
        ("rap, tempo=10", "40 to 240"),
        ("tempo=90", "needs the tag rap"),
        ("rap, melody=C4", "needs the tag singing"),
        ("singing, melody=C4 X4", "'X4' is not a note"),
        ("singing, melody=", "no notes"),
        ("singing, melody=C4, melody=D4", "twice"),
        ("singing, humming", "contradict"),
        ("singing, monotone", "contradict"),
        ("whisper, loud", "contradict"),
        ("whisper, pitch=2", "no effect"),
        ("singing, range=2", "no effect"),
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


SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "pitch": st.floats(-12, 12),
        "range": st.floats(0, 3),
        "energy": st.floats(-20, 10),
        "speed": st.floats(0.5, 2),
    },
)


@given(SETTINGS)
def test_settings_as_text_read_back(values: dict[str, float]) -> None:
    style = Style(**values)
    again = parse_style(str(style))
    assert again.speed == pytest.approx(style.speed)
    assert (again.pitch, again.range, again.energy) == (style.pitch, style.range, style.energy)


def test_melody_and_tempo_read_back() -> None:
    style = parse_style("（唱歌）, melody = c4 D4 E4:2, tempo=96, pitch=-2")
    assert [str(note) for note in style.melody] == ["C4", "D4", "E4:2"]
    assert parse_style(str(style)) == style


def test_effects_add_up() -> None:
    happy, loud, fast = (parse_style(tag).effect for tag in ("happy", "loud", "fast"))
    effect = parse_style("happy, loud, fast, pitch=1, energy=-2, range=2").effect
    assert effect.pitch == pytest.approx(happy.pitch + 1)
    assert effect.range == pytest.approx(happy.range * 2)
    assert effect.level == pytest.approx(happy.level + loud.level - 2)
    assert effect.rate == pytest.approx(happy.rate * fast.rate)
    assert happy.pitch > 0 < loud.level
    assert happy.range > 1 < fast.rate
    assert parse_style("").effect == Effect()


def test_an_emotion_does_not_move_the_notes_of_a_song() -> None:
    assert parse_style("singing, happy").effect.pitch == 0.0
    assert parse_style("singing, happy, high, pitch=1").effect.pitch == 5.0


def test_every_tag_but_languages_states_an_effect() -> None:
    for tag in TAGS:
        assert bool(tag.bounds) == (tag.group != "language"), tag.name
        assert all(bound.low < bound.high for bound in tag.bounds)
        # What changes nothing must not pass for an effect.
        nothing = {"rate": 1.0, "range": 1.0, "voiced": 0.75}
        broken = [bound for bound in tag.bounds if not bound.holds(nothing.get(bound.measure, 0.0))]
        assert bool(broken) == bool(tag.bounds), tag.name


def test_a_mouth_says_what_it_cannot_do() -> None:
    assert check_tags(parse_style("slow, speed=1.1"), RATE_TAGS, "x")
    assert check_tags(parse_style("singing, melody=C4, tempo=90, energy=1"), FRAME_STYLES, "x")
    with pytest.raises(InputError, match=r"x cannot follow pitch=; it can: very slow.*speed"):
        check_tags(parse_style("slow, pitch=1"), RATE_TAGS, "x")
    with pytest.raises(InputError, match=r"x cannot speak in the style 'cantonese'; it can: rap.*pitch=-12"):
        check_tags(parse_style("粤语"), FRAME_STYLES, "x")


@given(st.text(max_size=30))
def test_any_text_is_a_style_or_one_clear_error(text: str) -> None:
    try:
        parse_style(text)
    except InputError as error:
        assert str(error)  # noqa: PT017
