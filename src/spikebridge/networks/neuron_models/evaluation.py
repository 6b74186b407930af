"""Runs of neuron models: membranes under a current, with an error where the step is too long, and firing rates."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from spikebridge.errors import ConfigError, DataError, ShapeError, is_positive
from spikebridge.hybrid import HybridNetwork

_BOUNDS = (-300.0, 300.0)  # mV: no membrane is beyond, but one whose integration has exploded is
_MOST_HALVINGS = 8  # of a search for a stable step
_MOST_STEPS = 100_000
_BLOCK = 2000  # steps between two looks at the membrane

Neuron = Callable[[float], HybridNetwork]
"""Makes a neuron model of a step [s]."""


def simulate(neuron: Neuron, current: Float[Tensor, "T B *N"], step: float) -> dict[str, Tensor]:
    """The outputs of a neuron model, checked.

    Args:
        neuron: makes the model, for example `hodgkin_huxley`.
        current: one value a step.
        step: of the integration [s].

    Returns:
        Its outputs, `(T, B, *N)` each, "membrane" among them.

    Raises:
        ShapeError: a current that is not `(T, B, *N)`.
        DataError: a current that is not finite, or with which the membrane leaves -300 to 300 mV. Where a shorter step
            would do, its length is in the message.

    Example:
        >>> from spikebridge.networks.neuron_models import hodgkin_huxley
        >>> simulate(hodgkin_huxley, torch.zeros(10, 1, 1), step=2e-5)["membrane"].shape
        torch.Size([10, 1, 1])
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

    None if none of 8 halvings does, or none that takes less than 100,000 steps.

    Args:
        neuron: makes the model.
        current: one value a `step`.
        step: the step that is too long [s].
    """
    for halvings in _halvings(current):
        finer = current.repeat_interleave(2**halvings, 0)
        if _run(neuron, finer, step / 2**halvings)[1] is None:
            return step / 2**halvings

    return None


def _halvings(current: Tensor) -> range:
    """How often a step is halved in a search."""
    affordable = sum(len(current) * 2**halvings <= _MOST_STEPS for halvings in range(1, _MOST_HALVINGS + 1))
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
