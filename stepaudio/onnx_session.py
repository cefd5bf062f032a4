"""Opening ONNX models with onnxruntime: which device, how many threads, clear errors."""

from pathlib import Path
from typing import Any

import numpy as np

from stepaudio.errors import ModelError

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class OnnxModel:
    """A model whose inputs and outputs are taken by position, as the official files name them variously.

    Args:
        path: the ``.onnx`` file.
        device: ``cpu`` or ``cuda``; the latter needs the GPU build of onnxruntime.
        threads: threads inside an operator, 0 for onnxruntime's choice.

    Raises:
        ModelError: if the file is missing or not a model, or the device is not available.
    """

    def __init__(self, path: Path | str, *, device: str = "cpu", threads: int = 0):
        import onnxruntime

        path = Path(path)
        if not path.is_file():
            raise ModelError(f"{path}: no such ONNX file")
        if device not in PROVIDERS:
            raise ModelError(f"device {device!r} is not one of {', '.join(PROVIDERS)}")
        if PROVIDERS[device] not in onnxruntime.get_available_providers():
            raise ModelError(
                f"{path.name} cannot run on {device}: this onnxruntime has no {PROVIDERS[device]}"
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 4  # errors are raised, not logged
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=[PROVIDERS[device]])
        except Exception as error:  # onnxruntime's own classes share no base but this
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ModelError(f"{path}: not a usable ONNX model ({reason})") from None
        self.path = path
        self.inputs = [value.name for value in self.session.get_inputs()]

    def __call__(self, *values: np.ndarray) -> list[Any]:
        """Run with ``values`` as the inputs in order; all outputs in order.

        Raises:
            ModelError: if the model takes another number, type or shape of inputs.
        """
        if len(values) != len(self.inputs):
            raise ModelError(f"{self.path}: takes {len(self.inputs)} inputs, expected {len(values)}")
        try:
            return list(self.session.run(None, dict(zip(self.inputs, values, strict=True))))
        except Exception as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ModelError(f"{self.path}: the model failed ({reason})") from None
