"""Runs of neuron models: membranes under a current, with an error where the step is too long, and firing rates."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from spikebridge.errors import ConfigError, DataError, ShapeError, is_positive
from spikebridge.hybrid import HybridNetwork

_BOUNDS = (-300.0, 300.0)  # mV: only an unstable integration leads beyond
_MAX_HALVINGS = 8  # of a search for a stable step
_MAX_STEPS = 100_000
_BLOCK = 2000  # steps between two checks of the membrane

Neuron = Callable[[float], HybridNetwork]
"""A function that makes a neuron model for a step [s]."""


def simulate(neuron: Neuron, current: Float[Tensor, "T B *N"], step: float) -> dict[str, Tensor]:
    """The outputs of a neuron model, `(T, B, *N)` each, for a current with one value a step [s].

    A membrane that leaves -300 to 300 mV is a DataError, with the largest stable step if there is one.
    """
    if not is_positive(step):
        raise ConfigError(f"a simulation needs step > 0 s, but got {step!r}")

    if not isinstance(current, Tensor) or current.ndim < 3 or not current.is_floating_point():
        shape = tuple(current.shape) if isinstance(current, Tensor) else type(current).__name__
        raise ShapeError(f"a simulation needs a current (T, B, *N) of floats, but got {shape}")

    if not bool(current.isfinite().all()):
        raise DataError("a simulation needs a finite current, but got NaN or infinity")

    with torch.no_grad():
        outputs, failed = _run(neuron, current, step)
        if failed is None:
            return outputs
        stable = largest_stable_step(neuron, current[: failed + 1], step)

    steepest = f"the current reaches {float(current.abs().max()):g}"
    if stable is None:
        remedy = (
            f"no step down to {step / 2 ** _halvings(current[: failed + 1])[-1]:.3g} s is stable; lower the current"
        )
    else:
        remedy = f"the largest stable step is {stable:.3g} s"

    raise DataError(
        f"the membrane leaves {_BOUNDS[0]:g} to {_BOUNDS[1]:g} mV at {failed * step:.4g} s with a step of {step:g} s "
        f"({steepest}); {remedy}"
    )


def largest_stable_step(neuron: Neuron, current: Float[Tensor, "T B *N"], step: float) -> float | None:
    """The largest of `step / 2`, `step / 4`, ... with which a membrane stays within its bounds.

    None if no halving of the first 8, and with fewer than 100,000 steps, is stable.
    """
    for halvings in _halvings(current):
        finer = current.repeat_interleave(2**halvings, 0)
        if _run(neuron, finer, step / 2**halvings)[1] is None:
            return step / 2**halvings

    return None


def _halvings(current: Tensor) -> range:
    """Numbers of halvings that a search tries."""
    affordable = sum(len(current) * 2**halvings <= _MAX_STEPS for halvings in range(1, _MAX_HALVINGS + 1))
    return range(1, max(1, affordable) + 1)


def _run(neuron: Neuron, current: Tensor, step: float) -> tuple[dict[str, Tensor], int | None]:
    """The outputs, and the step at which the membrane left its bounds, if it did."""
    network = neuron(step).to(current.dtype)
    state = None
    pieces: dict[str, list[Tensor]] = {}

    for start in range(0, len(current), _BLOCK):
        block = current[start : start + _BLOCK]
        try:
            outputs, state = network({"current": block}, state, ticks=2 * len(block))
        except DataError:  # NaN inside
            return {}, start

        v = outputs["membrane"].flatten(1)
        outside = ~((v > _BOUNDS[0]) & (v < _BOUNDS[1])).all(1)
        if bool(outside.any()):
            return {}, start + int(outside.int().argmax())

        for name, y in outputs.items():
            pieces.setdefault(name, []).append(y)

    return {name: torch.cat(ys) for name, ys in pieces.items()}, None
