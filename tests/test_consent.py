"""Consent: a fresh sentence, read by the person of the clip; old readings and other people fail."""

from pathlib import Path

import pytest
from fakes import FakeCloner, FakeEars, fake_family, tone
from sizes import size

from stepaudio.api import StepAudio
from stepaudio.audio import Audio
from stepaudio.cloning.consent import VALID_S, Challenges, Consent, check_reading, consent_kind
from stepaudio.cloning.sentences import TEMPLATES, match, template
from stepaudio.errors import AudioError, InputError
from stepaudio.voices import Voice

CLIP = tone(4.0)


class Clock:
    now = 1e9

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def challenges(tmp_path: Path, clock: Clock) -> Challenges:
    return Challenges(tmp_path / "voices" / "consent.json", clock)


def read(challenges: Challenges, said: str, cosine: float = 0.9, recording: Audio = CLIP) -> Consent:
    return check_reading(
        recording,
        CLIP,
        hear=lambda audio, language: said,
        alike=lambda one, other: cosine,
        challenges=challenges,
    )


def test_reading_the_sentence_gives_consent_once(challenges: Challenges) -> None:
    asked = challenges.ask()
    consent = read(challenges, asked.sentence.upper().replace(",", ""))
    assert consent.kind == "read"
    assert asked.sentence in consent.record
    assert "5 of 5 code words, likeness 0.90" in consent.record
    with pytest.raises(InputError, match="no sentence is waiting"):
        read(challenges, asked.sentence)


def test_a_misheard_word_is_forgiven_and_two_are_not(challenges: Challenges) -> None:
    asked = challenges.ask()
    heard = asked.sentence.replace(asked.code[2], "blurb").replace("computer", "commuter")
    with pytest.raises(InputError, match="not the sentence that was asked for"):
        read(challenges, heard.replace(asked.code[0], "blurb"))
    assert "4 of 5" in read(challenges, heard).record


def test_an_old_reading_does_not_fit_a_new_sentence(challenges: Challenges, clock: Clock) -> None:
    old = challenges.ask().sentence
    clock.now += VALID_S + 1
    new = challenges.ask()
    with pytest.raises(InputError, match="not the sentence that was asked for") as caught:
        read(challenges, old)
    assert new.sentence in str(caught.value)
    assert len(challenges.open()) == 1  # a failed try does not use it up


def test_the_code_alone_or_the_words_alone_are_not_enough(challenges: Challenges) -> None:
    asked = challenges.ask()
    for said in (" ".join(asked.code), template("en").text.format(code=""), "", "   ?! "):
        with pytest.raises(InputError, match="the consent recording says"):
            read(challenges, said)


def test_another_person_cannot_agree(challenges: Challenges) -> None:
    asked = challenges.ask()
    with pytest.raises(InputError, match=r"another person.*0\.55"):
        read(challenges, asked.sentence, cosine=0.55)
    assert read(challenges, asked.sentence).kind == "read"


def test_a_sentence_gets_too_old(challenges: Challenges, clock: Clock) -> None:
    asked = challenges.ask()
    clock.now += VALID_S + 1
    with pytest.raises(InputError, match="no sentence is waiting"):
        read(challenges, asked.sentence)
    clock.now -= 2 * VALID_S  # a clock that was set back does not revive it
    assert challenges.open() == []


def test_any_open_sentence_may_be_read(challenges: Challenges) -> None:
    first, second = challenges.ask(), challenges.ask()
    assert first.code != second.code
    assert first.sentence in read(challenges, first.sentence).record
    assert [each.id for each in challenges.open()] == [second.id]


def test_a_language_the_ears_do_not_know_is_passed_over(challenges: Challenges) -> None:
    chinese, english = challenges.ask("zh"), challenges.ask("en-gb")

    def hear(audio: Audio, language: str) -> str:
        if language == "zh":
            raise InputError("language 'zh' is not one this model hears")
        return english.sentence

    def check() -> Consent:
        return check_reading(CLIP, CLIP, hear=hear, alike=lambda one, other: 1.0, challenges=challenges)

    assert check().kind == "read"
    assert [each.id for each in challenges.open()] == [chinese.id]
    with pytest.raises(InputError, match="is not one this model hears"):
        check()


def test_chinese_is_compared_by_characters(challenges: Challenges) -> None:
    asked = challenges.ask("zh")
    assert match(asked.sentence.replace("，", " "), asked.code, "zh").code_words == 5
    assert match("今天天气很好", asked.code, "zh").code_words <= 1
    with pytest.raises(InputError, match="no consent sentence in 'xx'; there are: en, zh"):
        challenges.ask("xx")


def test_code_words_are_distinct() -> None:
    for form in TEMPLATES.values():
        assert len(set(form.words)) == len(form.words) >= 35
        assert not any(word in form.text for word in form.words)


def test_a_damaged_file_is_as_none(challenges: Challenges) -> None:
    challenges.path.parent.mkdir()
    for text in ("", "{", "[1]", '[{"id": 3}]', '[{"id":"a","language":"en","code":["x"],"asked":"y"}]'):
        challenges.path.write_text(text)
        assert challenges.open() == []
    assert challenges.ask().code
    assert len(challenges.open()) == 1


def test_what_a_record_says() -> None:
    assert consent_kind(Consent.declared("my own; voice\n").record) == "declared"
    assert ";" not in Consent.declared("my own; voice\n").record
    assert consent_kind("synthetic") == "synthetic"
    assert consent_kind("not recorded") == consent_kind("") == "unknown"
    assert consent_kind("synthetic; read 2026-01-01: x; declared 2026-01-01: y") == "declared"


@pytest.fixture
def sa(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StepAudio:
    monkeypatch.setenv("STEPAUDIO_HOME", str(tmp_path))
    return StepAudio(fake_family(cloner=FakeCloner()), pull=False)


def test_clone_without_consent_says_how(sa: StepAudio) -> None:
    with pytest.raises(InputError, match=r"needs its speaker's consent.*voices consent.*--i-have-consent"):
        sa.clone(CLIP)


def test_clone_takes_a_declared_consent(sa: StepAudio, tmp_path: Path) -> None:
    voice = sa.clone(CLIP, consent=Consent.declared("it is my own"), check=False, name="me")
    assert voice.info.consent.endswith("it is my own")
    again = Voice.load(voice.save(tmp_path / "me.safetensors"))
    assert again.info.consent_kind == "declared"


def test_clone_takes_a_recording(sa: StepAudio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from stepaudio.cloning import people

    monkeypatch.setattr(people, "likeness", lambda encoder, one, other: 0.8)
    monkeypatch.setattr(sa._parts, "encoder", lambda: None)
    ears = sa.family.ears
    assert isinstance(ears, FakeEars)
    recording = tone(5.0).save(tmp_path / "consent.wav")
    with pytest.raises(InputError, match="no sentence is waiting"):
        sa.clone(CLIP, consent=recording, check=False)
    ears.text = Challenges.default().ask().sentence
    voice = sa.clone(CLIP, consent=str(recording), check=False)
    assert voice.info.consent_kind == "read"
    with pytest.raises(AudioError, match=r"gone\.wav"):
        sa.clone(CLIP, consent="gone.wav", check=False)


def test_a_family_without_a_cloner_says_so() -> None:
    with pytest.raises(InputError, match="cannot clone voices"):
        StepAudio(fake_family()).clone(CLIP, consent=Consent.declared())


@pytest.mark.e2e
@pytest.mark.slow
def test_the_sentence_is_heard_and_the_reader_is_known(nano, tmp_path, monkeypatch) -> None:
    from stepaudio.cloning.people import SAME_PERSON, likeness

    try:
        encoder = StepAudio(nano.family, pull=False)._parts.encoder()
    except Exception as error:
        pytest.skip(str(error))
    challenges = Challenges(tmp_path / "consent.json")
    clip = nano.speak("The ferry to the island leaves at nine in the morning, and the next one at noon.")
    for number in range(size(1, 4)):
        asked = challenges.ask()
        ada = nano.speak(asked.sentence, voice="ada")
        heard = nano.transcribe(ada).text
        found = match(heard, asked.code, "en")
        assert found.code_words >= 4, heard
        assert found.statement >= 0.8, heard
        if not number:
            assert likeness(encoder, ada, clip) >= SAME_PERSON
            assert likeness(encoder, nano.speak(asked.sentence, voice="ben"), clip) < SAME_PERSON
