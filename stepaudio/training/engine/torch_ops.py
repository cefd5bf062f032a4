"""The ONNX operators that the teacher's second half is made of, as functions on torch tensors.

Source: the ONNX operator specification, opset 20. Each takes the node's attributes and its inputs in order
(``None`` for one left out). Only the forms that the graph uses are here; another raises `ModelError`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from stepaudio.errors import ModelError

Attributes = Mapping[str, Any]
Values = Tensor | Sequence[Tensor]

# Element types of TensorProto; FLOAT16 and DOUBLE do not occur.
TYPES = {1: torch.float32, 6: torch.int32, 7: torch.int64, 9: torch.bool}


def _ints(values: Tensor) -> list[int]:
    return [int(value) for value in values.reshape(-1).tolist()]


def _padding(at: Attributes) -> int:
    pads = at.get("pads", [0, 0])
    if len(pads) != 2 or pads[0] != pads[1] or at.get("auto_pad", b"NOTSET") != b"NOTSET":
        raise ModelError(f"a convolution with padding {pads} is not of the teacher's graph")
    return int(pads[0])


def conv(at: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Convolve (1, channels, n) in the weight's precision; float32 out."""
    if weight.dim() != 3:
        raise ModelError("the teacher's graph has one-dimensional convolutions only")
    stride, dilation = int(at["strides"][0]), int(at["dilations"][0])
    if weight.dtype == torch.float32:
        return F.conv1d(x, weight, bias, stride, _padding(at), dilation, at["group"])
    # As an image of one row: only two-dimensional kernels know channels-last, which saves a shuffle each.
    image = x.to(weight.dtype)[:, :, None].contiguous(memory_format=torch.channels_last)
    kernel = weight[:, :, None].contiguous(memory_format=torch.channels_last)
    sizes = (1, stride), (0, _padding(at)), (1, dilation)
    return F.conv2d(image, kernel, bias, *sizes, at["group"])[:, :, 0].float()


def _conv_transpose(at: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    extra = at.get("output_padding", [0])
    y = F.conv_transpose1d(
        x.to(weight.dtype), weight, bias, at["strides"], _padding(at), extra, at["group"], at["dilations"]
    )
    return y.float()


def _div(at: Attributes, a: Tensor, b: Tensor) -> Tensor:
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


def _pow(at: Attributes, a: Tensor, b: Tensor) -> Tensor:
    # The graph only squares; torch.pow is slower.
    return a * a if b.numel() == 1 and float(b) == 2 else torch.pow(a, b)


def _mean(at: Attributes, x: Tensor, axes: Tensor) -> Tensor:
    return x.mean(_ints(axes), keepdim=bool(at.get("keepdims", 1)))


def _reshape(at: Attributes, x: Tensor, shape: Tensor) -> Tensor:
    return x.reshape([x.shape[i] if size == 0 else size for i, size in enumerate(_ints(shape))])


def _unsqueeze(at: Attributes, x: Tensor, axes: Tensor) -> Tensor:
    for axis in sorted(_ints(axes)):
        x = x.unsqueeze(axis)
    return x


def _squeeze(at: Attributes, x: Tensor, axes: Tensor) -> Tensor:
    return x.squeeze(tuple(_ints(axes)))


def _gather(at: Attributes, x: Tensor, index: Tensor) -> Tensor:
    axis = at.get("axis", 0) % x.dim()
    if index.dim() == 0:
        return x.select(axis, int(index))
    shape = (*x.shape[:axis], *index.shape, *x.shape[axis + 1 :])
    return x.index_select(axis, index.reshape(-1).to(x.device)).reshape(shape)


def _slice(
    at: Attributes, x: Tensor, starts: Tensor, ends: Tensor, axes: Tensor, steps: Tensor | None = None
) -> Tensor:
    strides = [1] * axes.numel() if steps is None else _ints(steps)
    for start, end, axis, step in zip(_ints(starts), _ints(ends), _ints(axes), strides, strict=True):
        chosen = range(x.shape[axis])[start:end:step]
        x = x.index_select(axis, torch.tensor(chosen, dtype=torch.int64, device=x.device))
    return x


def _resize(at: Attributes, x: Tensor, roi: Tensor | None, scales: Tensor) -> Tensor:
    length = int(x.shape[2] * float(scales[2]))
    if at["mode"] == b"nearest":
        return F.interpolate(x, length, mode="nearest")
    return F.interpolate(x, length, mode="linear", align_corners=False)


def _pad(at: Attributes, x: Tensor, pads: Tensor) -> Tensor:
    before, after = torch.tensor(_ints(pads)).reshape(2, -1).tolist()
    if at["mode"] != b"reflect" or any(before[:-1]) or any(after[:-1]):
        raise ModelError("the teacher's graph pads the last axis by reflection only")
    return F.pad(x, (before[-1], after[-1]), mode="reflect")


def _expand(at: Attributes, x: Tensor, shape: Tensor) -> Tensor:
    return x.expand(torch.broadcast_shapes(x.shape, tuple(_ints(shape))))


def _stft(at: Attributes, x: Tensor, step: Tensor, window: Tensor, length: Tensor | None = None) -> Tensor:
    signal = x.squeeze(-1) if x.dim() == 3 else x
    frames = signal.unfold(-1, window.numel(), int(step))
    return torch.view_as_real(torch.fft.rfft(frames * window))


def _scatter(at: Attributes, x: Tensor, index: Tensor, updates: Tensor) -> Tensor:
    rows = tuple(index.reshape(-1, index.shape[-1]).T.to(x.device))
    y = x.clone()
    y[rows] = updates.reshape(len(rows[0]), *x.shape[len(rows) :])
    return y


def _shape(at: Attributes, x: Tensor) -> Tensor:
    return torch.tensor(x.shape)


OPERATORS: Mapping[str, Callable[..., Values]] = {
    "Add": lambda at, a, b: a + b,
    # A phase of nothing is 0 / 0: onnxruntime says 0.
    "Atan": lambda at, x: torch.nan_to_num(x).atan(),
    "Cast": lambda at, x: x.to(TYPES[at["to"]]),
    "Concat": lambda at, *parts: torch.cat(parts, at["axis"]),
    "Conv": conv,
    "ConvTranspose": _conv_transpose,
    "Cos": lambda at, x: x.cos(),
    "CumSum": lambda at, x, axis: x.cumsum(int(axis)),
    "Div": _div,
    "Equal": lambda at, a, b: a == b,
    "Exp": lambda at, x: x.exp(),
    "Expand": _expand,
    "Floor": lambda at, x: x.floor(),
    "Gather": _gather,
    "Greater": lambda at, a, b: a > b,
    "LeakyRelu": lambda at, x: F.leaky_relu(x, at["alpha"]),
    "Less": lambda at, a, b: a < b,
    "MatMul": lambda at, a, b: torch.matmul(a.to(b.dtype), b).float(),
    "Mul": lambda at, a, b: a * b,
    "NonZero": lambda at, x: torch.nonzero(x).T,
    "Pad": _pad,
    "Pow": _pow,
    "Range": lambda at, start, end, step: torch.arange(int(start), int(end), int(step)),
    "ReduceMean": _mean,
    "Reshape": _reshape,
    "Resize": _resize,
    "ScatterND": _scatter,
    "Shape": _shape,
    "Sin": lambda at, x: x.sin(),
    "Slice": _slice,
    "Split": lambda at, x, sizes: x.split(_ints(sizes), at["axis"]),
    "Sqrt": lambda at, x: x.sqrt(),
    "Squeeze": _squeeze,
    "STFT": _stft,
    "Sub": lambda at, a, b: a - b,
    "Tanh": lambda at, x: x.tanh(),
    "Transpose": lambda at, x: x.permute(*at["perm"]),
    "Unsqueeze": _unsqueeze,
    "Where": lambda at, condition, a, b: torch.where(condition, a, b),
}
