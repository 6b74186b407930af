"""F: kernels of hybrid units over long time, and all neurons, each fast form against the loop over its steps."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from research.speed.beside_peers.taking_turns import take_turns
from spikebridge.hybrid import (
    FIR,
    Alpha,
    Difference,
    Exponential,
    Gaussian,
    HybridUnit,
    Kernel,
    Mean,
    Sum,
    Tumbling,
    Window,
)
from spikebridge.neurons import LIF, PLIF, AdaptiveLIF, CubaLIF, Integrator, Stateful
from spikebridge.ops import reference, without_native
from spikebridge.ops.sequence import native

STREAMED = "the same, streamed in ten parts"
PARTS = 10
HALF = 1 / math.log(2)  # with dt = 1 s the decay is 1/2
SHAPES = [(1000, 1, 256), (100, 16, 1024)]
KERNELS: dict[str, Callable[[bool, int], Kernel]] = {
    "Sum": lambda keep, n: Sum(keep=keep),
    "Mean": lambda keep, n: Mean(keep=keep),
    "Exponential": lambda keep, n: Exponential(10.0, dt=1.0, keep=keep),
    "Exponential, learned": lambda keep, n: Exponential(torch.full((n,), 10.0), dt=1.0, keep=keep, learn="tau"),
    "Alpha": lambda keep, n: Alpha(5.0, dt=1.0, keep=keep),
    "Taps of 8": lambda keep, n: FIR(8, keep=keep),
    "Gaussian of 13": lambda keep, n: Gaussian(4.0, 2.0, dt=1.0, keep=keep),
    "Difference": lambda keep, n: Difference(4, keep=keep),
}
FORMS: dict[str, tuple[Callable[[], Window | None], bool]] = {
    "one long window": (lambda: None, True),
    STREAMED: (lambda: None, True),
    "windows of 20, kept": (lambda: Tumbling(20), True),
    "windows of 20, last values": (lambda: Tumbling(20), False),
}
NEURONS: dict[str, Callable[[int], Stateful]] = {
    "LIF, hard reset": lambda n: LIF(HALF, dt=1.0),
    "LIF, soft reset": lambda n: LIF(HALF, dt=1.0, reset="subtract"),
    "LIF, learned threshold": lambda n: LIF(HALF, v_threshold=torch.ones(n), dt=1.0, learn="v_threshold"),
    "PLIF": lambda n: PLIF(HALF, dt=1.0),
    "AdaptiveLIF": lambda n: AdaptiveLIF(HALF, tau_adaptation=10.0, dt=1.0),
    "CubaLIF": lambda n: CubaLIF(HALF, HALF, dt=1.0),
    "Integrator": lambda n: Integrator(HALF, dt=1.0),
}


def kernels(shape: tuple[int, int, int], rounds: int) -> list[dict[str, Any]]:
    """Rows of a kernel, a form of window, with and without gradients: the gain over its loop."""
    rows = []
    for form, (window, keep) in FORMS.items():
        for name, make in KERNELS.items():
            unit = HybridUnit(window(), make(keep, shape[-1]))
            for training in (False, True):
                gains = _gain_over_the_loop(unit, shape, training, rounds, PARTS if form == STREAMED else 1)
                rows.append({"kernel": name, "form": form, "gradients": training, **gains})

    return rows


def neurons(shape: tuple[int, int, int], rounds: int) -> list[dict[str, Any]]:
    """Rows of a neuron, forward and backward: the gain over its loop."""
    return [
        {"neuron": name, **_gain_over_the_loop(make(shape[-1]), shape, True, rounds)} for name, make in NEURONS.items()
    ]


def _gain_over_the_loop(
    module: nn.Module, shape: tuple[int, int, int], training: bool, rounds: int, num_parts: int = 1
) -> dict[str, Any]:
    """The gain over the loop for a signal that comes in parts, each with the state of the last."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.3

    def run() -> Tensor:
        outputs: list[Tensor] = []
        state = None
        with torch.set_grad_enabled(training):
            for part in x.chunk(num_parts):
                y, state = module(part.detach().requires_grad_(training), state)
                outputs.append(y)

        if training:
            torch.autograd.backward(outputs, [torch.ones_like(y) for y in outputs])

        return outputs[-1].detach()

    def looped() -> Tensor:
        with reference():
            return run()

    def plain() -> Tensor:
        with without_native():
            return run()

    def copied() -> Tensor:
        """A copy of the signal and one of its gradient: no implementation can be faster."""
        return x.clone().clone() if training else x.clone()

    works = {"loop": looped, "floor": copied, "pytorch": plain} | ({"native": run} if native.available() else {})
    rows = {row["name"]: row for row in take_turns(works, rounds, max_seconds=4.0)}

    return {
        "loop_ms": rows["loop"]["cpu_ms"],
        **{f"times_{name}": 1 / row["cpu_ratio"] for name, row in rows.items() if name != "loop"},
    }
