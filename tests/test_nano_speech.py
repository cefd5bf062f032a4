"""nano's own speech with its real weights: text is understood, codes carry speech, clips become voices."""

import numpy as np
import pytest

import stepaudio
from stepaudio.audio import Audio
from stepaudio.codes import Codes
from stepaudio.errors import InputError, ModelError
from stepaudio.evaluation.metrics.text import text_errors
from stepaudio.voices import Voice

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

VOICES = ("ada", "amy", "ben", "eve", "ivy", "leo", "max", "tom")
TEXTS = (
    "The birch canoe slid on the smooth planks.",
    "Please bring me a cup of coffee and a glass of water.",
    "What time does the next train leave for the city?",
    "He was born on March 3, 1987, and it cost $24.50.",
    "A rainbow appeared over the wet fields.",
    "Dr. Smith will see you at half past two.",
    "Remember to water the plants while I'm away.",
    "The wind blew the hat right off his head.",
)
OWN = "nano"


@pytest.fixture(scope="session")
def own() -> stepaudio.StepAudio:
    try:
        return stepaudio.load(OWN, pull=False)
    except ModelError as error:
        pytest.skip(str(error))


def word_errors(own: stepaudio.StepAudio, takes: list[tuple[str, Audio]]) -> float:
    counts = [text_errors(text, own.transcribe(audio).text) for text, audio in takes]
    return sum(c.count for c in counts) / sum(c.length for c in counts)


def test_every_voice_speaks_and_is_understood(own: stepaudio.StepAudio) -> None:
    takes = [(text, own.speak(text, voice=voice)) for text, voice in zip(TEXTS, VOICES, strict=True)]
    errors = word_errors(own, takes)
    print(f"own mouth, WER {errors:.3f}")
    assert errors <= 0.20
    assert all(0.05 < audio.peak <= 1.0 for _, audio in takes)


def test_one_character_and_three_hundred_can_be_said(own: stepaudio.StepAudio) -> None:
    assert own.speak("I").seconds > 0.1
    long = (
        "The committee, which had met every week since March, could not agree on the colour of the door; " * 3
    )
    spoken = own.speak(long[:300])
    assert 8 < spoken.seconds < 40


def test_voices_are_told_apart(own: stepaudio.StepAudio) -> None:
    from stepaudio.decoder.world import analyse

    def pitch(voice: str) -> float:
        f0 = analyse(own.speak(TEXTS[0], voice=voice)).f0
        return float(np.median(f0[f0 > 0]))

    assert pitch("ada") > 1.25 * pitch("ben")


def test_codes_carry_speech_into_another_voice(own: stepaudio.StepAudio) -> None:
    said = own.speak(TEXTS[1], voice="ada")
    codes = own.tokenize(said)
    assert codes.seconds == pytest.approx(said.seconds, abs=1e-3)
    read = own.codec.read(codes.to_json())
    same, other = own.detokenize(read, voice="ada", seed=1), own.detokenize(read, voice="ben", seed=1)
    assert same.seconds == pytest.approx(said.seconds, abs=0.01)
    assert word_errors(own, [(TEXTS[1], same), (TEXTS[1], other)]) <= 0.25
    np.testing.assert_array_equal(own.detokenize(read, voice="ada", seed=1).samples, same.samples)


def test_codes_of_a_stream_say_the_same(own: stepaudio.StepAudio) -> None:
    said = own.speak(TEXTS[1], voice="ada")
    size = said.sample_rate // 10
    chunks = [
        Audio(said.samples[at : at + size], said.sample_rate) for at in range(0, len(said.samples), size)
    ]
    parts = list(own.tokenize_stream(chunks))
    whole = own.tokenize(said)
    assert len(parts) > 2
    joint = Codes.from_interleaved([code for part in parts for code in part.interleaved()])
    assert len(joint.linguistic) == len(whole.linguistic)
    assert word_errors(own, [(TEXTS[1], own.detokenize(joint, voice="ada", seed=1))]) <= 0.25


def test_a_clip_becomes_a_voice_like_its_speaker(own: stepaudio.StepAudio, shared) -> None:  # type: ignore[no-untyped-def]
    from stepaudio import hub
    from stepaudio.decoder.ge2e import SpeakerEncoder, similarity

    clips = sorted((shared / "data" / "speech" / "vctk_dev").glob("*.opus"))
    cloner = own.family.cloner
    assert cloner is not None
    voice = cloner.clone(Audio.read(clips[0]), name="me", transcript=None, consent="a test")
    spoken = own.speak(TEXTS[4], voice=voice)
    encoder = SpeakerEncoder.load(hub.folder("speaker-ge2e"))
    likeness = similarity(encoder.embed(spoken), encoder.embed(Audio.read(clips[1])))
    print(f"clone similarity {likeness:.2f}")
    assert likeness > 0.5
    # What brings a clone nearer to its speaker costs words: copies of codes leave it out, speech does not.
    codes = own.tokenize(Audio.read(clips[2]))
    plain = Voice(voice.info, {key: value for key, value in voice.tensors.items() if key != "match"})
    assert "match" in voice.tensors
    copies = [own.detokenize(codes, voice=each, seed=1).samples for each in (voice, plain)]
    assert np.array_equal(*copies)
    assert not np.array_equal(spoken.samples, own.speak(TEXTS[4], voice=plain).samples)


def test_the_teachers_voice_files_are_not_for_it(own: stepaudio.StepAudio) -> None:
    from stepaudio.voices import find_voice

    assert find_voice("ada", "kokoro").info.family == "kokoro"
    assert own.voice("ada").info.family == "nano"
    with pytest.raises(InputError, match="unknown voice"):
        own.voice("nobody")
