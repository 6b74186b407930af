"""Layers of the integer model, `(B, *N)` in and out. No floats, and no torch."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from spikebridge.deploy.stages.arithmetic import Ints, ratio, rescale

Numbers: TypeAlias = dict[str, Any]
Settings: TypeAlias = Mapping[str, Any]
Layer: TypeAlias = Callable[[Sequence[Ints]], Ints]
LOWEST = -(1 << 40)


def layer_of(operation: str, settings: Settings, numbers: Numbers) -> Layer:
    """What an operation does.

    Args:
        operation: its name, one of `LAYERS`.
        settings: its sizes.
        numbers: its whole numbers.

    Example:
        >>> layer = layer_of("linear", {}, {"weight": np.array([[2, 3]], np.int8)})
        >>> layer([np.array([[1, 10]])]).tolist()
        [[32]]
    """
    return _LAYERS[operation](settings, numbers)


def _linear(settings: Settings, numbers: Numbers) -> Layer:
    weight, bias = numbers["weight"].astype(np.int64), numbers.get("bias", np.zeros(1, np.int32)).astype(np.int64)
    return lambda given: given[0] @ weight.T + bias


def _convolution(settings: Settings, numbers: Numbers) -> Layer:
    weight = numbers["weight"].astype(np.int64)
    num_axes = weight.ndim - 2
    bias = numbers.get("bias", np.zeros(len(weight), np.int32)).astype(np.int64)
    stride, padding, dilation = (
        [settings[f"{name}_{axis}"] for axis in range(num_axes)] for name in ("stride", "padding", "dilation")
    )
    groups = settings["groups"]
    spans = [(n - 1) * d + 1 for n, d in zip(weight.shape[2:], dilation, strict=True)]

    def run(given: Sequence[Ints]) -> Ints:
        windows = _windows(given[0], spans, stride, padding, 0)
        cells: Any = (..., *(slice(None, None, d) for d in dilation))
        windows = windows[cells]
        batch, channels = windows.shape[:2]
        places = windows.shape[2 : 2 + num_axes]
        # (B, groups, C / groups, *places, *kernel) to rows of what each sum takes
        windows = windows.reshape(batch, groups, channels // groups, *windows.shape[2:])
        rows = np.moveaxis(windows, 2, 2 + num_axes).reshape(batch, groups, int(np.prod(places)), -1)
        matrix = weight.reshape(groups, len(weight) // groups, -1)
        sums = np.matmul(rows, np.swapaxes(matrix, 1, 2)[None])
        y = np.swapaxes(sums, 2, 3).reshape(batch, len(weight), *places)
        return y + bias.reshape(-1, *[1] * num_axes)

    return run


def _narrow(settings: Settings, numbers: Numbers) -> Layer:
    count = sum(name.startswith("multiplier_") for name in numbers)
    ratios = [ratio(numbers, after=f"_{i}") for i in range(count)]
    low, high, axis = settings["low"], settings["high"], settings["axis"]

    def run(given: Sequence[Ints]) -> Ints:
        moved = [rescale(x, *by) for x, by in zip(given, ratios, strict=True)]
        joined = sum(moved[1:], moved[0]) if axis is None else np.concatenate(moved, axis)
        return np.clip(joined, low, high)

    return run


def _table(settings: Settings, numbers: Numbers) -> Layer:
    entries, low = numbers["entries"].astype(np.int64), settings["low"]
    return lambda given: entries[given[0] - low]


def _flatten(settings: Settings, numbers: Numbers) -> Layer:
    def run(given: Sequence[Ints]) -> Ints:
        (x,) = given
        start, end = (axis % x.ndim for axis in (settings["start"], settings["end"]))
        return x.reshape(*x.shape[:start], int(np.prod(x.shape[start : end + 1])), *x.shape[end + 1 :])

    return run


def _pool(reduce: Callable[..., Any], outside: int) -> Callable[[Settings, Numbers], Layer]:
    def make(settings: Settings, numbers: Numbers) -> Layer:
        size, stride, padding = ([settings[f"{n}_{a}"] for a in (0, 1)] for n in ("kernel_size", "stride", "padding"))
        return lambda given: reduce(_windows(given[0], size, stride, padding, outside), (-2, -1))

    return make


def _windows(x: Ints, size: Sequence[int], stride: Sequence[int], padding: Sequence[int], outside: int) -> Ints:
    """Every window of the last axes, `(B, C, *places, *size)`."""
    x = np.pad(x, [(0, 0), (0, 0), *((p, p) for p in padding)], constant_values=outside)
    axes = tuple(range(2, x.ndim))
    windows = np.lib.stride_tricks.sliding_window_view(x, tuple(size), axis=axes)
    return windows[(slice(None), slice(None), *(slice(None, None, s) for s in stride))]


_LAYERS: dict[str, Callable[[Settings, Numbers], Layer]] = {
    "linear": _linear,
    "convolution": _convolution,
    "narrow": _narrow,
    "table": _table,
    "flatten": _flatten,
    "relu": lambda settings, numbers: lambda given: np.maximum(given[0], 0),
    "largest": _pool(np.max, LOWEST),
    "sums": _pool(np.sum, 0),
    "sum": lambda settings, numbers: lambda given: given[0].sum((-2, -1), keepdims=True),
    "same": lambda settings, numbers: lambda given: given[0],
}
LAYERS = tuple(_LAYERS)
