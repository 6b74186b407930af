"""The gradient of a linear layer's weights against the share of its inputs that are active."""

import statistics
import time
from typing import Any

import torch
from torch import Tensor, nn

from spikebridge.ops import without_native
from spikebridge.ops.linear import linear

SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4)
STEPS, BATCH, SIZE = 25, 128, 1000


def against_silence(rounds: int) -> list[dict[str, Any]]:
    """Milliseconds of the backward pass to the weights alone, quick and dense, taking turns; and the median ratio."""
    torch.manual_seed(0)
    layer = nn.Linear(SIZE, SIZE, bias=False)
    gradient = torch.randn(STEPS * BATCH, SIZE)
    rows = []
    for share in SHARES:
        x = (torch.rand(STEPS * BATCH, SIZE) < share).float()
        times: dict[str, list[float]] = {"quick": [], "dense": []}
        for _ in range(rounds + 1):
            times["quick"].append(_backward(layer, x, gradient))
            with without_native():
                times["dense"].append(_backward(layer, x, gradient))
        quick, dense = (several[1:] for several in times.values())
        ratio = statistics.median(b / a for a, b in zip(quick, dense, strict=True))
        rows.append(
            {
                "share": share,
                "quick_ms": 1e3 * statistics.median(quick),
                "dense_ms": 1e3 * statistics.median(dense),
                "ratio": ratio,
            }
        )
    return rows


def _backward(layer: nn.Linear, x: Tensor, gradient: Tensor) -> float:
    """Seconds on the processor."""
    layer.weight.grad = None
    y = linear(layer, x)
    start = time.process_time()
    y.backward(gradient)
    return time.process_time() - start
