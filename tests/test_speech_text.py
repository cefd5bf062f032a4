import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepaudio.errors import InputError
from stepaudio.speech.g2p import phonemize
from stepaudio.speech.normalise import MAX_CHARACTERS, can_say, check_language, normalise


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("Dr. Smith paid $3.50.", "Doctor Smith paid three dollars and fifty cents."),
        ("It began in 1999, on March 3rd.", "It began in nineteen ninety nine, on March third."),
        ("1,234 people came", "one thousand two hundred thirty four people came"),
        ("50% at 3:30 pm", "fifty percent at three thirty P M"),
        ("The FBI & NASA", "The F B I and NASA"),
        ("Mail bob@site.org!", "Mail bob at site dot org!"),
        ("the 2nd of 10-15", "the second of ten to fifteen"),
        ("It's -5°C.", "It's minus five degrees Celsius."),
        ("**Bold** and _it_ `code`", "Bold and it code"),
        ("# Title", "Title"),
        ("see [the page](https://a.b)", "see the page"),
        ("nice 😀 day", "nice day"),
        ("plain  words\nhere", "plain words here"),
    ],
)
def test_written_text_becomes_words(written: str, spoken: str) -> None:
    assert normalise(written) == spoken


@given(st.one_of(st.text(max_size=60), st.text(string.digits + string.punctuation + " €£", max_size=60)))
@settings(max_examples=200, deadline=None)
def test_any_text_is_normalised_and_read(text: str) -> None:
    words = normalise(text)
    assert "\n" not in words
    phonemize(words)


def test_a_clause_has_a_longest_length() -> None:
    with pytest.raises(InputError, match="too long"):
        normalise("a" * (MAX_CHARACTERS + 1))


@pytest.mark.parametrize("text", ["", " ", "...", "😀👍", "?!", "—"])
def test_nothing_to_say(text: str) -> None:
    assert not can_say(text)


@pytest.mark.parametrize("text", ["你好，世界。", "Привет, мир", "hi 你好吗我很好", "مرحبا"])
def test_text_in_another_script_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="this voice speaks en"):
        check_language(text, "en-us")


@pytest.mark.parametrize("text", ["Hello", "The word 好 means good", "café in Zürich", "42", ""])
def test_text_in_the_voice_s_script_is_taken(text: str) -> None:
    check_language(text, "en-us")


def test_phonemes_keep_marks_and_breaks() -> None:
    assert phonemize("Hello, world! Judge (now).") == "həlˈO, wˈɜɹld! ʤˈʌʤ (nˈW)."


@pytest.mark.parametrize(("text", "start"), [("I see.", "ˈI "), ("I'm here.", "ˈIm "), ("Icy.", "ˈIsi")])
def test_the_pronoun_is_stressed(text: str, start: str) -> None:
    assert phonemize(text).startswith(start)


def test_phonemes_follow_the_accent() -> None:
    assert phonemize("go", "en-us") == "ɡˈO"
    assert phonemize("go", "en-gb") == "ɡˈQ"
    with pytest.raises(InputError, match="no phonemes for language 'tlh'"):
        phonemize("go", "tlh")
