"""Products in training against the share of their inputs that are active."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from spikebridge.ops import without_native
from spikebridge.ops.layers.convolution import convolve
from spikebridge.ops.layers.linear import linear

SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4)
ROWS = 25 * 128
SIZE = 1000
PICTURES = 8 * 32
CHANNELS = 32
SIDE = 14

# the seconds of a product, by its input
Timed = Callable[[Tensor], float]


def against_silence(rounds: int) -> list[dict[str, Any]]:
    """A table a product: milliseconds, quick and dense, taking turns; and the median ratio."""
    torch.manual_seed(0)
    dense = nn.Linear(SIZE, SIZE, bias=False)
    conv = nn.Conv2d(CHANNELS, 2 * CHANNELS, 3, padding=1, bias=False).to(memory_format=torch.channels_last)
    of_rows = torch.randn(ROWS, SIZE)
    of_pictures = torch.randn(PICTURES, 2 * CHANNELS, SIDE, SIDE).contiguous(memory_format=torch.channels_last)
    rows = torch.rand(ROWS, SIZE)
    pictures = torch.rand(PICTURES, CHANNELS, SIDE, SIDE)
    pictures = pictures.contiguous(memory_format=torch.channels_last)

    products: dict[str, tuple[Tensor, Timed]] = {
        "linear, gradient of the weights": (rows, lambda x: _backward(dense, linear(dense, x), of_rows)),
        "convolution, outputs": (pictures, lambda x: _forward(conv, x)),
        "convolution, gradient of the weights": (pictures, lambda x: _backward(conv, convolve(conv, x), of_pictures)),
    }
    return [{"product": name, "rows": _rows(x, run, rounds)} for name, (x, run) in products.items()]


def _rows(levels: Tensor, run: Timed, rounds: int) -> list[dict[str, Any]]:
    rows = []
    for share in SHARES:
        x = (levels < share).float()
        times: dict[str, list[float]] = {"quick": [], "dense": []}
        for _ in range(rounds + 1):
            times["quick"].append(run(x))
            with without_native():
                times["dense"].append(run(x))

        quick, dense = (several[1:] for several in times.values())
        ratio = statistics.median(b / a for a, b in zip(quick, dense, strict=True))
        milliseconds = {f"{name}_ms": 1e3 * statistics.median(several[1:]) for name, several in times.items()}
        rows.append({"share": share, **milliseconds, "ratio": ratio})

    return rows


def _forward(layer: nn.Conv2d, x: Tensor) -> float:
    """Seconds on the processor."""
    start = time.process_time()
    convolve(layer, x)
    return time.process_time() - start


def _backward(layer: nn.Linear | nn.Conv2d, y: Tensor, gradient: Tensor) -> float:
    """Seconds on the processor."""
    # a second gradient would be added to the first
    layer.weight.grad = None
    start = time.process_time()
    y.backward(gradient)
    return time.process_time() - start
