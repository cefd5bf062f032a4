"""The teacher's second half in torch: faster than its int8 graph on CPUs with bfloat16 matrix units (AMX).

The quantised convolutions and products of the graph become float ones again: weight times scale, and no
quantised sounds in between. Everything else is taken over node by node.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stepaudio.errors import ModelError
from stepaudio.training.engine.torch_ops import OPERATORS, conv

QUANTISED = {"ConvInteger": conv, "MatMulInteger": OPERATORS["MatMul"]}
# Operations whose inputs are values, none of them a shape, an axis or a place.
TOGETHER = {"Add", "Concat", "Div", "Equal", "Greater", "Less", "MatMul", "Mul", "Pow", "Sub", "Where"}
# What may lie between a quantised convolution's bias and the scaled integers it was turned into.
_AROUND_BIAS = ("Reshape", "Cast", "Floor")


@dataclass(frozen=True)
class Step:
    """One operation.

    Attributes:
        run: called with the inputs.
        inputs: names; empty for one left out.
        outputs: names.
        done: names of values that nobody needs after it.
    """

    run: Callable[..., Any]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    done: tuple[str, ...] = ()


class TorchGraph:
    """An ONNX graph as torch operations.

    Args:
        model: the graph, a serialised ModelProto.
        precision: of the convolutions and matrix products; the rest is float32.
        device: where to compute.

    Raises:
        ModelError: the graph has an operator or a pattern that the teacher's has not.
    """

    def __init__(
        self, model: bytes, precision: torch.dtype = torch.bfloat16, device: str | torch.device = "cpu"
    ) -> None:
        reader = _Reader(model)
        self._device = torch.device(device)
        self._outputs = reader.outputs
        steps = reader.steps(precision, self._device)
        self._constants = {
            name: torch.from_numpy(np.array(reader.constants[name]))
            for step in steps
            for name in step.inputs
            if name in reader.constants
        }
        for name in reader.weights:
            if self._constants[name].is_floating_point():
                self._constants[name] = self._constants[name].to(precision)
        self._steps = _with_ends(steps, {*self._constants, *self._outputs})
        # Integers are shapes, axes and places: they stay where Python reads them without waiting.
        for name, value in self._constants.items():
            if value.is_floating_point():
                self._constants[name] = value.to(self._device)

    @torch.inference_mode()
    def __call__(self, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Return the graph's outputs for its inputs."""
        values: dict[str, Any] = {
            name: torch.from_numpy(value).to(self._device) for name, value in feeds.items()
        }
        values |= self._constants | {"": None}
        for step in self._steps:
            result = step.run(*(values[name] for name in step.inputs))
            parts = [result] if isinstance(result, Tensor) else result
            values.update(zip(step.outputs, parts, strict=True))
            for name in step.done:
                del values[name]
        return [values[name].cpu().numpy() for name in self._outputs]


class _Reader:
    """The graph's nodes by what they make and who takes it."""

    def __init__(self, model: bytes) -> None:
        try:
            import onnx
        except ImportError:
            raise ModelError(
                "reading a graph needs the extra train: pip install 'stepaudio[train]'"
            ) from None
        graph = onnx.load_model_from_string(model).graph
        self.outputs = [output.name for output in graph.output]
        self.constants = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
        self.nodes = [node for node in graph.node if node.op_type != "Constant"]
        for node in graph.node:
            if node.op_type == "Constant":
                self.constants[node.output[0]] = onnx.numpy_helper.to_array(node.attribute[0].t)
        self._attribute = onnx.helper.get_attribute_value
        self._maker = {name: node for node in self.nodes for name in node.output}
        self._takers: dict[str, list[Any]] = defaultdict(list)
        for node in self.nodes:
            for name in node.input:
                self._takers[name].append(node)
        self.weights: set[str] = {
            name
            for node in self.nodes
            if node.op_type in ("Conv", "ConvTranspose", "MatMul")
            for name in node.input[1:]
            if name in self.constants
        }

    def steps(self, precision: torch.dtype, device: torch.device) -> list[Step]:
        """What leads to the outputs, in order."""
        floats = dict(
            self._float(node, precision, device) for node in self.nodes if node.op_type in QUANTISED
        )
        steps: list[Step] = []
        needed = set(self.outputs)
        for node in reversed(self.nodes):
            if not needed.intersection(node.output):
                continue
            step = floats.get(node.output[0]) or self._plain(node, device)
            needed.update(step.inputs)
            steps.append(step)
        return steps[::-1]

    def _plain(self, node: Any, device: torch.device) -> Step:
        if node.op_type not in OPERATORS:
            raise ModelError(f"the operator {node.op_type} is not of the teacher's graph")
        run = partial(OPERATORS[node.op_type], self._attributes(node))
        if node.op_type in TOGETHER and device.type != "cpu":
            run = partial(_together, device, run)
        return Step(run, tuple(node.input), tuple(node.output))

    def _attributes(self, node: Any) -> dict[str, Any]:
        return {each.name: self._attribute(each) for each in node.attribute}

    def _float(self, node: Any, precision: torch.dtype, device: torch.device) -> tuple[str, Step]:
        """The float form of a quantised operation, by the name of the value it replaces.

        The pattern: DynamicQuantizeLinear → operation (→ Add of the bias in integers) → Cast → Mul by the
        scales of input and weight.
        """
        sound = self._maker[node.input[0]].input[0]
        weight = self.constants[node.input[1]].astype(np.float32) - np.float32(self.constants[node.input[3]])
        after, bias = self._only_taker(node), None
        if after.op_type == "Add":
            bias = self._bias(_other(after, node.output[0]))
            after = self._only_taker(after)
        scaled = self._only_taker(after)
        if (after.op_type, scaled.op_type) != ("Cast", "Mul"):
            raise ModelError(f"{node.name}: not quantised as the teacher's graph is")
        scales = self._maker[_other(scaled, after.output[0])]
        weight_scale = next(self.constants[name] for name in scales.input if name in self.constants)
        tensors = [torch.from_numpy(weight * weight_scale).to(precision)]
        if bias is not None:
            tensors.append(torch.from_numpy(np.array(bias, np.float32)).reshape(-1).to(precision))
        tensors = [each.to(device) for each in tensors]
        operation, attributes = QUANTISED[node.op_type], self._attributes(node)

        def run(x: Tensor) -> Any:
            return operation(attributes, x, *tensors)

        return scaled.output[0], Step(run, (sound,), (scaled.output[0],))

    def _bias(self, name: str) -> np.ndarray:
        maker = self._maker[name]
        while maker.op_type in _AROUND_BIAS:
            maker = self._maker[maker.input[0]]
        if maker.op_type != "Div" or maker.input[0] not in self.constants:
            raise ModelError(f"{name}: not a bias as the teacher's graph has them")
        bias: np.ndarray = self.constants[maker.input[0]]
        return bias

    def _only_taker(self, node: Any) -> Any:
        takers = self._takers[node.output[0]]
        if len(takers) != 1:
            raise ModelError(f"{node.name}: its value is taken {len(takers)} times")
        return takers[0]


def _together(device: torch.device, run: Callable[..., Any], *inputs: Any) -> Any:
    """Run with all inputs on the device, if one of them is."""
    if any(isinstance(each, Tensor) and each.device.type == device.type for each in inputs):
        inputs = tuple(each.to(device) if isinstance(each, Tensor) else each for each in inputs)
    return run(*inputs)


def _other(node: Any, name: str) -> str:
    """The input of a node of two that is not `name`."""
    return str(next(each for each in node.input if each != name))


def _with_ends(steps: Sequence[Step], kept: set[str]) -> list[Step]:
    """The steps with the values that each of them is the last to need."""
    seen = {"", *kept}
    ended = []
    for step in reversed(steps):
        last = {*step.inputs, *step.outputs} - seen
        seen |= last
        ended.append(Step(step.run, step.inputs, step.outputs, tuple(sorted(last))))
    return ended[::-1]
