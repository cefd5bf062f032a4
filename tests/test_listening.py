"""nano's ear: spelling, its losses, and sound where words would stand."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from stepaudio.audio import Audio
from stepaudio.errors import InputError, ModelError
from stepaudio.lm.adaptor import (
    CHARACTERS,
    Adaptor,
    AdaptorConfig,
    load_adaptor,
    read_spelling,
    save_adaptor,
    spell,
    without_breaks,
)
from stepaudio.lm.config import LMConfig
from stepaudio.lm.lowrank import Adapter, LowRankConfig, adapted
from stepaudio.lm.model import DecoderLM
from stepaudio.lm.prompts.listening import WRITE_DOWN, heard_turn
from stepaudio.lm.prompts.questions import QUESTIONS, question
from stepaudio.training import listening
from stepaudio.training.disturb import change_speed, disturb, make_music
from stepaudio.training.lessons import Recording, Spoken, facts
from stepaudio.training.listening import Front
from stepaudio.training.listening_run import Course, read_recordings, split, written

SMALL = AdaptorConfig(features=16, width=32, inner=48, depth=2, after=1, kernel=3, llm_dim=24, dropout=0.0)
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


def spoken(seed: int, text: str = "", frames: int = 40) -> Spoken:
    random = np.random.default_rng(seed)
    features = random.normal(size=(frames, 16)).astype(np.float16)
    return Spoken(features, text, before=(1, 2), after=(3,), reply=(10 + seed, 11, 12, 0))


FRONT = Front(None, None)


def test_breaks_become_blanks() -> None:
    logits = torch.randn(5, len(CHARACTERS) + 1)
    joined, before = without_breaks(logits).exp(), logits.softmax(-1)
    assert torch.allclose(joined[:, 0], before[:, 0] + before[:, 1])
    assert torch.allclose(joined[:, 1:], before[:, 2:])


def one_hot(ids: list[int]) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.tensor(ids), len(CHARACTERS) + 1).float()


def test_spelling_reads_what_was_spelled() -> None:
    text = "It's 'ready' – at   Ten!"
    ids = spell(text)
    assert "".join(CHARACTERS[i - 1] for i in ids) == "it's 'ready' at ten"
    with_blanks = [each for i in ids for each in (i, i, 0)]
    assert read_spelling(one_hot(with_blanks)) == "it's 'ready' at ten"
    assert read_spelling(one_hot(spell("aab"))) == "ab"  # without a blank a double letter is one
    assert read_spelling(one_hot([0, 0, 0])) == ""


def test_embeddings_are_a_quarter_of_the_frames_and_as_large_as_words() -> None:
    torch.manual_seed(0)
    embeddings, logits = Adaptor(SMALL, size=0.3).eval()(torch.randn(2, 40, 16))
    assert embeddings.shape == (2, 10, 24)
    assert logits.shape == (2, 20, len(CHARACTERS) + 1)
    assert float(embeddings.detach().square().mean().sqrt()) == pytest.approx(0.3, rel=0.05)


def test_padding_and_masks() -> None:
    batch = [spoken(0, frames=43), spoken(1, frames=20)]
    features, lengths = FRONT(batch)
    assert features.shape == (2, 40, 16)
    assert lengths.tolist() == [40, 20]
    assert not features[1, 20:].any()
    hidden, _ = FRONT([spoken(2, frames=400)], seed=0)
    rows = (hidden[0] == 0).all(-1)
    assert 0 < int(rows.sum()) < 200


def test_the_adaptor_learns_to_spell() -> None:
    torch.manual_seed(0)
    adaptor = Adaptor(SMALL)
    batch = [spoken(0, "a cab"), spoken(1, "bad"), spoken(2, "abba")]
    optimizer = torch.optim.Adam(adaptor.parameters(), 3e-3)
    for _ in range(150):
        optimizer.zero_grad()
        loss = listening.losses(adaptor, None, batch, FRONT)["total"]
        loss.backward()
        optimizer.step()
    with torch.inference_mode():
        logits = adaptor(FRONT(batch)[0])[1]
    assert [read_spelling(row) for row in logits] == ["a cab", "bad", "abba"]


def test_texts_that_are_unknown_or_do_not_fit_teach_no_spelling() -> None:
    adaptor = Adaptor(SMALL)
    batch = [spoken(0, ""), spoken(1, "far too many letters for half a second of sound")]
    assert float(listening.losses(adaptor, None, batch, FRONT)["spelling"]) == 0.0


def test_the_reply_is_learned_through_the_sound_and_padding_does_not_matter() -> None:
    torch.manual_seed(0)
    model = DecoderLM(LM).eval().requires_grad_(False)
    adapter, adaptor = Adapter(LowRankConfig(rank=4), LM), Adaptor(SMALL, size=1.0)
    twin = adapted(model, adapter)
    batch = [spoken(0, frames=40), spoken(1, frames=60), spoken(2, frames=20)]

    def loss(part: list[Spoken]) -> torch.Tensor:
        features, lengths = FRONT(part)
        return listening.reply_loss(twin, model, adaptor(features)[0], lengths, part)["reply"]

    # In eval mode a clip alone and among longer ones gives the same, but for the edge of its own sound.
    alone = torch.stack([loss([each]) for each in batch]).mean()
    assert float(loss(batch).detach()) == pytest.approx(float(alone.detach()), rel=0.05)
    optimizer = torch.optim.Adam([*adapter.parameters(), *adaptor.parameters()], 5e-3)
    before = float(loss(batch).detach())
    for _ in range(60):
        optimizer.zero_grad()
        loss(batch).backward()
        optimizer.step()
    assert float(loss(batch).detach()) < 0.2 * before


def test_what_reading_gives_is_learned_from_sound() -> None:
    torch.manual_seed(0)
    model = DecoderLM(LM).eval().requires_grad_(False)
    adapter, adaptor = Adapter(LowRankConfig(rank=4), LM), Adaptor(SMALL, size=1.0)
    twin = adapted(model, adapter)
    batch = [replace(spoken(seed), read=(1, 2, 20 + seed, 3)) for seed in range(3)]

    def loss() -> torch.Tensor:
        features, lengths = FRONT(batch)
        return listening.reply_loss(twin, model, adaptor(features)[0], lengths, batch)["answer"]

    optimizer = torch.optim.Adam([*adapter.parameters(), *adaptor.parameters()], 5e-3)
    before = float(loss().detach())
    for _ in range(60):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    assert float(loss().detach()) < 0.7 * before


def test_batches_hold_clips_of_like_length_and_repeat() -> None:
    clips = [Recording(str(i), np.zeros(1000 + 200 * i, np.int16), "a") for i in range(80)]
    course = Course(clips, size=4)
    first = [len(each.sound) for each in course.draw(3)]
    assert first == [len(each.sound) for each in course.draw(3)]
    assert max(first) / min(first) < 9
    assert first != [len(each.sound) for each in course.draw(11)]


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
    quick = [len(change_speed(sound[0].numpy(), np.random.default_rng(seed))) for seed in range(9)]
    assert min(quick) < 8000 < max(quick)


def test_questions_know_their_answers() -> None:
    for each in QUESTIONS:
        for value, answer in each.answers.items():
            assert each.value(answer) == value
    assert question("gender").value("It is a male voice.") == "man"
    assert question("speed").value("I cannot tell.") is None


def test_facts_of_a_take_leave_out_what_is_between() -> None:
    take = {"voices": {"af_heart": 1.0}, "ids": [1] * 60, "seconds": 4.5, "pitch": [210.0] * 50, "speed": 1.0}
    assert facts(take) == {"gender": "woman", "pitch": "high", "speed": "normal", "emotion": "neutral"}
    whisper = {**take, "style": {"name": "whisper"}, "ids": [1] * 80}
    assert facts(whisper) == {"speed": "fast", "emotion": "whispering"}
    between = {**take, "voices": {"af_sky": 0.5, "am_adam": 0.5}, "pitch": [150.0] * 50}
    assert "gender" not in facts(between)
    assert "pitch" not in facts(between)


def test_what_is_written_is_words() -> None:
    assert (
        written("It costs $24.50, doesn't it?") == "it costs twenty four dollars and fifty cents doesn't it"
    )


def test_an_adaptor_comes_back_from_its_file(tmp_path: Path) -> None:
    adaptor = Adaptor(SMALL)
    save_adaptor(adaptor, tmp_path / "a.safetensors")
    read = load_adaptor(tmp_path / "a.safetensors")
    assert read.config == SMALL
    for name, value in adaptor.state_dict().items():
        assert torch.allclose(read.state_dict()[name], value, atol=0.01)
    (tmp_path / "b.safetensors").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="not an adaptor"):
        load_adaptor(tmp_path / "b.safetensors")


@pytest.mark.e2e
@pytest.mark.slow
def test_a_mind_with_an_untrained_ear_reads_as_before_and_takes_sound(tmp_path: Path) -> None:
    from stepaudio import hub
    from stepaudio.lm.hearing import ADAPTER, ADAPTOR, LEXICON, HearingEars, HearingMind
    from stepaudio.lm.mind import NanoMind
    from stepaudio.lm.prompts.messages import AudioPart, user

    try:
        folders = hub.folder("smollm2-135m-instruct"), hub.folder("whisper-tiny.en")
    except ModelError as error:
        pytest.skip(str(error))
    mind = NanoMind(folders[0])
    save_adaptor(Adaptor(AdaptorConfig()), tmp_path / ADAPTOR)
    Adapter(LowRankConfig(), mind.model.config).save(tmp_path / ADAPTER)
    hearing = HearingMind(tmp_path, folders[1], mind)
    question = [user("What is the capital of France?")]
    assert "".join(hearing.stream(question)) == "".join(mind.stream(question))

    sound = Audio(np.random.default_rng(0).normal(size=16_000).astype(np.float32) * 0.05, 16_000)
    turn = user(AudioPart(sound), WRITE_DOWN)
    ids = hearing.prompt_ids([turn])
    frame = heard_turn(hearing.tokenizer, WRITE_DOWN)
    heard = [place for place, i in enumerate(ids) if i < 0]
    assert len(heard) == 13  # 12.5 a second
    assert tuple(ids[heard[-1] + 1 :]) == frame.after
    assert tuple(ids[: heard[0]][-len(frame.before) :]) == frame.before
    # An untrained ear writes something, and ends; the same sound again gives the same.
    assert hearing.write_down(sound) == hearing.write_down(sound)
    # With a lexicon it writes its words only, in the user's turn.
    (tmp_path / LEXICON).write_text("capital\tcapital\nfrance\tfrance\n", "utf-8")
    searching = HearingMind(tmp_path, folders[1], mind)
    found = searching.write_down(sound)
    assert set("".join(c if c.isalpha() else " " for c in found.lower()).split()) <= {"capital", "france"}
    assert found == searching.write_down(sound)
    with pytest.raises(InputError, match="not one this model hears"):
        list(HearingEars(hearing).transcribe(sound, "fr"))
    with pytest.raises(InputError, match="reads text only"):
        mind.prompt_ids([turn])


def test_recordings_of_a_folder(tmp_path: Path) -> None:
    rows = []
    for name, seconds, text in (
        ("a", 1.0, "HELLO THERE"),
        ("b", 1.0, ""),
        ("c", 1.0, ""),
        ("d", 20.0, "Long."),
    ):
        sound = np.random.default_rng(0).normal(size=round(16_000 * seconds)).astype(np.float32) * 0.1
        Audio(sound, 16_000).save(tmp_path / f"{name}.wav")
        rows.append({"audio": f"{name}.wav", "text": text, "speaker": "x"})
    (tmp_path / "manifest.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    found = list(read_recordings(tmp_path, {"b": "It costs $2."}))
    assert [each.text for each in found] == ["hello there", "it costs two dollars"]
    assert found[0].sound.dtype == np.int16
    kept, learned = split(found, every=1)
    assert (len(kept), len(learned)) == (2, 0)
    shard = tmp_path / "corpus" / "shard-00000"
    shard.mkdir(parents=True)
    Audio(np.full(24_000, 0.1, np.float32), 24_000).save(shard / "000.wav")
    take = {"voices": {"af_sky": 1.0}, "ids": [1] * 20, "seconds": 1.0, "pitch": [220.0] * 80, "speed": 1.0}
    (shard / "takes.jsonl").write_text(
        json.dumps({"audio": "000.wav", "text": "Yes.", **take}) + "\n", "utf-8"
    )
    (said,) = read_recordings(tmp_path / "corpus", {})
    assert (said.name, said.text, said.asked) == ("shard-00000/000", "yes", "Yes.")
    assert said.facts["gender"] == "woman"


@pytest.mark.e2e
@pytest.mark.slow
def test_torch_and_ctranslate2_hear_the_same() -> None:
    from stepaudio import hub
    from stepaudio.features.whisper import WhisperFeatures
    from stepaudio.features.whisper_weights import encode, load_encoder

    try:
        folder = hub.folder("whisper-tiny.en")
    except ModelError as error:
        pytest.skip(str(error))
    time = np.arange(32_000) / 16_000
    sound = (0.3 * np.sin(2 * np.pi * 150 * time * (1 + 0.1 * time))).astype(np.float32)
    wanted = WhisperFeatures(folder)(sound)[:100]
    made = encode(load_encoder(folder), torch.from_numpy(sound)[None])[0, :100].numpy()
    assert np.corrcoef(made.ravel(), wanted.ravel())[0, 1] > 0.99


def test_a_file_that_holds_no_encoder_is_an_error(tmp_path: Path) -> None:
    from stepaudio.features.whisper_weights import load_encoder

    (tmp_path / "model.bin").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="no Whisper encoder"):
        load_encoder(tmp_path)
