"""OpenVINO as a second ONNX runtime: a session for `Runner`, and a level for `compare_bundle`."""

import importlib.util
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikebridge.deploy import Bundle, Runner
from spikebridge.deploy.integer.bundle import Signals, sample_signals
from spikebridge.deploy.onnx.session import check_opset, checked_feed
from spikebridge.errors import DataError, ExportError

Values = NDArray[Any]
# one thread and 32 bits: by default OpenVINO computes with 16 where the processor has them
_SETTINGS = {"INFERENCE_NUM_THREADS": "1", "INFERENCE_PRECISION_HINT": "f32", "EXECUTION_MODE_HINT": "ACCURACY"}


def has_openvino() -> bool:
    """True if the package is installed; it is not imported."""
    return importlib.util.find_spec("openvino") is not None


def _openvino_library() -> ModuleType:
    try:
        import openvino
    except ImportError:
        raise ExportError("OpenVINO needs the package openvino; install it with: pip install openvino") from None

    return openvino


class OpenVinoSession:
    """An ONNX file, compiled for the processor by OpenVINO; used as an `OnnxSession`.

    Args:
        content: the bytes of the file.
        name: for messages.
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

    def run(self, feed: Mapping[str, Values]) -> list[Values]:
        """All outputs, in order, of every input by name, batch first."""
        inputs = checked_feed(self, feed)
        try:
            outputs = self.model(inputs)
        except Exception as error:  # noqa: BLE001 - as above
            raise DataError(f"{self.name} cannot run by OpenVINO: {_reason(error)}") from None

        # the arrays of a result are those of the next call, too
        return [np.array(outputs[index]) for index in range(len(self.outputs))]


def openvino_level(bundle: Bundle) -> Callable[[dict[str, Values], int], Signals]:
    """A level of `compare_bundle`: every ONNX file alone, on the signals of the trained network."""
    trained = sample_signals(bundle.manifest, bundle.numbers(bundle.manifest.sample.file))

    def run(inputs: dict[str, Values], ticks: int) -> Signals:
        recorded: dict[str, dict[str, list[Values]]] = {"parts": {}, "links": {}}

        def hook(kind: str, name: str, tick: int, value: Values) -> Values:
            values = recorded[kind].setdefault(name, [])
            values.append(value)
            return trained[kind][name][len(values) - 1] if name in trained[kind] else value

        Runner(bundle, open_session=OpenVinoSession).run(inputs, ticks, hook)
        return {kind: {name: np.stack(values) for name, values in one.items()} for kind, one in recorded.items()}

    return run


def _reason(error: Exception) -> str:
    """The last line of a message that begins with places in OpenVINO's sources."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
