"""A speech decoder's `flow.pt` and `hift.pt`, checked against its yaml and written as safetensors."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from stepaudio.convert.decoder_yaml import read_cosyvoice, read_flow
from stepaudio.convert.draft import Draft
from stepaudio.convert.onnx_file import check_onnx
from stepaudio.convert.pickles import load_state
from stepaudio.convert.shapes import check_shapes, flow_shapes
from stepaudio.convert.source import SourceFolder
from stepaudio.decoder.files import CONFIG, FLOW, HIFT, SPEAKER, DecoderConfig
from stepaudio.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor


def convert_cosyvoice(folder: SourceFolder, draft: Draft, into: str) -> None:
    """Step-Audio's `CosyVoice-300M-25Hz` or its music variant."""
    _convert(folder, draft, into, "cosyvoice.yaml", read_cosyvoice)


def convert_token2wav(folder: SourceFolder, draft: Draft, into: str) -> None:
    """Step-Audio 2's `token2wav`, with its semantic tokenizer."""
    _convert(folder, draft, into, "flow.yaml", read_flow)
    copy_onnx(folder, draft, "speech_tokenizer_v2_25hz.onnx", into)


def copy_onnx(folder: SourceFolder, draft: Draft, name: str, into: str) -> None:
    """Link or copy an ONNX file after a look whether it is whole."""
    path = folder.file(name)
    check_onnx(path)
    draft.link(path, f"{into}{name}")


def _convert(
    folder: SourceFolder, draft: Draft, into: str, yaml: str, read: Callable[[str, str], DecoderConfig]
) -> None:
    from stepaudio.decoder.hift_weights import fold_weight_norm, reference_shapes

    config = read(folder.text(yaml), f"{folder.root}/{yaml}")
    flow = load_state(folder.file("flow.pt"))
    draft.parameters[f"{into}flow"] = check_shapes(
        f"{folder.root}/flow.pt", _shapes(flow), flow_shapes(config.flow)
    )
    draft.tensors(into + FLOW, flow)
    hift = _without_prefix(load_state(folder.file("hift.pt")), f"{folder.root}/hift.pt")
    style = "weight_g" if any(key.endswith(".weight_g") for key in hift) else "parametrizations"
    draft.parameters[f"{into}hift"] = check_shapes(
        f"{folder.root}/hift.pt", _shapes(hift), reference_shapes(config.hift, style)
    )
    draft.tensors(into + HIFT, fold_weight_norm(hift))
    draft.text(into + CONFIG, config.model_dump_json(indent=1))
    copy_onnx(folder, draft, SPEAKER, into)


def _without_prefix(state: "dict[str, Tensor]", where: str) -> "dict[str, Tensor]":
    plain = {key.removeprefix("generator."): value for key, value in state.items()}
    if len(plain) != len(state):
        raise ModelError(f"{where}: a tensor is there with and without the prefix 'generator.'")
    return plain


def _shapes(state: "dict[str, Tensor]") -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in state.items()}
