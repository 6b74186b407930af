"""Running an ONNX file by OpenVINO, a second runtime beside onnxruntime. No torch is needed."""

import importlib.util
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikebridge.deploy.onnx.session import check_opset, checked_feed
from spikebridge.errors import DataError, ExportError

# one thread and 32 bits: by default OpenVINO computes with 16 where the processor has them
_SETTINGS = {"INFERENCE_NUM_THREADS": "1", "INFERENCE_PRECISION_HINT": "f32", "EXECUTION_MODE_HINT": "ACCURACY"}


def has_openvino() -> bool:
    """Whether the package is installed; it is not imported."""
    return importlib.util.find_spec("openvino") is not None


def _openvino_library() -> ModuleType:
    """The `openvino` package.

    Raises:
        ExportError: it is not installed.
    """
    try:
        import openvino
    except ImportError:
        raise ExportError(
            "OpenVINO needs the package openvino; install it with: pip install 'spikebridge[openvino]'"
        ) from None

    return openvino


class OpenVinoSession:
    """An ONNX file, compiled for the processor by OpenVINO; used as an `OnnxSession`.

    Args:
        content: the bytes of the file.
        name: for messages.

    Raises:
        DataError: the file is damaged, of an opset that is not read, or has an operator that OpenVINO lacks.
        ExportError: OpenVINO is not installed.
    """

    def __init__(self, content: bytes, name: str) -> None:
        library = _openvino_library()
        self.name = name
        check_opset(content, name)

        try:
            # from bytes, so that no tensor can be looked for in a file beside it
            core = library.Core()
            self.model = core.compile_model(core.read_model(content), "CPU", _SETTINGS)
        except Exception as error:  # noqa: BLE001 - OpenVINO raises RuntimeError, and others from its bindings
            raise DataError(f"{name} cannot be loaded by OpenVINO: {_reason(error)}") from None

        self.inputs = [value.get_any_name() for value in self.model.inputs]
        self.outputs = [value.get_any_name() for value in self.model.outputs]

    def run(self, feed: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """All outputs, in order.

        Args:
            feed: every input by name, batch first.

        Raises:
            DataError: the file does not take these inputs.
        """
        given = checked_feed(self, feed)
        try:
            found = self.model(given)
        except Exception as error:  # noqa: BLE001 - as above
            raise DataError(f"{self.name} cannot run by OpenVINO: {_reason(error)}") from None

        # the arrays of a result are those of the next call, too
        return [np.array(found[index]) for index in range(len(self.outputs))]


def _reason(error: Exception) -> str:
    """The last line of a message that begins with places in OpenVINO's sources."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
