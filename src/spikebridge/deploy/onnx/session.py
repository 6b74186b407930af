"""Running an ONNX file from anywhere, by onnxruntime, and counting its products. No torch is needed."""

import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from spikebridge.errors import DataError, ExportError, import_extra

LEAK_STEPS = "steps"  # input of the file of a leak: steps without input
_OPSETS = range(13, 24)
_PRODUCTS = ("Conv", "Gemm", "MatMul")
_NUM_THREADS = 1
# wire types of protobuf, and the fields of ONNX that name the opset
_VARINT = 0
_FIXED64 = 1
_BYTES = 2
_FIXED32 = 5
_OPSET_IMPORT = 8
_DOMAIN = 1
_VERSION = 2
_MAX_OPSET_BYTES = 4096


def _onnxruntime_library() -> Any:
    return import_extra("onnxruntime", "onnx", "ONNX files need", ExportError)


@runtime_checkable
class Session(Protocol):
    """A loaded ONNX file: its name for messages, and the names of its inputs in order."""

    name: str
    inputs: list[str]

    def run(self, feed: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """All outputs, in order, of every input by name."""


OpenSession: TypeAlias = Callable[[bytes, str], Session]  # from the bytes of a file, and its name


class OnnxSession:
    """An ONNX file, loaded by onnxruntime; `name` is for messages."""

    def __init__(self, content: bytes, name: str) -> None:
        runtime = _onnxruntime_library()
        self.name = name
        self.content = content
        check_opset(content, name)
        options = runtime.SessionOptions()
        options.intra_op_num_threads = _NUM_THREADS
        options.inter_op_num_threads = _NUM_THREADS
        options.log_severity_level = 4

        try:
            # from bytes, so that no tensor can be looked for in another file; its fallback prints
            with redirect_stdout(io.StringIO()):
                self.session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

            # names and sizes are read here, too, and may be no text
            inputs = self.session.get_inputs()
            self.inputs = [value.name for value in inputs]
            self.outputs = [value.name for value in self.session.get_outputs()]
            self.num_axes = len(inputs[0].shape) if inputs else 0
        except Exception as error:  # noqa: BLE001 - onnxruntime's own exceptions have no common class of their own
            raise DataError(f"{name} cannot be loaded: {_first_line(error)}") from None

    def run(self, feed: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        inputs = checked_feed(self, feed)
        try:
            return list(self.session.run(None, inputs))
        except Exception as error:  # noqa: BLE001 - as above
            raise DataError(f"{self.name} cannot run: {_first_line(error)}") from None


def checked_feed(session: Session, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Every input by name, in one block of memory; raises a `DataError` for other inputs than those of the file."""
    if sorted(feed) != sorted(session.inputs):
        raise DataError(f"{session.name} takes {session.inputs}, but was given {list(feed)}")

    return {name: np.ascontiguousarray(x) for name, x in feed.items()}


def check_opset(content: bytes, name: str) -> None:
    """Raises a `DataError` for an ONNX file of an opset that is not read here.

    Only these fields are parsed, so that a runner needs no further library.
    """
    opsets: dict[str, int] = {}
    for number, value in _fields(content, name):
        if number == _OPSET_IMPORT and isinstance(value, bytes):
            fields = dict(_fields(value, name))
            domain = fields.get(_DOMAIN, b"")
            opset = fields.get(_VERSION, 0)
            if isinstance(domain, bytes) and isinstance(opset, int):
                opsets[domain.decode(errors="replace")] = opset

    version = opsets.pop("", opsets.pop("ai.onnx", None))
    if version is None:
        raise DataError(f"{name} is damaged, or no ONNX file: it names no opset")

    if version not in _OPSETS:
        raise DataError(
            f"{name} is of ONNX opset {version}, but opsets {_OPSETS[0]} to {_OPSETS[-1]} are read; export it again, "
            "or update spikebridge and onnxruntime"
        )

    if opsets:
        raise DataError(f"{name} needs operators of {', '.join(sorted(opsets))}, which onnxruntime alone does not have")


def _fields(content: bytes, name: str) -> Iterator[tuple[int, int | bytes]]:
    """The fields of one protobuf message, by number; long ones, such as the graph, as no bytes."""
    place = 0
    while place < len(content):
        key, place = _varint(content, place, name)
        number = key >> 3
        kind = key & 7
        if kind == _VARINT:
            value, place = _varint(content, place, name)
            yield number, value
            continue

        if kind == _BYTES:
            length, place = _varint(content, place, name)
        elif kind in (_FIXED64, _FIXED32):
            length = 8 if kind == _FIXED64 else 4
        else:
            raise DataError(f"{name} is damaged, or no ONNX file")

        if place + length > len(content):
            raise DataError(f"{name} is damaged, or no ONNX file: it ends too early")

        is_short = number in (_OPSET_IMPORT, _DOMAIN) and length < _MAX_OPSET_BYTES
        yield number, content[place : place + length] if is_short else b""
        place += length


def _varint(content: bytes, place: int, name: str) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        if place >= len(content):
            break

        byte = content[place]
        value |= (byte & 127) << shift
        place += 1
        if byte < 128:
            return value, place

    raise DataError(f"{name} is damaged, or no ONNX file: it ends too early")


def count_macs(content: bytes, name: str) -> float:
    """The multiply-accumulates of one sample: those of convolutions and matrix products."""
    onnx = import_extra("onnx", "onnx", "counting needs", ExportError)
    try:
        model = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(content))
    except Exception as error:  # noqa: BLE001 - exceptions of onnx and protobuf have no common class
        raise DataError(f"{name} cannot be read: {_first_line(error)}") from None

    graph = model.graph
    shapes = {value.name: _sizes(value) for value in (*graph.input, *graph.value_info, *graph.output)}
    shapes |= {weight.name: list(weight.dims) for weight in graph.initializer}
    total = 0.0

    for node in graph.node:
        if node.op_type in _PRODUCTS:
            first, second, result = (shapes.get(key) for key in (node.input[0], node.input[1], node.output[0]))
            if first is None or second is None or result is None:
                raise DataError(f"{name}: the shape of the product {node.name!r} is not known")
            total += _macs(node.op_type, first, second, result)

    return total


def _macs(kind: str, first: Sequence[int], second: Sequence[int], result: Sequence[int]) -> float:
    products_a_value = math.prod(second[1:]) if kind == "Conv" else first[-1]
    return float(math.prod(result) * products_a_value)


def _sizes(value: Any) -> list[int] | None:
    if not value.type.tensor_type.HasField("shape"):
        return None
    # the axis of the batch has no size
    return [dim.dim_value or 1 for dim in value.type.tensor_type.shape.dim]


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
