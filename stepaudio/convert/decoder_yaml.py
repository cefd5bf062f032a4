"""`cosyvoice.yaml` and `flow.yaml`: what they say about the speech decoder, as our own configuration."""

from typing import Any

from pydantic import ValidationError

from stepaudio.convert.tags import Call, read_tagged
from stepaudio.decoder.config import (
    ConformerConfig,
    DiTConfig,
    FlowConfig,
    RegulatorConfig,
    SolverConfig,
    UNetConfig,
    UpsampleConformerConfig,
)
from stepaudio.decoder.files import DecoderConfig
from stepaudio.decoder.hift_config import HiftConfig
from stepaudio.errors import ModelError

# Parts of the files that describe training or text processing: read past, never carried out.
_OTHER_PARTS = ("cosyvoice.", "cosyvoice2.", "matcha.", "whisper.")
_SEEDS = {"random.seed", "numpy.random.seed", "torch.manual_seed", "torch.cuda.manual_seed_all"}
_DROPOUTS = ("dropout_rate", "positional_dropout_rate", "attention_dropout_rate")
# The reference's regulator computes with these whatever the yaml says.
_MEL_HOP = 256


def read_cosyvoice(text: str, where: str) -> DecoderConfig:
    """Read Step-Audio's `cosyvoice.yaml`.

    Raises:
        ModelError: a tag, class, argument or value is not one that this decoder computes.
    """
    top = read_tagged(text, where, _allowed)
    flow = _Arguments(top, "flow", "cosyvoice.flow.flow.MaskedDiffWithXvec", where)
    flow.skip("only_mask_loss", "decoder_conf", "mel_feat_conf")
    hift = _hift(top, where)
    encoder = flow.part("encoder", "cosyvoice.transformer.encoder.ConformerEncoder")
    sizes = _conformer(encoder, flow.get("input_size"))
    encoder.expect(use_cnn_module=False, macaron_style=False)
    encoder.close()
    regulator = flow.part("length_regulator", "cosyvoice.flow.length_regulator.InterpolateRegulator")
    ratios = regulator.get("sampling_ratios")
    regulator.expect(channels=flow.peek("output_size"), out_channels=None, groups=1)
    if not isinstance(ratios, list) or any(ratio != 1 for ratio in ratios):
        raise flow.error("length_regulator.sampling_ratios must all be 1")
    regulator.close()
    solver, estimator = _cfm(flow, "cosyvoice.flow.flow_matching.ConditionalCFM")
    unet = estimator("cosyvoice.flow.decoder.ConditionalDecoder")
    unet.skip("dropout")
    unet.expect(
        act_fn="gelu", in_channels=4 * flow.peek("output_size"), out_channels=flow.peek("output_size")
    )
    sizes_of_unet = unet.take("channels", "n_blocks", "num_mid_blocks", "num_heads", "attention_head_dim")
    unet.close()
    flow.expect(output_type="mel")
    config = _build(
        where,
        FlowConfig,
        vocab_size=flow.get("vocab_size"),
        output_size=flow.get("output_size"),
        speaker_size=flow.get("spk_embed_dim"),
        encoder=_build(where, ConformerConfig, **sizes),
        regulator=_build(
            where,
            RegulatorConfig,
            input_frame_rate=flow.get("input_frame_rate"),
            sample_rate=hift.sample_rate,
            hop=_MEL_HOP,
            stages=len(ratios),
        ),
        estimator=_build(where, UNetConfig, **sizes_of_unet),
        solver=solver,
    )
    flow.close()
    if hift.samples_per_frame != _MEL_HOP:
        raise ModelError(f"{where}: hift makes {hift.samples_per_frame} samples a frame, the flow {_MEL_HOP}")
    return DecoderConfig(flow=config, hift=hift)


def read_flow(text: str, where: str) -> DecoderConfig:
    """Read Step-Audio 2's `flow.yaml`; the vocoder has its class defaults unless a `hift` part says more.

    Raises:
        ModelError: a tag, class, argument or value is not one that this decoder computes.
    """
    top = read_tagged(text, where, _allowed)
    flow = _Arguments(top, "flow", "cosyvoice2.flow.flow.CausalMaskedDiffWithXvec", where)
    flow.skip("only_mask_loss", "decoder_conf", "mel_feat_conf")
    encoder = flow.part("encoder", "cosyvoice2.transformer.upsample_encoder_v2.UpsampleConformerEncoderV2")
    sizes = _conformer(encoder, flow.get("input_size"))
    upsampling = encoder.take("pre_lookahead_len", "num_up_blocks")
    encoder.expect(up_stride=encoder.peek("up_scale_factor"), activation_type="swish")
    scale = encoder.get("up_scale_factor")
    encoder.close()
    solver, estimator = _cfm(flow, "cosyvoice2.flow.flow_matching.CausalConditionalCFM")
    dit = estimator("cosyvoice2.flow.decoder_dit.DiT")
    dit.expect(in_channels=4 * flow.peek("output_size"), out_channels=flow.peek("output_size"))
    sizes_of_dit = dit.take("hidden_size", "depth", "num_heads", "head_dim", "mlp_ratio")
    dit.close()
    flow.expect(output_type="mel")
    config = _build(
        where,
        FlowConfig,
        vocab_size=flow.get("vocab_size"),
        output_size=flow.get("output_size"),
        speaker_size=flow.get("spk_embed_dim"),
        encoder=_build(where, UpsampleConformerConfig, up_scale=scale, **sizes, **upsampling),
        estimator=_build(where, DiTConfig, **sizes_of_dit),
        solver=solver,
    )
    flow.close()
    hift = _hift(top, where) if "hift" in top else HiftConfig.step_audio_2()
    return DecoderConfig(flow=config, hift=hift)


class _Arguments:
    """Arguments of one class, ticked off as they are used, so that none is overlooked."""

    def __init__(self, top: dict[str, Any], key: str, name: str, where: str) -> None:
        call = top.get(key)
        self.where, self.key = where, key
        if not isinstance(call, Call) or call.kind != "new" or not _same(call.name, name):
            said = call.name if isinstance(call, Call) else type(call).__name__
            raise ModelError(f"{where}: {key} must be !new:{name}, not {said[:80]}")
        self._left = dict(call.arguments)

    def error(self, reason: str) -> ModelError:
        return ModelError(f"{self.where}: {self.key}: {reason}")

    def peek(self, name: str) -> Any:
        if name not in self._left:
            raise self.error(f"{name} is missing")
        return self._left[name]

    def get(self, name: str) -> Any:
        value = self.peek(name)
        del self._left[name]
        return value

    def take(self, *names: str) -> dict[str, Any]:
        """Those of `names` that are given; the rest keep the defaults of our configuration."""
        return {name: self._left.pop(name) for name in names if name in self._left}

    def skip(self, *names: str) -> None:
        for name in names:
            self._left.pop(name, None)

    def expect(self, **values: Any) -> None:
        """Arguments that may only say what the decoder does anyway."""
        for name, value in values.items():
            given = self._left.pop(name, value)
            if given != value or type(given) is not type(value):
                raise self.error(f"{name} must be {value!r}, not {given!r}")

    def part(self, key: str, name: str) -> "_Arguments":
        return _Arguments({key: self.get(key)}, key, name, self.where)

    def close(self) -> None:
        if self._left:
            raise self.error(f"unknown argument {', '.join(sorted(self._left))[:200]}")


def _conformer(encoder: _Arguments, input_size: Any) -> dict[str, Any]:
    encoder.skip(*_DROPOUTS)
    encoder.expect(
        normalize_before=True,
        input_layer="linear",
        pos_enc_layer_type="rel_pos_espnet",
        selfattention_layer_type="rel_selfattn",
        input_size=input_size,
    )
    names = ("output_size", "attention_heads", "linear_units", "num_blocks", "key_bias")
    return {"input_size": input_size, **encoder.take(*names)}


def _cfm(flow: _Arguments, name: str) -> tuple[SolverConfig, Any]:
    decoder = flow.part("decoder", name)
    params = decoder.take("cfm_params").get("cfm_params", {})
    if isinstance(params, Call):
        params = params.arguments.get("content", params.arguments)
    if not isinstance(params, dict):
        raise decoder.error("cfm_params must be a mapping")
    values = {**params, **decoder.take("inference_cfg_rate")}
    channels = flow.peek("output_size")
    decoder.expect(n_spks=1, spk_emb_dim=channels, in_channels=3 * channels)
    if values.pop("solver", "euler") != "euler":
        raise decoder.error("solver must be euler")
    values.pop("reg_loss_type", None)
    names = {
        "sigma_min": "sigma_min",
        "t_scheduler": "schedule",
        "training_cfg_rate": "drop",
        "inference_cfg_rate": "guidance",
    }
    if unknown := sorted(set(values) - set(names)):
        raise decoder.error(f"unknown argument {', '.join(unknown)[:200]}")
    solver = _build(flow.where, SolverConfig, **{names[key]: value for key, value in values.items()})

    def estimator(class_name: str) -> _Arguments:
        part = decoder.part("estimator", class_name)
        decoder.close()
        return part

    return solver, estimator


def _hift(top: dict[str, Any], where: str) -> HiftConfig:
    names = (
        "cosyvoice.hifigan.generator.HiFTGenerator",
        "cosyvoice2.hifigan.generator.HiFTGenerator",
        "flashcosyvoice.modules.hifigan.HiFTGenerator",
    )
    call = top.get("hift")
    if not isinstance(call, Call) or call.kind != "new" or call.name not in names:
        raise ModelError(f"{where}: hift must be !new:{names[0]}")
    arguments = dict(call.arguments)
    f0 = arguments.get("f0_predictor", {})
    if isinstance(f0, Call):
        if f0.kind != "new" or f0.name.rpartition(".")[2] != "ConvRNNF0Predictor":
            raise ModelError(f"{where}: f0_predictor is not a known class")
        arguments["f0_predictor"] = f0.arguments
    try:
        return HiftConfig.from_reference(arguments)
    except ModelError as error:
        raise ModelError(f"{where}: {error}") from None


def _allowed(kind: str, name: str) -> bool:
    if kind == "apply":
        return name in _SEEDS
    return name == "omegaconf.DictConfig" or name.startswith((*_OTHER_PARTS, "flashcosyvoice."))


def _same(given: str, name: str) -> bool:
    """Both families' packages hold the same classes under `cosyvoice` or `cosyvoice2`."""
    return (
        given.partition(".")[0] in ("cosyvoice", "cosyvoice2")
        and given.partition(".")[2] == name.partition(".")[2]
    )


def _build(where: str, kind: type[Any], **values: Any) -> Any:
    try:
        return kind(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise ModelError(f"{where}: {kind.__name__} {name}: {first['msg']}") from None
