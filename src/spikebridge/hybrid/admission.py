"""What a network lets in: signals that are known, whole, finite, and of the same stream."""

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from spikebridge.errors import ConfigError, DataError, ShapeError, did_you_mean
from spikebridge.hybrid.clock import Clock
from spikebridge.hybrid.route import Route
from spikebridge.neurons.neuron import Neuron
from spikebridge.neurons.quantity import are_hidden
from spikebridge.neurons.sequential import Sequential

# what keeps NaN and infinity visible on the way to a membrane
LINEAR = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Flatten, nn.Identity)


def first_look(clocks: Mapping[str, Clock], inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What the inputs of a stream look like: an empty `(B, 0, *N)` for each, by which later ones are known.

    Args:
        clocks: of all inputs.
        inputs: `(T, B, *N)` each, with any T.

    Returns:
        The empty signals, batch first, as every tensor in a state has it.

    Raises:
        ConfigError: an input is missing, or none holds floats.
        ShapeError: batches, dtypes or devices differ.
    """
    _refuse_unknown(clocks, inputs)
    known: dict[str, Tensor] = {}
    like: Tensor | None = None
    for name in clocks:
        if name not in inputs:
            raise ConfigError(
                f"the first call needs every input, to know its shape, but {name!r} is missing; give an empty "
                "(0, B, *N) where it has no sample yet"
            )
        x = inputs[name]
        if not isinstance(x, Tensor) or x.ndim < 2:
            what = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
            raise ShapeError(f"input {name!r} needs a signal (T, B, *N), but got {what}")
        if x.dtype != torch.bool and not x.is_floating_point():
            raise ShapeError(f"input {name!r} needs floats (or flags, for a trigger), but got {x.dtype}; use .float()")
        if like is None and x.is_floating_point():
            like = x
        known[name] = x.new_empty((x.shape[1], 0, *x.shape[2:]))
    if like is None:
        raise ConfigError("a stream needs at least one input of floats, to know its dtype")
    for name, empty in known.items():
        dtype = empty.dtype if empty.dtype == torch.bool else like.dtype
        _refuse_other(name, empty, like.shape[1], dtype, like.device)
    return known


def admit(clocks: Mapping[str, Clock], inputs: Mapping[str, Tensor], known: Mapping[str, Tensor]) -> None:
    """Raises where an input is unknown, malformed or of another stream.

    Args:
        clocks: of all inputs.
        inputs: those of a stretch.
        known: what `first_look` saw.
    """
    _refuse_unknown(clocks, inputs)
    for name, x in inputs.items():
        empty = known[name]
        if not isinstance(x, Tensor) or x.ndim != empty.ndim or x.shape[2:] != empty.shape[2:]:
            what = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
            shape = ", ".join(["T", str(len(empty)), *map(str, empty.shape[2:])])
            raise ShapeError(f"input {name!r} needs a signal ({shape}), as at the start of the stream, but got {what}")
        if x.shape[1] != empty.shape[0] or x.dtype != empty.dtype or x.device != empty.device:
            _refuse_other(name, x.transpose(0, 1), empty.shape[0], empty.dtype, empty.device)


def count_ticks(clocks: Mapping[str, Clock], given: Mapping[str, int], start: int, ticks: int | None, dt: float) -> int:
    """How many ticks a stretch has.

    Args:
        clocks: of all inputs.
        given: samples given of each.
        start: its first tick.
        ticks: as asked for; None means the most for which every input has exactly the samples given.
        dt: base step [s], for messages.

    Returns:
        The number of ticks.

    Raises:
        ShapeError: an input has another number of samples in these ticks.

    Example:
        >>> clocks = {"frames": Clock(6, 0), "events": Clock(1, 0)}
        >>> count_ticks(clocks, {"frames": 1, "events": 6}, start=0, ticks=None, dt=0.001)
        6
    """
    if ticks is None:
        after = [clock.phase + (clock.count(start) + given[name]) * clock.period for name, clock in clocks.items()]
        ticks = max(0, min(after) - start)
    elif isinstance(ticks, bool) or not isinstance(ticks, int) or ticks < 0:
        raise ConfigError(f"ticks must be a whole number, 0 or more, but got {ticks!r}")
    for name, clock in clocks.items():
        expected = clock.between(start, start + ticks)
        if given[name] != expected:
            raise ShapeError(
                f"input {name!r} has {expected} samples in the {ticks} ticks from tick {start} ({clock.describe(dt)}), "
                f"but {given[name]} were given"
            )
    return ticks


def _refuse_unknown(clocks: Mapping[str, Clock], inputs: Mapping[str, Tensor]) -> None:
    for name in inputs:
        if name not in clocks:
            raise ConfigError(f"there is no input {name!r}; {did_you_mean(name, clocks)}")


def _refuse_other(name: str, x: Tensor, batch: int, dtype: torch.dtype, device: torch.device) -> None:
    """Raises where a signal, here with its batch first, is not of the stream."""
    if x.shape[0] != batch:
        raise ShapeError(f"input {name!r} has a batch of {len(x)}, but the stream has {batch}")
    if x.dtype != dtype or x.device != device:
        raise ShapeError(
            f"input {name!r} is {x.dtype} on {x.device}, but the stream is {dtype} on {device}; move it with .to()"
        )


def refuse_not_finite(name: str, x: Tensor) -> None:
    """Raises where an input holds NaN or infinity."""
    # one sum shows whether any value is not finite; only where it is not, values are looked at one by one
    if x.dtype == torch.bool or x.numel() == 0 or are_hidden(x) or math.isfinite(float(x.detach().sum())):
        return
    number = int((~x.isfinite()).sum())
    if number:
        raise DataError(
            f"input {name!r} has {number} values that are not finite (NaN or infinite); mend the data first"
        )


def unguarded(inputs: Iterable[str], routes: Iterable[Route], parts: Mapping[str, nn.Module]) -> list[str]:
    """Inputs in which NaN could pass unnoticed, so that the network has to look at every value.

    The others lead straight to neurons: they refuse what is not finite when it shows in a membrane, which is a look at
    one value a neuron, not at one a neuron and step.

    Args:
        inputs: their names.
        routes: all links.
        parts: all parts.

    Returns:
        Names of inputs.
    """
    straight = {route.link.source for route in routes if route.prompt and _guards(parts[route.link.part])}
    bent = {
        name for route in routes for name in route.sources if not (route.prompt and _guards(parts[route.link.part]))
    }
    return [name for name in inputs if name not in straight or name in bent]


def _guards(part: nn.Module) -> bool:
    """Whether nothing that is not finite passes the first neurons of a part without showing in a membrane."""
    for layer in part if isinstance(part, Sequential) else [part]:
        if isinstance(layer, Neuron):
            # a neuron in its refractory time does not look at its input
            own = type(layer).forward is Neuron.forward and type(layer)._run is Neuron._run
            return own and not getattr(layer, "refractory", 0)
        if type(layer) not in LINEAR:
            return False
    return False
