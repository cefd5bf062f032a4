"""nano's codebooks, tokenizer, regressor and speech language model, at toy size."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stepaudio.codes import LINGUISTIC_SIZE, SEMANTIC_SIZE
from stepaudio.decoder.config import DiTConfig
from stepaudio.decoder.convnext import convnext
from stepaudio.decoder.regressor import FrameRegressor, RegressorConfig
from stepaudio.decoder.world import WIDTH
from stepaudio.decoder.world_flow import WorldFlow, WorldFlowConfig, WorldPrompt
from stepaudio.decoder.world_voice import STATISTICS, WorldVoice
from stepaudio.lm.speech import SLOTS, SpeechLM, SpeechLMConfig, lay_pointer
from stepaudio.tokenizer.fsq import FSQ
from stepaudio.tokenizer.nano import NanoTokenizer, NanoTokenizerConfig

GROUPS = 5
SMALL_LM = SpeechLMConfig(
    phonemes=12,
    text_width=16,
    text_depth=1,
    slot_width=8,
    slot_depth=1,
    slot_kernel=3,
    width=24,
    inner=32,
    ahead=1,
    depth=2,
    kernel=3,
    head=3,
)


@given(st.lists(st.integers(2, 6), min_size=1, max_size=4), st.integers(0, 2**31 - 1))
@settings(max_examples=40, deadline=None)
def test_fsq_codes_digits_and_values_are_one_thing(levels: list[int], seed: int) -> None:
    fsq = FSQ(levels)
    x = torch.randn(7, len(levels), generator=torch.Generator().manual_seed(seed)) * 3
    values, codes = fsq(x)
    assert codes.min() >= 0
    assert codes.max() < fsq.size
    assert torch.equal(fsq.codes(fsq.digits(codes)), codes)
    assert torch.allclose(fsq.values(codes), values, atol=1e-6)
    every = torch.arange(fsq.size)
    assert torch.equal(fsq.codes(fsq.digits(every)), every)


def test_fsq_passes_the_gradient() -> None:
    x = torch.zeros(1, 3, requires_grad=True)
    FSQ([4, 4, 4])(x)[0].sum().backward()
    assert x.grad is not None
    assert bool((x.grad > 0).all())


def test_default_codebooks_have_the_sizes_of_step_audio() -> None:
    config = NanoTokenizerConfig()
    assert FSQ(config.linguistic_levels).size == LINGUISTIC_SIZE
    assert FSQ(config.semantic_levels).size == SEMANTIC_SIZE


def test_tokenizer_gives_two_to_three_codes_a_group() -> None:
    torch.manual_seed(0)
    model = NanoTokenizer(
        NanoTokenizerConfig(features=8, width=16, inner=24, linguistic_depth=1, semantic_depth=1)
    ).eval()
    whisper, world = torch.randn(2, 6 * GROUPS, 8), torch.randn(2, 12 * GROUPS, WIDTH)
    streams = model(whisper, world)
    assert streams.linguistic_codes.shape == (2, 2 * GROUPS)
    assert streams.semantic_codes.shape == (2, 3 * GROUPS)
    # Pitch reaches the semantic stream only.
    other = world.clone()
    other[..., 0] += 5
    again = model(whisper, other)
    assert torch.equal(again.linguistic_codes, streams.linguistic_codes)
    assert not torch.equal(again.semantic, streams.semantic)


def test_regressor_makes_twelve_frames_a_group_and_reaches_no_further_than_it_says() -> None:
    torch.manual_seed(0)
    config = RegressorConfig(width=16, inner=16, depth=1, kernel=3, smooth=8)
    model = FrameRegressor(config).eval()
    linguistic, semantic = torch.randn(1, 2 * 6, 5), torch.randn(1, 3 * 6, 6)
    voice = torch.randn(1, STATISTICS + 256)
    with torch.inference_mode():
        frames = model(linguistic, semantic, voice)
        semantic[0, -1] += 1
        changed = model(linguistic, semantic, voice)
    assert frames.shape == (1, 12 * 6, WIDTH)
    untouched = (3 * 6 - 1 - config.reach) * 4
    assert untouched > 0
    assert torch.equal(frames[:, :untouched], changed[:, :untouched])
    assert not torch.equal(frames[:, -4:], changed[:, -4:])


@pytest.mark.parametrize("chunk", [1, 4])
def test_streamed_frames_are_those_of_the_whole(chunk: int) -> None:
    torch.manual_seed(0)
    model = FrameRegressor(RegressorConfig(width=16, inner=16, depth=2, kernel=3, smooth=8)).eval()
    groups = 14
    linguistic, semantic = torch.randn(1, 2 * groups, 5), torch.randn(1, 3 * groups, 6)
    voice = torch.randn(1, STATISTICS + 256)
    with torch.inference_mode():
        whole = model(linguistic, semantic, voice)
    stream = model.start(voice)
    parts = []
    for at in range(0, groups, chunk):
        end = at + chunk
        parts.append(model.push(stream, linguistic[:, 2 * at : 2 * end], semantic[:, 3 * at : 3 * end]))
        assert stream.semantic.shape[1] // 3 <= 2 * model.lookahead + chunk  # bounded
    assert sum(part.shape[1] for part in parts) == 12 * (groups - model.lookahead)
    parts.append(model.finish(stream))
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-5, rtol=1e-5)


def test_causal_blocks_see_no_future() -> None:
    torch.manual_seed(0)
    blocks = convnext(8, 8, 2, 3, causal=True).eval()
    x = torch.randn(1, 9, 8)
    y = x.clone()
    y[:, 6:] += 1
    with torch.inference_mode():
        assert torch.equal(blocks(x)[:, :6], blocks(y)[:, :6])


def test_a_voice_is_where_the_voiced_frames_lie() -> None:
    frames = np.zeros((40, WIDTH), np.float32)
    frames[:20, 1], frames[:20, 0], frames[:20, 5] = 1, 5.0, 2.0
    frames[20:, 5] = -50
    voice = WorldVoice.of(frames)
    assert voice.centre[0] == 5
    assert voice.centre[1] == 0
    assert voice.centre[5] == 2
    assert voice.to_array().shape == (STATISTICS,)


def _pointer(groups: int) -> torch.Tensor:
    return lay_pointer(torch.full((4,), groups * 4.8 / 4))[None]


def test_the_pointer_goes_on_and_ends_with_the_last_phoneme() -> None:
    durations = torch.tensor([2.0, 7.0, 1.0, 14.0])
    pointer = lay_pointer(durations)
    assert pointer.shape == (5, SLOTS, 3)
    index = pointer[..., 0].flatten()
    assert bool((index.diff() >= 0).all())
    assert index[0] == 0
    assert index[-1] == 3
    assert bool((pointer[..., 1] >= 0).all())
    assert bool((pointer[..., 1] <= 1).all())
    later = lay_pointer(durations, 2, offset=9.0)
    assert later[0, 0, 0] == 2


@pytest.fixture
def lm() -> SpeechLM:
    torch.manual_seed(0)
    return SpeechLM(SMALL_LM).eval()


def test_digits_and_codes_of_groups_are_one_thing(lm: SpeechLM) -> None:
    linguistic = torch.randint(LINGUISTIC_SIZE, (2, 2 * GROUPS))
    semantic = torch.randint(SEMANTIC_SIZE, (2, 3 * GROUPS))
    digits = lm.digits(linguistic, semantic)
    assert digits.shape == (2, GROUPS, 28)
    back = lm.codes(digits)
    assert torch.equal(back[0], linguistic)
    assert torch.equal(back[1], semantic)


def test_a_digit_depends_on_those_before_it_only(lm: SpeechLM) -> None:
    state, digits = torch.randn(1, 24), torch.randint(4, (1, 28))
    other = digits.clone()
    other[0, 10] = (other[0, 10] + 1) % 4
    with torch.inference_mode():
        first, second = lm.head(state, digits), lm.head(state, other)
    assert torch.equal(first[:, :11], second[:, :11])
    assert not torch.equal(first[:, 11:], second[:, 11:])


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_generation_is_deterministic_and_agrees_with_the_whole_pass(lm: SpeechLM, temperature: float) -> None:
    groups = 2 * SMALL_LM.reach + 2  # longer than what the state keeps

    def run() -> tuple[torch.Tensor, torch.Tensor]:
        with torch.inference_mode():
            text = lm.encode(torch.tensor([[1, 2, 3, 4]]))
            speaker = torch.zeros(1, 256)
            conditions = lm.conditions(lm.plan(text, _pointer(groups), speaker), speaker)
            state = lm.start(temperature, seed=3)
            made = torch.stack([lm.step(state, conditions[:, at]) for at in range(groups)], 1)
            return made, lm.logits(conditions, made)

    first, logits = run()
    assert first.shape == (1, groups, 28)
    assert torch.equal(first, run()[0])
    if not temperature:
        assert torch.equal(logits.argmax(-1), first)


def test_jitter_moves_digits_by_little() -> None:
    fsq, x = FSQ((4, 4, 4)), torch.randn(50, 3)
    plain, moved = fsq(x)[1], fsq(x, torch.rand(50, 3) * 1.2 - 0.6)[1]
    steps = (fsq.digits(plain) - fsq.digits(moved)).abs()
    assert int(steps.sum()) > 0
    assert int(steps.max()) <= 2


@pytest.fixture
def flow() -> WorldFlow:
    torch.manual_seed(0)
    config = WorldFlowConfig(
        regressor=RegressorConfig(width=16, inner=16, depth=1, kernel=3, smooth=8),
        estimator=DiTConfig(hidden_size=24, depth=2, num_heads=2, head_dim=8),
        temperature=0.7,
        keep_groups=2,
    )
    model = WorldFlow(config).eval()
    for parameter in model.parameters():  # adaLN-Zero starts as the identity, which would prove nothing
        torch.nn.init.normal_(parameter, std=0.2)
    return model


def _values(groups: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return torch.randn(1, 2 * groups, 5), torch.randn(1, 3 * groups, 6), torch.randn(1, STATISTICS + 256)


def test_a_flow_stream_is_deterministic_and_bounded(flow: WorldFlow) -> None:
    linguistic, semantic, voice = _values(16)
    prompt = WorldPrompt(*_values(3)[:2], torch.randn(1, 36, WIDTH))

    def run(seed: int) -> torch.Tensor:
        state, parts = flow.start(voice, prompt, seed=seed), []
        for at in range(0, 16, 4):
            parts.append(
                flow.push(state, linguistic[:, 2 * at : 2 * at + 8], semantic[:, 3 * at : 3 * at + 12])
            )
            # The prompt's steps and those of two groups.
            assert state.solver[0].length <= 18 + 12
        return torch.cat([*parts, flow.finish(state)], 1)

    first = run(1)
    assert first.shape == (1, 12 * 16, WIDTH)
    assert torch.equal(first, run(1))
    assert not torch.equal(first, run(2))


def test_the_whole_is_the_stream_in_the_same_chunks(flow: WorldFlow) -> None:
    linguistic, semantic, voice = _values(12)
    look = flow.regressor.lookahead
    whole = flow(linguistic, semantic, voice, seed=3, chunk=4)
    state, parts, done = flow.start(voice, seed=3), [], 0
    for upto in (4 + look, 8 + look, 12):
        codes = linguistic[:, 2 * done : 2 * upto], semantic[:, 3 * done : 3 * upto]
        parts.append(flow.push(state, *codes))
        done = upto
    made = torch.cat([*parts, flow.finish(state)], 1)
    # Chunks of four groups until the last, which the end cuts.
    torch.testing.assert_close(made[:, : 12 * 8], whole[:, : 12 * 8], atol=1e-4, rtol=1e-4)
