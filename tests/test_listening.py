"""nano's ear: what is heard, how it reaches the language model, and what is learned from it."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from stepaudio.api import StepAudio
from stepaudio.audio import Audio
from stepaudio.errors import InputError, ModelError
from stepaudio.features.heard import RATE, RIVALS, TAIL, Heard, Hearing, manner_size
from stepaudio.lm.adaptor import Adaptor, AdaptorConfig, load_adaptor, save_adaptor
from stepaudio.lm.asking import Asking, told
from stepaudio.lm.bridge import Bridge, soft_words
from stepaudio.lm.config import LMConfig
from stepaudio.lm.likelihood import likelihoods_in, log_likelihoods, read_contexts
from stepaudio.lm.model import DecoderLM
from stepaudio.lm.prompts.messages import Message
from stepaudio.lm.prompts.questions import QUESTIONS, question
from stepaudio.lm.rescoring import RescoringRules, Way, likeliest_ways
from stepaudio.training import manner
from stepaudio.training.disturb import disturb, make_music
from stepaudio.training.heard import VARIANTS, Recording, hear, of_pitch, of_speed, read, said_in
from stepaudio.training.loop import Plan

THINGS = manner.shape().words
SMALL = AdaptorConfig(words=THINGS, manner=16, width=32, dropout=0.0)
LM = LMConfig(
    vocab_size=40,
    hidden_size=24,
    intermediate_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    head_dim=12,
    max_position_embeddings=128,
    rms_norm_eps=1e-5,
    position="rope",
    tie_word_embeddings=True,
)
WORDS = [" a", " cab", " capital", " of", " bad", "s", ",", "<|mark|>"]


class Whisper:
    """A vocabulary of eight words."""

    def decode(self, ids: list[int]) -> str:
        return "".join("" if i == 7 else WORDS[i] for i in ids)

    def encode(self, text: str, add_special_tokens: bool = True) -> "Whisper":
        self.ids = [WORDS.index(" " + word) for word in text.split()]
        return self


class Letters:
    """A language model's vocabulary of letters; a blank is none."""

    def encode(self, text: str) -> list[int]:
        return [(ord(char) - 96) % 32 for char in text if char != " "]


BRIDGE = Bridge(Whisper(), Letters())  # type: ignore[arg-type]


def heard(seed: int, *words: int) -> Heard:
    random = np.random.default_rng(seed)
    ids = np.array([[word, (word + 1) % 7, 7, 7] for word in words], np.int32).reshape(-1, RIVALS)
    shares = np.tile(np.array([0.6, 0.2, 0.1, 0.0], np.float32), (len(words), 1))
    return Heard(ids, shares, random.normal(size=16).astype(np.float32))


def test_words_become_mixtures_of_as_many_pieces() -> None:
    # " a" is one letter, its rival " cab" three, a mark none: only the likeliest one counts.
    ids, shares = BRIDGE.mixtures(heard(0, 0))
    assert ids.tolist() == [[1, 0, 0, 0]]
    assert shares.tolist() == [[1.0, 0.0, 0.0, 0.0]]
    # "s" and "," have a piece each, and share what they have.
    ids, shares = BRIDGE.mixtures(heard(0, 5))
    assert ids[0, :2].tolist() == [ord("s") - 96, (ord(",") - 96) % 32]
    assert shares[0].tolist() == pytest.approx([0.75, 0.25, 0, 0])
    # A word of several pieces takes as many places; no words take none.
    assert BRIDGE.mixtures(heard(0, 2, 5))[0].shape == (8, RIVALS)
    assert BRIDGE.mixtures(heard(0))[0].shape == (0, RIVALS)
    assert BRIDGE.text([0, 1]) == "a cab"


def test_a_sure_word_is_the_word_itself() -> None:
    model = DecoderLM(LM).eval()
    ids, shares = torch.tensor([[5, 6, 0, 0]]), torch.tensor([[1.0, 0, 0, 0]])
    assert torch.allclose(soft_words(model, ids, shares)[0], model.embed(torch.tensor(5)))
    half = soft_words(model, ids, torch.tensor([[0.5, 0.5, 0, 0]]))[0]
    assert torch.allclose(half, model.embed(torch.tensor([5, 6])).mean(0), atol=1e-6)


def test_a_manner_is_told_in_shares_of_words() -> None:
    torch.manual_seed(0)
    adaptor = Adaptor(SMALL).eval()
    values = torch.randn(50, 16) * 7 + 3
    adaptor.measure(values)
    shares = adaptor.shares(values[:2]).detach()
    assert shares.shape == (len(QUESTIONS), 4)
    assert torch.allclose(shares.sum(-1), torch.ones(len(QUESTIONS)))
    for row, words in zip(shares, THINGS, strict=True):
        assert not row[len(words) :].any()
    assert torch.allclose(shares, (adaptor.shares(values[:1]) + adaptor.shares(values[1:2])) / 2)
    # What is far out of what was measured does no harm.
    assert torch.allclose(adaptor(values[:1] + 1e6), adaptor(values[:1] + 1e7))
    # In training what tells the most is always seen.
    dropping = Adaptor(SMALL.model_copy(update={"dropout": 0.99})).train()
    dropping.measure(values)
    for value in dropping.inlet.parameters():
        value.detach().zero_()
    assert torch.equal(dropping(values[:1]), dropping(values[:1]))
    changed = values[:1].clone()
    changed[0, -1] += 10
    assert not torch.equal(dropping(values[:1]), dropping(changed))


def test_how_it_is_said_is_learned_from_what_is_known(tmp_path: Path) -> None:
    def recording(seed: int, **facts: str) -> Recording:
        sound = heard(seed, 1)
        sound.manner[0] = 3.0 if facts.get("gender") == "man" else -3.0
        sound.manner[1] = 3.0 if facts.get("speed") == "fast" else -3.0
        return Recording(f"r{seed}", "plain", "", sound, facts)

    said = [recording(i, gender="man", speed="fast") for i in range(20)]
    said += [recording(20 + i, gender="woman") for i in range(5)]
    said += [recording(30 + i, speed="slow") for i in range(20)]
    values, answers = manner.known(said)
    assert values.shape == (45, 16)
    assert answers[0].tolist() == [0, manner.UNKNOWN, 2, manner.UNKNOWN, manner.UNKNOWN]
    plan = Plan(steps=150, learning_rate=5e-3, warmup=5, average=0.9, evaluate_every=50, batch=32)
    manner.train_run(tmp_path, "sort", said, said, plan)
    adaptor = manner.load_run(tmp_path, "sort")
    errors = {name: float(value) for name, value in manner.losses(adaptor, values, answers).items()}
    assert errors["gender_errors"] == errors["speed_errors"] == 0
    assert "pitch_errors" not in errors  # nothing is known of it
    # A rare answer counts as much as a frequent one.
    unsure = manner.losses(Adaptor(SMALL).eval(), values, answers)["gender"]
    assert float(unsure.detach()) == pytest.approx(np.log(2), abs=0.5)


def test_a_question_is_about_what_it_would_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    class Chars:
        def encode(self, text: str) -> list[int]:
            return [ord(char) for char in text]

    class Lists:
        def __init__(self, model: object, rows: list[list[int]]) -> None:
            self.texts = ["".join(map(chr, row)) for row in rows]

    read: list[int] = []

    def likelihoods(lists: Lists, ids: list[int]) -> list[float]:
        # Words that were read there are likely.
        text = "".join(map(chr, ids))
        assert text.startswith(" ")
        assert text.endswith("\n")
        read.append(len(lists.texts))
        return [float(sum(3 * (word in known) - 9 for word in text.split())) for known in lists.texts]

    monkeypatch.setattr("stepaudio.lm.asking.read_contexts", Lists)
    monkeypatch.setattr("stepaudio.lm.asking.likelihoods_in", likelihoods)
    asking = Asking(object(), Chars())  # type: ignore[arg-type]
    shares = torch.eye(4)[[1, 0, 2, 3, 0]]
    for name, asked, answer in (
        ("pitch", "high or low  voice?", "The voice is high."),
        ("emotion", "calm, excited, or whispering?", "The tone is whispered."),
        ("speed", "slow, or fast?", "The speech is fast."),
        ("gender", "a male or a female voice?", "The speaker is a woman."),
    ):
        found = asking.matter(asked)
        assert found is question(name)
        assert told(found, shares) == answer
    assert asking.matter("Who painted the Mona Lisa?") is None
    # What is about something else costs two lists, and the same question is not read again.
    assert asking.matter(" high or low voice? ") is question("pitch")
    assert read == [2, len(QUESTIONS)] * 4 + [2]


def test_sounds_are_disturbed_but_not_behind_their_end() -> None:
    sound = torch.zeros(3, 8000)
    sound[:, :6000] = torch.sin(torch.arange(6000) / 5)
    lengths = torch.tensor([6000, 6000, 6000])
    music = make_music(2, 1.0)
    assert float(music.square().mean()) == pytest.approx(1.0, rel=0.01)
    made = disturb(sound, lengths, ("none", "noise", "music"), music, torch.Generator().manual_seed(1))
    again = disturb(sound, lengths, ("none", "noise", "music"), music, torch.Generator().manual_seed(1))
    assert torch.equal(made, again)
    assert not made[:, 6000:].any()
    assert all(float(row.square().mean()) > 0 for row in made)


def test_questions_know_their_answers() -> None:
    for each in QUESTIONS:
        for value, answer in each.answers.items():
            assert each.value(answer) == value
    assert question("gender").value("It is a male voice.") == "man"
    assert question("speed").value("I cannot tell.") is None


def test_facts_leave_out_what_is_between() -> None:
    assert [of_pitch(hz) for hz in (110.0, 150.0, 220.0)] == [{"pitch": "low"}, {}, {"pitch": "high"}]
    assert [of_speed(speed) for speed in (0.7, 0.85, 1.0, 1.5)] == [
        {"speed": "slow"},
        {},
        {"speed": "normal"},
        {"speed": "fast"},
    ]


def tone(hz: float, seconds: float = 1.0) -> Audio:
    time = np.arange(round(seconds * 24_000)) / 24_000
    waves = sum(np.sin(2 * np.pi * hz * k * time) / k for k in range(1, 9))
    return Audio((0.1 * waves).astype(np.float32), 24_000)


@pytest.mark.parametrize("style", ["", "calm", "excited", "whisper"])
def test_a_style_changes_length_and_voicing_as_it_should(style: str) -> None:
    from stepaudio.decoder.world import analyse

    plain, random = tone(150.0), np.random.default_rng(3)
    frames = analyse(said_in(plain, style, random))
    voiced = float((frames.f0 > 0).mean())
    twice = said_in(plain, style, np.random.default_rng(3), rate=2.0)
    assert twice.seconds == pytest.approx(plain.seconds / 2, abs=0.05)
    assert voiced < 0.3 if style == "whisper" else voiced > 0.7
    if style in ("calm", "excited"):
        median = float(np.median(frames.f0[frames.f0 > 0]))
        assert (median < 150) == (style == "calm")


def test_an_adaptor_comes_back_from_its_file(tmp_path: Path) -> None:
    adaptor = Adaptor(SMALL)
    save_adaptor(adaptor, tmp_path / "a.safetensors")
    read_back = load_adaptor(tmp_path / "a.safetensors")
    assert read_back.config == SMALL
    for name, value in adaptor.state_dict().items():
        assert torch.allclose(read_back.state_dict()[name], value, atol=0.01)
    (tmp_path / "b.safetensors").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="not an adaptor"):
        load_adaptor(tmp_path / "b.safetensors")


class Deaf:
    """Hears one word in everything, and how loud it is."""

    def __call__(self, samples: np.ndarray) -> Heard:
        manner = np.full(16, np.abs(samples).mean(), np.float32)
        manner[-TAIL] = np.log(200.0)
        return replace(heard(0, 1), manner=manner)


def test_sets_are_heard_once_in_every_variant(tmp_path: Path) -> None:
    rows = [
        {"audio": "a.wav", "text": "HELLO THERE"},
        {"audio": "b.wav", "text": "", "gender": "m"},
        {"audio": "c.wav", "text": "", "voices": {"af_heart": 1.0}, "speed": 1.0},
        {"audio": "d.wav", "text": "Long."},
    ]
    folder, out = tmp_path / "set", tmp_path / "heard"
    folder.mkdir()
    for row, seconds in zip(rows, (1.0, 1.0, 1.0, 20.0), strict=True):
        tone(150.0, seconds).save(folder / str(row["audio"]))
    (folder / "manifest.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    for variant in VARIANTS:
        written = list(hear(folder, out, Deaf(), variant))  # type: ignore[arg-type]
        assert [path.name for path in written] == [f"set-{variant}-0000.npz"]
        assert not list(hear(folder, out, Deaf(), variant))  # type: ignore[arg-type]
    found = list(read(out, ["set"]))
    assert sorted({each.text for each in found}) == ["", "hello there"]
    assert len(found) == 3 * len(VARIANTS)  # one is too long
    by_variant = {each.variant: each for each in found if each.name == "set/c"}
    assert by_variant["paced"].facts["speed"] in ("slow", "normal", "fast")
    assert next(each for each in found if each.name == "set/b").facts["gender"] == "man"
    assert by_variant["plain"].facts == {
        "gender": "woman",
        "speed": "normal",
        "emotion": "neutral",
        "background": "quiet",
        "pitch": "high",
    }
    assert by_variant["disturbed"].facts["background"] in ("quiet", "noise", "music")
    assert by_variant["plain"].heard.words.shape == (1, RIVALS)


@pytest.fixture(scope="module")
def folders() -> tuple[Path, Path]:
    from stepaudio import hub

    try:
        return hub.folder("smollm2-135m-instruct"), hub.folder("whisper-tiny.en")
    except ModelError as error:
        pytest.skip(str(error))


@pytest.mark.e2e
@pytest.mark.slow
def test_silence_and_noise_have_no_words(folders: tuple[Path, Path]) -> None:
    hearing = Hearing(folders[1])
    random = np.random.default_rng(0)
    for sound in (np.zeros(RATE), random.normal(size=3 * RATE) * 0.05, np.zeros(10)):
        found = hearing(sound.astype(np.float32))
        assert len(found.words) == 0
        assert found.manner.shape == (manner_size(384),)
        assert np.isfinite(found.manner).all()


@pytest.mark.e2e
@pytest.mark.slow
def test_a_mind_with_an_untrained_ear_reads_as_before_and_takes_sound(
    tmp_path: Path, folders: tuple[Path, Path]
) -> None:
    from stepaudio.lm.hearing import ADAPTOR, HearingEars, HearingMind
    from stepaudio.lm.mind import NanoMind
    from stepaudio.lm.prompts.messages import AudioPart, user

    mind = NanoMind(folders[0])
    save_adaptor(Adaptor(manner.shape()), tmp_path / ADAPTOR)
    hearing = HearingMind(tmp_path, folders[1], mind)
    asked = [user("What is the capital of France?")]
    assert "".join(hearing.stream(asked)) == "".join(mind.stream(asked))

    sound = Audio(np.random.default_rng(0).normal(size=16_000).astype(np.float32) * 0.05, 16_000)
    turn = user(AudioPart(sound), "What is it?")
    assert not any(i < 0 for i in hearing.prompt_ids([turn]))  # noise has a manner, and no words
    for each in QUESTIONS[:2]:
        said = hearing.ask(sound, each.wordings[0])
        assert said in each.answers.values()
        assert said == hearing.ask(sound, each.wordings[0])
    assert len(re.findall(r"\.", hearing.caption(sound))) == len(QUESTIONS)
    assert hearing.write_down(sound) == ""
    with pytest.raises(InputError, match="empty"):
        hearing.ask(sound, " ")
    with pytest.raises(InputError, match="no ear yet"):
        HearingMind(None, folders[1], mind).ask(sound, "Am I a man?")
    with pytest.raises(InputError, match="cannot translate"):
        hearing.translate(sound, "French")
    with pytest.raises(InputError, match="not one this model hears"):
        list(HearingEars(hearing).transcribe(sound, "fr"))
    with pytest.raises(InputError, match="reads text only"):
        mind.prompt_ids([turn])


def test_the_likeliest_ways_come_first_and_unlikely_rivals_are_left() -> None:
    rules = RescoringRules(ways=3, least=0.15)
    ways = likeliest_ways(heard(0, 0, 4), rules)
    assert ways[0].words == (0, 4)
    assert {way.words for way in ways[1:]} == {(1, 4), (0, 5)}
    assert ways[0].log_share == pytest.approx(2 * np.log(0.6))
    assert ways[1].log_share == pytest.approx(np.log(0.6 * 0.2))
    assert likeliest_ways(heard(0), rules) == [Way((), 0.0)]


def test_likelihoods_are_those_of_reading_each_alone() -> None:
    torch.manual_seed(0)
    model = DecoderLM(LM).eval()
    before, rows = [1, 2], [[5, 6, 7], [8], [9, 10]]
    together = log_likelihoods(model, before, rows)
    for row, found in zip(rows, together, strict=True):
        shares = model(torch.tensor([[*before, *row]]))[0].log_softmax(-1)
        alone = sum(shares[len(before) - 1 + place, token].item() for place, token in enumerate(row))
        assert found == pytest.approx(alone, abs=1e-4)


def test_what_follows_several_texts_is_as_likely_as_behind_each_alone() -> None:
    torch.manual_seed(0)
    model = DecoderLM(LM).eval()
    texts = [[1, 2, 3, 4], [5, 6], [7, 8, 9]]
    contexts = read_contexts(model, texts)
    for ids in ([10, 11], [12], [13, 14, 15], [10, 11]):
        found = likelihoods_in(contexts, ids)
        assert found == pytest.approx([log_likelihoods(model, text, [ids])[0] for text in texts], abs=1e-4)


def test_a_path_is_one_of_two_and_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    from fakes import fake_family

    from stepaudio.families.options import Options
    from stepaudio.families.registry import _on_path

    monkeypatch.setenv("STEPAUDIO_PATH", "cascade")
    assert Options().from_environment().path == "cascade"
    monkeypatch.setenv("STEPAUDIO_PATH", "sideways")
    with pytest.raises(InputError, match="no path 'sideways'; choose unified or cascade"):
        Options().from_environment()
    family = fake_family()
    assert _on_path(family, Options(path="cascade")).partner is None
    with pytest.raises(InputError, match="does not hear a question by itself"):
        _on_path(family, Options(path="unified"))


def test_a_partner_that_knows_the_words_tells_them_before_it_answers() -> None:
    from fakes import FakeEars, FakeMouth, fake_family, tone

    from stepaudio.dialogue.events import Heard as HeardEvent
    from stepaudio.families.cascade import CascadePartner

    def write(messages: Sequence[Message], **_: object) -> Iterator[str]:
        yield "Fine."

    partner = CascadePartner(write, FakeMouth(), words=lambda audio: "how are you")
    chat = StepAudio(fake_family(ears=FakeEars(text="something else"), partner=partner)).chat()
    events = list(chat.turn(tone()))
    (heard,) = [event for event in events if isinstance(event, HeardEvent)]
    assert events[0] is heard
    assert heard.transcript.text == "how are you"
    assert heard.transcript.segments[0].end == pytest.approx(1.0)
    assert [message.text for message in chat.history] == ["how are you", "Fine."]
    assert [e for e in chat.turn(text="And you?") if isinstance(e, HeardEvent)] == []


@pytest.mark.e2e
@pytest.mark.slow
def test_nano_hears_a_question_without_reading_it(
    nano: StepAudio, load_once: Callable[..., StepAudio]
) -> None:
    unified = load_once("nano", path="unified")
    chat = unified.chat()
    question = nano.speak("What is the capital of France?", voice="ben")
    reply = chat.send(question)
    assert "Paris" in reply.text
    assert "capital of France" in reply.transcript
    assert "capital of France" in unified.transcribe(question).text
    assert reply.audio is not None
    with pytest.raises(InputError, match="no speech was found"):
        chat.send(Audio(np.zeros(RATE, np.float32), RATE))
    assert len(chat.history) == 2


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.parametrize(("voice", "is_"), [("ben", "man"), ("ada", "woman")])
def test_a_spoken_question_about_its_own_voice_is_answered_by_hearing(
    nano: StepAudio, load_once: Callable[..., StepAudio], voice: str, is_: str
) -> None:
    question = nano.speak("Am I a man or a woman?", voice=voice)
    reply = load_once("nano", path="unified").chat().send(question)
    assert reply.text == f"The speaker is a {is_}."
