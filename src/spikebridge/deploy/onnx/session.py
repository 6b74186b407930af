"""Running an ONNX file that may come from anywhere, by onnxruntime. No torch is needed."""

import io
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from types import ModuleType
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from spikebridge.errors import DataError, ExportError

_OPSETS = range(13, 24)
_MOST_THREADS = 1
_VARINT = 0
_FIXED64 = 1
_BYTES = 2
_FIXED32 = 5
_OPSET_IMPORT = 8
_DOMAIN = 1
_VERSION = 2


def _onnxruntime_library() -> ModuleType:
    """The `onnxruntime` package.

    Raises:
        ExportError: it is not installed.
    """
    try:
        import onnxruntime
    except ImportError:
        raise ExportError(
            "ONNX files need the package onnxruntime; install it with: pip install 'spikebridge[onnx]'"
        ) from None

    return onnxruntime


@runtime_checkable
class Session(Protocol):
    """What runs an ONNX file.

    Attributes:
        name: of the file, for messages.
        inputs: their names, in order.
    """

    name: str
    inputs: list[str]

    def run(self, feed: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """All outputs, in order, of every input by name."""


OpenSession: TypeAlias = Callable[[bytes, str], Session]  # of the bytes of a file, and its name


class OnnxSession:
    """An ONNX file, loaded.

    Args:
        content: the bytes of the file.
        name: for messages.

    Raises:
        DataError: the file is damaged, of an opset that is not read, or needs another file.
    """

    def __init__(self, content: bytes, name: str) -> None:
        runtime = _onnxruntime_library()
        self.name = name
        self.content = content
        check_opset(content, name)
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = _MOST_THREADS
        options.log_severity_level = 4

        try:
            # from bytes, so that no tensor can be looked for in a file beside it; its fallback prints
            with redirect_stdout(io.StringIO()):
                self.session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # noqa: BLE001 - onnxruntime's own exceptions have no common class of their own
            raise DataError(f"{name} cannot be loaded: {_first_line(error)}") from None

        self.inputs = [value.name for value in self.session.get_inputs()]
        self.outputs = [value.name for value in self.session.get_outputs()]
        self.num_axes = len(self.session.get_inputs()[0].shape) if self.inputs else 0

    def run(self, feed: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """All outputs, in order.

        Args:
            feed: every input by name, batch first.

        Raises:
            DataError: the file does not take these inputs.
        """
        given = checked_feed(self, feed)
        try:
            return list(self.session.run(None, given))
        except Exception as error:  # noqa: BLE001 - as above
            raise DataError(f"{self.name} cannot run: {_first_line(error)}") from None


def checked_feed(session: Session, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Every input by name, each in one block of memory.

    Raises:
        DataError: the file does not take these inputs.
    """
    if sorted(feed) != sorted(session.inputs):
        raise DataError(f"{session.name} takes {session.inputs}, but was given {list(feed)}")

    return {name: np.ascontiguousarray(x) for name, x in feed.items()}


def check_opset(content: bytes, name: str) -> None:
    """Raises where an ONNX file is of an opset that is not read here.

    Only these fields are parsed, so that a runner needs no further library.

    Example:
        >>> check_opset(bytes([8 << 3 | 2, 2, 2 << 3 | 0, 99]), "a.onnx")
        Traceback (most recent call last):
        spikebridge.errors.DataError: a.onnx is of ONNX opset 99, but opsets 13 to 23 are read; ...
    """
    found: dict[str, int] = {}
    for number, value in _fields(content, name):
        if number == _OPSET_IMPORT and isinstance(value, bytes):
            fields = dict(_fields(value, name))
            domain = fields.get(_DOMAIN, b"")
            opset = fields.get(_VERSION, 0)
            if isinstance(domain, bytes) and isinstance(opset, int):
                found[domain.decode(errors="replace")] = opset

    version = found.pop("", found.pop("ai.onnx", None))
    if version is None:
        raise DataError(f"{name} is damaged, or no ONNX file: it names no opset")

    if version not in _OPSETS:
        raise DataError(
            f"{name} is of ONNX opset {version}, but opsets {_OPSETS[0]} to {_OPSETS[-1]} are read; export it anew, or "
            "update spikebridge and onnxruntime"
        )

    if found:
        raise DataError(f"{name} needs operators of {', '.join(sorted(found))}, which onnxruntime alone does not have")


def _fields(content: bytes, name: str) -> list[tuple[int, int | bytes]]:
    """The fields of one protobuf message."""
    fields: list[tuple[int, int | bytes]] = []
    place = 0
    while place < len(content):
        key, place = _varint(content, place, name)
        value: int | bytes

        if key & 7 == _VARINT:
            value, place = _varint(content, place, name)
        else:
            if key & 7 == _BYTES:
                length, place = _varint(content, place, name)
            elif key & 7 in (_FIXED64, _FIXED32):
                length = 8 if key & 7 == _FIXED64 else 4
            else:
                raise DataError(f"{name} is damaged, or no ONNX file")

            if place + length > len(content):
                raise DataError(f"{name} is damaged, or no ONNX file: it ends too early")

            # only what tells the opset is copied
            value = content[place : place + length] if key >> 3 in (_OPSET_IMPORT, _DOMAIN) and length < 4096 else b""
            place += length

        fields.append((key >> 3, value))

    return fields


def _varint(content: bytes, place: int, name: str) -> tuple[int, int]:
    value = shift = 0
    while place < len(content) and shift < 64:
        byte = content[place]
        value |= (byte & 127) << shift
        place = place + 1
        shift = shift + 7

        if byte < 128:
            return value, place

    raise DataError(f"{name} is damaged, or no ONNX file: it ends too early")


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
