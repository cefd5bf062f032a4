"""The flow decoder against the golden vectors, and what must hold for any input."""

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from parity import MANIFEST, check, report
from safetensors.torch import load_file

from stepaudio.decoder.cfm import time_grid
from stepaudio.decoder.config import (
    ConformerConfig,
    DiTConfig,
    FlowConfig,
    RegulatorConfig,
    SolverConfig,
    StreamOptions,
    UNetConfig,
    UpsampleConformerConfig,
    step_audio_2_flow,
    step_audio_flow,
)
from stepaudio.decoder.flow import FlowDecoder, fit_frames, load_flow
from stepaudio.decoder.noise import FixedNoise, SeededNoise
from stepaudio.errors import InputError, ModelError

torch.set_num_threads(1)
SMALL = {
    "conformer-unet": FlowConfig(
        vocab_size=40,
        output_size=8,
        speaker_size=6,
        encoder=ConformerConfig(
            input_size=8, output_size=8, attention_heads=2, linear_units=16, num_blocks=1
        ),
        regulator=RegulatorConfig(stages=1),
        estimator=UNetConfig(
            channels=(8, 16), n_blocks=1, num_mid_blocks=1, num_heads=2, attention_head_dim=4
        ),
        solver=SolverConfig(steps=2),
    ),
    "upsample-dit": FlowConfig(
        vocab_size=40,
        output_size=8,
        speaker_size=6,
        encoder=UpsampleConformerConfig(
            input_size=8, output_size=8, attention_heads=2, linear_units=16, num_blocks=1, num_up_blocks=1
        ),
        estimator=DiTConfig(hidden_size=8, depth=1, num_heads=2, head_dim=4),
        solver=SolverConfig(steps=2),
    ),
}
# the same parts in the other pairings: nothing may tie a part to a family
SMALL["upsample-unet"] = SMALL["upsample-dit"].model_copy(
    update={"estimator": SMALL["conformer-unet"].estimator}
)
SMALL["conformer-dit"] = SMALL["conformer-unet"].model_copy(
    update={"estimator": SMALL["upsample-dit"].estimator}
)


def build(config: FlowConfig) -> FlowDecoder:
    torch.manual_seed(0)
    decoder = FlowDecoder(config).eval()
    for parameter in decoder.parameters():  # zero-initialised gates would hide the blocks
        torch.nn.init.normal_(parameter, std=0.3)
    return decoder


@pytest.fixture(scope="module", params=list(SMALL))
def small(request):
    return build(SMALL[request.param])


@pytest.fixture(scope="module")
def dit():
    return build(SMALL["upsample-dit"])


def prompt(config: FlowConfig, codes: int):
    generator = torch.Generator().manual_seed(7)
    ids = torch.randint(0, config.vocab_size, (1, codes), generator=generator)
    frames = config.frames(codes) + (3 if codes and config.regulator else 0)  # a regulator stretches
    return ids, torch.randn(1, config.output_size, frames, generator=generator)


def codes_of(count: int, seed: int = 1):
    return torch.randint(0, 40, (1, count), generator=torch.Generator().manual_seed(seed))


SPEAKER = torch.linspace(-1, 1, 6)[None]


# ---- golden ----------------------------------------------------------------------------------------------


def golden_config(case: str) -> FlowConfig:
    """The manifest's settings as ours; sizes that follow from others are asserted by the strict load."""
    told = MANIFEST[case]["config"]
    encoder, estimator = told["encoder"], told["estimator"]
    sizes = {
        key: encoder[key]
        for key in ("input_size", "output_size", "attention_heads", "linear_units", "num_blocks")
    }
    shared = {"vocab_size": told["vocab_size"], "output_size": told["output_size"]}
    shared |= {"speaker_size": told["spk_embed_dim"]}
    solver = SolverConfig(
        steps=MANIFEST[case].get("n_timesteps") or told["n_timesteps"],
        guidance=(told.get("cfm") or told["decoder"])["inference_cfg_rate"],
    )
    if "length_regulator" in told:
        return FlowConfig(
            **shared,
            encoder=ConformerConfig(**sizes),
            regulator=RegulatorConfig(
                input_frame_rate=told["input_frame_rate"],
                stages=len(told["length_regulator"]["sampling_ratios"]),
            ),
            estimator=UNetConfig(
                **{key: estimator[key] for key in estimator.keys() & UNetConfig.model_fields.keys()}
            ),
            solver=solver,
        )
    return FlowConfig(
        **shared,
        encoder=UpsampleConformerConfig(
            **sizes,
            pre_lookahead_len=encoder["pre_lookahead_len"],
            num_up_blocks=encoder["num_up_blocks"],
            up_scale=encoder["up_scale_factor"],
            key_bias=encoder["key_bias"],
        ),
        estimator=DiTConfig(
            **{key: estimator[key] for key in estimator.keys() & DiTConfig.model_fields.keys()}
        ),
        solver=solver,
    )


def golden_decoder(golden, case: str, dtype=torch.float32):
    weights = load_file(golden / MANIFEST[case].get("weights_from", f"{case}.safetensors"))
    weights = {key[2:]: value.to(dtype) for key, value in weights.items() if key.startswith("w.")}
    return load_flow(golden_config(case), weights), load_file(golden / f"{case}.safetensors")


def watch(module, inputs: list, outputs: list) -> None:
    def hook(_module, args, result):
        inputs.append(args)
        outputs.append(result)

    module.register_forward_hook(hook)


@pytest.mark.parametrize("case", ["sa1_flow_prompt", "sa1_flow_noprompt_odd"])
def test_step_audio_golden(golden, case):
    decoder, data = golden_decoder(golden, case)
    seen, made, mus, encoded = [], [], [], []
    watch(decoder.decoder.estimator, seen, made)
    watch(decoder.length_regulator, [], mus)
    watch(decoder.encoder, [], encoded)
    ask = [data["in.token"], data["in.embedding"]]
    if "in.prompt_token" in data:
        ask += [data["in.prompt_token"], data["in.prompt_feat"].transpose(1, 2)]
    mel = decoder.mel(*ask, noise=FixedNoise(data["in.noise"]))
    check(case, "encoder", encoded[0], data["out.encoder_out"])
    check(case, "length regulator", mus[0], data["out.length_regulator_out"])
    check(case, "time steps", torch.stack([args[1][0] for args in seen]), data["out.t_steps"])
    steps = torch.cat([seen[index][0][:1] for index in (0, 1, 5, 9)])
    check(case, "x before steps 0, 1, 5, 9", steps, data["out.cfm_x_before_step"])
    check(case, "estimator step 0", made[0], data["out.estimator_step0"])
    check(case, "speaker projection", seen[0][3][:1], data["out.spk_proj"])
    check(case, "mel", mel, data["out.feat"])
    assert mel.shape[2] == data["out.mel_lens"][1]


def test_step_audio_estimator_golden(golden):
    decoder, data = golden_decoder(golden, "sa1_flow_prompt")
    inputs = [data[f"in.est_{name}"] for name in ("x", "t", "mu", "spks", "cond")]
    out = decoder.decoder.estimator(*inputs)
    check("sa1_flow_prompt", "estimator, odd length", out, data["out.estimator_single"])
    whole = decoder.decoder.estimator(*inputs, torch.ones(2, 31, dtype=torch.bool))
    torch.testing.assert_close(whole, out, atol=1e-5, rtol=1e-5)  # a mask without padding changes nothing


def test_step_audio_bf16_golden(golden):
    case = "sa1_flow_prompt_bf16"
    decoder, data = golden_decoder(golden, case, torch.bfloat16)
    seen, made = [], []
    watch(decoder.decoder.estimator, seen, made)
    prompt_mel = data["in.prompt_feat"].transpose(1, 2)
    noise = FixedNoise(data["in.noise"])
    mel = decoder.mel(
        data["in.token"], data["in.embedding"], data["in.prompt_token"], prompt_mel, noise=noise
    )
    assert mel.dtype == torch.bfloat16
    # the rounding of the official run is reproduced: its time steps exactly
    assert torch.equal(torch.stack([args[1][0] for args in seen]).float(), data["out.t_steps"])
    difference = (mel.float() - data["out.feat"]).abs()
    tolerance = MANIFEST[case]["tolerance"]
    report(case, "mel, largest", f"{tolerance['atol']:g}", difference.max().item())
    report(case, "mel, mean", f"{tolerance['mean_abs']:g}", difference.mean().item())
    # float32 differs by 0.28 at most and 0.04 on average: the bounds below tell the two apart
    assert difference.max() <= 0.12
    assert difference.mean() <= 0.015


def test_step_audio_2_golden(golden):
    case = "sa2_flow_offline"
    decoder, data = golden_decoder(golden, case)
    seen, made, looked, encoded = [], [], [], []
    watch(decoder.decoder.estimator, seen, made)
    watch(decoder.encoder.pre_lookahead_layer, [], looked)
    watch(decoder.encoder, [], encoded)
    prompt_mel, noise = data["in.prompt_mel"].transpose(1, 2), FixedNoise(data["in.noise"])
    mel = decoder.mel(
        data["in.token"], data["in.spk_embedding"], data["in.prompt_token"], prompt_mel, noise=noise
    )
    check(case, "pre-lookahead", looked[0], data["out.pre_lookahead_out"])
    check(case, "encoder", encoded[0], data["out.encoder_out"])
    check(case, "mu", seen[0][2][:1], data["out.mu"])
    check(case, "speaker projection", seen[0][3][:1], data["out.spk_proj"])
    check(case, "time steps", torch.stack([args[1][0] for args in seen]), data["out.t_steps"])
    embedded = decoder.decoder.estimator.t_embedder(seen[3][1][:1])
    check(case, "time embedding, step 3", embedded, data["out.t_embedding_step3"])
    steps = torch.cat([seen[index][0][:1] for index in (0, 1, 5, 9)])
    check(case, "x before steps 0, 1, 5, 9", steps, data["out.cfm_x_before_step"])
    check(case, "estimator step 0", made[0], data["out.estimator_step0"])
    check(case, "mel", mel, data["out.mel"])


def keys_and_values(state, step: int, block: int):
    cache = state.solver[step].blocks[block].attention
    return torch.cat((cache.keys, cache.values), -1)[0]


def start_golden(decoder, data, **options):
    return decoder.start(
        data["in.spk_embedding"],
        data["in.prompt_token"],
        data["in.prompt_mel"].transpose(1, 2),
        noise=FixedNoise(data["in.noise"]),
        options=StreamOptions(**options),
    )


@pytest.mark.parametrize("case", ["sa2_flow_stream", "sa2_flow_stream_longprompt"])
def test_step_audio_2_stream_golden(golden, case):
    decoder, data = golden_decoder(golden, case)
    state = start_golden(decoder, data)
    if case == "sa2_flow_stream":
        convs = torch.cat((state.encoder.lookahead, state.encoder.up), 2)
        check(case, "conformer conv cache after set-up", convs, data["out.setup_conformer_cnn_cache"])
        packed = torch.stack([pack(layer, 2) for layer in state.encoder.layers.layers])
        packed_up = torch.stack([pack(layer, 1) for layer in state.encoder.up_layers.layers])
        kv = torch.cat((packed, packed_up))
        check(case, "conformer kv cache after set-up", kv, data["out.setup_conformer_att_cache"])
        convs = torch.stack([torch.cat((b.conv_in, b.conv_out), 1) for b in state.solver[0].blocks])
        check(case, "estimator conv cache after set-up", convs, data["out.setup_estimator_cnn_cache_step0"])
        for step, block in ((0, 0), (9, 1)):
            want = data[f"out.setup_estimator_att_cache_step{step}_block{block}_cond"]
            check(case, f"estimator kv cache, step {step}", keys_and_values(state, step, block), want)
    bounds = data["in.chunk_bounds"].tolist()
    for index, (begin, end) in enumerate(bounds):
        mel = decoder.step(state, data["in.token"][:, begin:end], last=index == len(bounds) - 1)
        check(case, f"mel chunk {index}", mel, data[f"out.mel_chunk{index}"])
        assert state.solver[0].length == data["out.estimator_kv_len_after_cut"][index]
        assert 2 * state.encoder.layers.layers[0].length == data["out.conformer_kv_len"][index]
        if index == 0 and case == "sa2_flow_stream":
            want = data["out.chunk0_estimator_att_cache_step0_block0_cond"]
            check(case, "estimator kv cache after chunk 0", keys_and_values(state, 0, 0), want)
    want = data["out.last_estimator_att_cache_step0_block0_cond"]
    check(case, "estimator kv cache at the end", keys_and_values(state, 0, 0), want)


def pack(layer, repeats: int):
    both = torch.cat((layer.keys, layer.values), -1)
    return both.repeat(1, 1, repeats, 1)  # the reference stores the first stage twice along time


def test_step_audio_2_stream_by_push_golden(golden):
    """The driver's chunks come out of `push` and `finish`, whatever pieces the codes arrive in."""
    case = "sa2_flow_stream"
    decoder, data = golden_decoder(golden, case)
    state = start_golden(decoder, data)
    pieces = [decoder.push(state, piece) for piece in data["in.token"].split((1, 60, 7, 60, 8), 1)]
    mel = torch.cat((*pieces, decoder.finish(state)), 2)
    check(case, "mel, pushed in odd pieces", mel, data["out.mel_stream"])
    offline = decoder.mel(
        data["in.token"],
        data["in.spk_embedding"],
        data["in.prompt_token"],
        data["in.prompt_mel"].transpose(1, 2),
        noise=FixedNoise(data["in.noise"]),
    )
    check(case, "mel, offline on the same codes", offline, data["out.mel_offline_same_input"])


def test_recent_cache_keeps_prompt_and_newest_frames(golden):
    """Until the cut both cache modes agree; after it only "official" is the reference's."""
    case = "sa2_flow_stream"
    decoder, data = golden_decoder(golden, case)
    state = start_golden(decoder, data, cache="recent")
    set_up = keys_and_values(state, 0, 0)
    got = [decoder.push(state, data["in.token"]), decoder.finish(state)]
    mel = torch.cat(got, 2)
    torch.testing.assert_close(mel[:, :, :100], data["out.mel_stream"][:, :, :100], atol=1e-4, rtol=1e-4)
    assert not torch.allclose(mel[:, :, 150:], data["out.mel_stream"][:, :, 150:], atol=1e-2)
    assert torch.equal(keys_and_values(state, 0, 0)[:, :80], set_up)  # the prompt is still there, first
    assert state.solver[0].length == 180


# ---- real sizes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "config", "count"),
    [
        ("step_audio_1_flow", step_audio_flow(), 105_399_040),
        ("step_audio_2_flow", step_audio_2_flow(), 155_802_352),
    ],
)
def test_real_sizes(golden, name, config, count):
    listed = json.loads((golden / "state_dict_shapes.json").read_text())["models"][name]
    with torch.device("meta"):
        decoder = FlowDecoder(config)
    shapes = {key: list(value.shape) for key, value in decoder.state_dict().items()}
    assert shapes == listed["shapes"]
    assert sum(math.prod(shape) for shape in shapes.values()) == count == listed["n_elements"]


def test_frame_counts_of_the_reference(golden):
    table = json.loads((golden / "prompts.json").read_text())["step_audio_1_mel_len"]["cases"]
    for row in table:
        config = step_audio_flow(input_frame_rate=row["input_frame_rate"])
        assert [config.frames(count) for count in row["n_tok"]] == row["mel_len"]


# ---- properties ------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(sorted(SMALL)),
    count=st.integers(1, 23),
    known=st.integers(0, 9),
    batch=st.integers(1, 2),
)
def test_any_length(name, count, known, batch):
    decoder = build(SMALL[name])
    ids, mel = (part.repeat(batch, *[1] * (part.dim() - 1)) for part in prompt(decoder.config, known))
    codes, speaker = codes_of(count).repeat(batch, 1), SPEAKER.repeat(batch, 1)
    out = decoder.mel(codes, speaker, ids, mel)
    assert out.shape == (batch, 8, max(1, decoder.config.frames(count)))
    assert out.isfinite().all()
    torch.testing.assert_close(out[:1], out[-1:], atol=1e-4, rtol=1e-4)  # items do not touch each other


def test_seed_decides(small):
    ids, mel = prompt(small.config, 4)
    first, again, other = (small.mel(codes_of(9), SPEAKER, ids, mel, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


def test_every_condition_counts(small):
    ids, mel = prompt(small.config, 6)
    base = small.mel(codes_of(9), SPEAKER, ids, mel)
    for changed in (
        small.mel(codes_of(9, 2), SPEAKER, ids, mel),
        small.mel(codes_of(9), SPEAKER.flip(1), ids, mel),
        small.mel(codes_of(9), SPEAKER, ids.flip(1), mel),
        small.mel(codes_of(9), SPEAKER, ids, mel + 1),
        small.mel(codes_of(9), SPEAKER, ids, mel, steps=3),
    ):
        assert not torch.allclose(base, changed, atol=1e-4)
    assert torch.equal(base, small.mel(codes_of(9), 5 * SPEAKER, ids, mel)) or torch.allclose(
        base, small.mel(codes_of(9), 5 * SPEAKER, ids, mel), atol=1e-5
    )


def test_no_guidance_needs_half_the_batch():
    config = SMALL["upsample-dit"].model_copy(update={"solver": SolverConfig(steps=1, guidance=0)})
    decoder, seen = build(config), []
    watch(decoder.decoder.estimator, seen, [])
    decoder.mel(codes_of(3), SPEAKER)
    assert len(seen) == 1
    assert len(seen[0][0]) == 1


def stream(decoder, pieces, ids, mel, **options):
    state = decoder.start(SPEAKER, ids, mel, options=StreamOptions(**options), seed=5)
    out = [decoder.push(state, piece) for piece in pieces]
    return torch.cat((*out, decoder.finish(state)), 2)


@settings(max_examples=20, deadline=None)
@given(
    name=st.sampled_from(sorted(SMALL)),
    pieces=st.lists(st.integers(0, 17), max_size=5),
    known=st.integers(0, 5),
    chunk=st.integers(1, 9),
    first=st.none() | st.integers(1, 5),
    cache=st.sampled_from(["official", "recent"]),
)
def test_stream_is_the_same_for_any_pieces(name, pieces, known, chunk, first, cache):
    decoder = build(SMALL[name])
    ids, mel = prompt(decoder.config, known)
    codes = codes_of(sum(pieces))
    options = {
        "chunk_codes": chunk,
        "first_chunk_codes": first,
        "cache": cache,
        "keep_frames": 6,
        "context_codes": 7,
        "lookahead_codes": 2,
        "encoder_codes": 20,
    }
    whole = stream(decoder, [codes], ids, mel, **options)
    assert whole.shape[2] == decoder.config.frames(codes.shape[1])
    assert torch.equal(stream(decoder, codes.split(pieces, 1), ids, mel, **options), whole)


def test_one_chunk_without_prompt_equals_offline(small):
    state = small.start(SPEAKER, options=StreamOptions(chunk_codes=100, cache="recent"), seed=5)
    assert small.push(state, codes_of(12)).shape[2] == 0
    torch.testing.assert_close(
        small.finish(state), small.mel(codes_of(12), SPEAKER, seed=5), atol=1e-4, rtol=1e-4
    )


def test_first_window_equals_offline():
    """A window whose look-ahead reaches the end of the codes gives the offline frames, prompt included."""
    decoder = build(SMALL["conformer-unet"])
    ids, mel = prompt(decoder.config, 5)
    codes = codes_of(20)
    state = decoder.start(SPEAKER, ids, mel, options=StreamOptions(chunk_codes=12, lookahead_codes=8), seed=5)
    got = decoder.push(state, codes)
    assert got.shape[2] == decoder.config.frames(12)
    want = decoder.mel(codes, SPEAKER, ids, mel, seed=5)
    torch.testing.assert_close(got, want[:, :, : got.shape[2]], atol=1e-4, rtol=1e-4)


def test_window_is_bounded():
    decoder = build(SMALL["conformer-unet"])
    seen = []
    watch(decoder.decoder.estimator, seen, [])
    options = StreamOptions(chunk_codes=10, lookahead_codes=5, context_codes=20)
    state = decoder.start(SPEAKER, options=options)
    decoder.push(state, codes_of(300))
    assert max(args[0].shape[2] for args in seen) <= decoder.config.frames(10 + 5 + 20) + 2


def test_a_clone_goes_its_own_way(small):
    ids, mel = prompt(small.config, 4)
    options = StreamOptions(chunk_codes=5, lookahead_codes=2)
    prepared = small.start(SPEAKER, ids, mel, options=options)
    first = small.push(prepared.clone(), codes_of(20))
    small.push(prepared.clone(), codes_of(20, 9))
    assert torch.equal(small.push(prepared, codes_of(20)), first)


def test_bounded_encoder_cache(dit):
    options = StreamOptions(chunk_codes=5, encoder_codes=12, cache="recent", keep_frames=10)
    state = dit.start(SPEAKER, *prompt(dit.config, 4), options=options)
    dit.push(state, codes_of(60))
    assert state.encoder.layers.layers[0].length == 12
    assert state.encoder.up_layers.layers[0].length == 24
    assert state.solver[0].length == 8 + 10


def test_noise_is_addressed_by_frame():
    source = SeededNoise(1, 4)
    whole = source.frames(0, 300)
    assert torch.equal(source.frames(37, 150), whole[:, :, 37:187])
    assert abs(whole.mean()) < 0.1
    assert abs(whole.std() - 1) < 0.1
    assert not torch.equal(whole[:, :, :64], whole[:, :, 64:128])


def test_time_grid_ends():
    for schedule in ("cosine", "linear"):
        grid = time_grid(4, schedule, torch.zeros(1))
        assert grid[0] == 0
        assert abs(grid[-1] - 1) < 1e-6
        assert (grid.diff() > 0).all()


# ---- bad input -------------------------------------------------------------------------------------------


def test_bad_input_is_named(dit):
    ids, mel = prompt(dit.config, 4)
    for arguments, message in (
        ((codes_of(0), SPEAKER), "no codes"),
        ((codes_of(3) + 40, SPEAKER), "not below 40"),
        ((codes_of(3)[0], SPEAKER), r"\(batch, number\)"),
        ((codes_of(3), SPEAKER[:, :5]), "speaker embedding"),
        ((codes_of(3), SPEAKER, ids, mel[:, :, :-1]), "4 codes needs 8 frames, it has 7"),
        ((codes_of(3), SPEAKER, ids, mel[:, :7]), "frames have shape"),
        ((codes_of(3), SPEAKER, ids), "both its codes and its frames"),
    ):
        with pytest.raises(InputError, match=message):
            dit.mel(*arguments)
    with pytest.raises(InputError, match="noise has 3 frames"):
        dit.mel(codes_of(3), SPEAKER, noise=FixedNoise(torch.zeros(1, 8, 3)))


def test_negative_codes_count_as_zero(small):
    codes = torch.tensor([[-7, 3, -1]])
    assert torch.equal(small.mel(codes, SPEAKER), small.mel(codes.clamp(min=0), SPEAKER))


def test_fit_frames():
    mel = torch.arange(5.0).repeat(1, 2, 1)
    assert fit_frames(mel, 3)[0, 0].tolist() == [0, 1, 2]
    assert fit_frames(mel, 7)[0, 0].tolist() == [0, 1, 2, 3, 4, 4, 4]
    with pytest.raises(InputError):
        fit_frames(mel[:, :, :0], 3)


def test_wrong_weights_are_named(dit):
    weights = dict(dit.state_dict())
    assert torch.equal(load_flow(dit.config, weights).encoder_proj.weight, dit.encoder_proj.weight)
    missing = {key: value for key, value in weights.items() if key != "encoder_proj.bias"}
    with pytest.raises(ModelError, match=r"lacks encoder_proj\.bias"):
        load_flow(dit.config, missing)
    with pytest.raises(ModelError, match="also has extra"):
        load_flow(dit.config, weights | {"extra": torch.zeros(1)})
    with pytest.raises(ModelError, match=r"encoder_proj\.bias of the flow has shape \(9,\)"):
        load_flow(dit.config, weights | {"encoder_proj.bias": torch.zeros(9)})


def test_configuration_refuses_two_ways_to_frames():
    with pytest.raises(ValueError, match="regulator"):
        FlowConfig(
            vocab_size=4,
            encoder=UpsampleConformerConfig(),
            regulator=RegulatorConfig(),
            estimator=DiTConfig(),
        )
    with pytest.raises(ValueError, match="regulator"):
        FlowConfig(vocab_size=4, encoder=ConformerConfig(), estimator=DiTConfig())


# ---- training --------------------------------------------------------------------------------------------


def batch_of(config: FlowConfig):
    generator = torch.Generator().manual_seed(2)
    codes = torch.randint(0, 40, (4, 12), generator=generator)
    lengths = torch.tensor([12, 9, 7, 12])
    frames = torch.tensor([config.frames(int(length)) for length in lengths])
    target = torch.randn(4, 8, int(frames.max()), generator=generator)
    return codes, target, SPEAKER.repeat(4, 1), lengths, frames


@pytest.mark.parametrize("name", sorted(SMALL))
def test_training_reaches_every_parameter(name):
    config = SMALL[name].model_copy(update={"solver": SolverConfig(drop=0.0)})
    decoder = build(config)
    codes, target, speaker, lengths, frames = batch_of(config)
    generator = torch.Generator().manual_seed(3)
    decoder.loss(codes, target, speaker, lengths, frames, generator).backward()
    silent = [key for key, value in decoder.named_parameters() if value.grad is None or not value.grad.any()]
    # a constant added to every key cannot change a softmax
    assert all("linear_k.bias" in key or "to_k.bias" in key for key in silent), silent


@pytest.mark.parametrize("name", ["upsample-dit", "conformer-dit"])
def test_training_ignores_padding(name):
    """True without group norms over time, which look at the padding (as in the reference)."""
    config = SMALL[name]
    if config.regulator:
        config = config.model_copy(update={"regulator": RegulatorConfig(stages=0)})
    decoder, losses = build(config), []
    for filler in (0, 5):
        codes, target, speaker, lengths, frames = batch_of(config)
        codes[1, 9:], target[1, :, frames[1] :] = filler, 99.0 * filler
        generator = torch.Generator().manual_seed(3)
        losses.append(decoder.loss(codes, target, speaker, lengths, frames, generator).item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize("name", ["conformer-unet", "upsample-dit"])
def test_training_learns(name):
    torch.manual_seed(0)
    config = SMALL[name]
    decoder = FlowDecoder(config)
    codes, target, *rest = batch_of(config)
    batch = (codes, 2 + 0.1 * target, *rest)
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=1e-2)
    generator = torch.Generator().manual_seed(3)

    def measured():
        with torch.no_grad():
            return decoder.loss(*batch, torch.Generator().manual_seed(11)).item()

    before = measured()
    for _ in range(30):
        optimizer.zero_grad()
        decoder.loss(*batch, generator).backward()
        optimizer.step()
    assert measured() < 0.5 * before
