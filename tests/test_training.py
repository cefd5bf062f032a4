"""The training loop, the prepared clips and what prepares them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from stepaudio.decoder.regressor import RegressorConfig
from stepaudio.decoder.world import WIDTH
from stepaudio.decoder.world_voice import WorldVoice
from stepaudio.errors import InputError, ModelError
from stepaudio.lm.speech import SpeechLM, SpeechLMConfig, lay_pointer
from stepaudio.tokenizer.nano import NanoTokenizerConfig
from stepaudio.training import speech
from stepaudio.training.clips import UNKNOWN, Batches, Clip, load_shards, measure_scale
from stepaudio.training.loop import Log, Plan, train
from stepaudio.training.tokenizer import Autoencoder, Weights, code_usage

GROUPS = 6
TOKENIZER = NanoTokenizerConfig(features=8, width=16, inner=24, linguistic_depth=1, semantic_depth=1)


def make_clip(seed: int, groups: int = 9, known: bool = True) -> Clip:
    random = np.random.default_rng(seed)
    frames = groups * 12
    world = random.normal(size=(frames, WIDTH)).astype(np.float32)
    world[:, 0] = 5 + 0.1 * world[:, 0]
    world[:, 1] = world[:, 1] > -0.5
    phonemes = random.integers(1, 9, frames) if known else np.full(frames, UNKNOWN)
    speaker = np.abs(random.normal(size=256)).astype(np.float32)
    whisper = random.normal(size=(groups * 6, 8)).astype(np.float16)
    return Clip(f"set/{seed}", whisper, world, speaker / np.linalg.norm(speaker), phonemes.astype(np.int16))


@pytest.fixture
def clips() -> list[Clip]:
    return [make_clip(0), make_clip(1, known=False), make_clip(2, groups=14)]


def linear_task() -> tuple[nn.Module, object, object]:
    torch.manual_seed(0)
    model = nn.Linear(3, 1)

    def loss(step: int) -> dict[str, torch.Tensor]:
        x = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
        return {"total": (model(x)[:, 0] - x.sum(1)).square().mean()}

    def evaluate(candidate: nn.Module) -> dict[str, float]:
        return {"total": (candidate(torch.eye(3))[:, 0] - 1).square().mean().item()}

    return model, loss, evaluate


def plan(steps: int, **options: float) -> Plan:
    return Plan(steps=steps, learning_rate=0.1, warmup=2, every=5, evaluate_every=10, **options)  # type: ignore[arg-type]


def test_training_learns_logs_and_keeps_the_best(tmp_path: Path) -> None:
    model, loss, evaluate = linear_task()
    progress = train(model, loss, evaluate, tmp_path, plan(60))  # type: ignore[arg-type]
    assert progress.step == 60
    assert progress.best < 0.1
    curves = Log(tmp_path / "log.csv").read()
    assert [step for step, _ in curves["held-out", "total"]] == [10, 20, 30, 40, 50, 60]
    assert len(curves["train", "total"]) == 12
    best = torch.load(tmp_path / "best.pt", weights_only=True)
    model.load_state_dict(best)
    assert evaluate(model)["total"] == pytest.approx(progress.best)  # type: ignore[operator]


def test_a_run_that_was_stopped_ends_as_one_that_was_not(tmp_path: Path) -> None:
    model, loss, evaluate = linear_task()
    train(model, loss, evaluate, tmp_path / "whole", plan(20))  # type: ignore[arg-type]
    other, loss, evaluate = linear_task()
    stopped = train(other, loss, evaluate, tmp_path / "parts", plan(20, minutes=0.0))  # type: ignore[arg-type]
    assert stopped.step == 1
    third, loss, evaluate = linear_task()
    assert train(third, loss, evaluate, tmp_path / "parts", plan(20)).step == 20  # type: ignore[arg-type]
    for one, two in zip(model.parameters(), third.parameters(), strict=True):
        assert torch.allclose(one, two, atol=1e-6)


def test_the_first_line_after_a_stop_is_a_mean_too(tmp_path: Path) -> None:
    model = nn.Linear(1, 1)

    def loss(step: int) -> dict[str, torch.Tensor]:
        return {"total": model(torch.ones(1, 1)).sum() * 0, "three": torch.tensor(3.0)}

    def evaluate(candidate: nn.Module) -> dict[str, float]:
        return {"total": 1.0}

    train(model, loss, evaluate, tmp_path, plan(10, minutes=0.0))
    train(model, loss, evaluate, tmp_path, plan(10))
    curves = Log(tmp_path / "log.csv").read()
    assert curves["train", "three"] == [(5, 3.0), (10, 3.0)]


def test_a_checkpoint_of_another_model_is_an_error(tmp_path: Path) -> None:
    model, loss, evaluate = linear_task()
    train(model, loss, evaluate, tmp_path, plan(10))  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=r"last\.pt: not a checkpoint"):
        train(nn.Linear(4, 1), loss, evaluate, tmp_path, plan(10))  # type: ignore[arg-type]


def test_scale_goes_there_and_back(clips: list[Clip]) -> None:
    scale = measure_scale(clips)
    voice = WorldVoice.of(clips[0].world)
    relative = scale.relative(clips[0].world, voice)
    np.testing.assert_allclose(scale.absolute(relative, voice), clips[0].world, atol=1e-4)
    np.testing.assert_array_equal(relative[:, 1], clips[0].world[:, 1])
    assert scale.voice(voice, None).shape == (85 + 256,)


def test_batches_depend_on_seed_and_step_only(clips: list[Clip]) -> None:
    scale = measure_scale(clips)
    batches = Batches(clips, scale, size=4, groups=GROUPS)
    batches.draw(0)
    one, two = batches.draw(7), Batches(clips, scale, size=4, groups=GROUPS).draw(7)
    assert one.whisper.shape == (4, 6 * GROUPS, 8)
    assert one.target.shape == (4, 12 * GROUPS, WIDTH)
    assert torch.equal(one.target, two.target)
    assert torch.equal(one.voice, two.voice)
    assert not torch.equal(one.target, batches.draw(8).target)


def test_clips_shorter_than_a_stretch_are_an_error(clips: list[Clip]) -> None:
    with pytest.raises(InputError, match="no clip has the 50 groups"):
        Batches(clips, measure_scale(clips), groups=50)


def test_shards_are_read_with_what_is_known_of_their_takes(tmp_path: Path) -> None:
    import json

    from safetensors.numpy import save_file

    clip = make_clip(3, groups=4)
    tensors = {}
    for key in ("000", "001"):
        tensors |= {
            f"{key}.whisper": clip.whisper,
            f"{key}.world": clip.world,
            f"{key}.speaker": clip.speaker,
        }
    save_file(tensors, tmp_path / "shard-00000.st")
    take = {"key": "000", "text": "a", "who": "ada", "ids": [7], "durations": [4, 8, 8], "offset": 2.0}
    (tmp_path / "shard-00000.json").write_text(json.dumps([take]))
    save_file({name.replace("00", "9"): value for name, value in tensors.items()}, tmp_path / "other-000.st")
    first, second = load_shards(tmp_path, ["shard-*"])
    assert (first.name, first.who, first.groups) == ("shard-00000/000", "ada", 4)
    # The clip begins two ticks (5 frames) into a silence of four.
    assert list(first.phonemes[[0, 4, 5, 24, 25]]) == [0, 0, 7, 7, 0]
    assert set(second.phonemes) == {UNKNOWN}
    assert len(load_shards(tmp_path)) == 4


def test_the_voice_may_be_told_by_another_clip_of_the_speaker(clips: list[Clip]) -> None:
    import dataclasses

    same = [dataclasses.replace(clip, who="ada") for clip in clips]
    scale = measure_scale(same)
    batch = Batches(same, scale, size=24, groups=GROUPS, shifted=0, other=1.0).draw(0)
    told = {tuple(row.tolist()) for row in batch.voice[:, :85]}
    assert len(told) > 1
    # Frames stay those of the clip: only what they are relative to has changed.
    assert (batch.world - batch.target)[:, :, 2].abs().max() > 0
    assert torch.equal(batch.world[..., 1], batch.target[..., 1])


def test_the_tokenizer_learns_on_one_batch(clips: list[Clip]) -> None:
    torch.manual_seed(0)
    scale = measure_scale(clips)
    batch = Batches(clips, scale, size=4, groups=GROUPS, shifted=0).draw(0)
    decoder = RegressorConfig(width=16, inner=16, depth=1, kernel=3, smooth=8)
    model = Autoencoder(TOKENIZER, decoder, torch.from_numpy(scale.frames))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    totals = []
    for _ in range(15):
        parts = model.losses(batch, Weights())
        optimizer.zero_grad()
        parts["total"].backward()
        optimizer.step()
        totals.append(float(parts["total"].detach()))
    assert totals[-1] < 0.9 * totals[0]
    assert {"phonemes", "features", "pitch", "voicing", "heard", "listener"} <= parts.keys()


def test_the_listener_learns_from_recorded_frames_only(clips: list[Clip]) -> None:
    torch.manual_seed(0)
    scale = measure_scale(clips)
    batch = Batches(clips, scale, size=2, groups=GROUPS, shifted=0).draw(0)
    decoder = RegressorConfig(width=16, inner=16, depth=1, kernel=3, smooth=8)
    model = Autoencoder(TOKENIZER, decoder, torch.from_numpy(scale.frames))
    model.losses(batch, Weights())["heard"].backward()
    assert all(value.grad is None or not value.grad.any() for value in model.listener.parameters())
    assert any(value.grad is not None and value.grad.any() for value in model.decoder.parameters())


def test_the_teachers_speech_keeps_its_codes_where_an_anchor_holds_them(clips: list[Clip]) -> None:
    import copy
    import dataclasses

    torch.manual_seed(0)
    scale = measure_scale(clips)
    taught = [dataclasses.replace(clips[0], taught=True), clips[2]]
    batch = Batches(taught, scale, size=8, groups=GROUPS, shifted=0, people=0.5).draw(0)
    assert 0 < int(batch.taught.sum()) < 8
    decoder = RegressorConfig(width=16, inner=16, depth=1, kernel=3, smooth=8)
    model = Autoencoder(TOKENIZER, decoder, torch.from_numpy(scale.frames)).eval()
    anchor = copy.deepcopy(model.tokenizer)
    assert float(model.losses(batch, Weights(), anchor=anchor)["anchor"].detach()) == 0
    with torch.no_grad():
        model.tokenizer.semantic_out.bias += 1.0
    assert float(model.losses(batch, Weights(), anchor=anchor)["anchor"].detach()) > 0.05


def test_recordings_are_labelled_where_the_classifier_is_sure(clips: list[Clip], tmp_path: Path) -> None:
    from stepaudio.training.phonemes import PhonemeClassifier, label

    model = PhonemeClassifier(features=8)
    with torch.no_grad():
        model.out.weight.zero_()
        model.out.bias.zero_()
        model.out.bias[5] = 20.0
    (tmp_path / "runs" / "p").mkdir(parents=True)
    torch.save(model.state_dict(), tmp_path / "runs" / "p" / "best.pt")
    known, unknown, _ = label(tmp_path, "p", clips, features=8)
    assert known is clips[0]
    assert set(unknown.phonemes) == {5}
    with torch.no_grad():
        model.out.bias.zero_()
    torch.save(model.state_dict(), tmp_path / "runs" / "p" / "best.pt")
    assert set(label(tmp_path, "p", clips, features=8)[1].phonemes) == {UNKNOWN}


def test_the_flow_learns_what_the_regressor_leaves(clips: list[Clip]) -> None:
    from stepaudio.decoder.config import DiTConfig
    from stepaudio.decoder.world_flow import WorldFlow, WorldFlowConfig
    from stepaudio.training.flow_run import leftover, losses

    torch.manual_seed(0)
    scale = measure_scale(clips)
    batch = Batches(clips, scale, size=4, groups=GROUPS, shifted=0).draw(0)
    decoder = RegressorConfig(width=16, inner=16, depth=1, kernel=3, smooth=8)
    teacher = Autoencoder(TOKENIZER, decoder, torch.from_numpy(scale.frames))
    estimator = DiTConfig(hidden_size=24, depth=1, num_heads=2, head_dim=8)
    model = WorldFlow(WorldFlowConfig(regressor=decoder, estimator=estimator))
    model.spread.copy_(leftover(model, teacher, batch))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    totals = []
    for step in range(25):
        generator = torch.Generator().manual_seed(step % 3)
        parts = losses(model, teacher, batch, 2, 0.0, generator)
        optimizer.zero_grad()
        parts["total"].backward()
        optimizer.step()
        totals.append(float(parts["total"].detach()))
    assert sum(totals[-5:]) < 0.9 * sum(totals[:5])
    assert all(value.grad is None for value in model.regressor.parameters())


def test_code_usage_of_a_uniform_book_is_whole() -> None:
    assert code_usage(torch.arange(8), 8) == (1.0, 3.0)
    assert code_usage(torch.zeros(8, dtype=torch.long), 8) == (0.125, 0.0)


def utterance(groups: int, seed: int) -> speech.Utterance:
    random = np.random.default_rng(seed)
    durations = random.integers(1, 6, groups).astype(np.float32)
    pointer = lay_pointer(torch.from_numpy(durations), groups).numpy()
    return speech.Utterance(
        random.integers(1, 9, groups),
        durations,
        pointer,
        random.integers(0, 1024, 2 * groups),
        random.integers(0, 4096, 3 * groups),
        random.normal(size=(12 * groups, WIDTH)).astype(np.float16),
        random.normal(size=85 + 256).astype(np.float32),
        np.ones(256, np.float32) / 16,
        1.1,
    )


def test_padding_does_not_change_the_speech_loss() -> None:
    torch.manual_seed(0)
    sizes = {
        "text_width": 16,
        "text_depth": 1,
        "slot_width": 8,
        "slot_depth": 1,
        "ahead": 1,
        "width": 24,
        "inner": 32,
        "depth": 1,
        "head": 3,
    }
    model = SpeechLM(SpeechLMConfig(phonemes=12, **sizes)).eval()
    short, long = utterance(5, 0), utterance(9, 1)
    apart = [speech.losses(model, speech.collate([one], [True]), torch.ones(WIDTH)) for one in (short, long)]
    together = speech.losses(model, speech.collate([short, long], [True, True]), torch.ones(WIDTH))
    weighted = (5 * apart[0]["digits"] + 9 * apart[1]["digits"]) / 14
    # Convolutions see the padding behind the last phonemes and groups: near, not equal.
    assert float(together["digits"].detach()) == pytest.approx(float(weighted.detach()), rel=0.03)


def test_decoded_digits_teach_the_language_model_alone() -> None:
    torch.manual_seed(0)
    config = SpeechLMConfig(phonemes=12, text_width=16, slot_width=8, width=24, inner=32, head=3)
    model = SpeechLM(config)
    decoder = RegressorConfig(width=16, inner=16, depth=1, kernel=3, smooth=8)
    through = Autoencoder(TOKENIZER, decoder, torch.ones(WIDTH)).requires_grad_(False)
    batch = speech.collate([utterance(5, 0), utterance(9, 1)], [True, False])
    parts = speech.losses(model, batch, torch.ones(WIDTH), through=through)
    parts["decoded"].backward()
    assert model.group_in.weight.grad is not None
    assert bool(model.group_in.weight.grad.any())
    assert all(value.grad is None for value in through.parameters())


def test_batches_drawn_ahead_are_the_same() -> None:
    from stepaudio.training.ahead import Ahead

    def draw(step: int) -> torch.Tensor:
        return torch.tensor([step, step * step])

    here, ahead = Ahead(draw), Ahead(draw, loaders=1)
    for step in (3, 4, 5, 9):
        assert torch.equal(here(step), ahead(step))


def test_a_schedule_that_has_to_fit_into_minutes() -> None:
    from stepaudio.training.loop import Plan

    plan = Plan(steps=1000, learning_rate=1.0, warmup=1, within=10.0)
    assert plan.rate(10, 9.99) < 0.01
    assert plan.rate(10, 5.0) == pytest.approx(0.5)
    assert plan.rate(500, 1.0) == pytest.approx(0.5)


def test_published_models_become_runs_to_start_from(tmp_path: Path) -> None:
    from stepaudio.decoder.world_flow import WorldFlow
    from stepaudio.decoder.world_voice import Scale
    from stepaudio.families.nano_speech import NanoSpeech, NanoSpeechConfig
    from stepaudio.lm.speech import SpeechLM
    from stepaudio.tokenizer.nano import NanoTokenizer
    from stepaudio.training.autoencoder_run import load_run
    from stepaudio.training.export import unbundle
    from stepaudio.training.flow_run import load_flow_run
    from stepaudio.training.speech_run import load_speech

    config = NanoSpeechConfig(phonemes={"a": 1})
    scale = Scale(np.ones(45, np.float32), np.zeros(85, np.float32), np.full(85, 2, np.float32))
    parts = (NanoTokenizer(config.tokenizer), SpeechLM(config.language_model), WorldFlow(config.decoder))
    models = NanoSpeech(config, *parts, scale)
    unbundle(models, tmp_path, "old")
    codec, read = load_run(tmp_path, "old-codec")
    assert np.array_equal(read.voice_deviation, scale.voice_deviation)
    pairs = (
        (codec.tokenizer, models.tokenizer),
        (load_flow_run(tmp_path, "old-flow", "old-codec"), models.decoder),
        (load_speech(tmp_path, "old-speech"), models.lm),
    )
    for loaded, model in pairs:
        for name, value in model.state_dict().items():
            assert torch.equal(loaded.state_dict()[name], value)


def test_the_mean_of_runs_is_kept_as_a_run(tmp_path: Path) -> None:
    from stepaudio.training.work import Work

    for name, value in (("one", 1.0), ("two", 3.0), ("other", 1.0)):
        (tmp_path / "runs" / name).mkdir(parents=True)
        width = 3 if name == "other" else 2
        torch.save(
            {"w": torch.full((width,), value), "n": torch.tensor(7)}, tmp_path / "runs" / name / "best.pt"
        )
    work = Work(tmp_path)
    work.average(["one", "two"], "mean")
    mean = work.best("mean")
    assert torch.equal(mean["w"], torch.tensor([2.0, 2.0]))
    assert mean["n"] == 7
    with pytest.raises(ModelError, match="not of one shape"):
        work.average(["one", "other"], "mean")
    with pytest.raises(ModelError, match="nothing has been trained"):
        work.average(["one", "none"], "mean")
