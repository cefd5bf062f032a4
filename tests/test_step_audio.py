"""The family step-audio on a converted folder with tiny random weights."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import official_models as official
import pytest
import torch
from fake_openai import Answer, end_chunk, serve, text_chunk
from hypothesis import given, settings
from hypothesis import strategies as st
from sizes import size

import stepaudio
from stepaudio.api import StepAudio
from stepaudio.audio import Audio, concat
from stepaudio.cloning.consent import Consent
from stepaudio.codes import Codes, deinterleave
from stepaudio.convert import convert_folder
from stepaudio.dialogue.events import AudioDelta, Heard, TextDelta
from stepaudio.errors import AudioError, InputError, ModelError
from stepaudio.families.listening import quiet_pieces
from stepaudio.families.step1 import SpeechGrammar
from stepaudio.families.step_audio_mouth import OFFICIAL, StepAudioMouth
from stepaudio.lm.prompts.tts import (
    BOS,
    BOT,
    EOT,
    HUMMING_PROMPT,
    RAP_PROMPT,
    TAGS,
    SpeechPrompt,
    system_prompt,
)
from stepaudio.styles import Style
from stepaudio.voices import Voice

SPEAKERS = {"Tingting": "你好", "TingtingRAP": "（RAP）你好", "Tingting哼唱": "（哼唱）你好"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("step-audio")
    made = official.step_audio(root / "official")
    official.add_speakers(made / "speakers", SPEAKERS)
    return convert_folder(made, root / "converted")


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("SERVER", "SERVER_MODEL", "DEVICE", "EARS"):
        monkeypatch.delenv(f"STEPAUDIO_{name}", raising=False)


@pytest.fixture(scope="module")
def loaded(folder: Path) -> StepAudio:
    torch.set_num_threads(1)
    return stepaudio.load(str(folder), device="cpu")


def cloned(sa: StepAudio, clip: Audio, *, transcript: str | None = None) -> Voice:
    """The voice of a made clip, which no check would take for a person."""
    consent = Consent.declared("it is me")
    return sa.clone(clip, transcript=transcript, name="me", consent=consent, check=False)


@pytest.fixture
def mouth(loaded: StepAudio) -> StepAudioMouth:
    assert isinstance(loaded.family.mouth, StepAudioMouth)
    return loaded.family.mouth


@pytest.fixture
def prompts(mouth: StepAudioMouth, monkeypatch: pytest.MonkeyPatch) -> list[SpeechPrompt]:
    """The prompts given to the speech LM, which answers each with one fixed group of codes."""
    seen: list[SpeechPrompt] = []

    def codes(prompt: SpeechPrompt, **_: object) -> Iterator[int]:
        seen.append(prompt)
        yield from [5, 6, 1030, 1031, 1032] * 6

    monkeypatch.setattr(mouth.lm, "codes", codes)
    return seen


def test_speech_is_repeatable_streamed_and_different_for_another_seed(loaded: StepAudio) -> None:
    chunks = list(loaded.stream("Hi there. Bye then.", seed=2))
    whole = loaded.speak("Hi there. Bye then.", seed=2)
    assert whole.sample_rate == 22050
    assert len(chunks) > 1
    np.testing.assert_array_equal(concat(chunks).samples, whole.samples)
    other = loaded.speak("Hi there. Bye then.", seed=4)
    assert other.samples.size != whole.samples.size or not np.array_equal(other.samples, whole.samples)


def test_only_whole_groups_of_codes_can_be_drawn(mouth: StepAudioMouth) -> None:
    prompt = SpeechPrompt((BOS, BOT, 300, 301), "speech")
    for seed in range(4):
        indices = list(mouth.lm.codes(prompt, most=100, seed=seed))
        assert indices
        linguistic, semantic = deinterleave(indices)  # strict: any slip of the rhythm raises
        assert len(linguistic) * 3 == len(semantic) * 2 or len(indices) == 100


def test_the_grammar_of_speech() -> None:
    grammar = SpeechGrammar(74752)
    legal = [set(grammar.phase([0] * n).legal.nonzero()[:, 0].tolist()) for n in range(7)]  # type: ignore[union-attr]
    linguistic, semantic = set(range(65536, 66560)), set(range(66560, 70656))
    assert legal == [linguistic] * 2 + [semantic] * 3 + [linguistic | {EOT}, linguistic]


def test_a_code_that_the_limit_made_the_last_is_kept(mouth: StepAudioMouth) -> None:
    seed = next(s for s in range(50) if len(list(mouth.lm.codes(_PROMPT, most=12, seed=s))) == 12)
    assert len(list(mouth.lm.codes(_PROMPT, most=7, seed=seed))) == 7


_PROMPT = SpeechPrompt((BOS, BOT, 300, 301), "speech")


def test_the_prompt_is_put_together_token_by_token(
    loaded: StepAudio, mouth: StepAudioMouth, prompts: list[SpeechPrompt]
) -> None:
    loaded.speak("你好。", voice="Tingting", style="happy, sichuanese")
    enc = mouth.lm.tokenizer.encode
    clip = mouth.voice("Tingting").tensors["codes"]
    text = "(高兴1)(四川话)你好。"
    expected = [BOS, BOT, *enc("system\n" + system_prompt(text, "Tingting")), EOT]
    expected += [BOT, *enc("human\n"), *enc("\n你好")[len(enc("\n")) :], EOT]
    expected += [BOT, *enc("assistant\n"), *(65536 + int(code) for code in clip), EOT]
    expected += [BOT, *enc("human\n"), *enc("\n" + text)[len(enc("\n")) :], EOT, BOT, *enc("assistant\n")]
    assert [prompt.ids for prompt in prompts] == [tuple(expected)]
    assert len(clip) % 5 == 0  # whole groups only, as the checkpoints were trained


def test_a_cloned_voice_is_not_named_in_the_prompt(
    loaded: StepAudio, mouth: StepAudioMouth, prompts: list[SpeechPrompt]
) -> None:
    voice = cloned(loaded, official.clip(1.2), transcript="hello world")
    loaded.speak("Hi.", voice=voice, watermark=False)
    assert voice.info.transcript == "hello world"
    without = mouth.lm.tokenizer.encode("system\n" + system_prompt("Hi."))
    assert prompts[0].ids[2 : 2 + len(without)] == tuple(without)


@pytest.mark.parametrize(
    ("style", "system", "voice"),
    [("rap", RAP_PROMPT, "TingtingRAP"), ("哼唱", HUMMING_PROMPT, "Tingting哼唱")],
)
def test_singing_takes_the_music_decoder_and_the_voice_of_its_kind(
    loaded: StepAudio, mouth: StepAudioMouth, prompts: list[SpeechPrompt], style: str, system: str, voice: str
) -> None:
    sung = loaded.speak("你好。", voice="Tingting", style=style, seed=1)
    said = loaded.speak("你好。", voice="Tingting", seed=1)
    assert [prompt.decoder for prompt in prompts] == ["music", "speech"]
    enc = mouth.lm.tokenizer.encode
    assert prompts[0].ids[2:].index(EOT) == len(enc("system\n" + system))
    clip = tuple(65536 + int(code) for code in mouth.voice(voice).tensors["codes"])
    assert clip in {prompts[0].ids[i : i + len(clip)] for i in range(len(prompts[0].ids))}
    assert sung.seconds > 0
    assert said.seconds > 0


def test_every_tag_of_the_trained_prompt_has_a_style(
    loaded: StepAudio, mouth: StepAudioMouth, prompts: list[SpeechPrompt]
) -> None:
    tags = [tag for kind in TAGS.values() for tag in kind]
    assert sorted(OFFICIAL.values()) == sorted(tags)
    tags = tags[:: size(4, 1)]
    for tag in tags:
        loaded.speak("你好。", style=tag, seed=1)
        loaded.speak(f"（{tag}）你好。", seed=1)
    enc = mouth.lm.tokenizer.encode
    for tag, by_style, by_text in zip(tags, prompts[::2], prompts[1::2], strict=True):
        assert by_style == by_text
        said = tuple(enc(f"\n({tag})你好。")[len(enc("\n")) :])
        assert by_style.ids[: -len(enc("assistant\n")) - 2][-len(said) :] == said


def test_leading_tags_hold_for_every_sentence(
    loaded: StepAudio, prompts: list[SpeechPrompt], mouth: StepAudioMouth
) -> None:
    loaded.speak("(悲伤1)第一句话已经说完了。第二句话也说完了。", seed=1)
    assert len(prompts) == 2
    tag = tuple(mouth.lm.tokenizer.encode("\n(悲伤1)"))[-1]
    assert all(tag in prompt.ids for prompt in prompts)
    with pytest.raises(InputError, match="contradict"):
        loaded.speak("(悲伤1)你好。", style="happy")
    assert mouth.read_tags("(开心)你好", Style()) == ("(开心)你好", Style())


def test_pace_beyond_the_tags_is_changed_without_the_pitch(
    loaded: StepAudio, prompts: list[SpeechPrompt]
) -> None:
    normal, fast = (loaded.speak("你好。", style=style, seed=1) for style in ("", "speed=2"))
    assert fast.samples.size == pytest.approx(normal.samples.size / 2, rel=0.1)
    assert loaded.speak("你好。", style="fast", seed=1).samples.size == pytest.approx(
        normal.samples.size, rel=0.1
    )
    assert "快速1" in str(OFFICIAL.values())


def test_a_style_or_voice_that_does_not_exist_says_so(loaded: StepAudio, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown voice 'Bo'; there are: Tingting"):
        loaded.speak("你好", voice="Bo")
    kokoro = Voice.load(next((Path(stepaudio.__file__).parent / "voices_data").glob("kokoro/*.safetensors")))
    with pytest.raises(InputError, match="is for kokoro, not for step-audio"):
        loaded.speak("Hi.", voice=kokoro)


def test_clone_save_load_speak(loaded: StepAudio, tmp_path: Path) -> None:
    voice = cloned(loaded, official.clip(1.2), transcript="hello world")
    voice.save(tmp_path / "me.safetensors")
    again = Voice.load(tmp_path / "me.safetensors")
    assert again.info == voice.info
    first = loaded.speak("Hello.", voice=voice, seed=1, watermark=False)
    second = loaded.speak("Hello.", voice=str(tmp_path / "me.safetensors"), seed=1, watermark=False)
    np.testing.assert_array_equal(first.samples, second.samples)


def test_clone_listens_when_there_is_no_transcript(loaded: StepAudio) -> None:
    clip = official.clip(1.2)
    heard = loaded.transcribe(clip).text
    assert heard
    assert cloned(loaded, clip).info.transcript == heard
    with pytest.raises(AudioError, match=r"0\.5 to 30 s"):
        cloned(loaded, official.clip(0.3), transcript="x")


def test_codes_there_and_back(loaded: StepAudio) -> None:
    codes = loaded.tokenize(official.clip(2.0, rate=8000))
    assert isinstance(codes, Codes)
    assert len(codes.semantic) == 50
    assert loaded.codec.read(codes.to_json()) == codes
    first, second = (loaded.detokenize(codes, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first.samples, second.samples)
    assert first.seconds == pytest.approx(2.0, abs=0.1)


def test_a_conversation_remembers_words_not_sound(loaded: StepAudio) -> None:
    chat = loaded.chat(voice="Tingting", seed=1)
    events = list(chat.turn(official.clip(1.0)))
    kinds = [type(event) for event in events]
    assert kinds.index(TextDelta) < kinds.index(AudioDelta) < kinds.index(Heard)
    reply = chat.send(text="how are you")
    assert reply.audio is not None
    assert reply.text
    assert [message.role for message in chat.history] == ["user", "assistant"] * 2
    assert all(isinstance(message.content, str) for message in chat.history)
    again = loaded.chat(voice="Tingting", seed=1)
    list(again.turn(official.clip(1.0)))
    repeated = again.send(text="how are you")
    assert repeated.text == reply.text
    assert repeated.audio is not None
    np.testing.assert_array_equal(repeated.audio.samples, reply.audio.samples)


def test_the_chat_model_behind_a_server(folder: Path) -> None:
    written = [text_chunk("你好，"), text_chunk("很高兴。"), end_chunk()]
    with serve(Answer(written), Answer([text_chunk("<中文>问题"), end_chunk()])) as server:
        sa = stepaudio.load(str(folder), server=server.url)
        reply = sa.chat(voice="Tingting", seed=5).send(official.clip(1.0))
    assert (reply.text, reply.transcript) == ("你好，很高兴。", "问题")
    assert reply.audio is not None
    question, listening = (request["messages"] for request in server.requests)
    assert question[0]["role"] == "system"
    assert question[1]["content"].startswith("<audio_")
    assert server.requests[0]["seed"] == 5
    assert listening[0]["content"] == "请记录下你所听到的语音内容。"
    assert server.requests[1]["temperature"] == 0


def test_parts_that_are_not_there_are_named(tmp_path: Path) -> None:
    made = official.step_audio(tmp_path / "official", chat=False)
    sa = stepaudio.load(str(convert_folder(made, tmp_path / "all")))
    with pytest.raises(ModelError, match=r"has no Step-Audio-Chat; give the server"):
        sa.transcribe(official.clip())
    with pytest.raises(InputError, match="no voices"):
        sa.speak("你好")
    with pytest.raises(InputError, match="give the transcript"):
        cloned(sa, official.clip())
    voice = cloned(sa, official.clip(), transcript="hello")
    alone = stepaudio.load(str(convert_folder(made / "Step-Audio-TTS-3B", tmp_path / "tts")))
    assert (
        alone.speak("你好", voice=voice, seed=1, watermark=False).seconds > 0
    )  # a saved voice needs no tokenizer
    with pytest.raises(ModelError, match="has no Step-Audio-Tokenizer"):
        alone.tokenize(official.clip())
    words = stepaudio.load(str(convert_folder(made / "Step-Audio-Tokenizer", tmp_path / "tokens")))
    with pytest.raises(InputError, match="has no speech codes"):
        words.detokenize(Codes((), (), 0.0), voice=voice)
    for file in (tmp_path / "all" / "step-audio-tts-3b" / "decoder-music").iterdir():
        file.unlink()
    with pytest.raises(ModelError, match=r"decoder-music/campplus\.onnx is missing"):
        stepaudio.load(str(tmp_path / "all"))


@given(st.floats(0.1, 12.0), st.floats(0.5, 6.0))
@settings(max_examples=30, deadline=None)
def test_long_recordings_are_cut_without_loss(seconds: float, longest: float) -> None:
    samples = np.random.default_rng(0).standard_normal(int(seconds * 1000)).astype(np.float32)
    pieces = list(quiet_pieces(Audio(samples, 1000), longest))
    np.testing.assert_array_equal(np.concatenate([piece.samples for _, piece in pieces]), samples)
    assert max(piece.samples.size for _, piece in pieces) <= int(longest * 1000)
    starts = np.cumsum([0, *(piece.samples.size for _, piece in pieces)])[:-1] / 1000
    assert [start for start, _ in pieces] == pytest.approx(list(starts))


def test_a_pause_is_where_a_recording_is_cut() -> None:
    samples = np.ones(8000, np.float32)
    samples[4200:4300] = 0
    first = next(quiet_pieces(Audio(samples, 1000), 5.0))[1]
    assert 4200 <= first.samples.size <= 4300
