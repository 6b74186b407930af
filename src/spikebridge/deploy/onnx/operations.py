"""The multiply-accumulates of an ONNX file, from the shapes of its products."""

import math
from collections.abc import Sequence
from typing import Any

from spikebridge.errors import DataError, ExportError

_PRODUCTS = ("Conv", "Gemm", "MatMul")


def count_macs(content: bytes, name: str) -> float:
    """The multiply-accumulates of one sample: those of convolutions and matrix products.

    Example:
        >>> import torch
        >>> from spikebridge.deploy.onnx.writer import write_onnx
        >>> count_macs(write_onnx(torch.nn.Linear(4, 3).eval(), {"x": torch.zeros(1, 4)}), "a.onnx")
        12.0
    """
    try:
        import onnx
    except ImportError:
        raise ExportError("counting needs the package onnx; install it with: pip install 'spikebridge[onnx]'") from None

    try:
        model = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(content))
    except Exception as error:  # noqa: BLE001 - exceptions of onnx and protobuf have no common class
        raise DataError(f"{name} cannot be read: {str(error).splitlines()[0] if str(error) else error!r}") from None

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
    """The shape of a value; the axis of the batch, which has no size, counts as one."""
    if not value.type.tensor_type.HasField("shape"):
        return None
    return [dim.dim_value or 1 for dim in value.type.tensor_type.shape.dim]
