"""Validation of a hybrid network: its parts and units when it is built, its inputs when a stream starts.

Parts and units: names, arguments, quantities, and their own time steps. Inputs: known names, shapes, dtypes and
devices; finite values where a part could hide that they are not.
"""

import inspect
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from spikebridge.errors import ConfigError, DataError, ShapeError, did_you_mean, in_words
from spikebridge.hybrid.clock import Clock
from spikebridge.hybrid.modulation import check_path
from spikebridge.hybrid.network.graph import NetworkPlan, owner_of
from spikebridge.hybrid.network.link import Modulation, Route, Transmission, describe
from spikebridge.neurons.base import Stateful
from spikebridge.neurons.dt import match_dt
from spikebridge.neurons.neuron import Neuron
from spikebridge.neurons.sequential import Sequential
from spikebridge.neurons.stateless import refuse_hidden_state
from spikebridge.ops.checks import is_finite, number_on_cpu, reads_values
from spikebridge.ops.precision import SINGLE_OR_HALF, is_autocast


def check_kinds(**arguments: Any) -> None:
    """Raises where the arguments of a network are no mappings, and its links and outputs no lists.

    Args:
        arguments: inputs, parts, links, outputs and clocks, as given.
    """
    examples = {"inputs": "{'x': every(0.001)}", "parts": "{'snn': LIF()}", "clocks": "{'snn': every(0.001)}"}
    for name, example in examples.items():
        value = arguments[name]
        if not isinstance(value, Mapping) and not (value is None and name == "clocks"):
            raise ConfigError(f"{name} needs a mapping, {name}={example}, but got {in_words(value)}")

    links = arguments["links"]
    outputs = arguments["outputs"]
    if isinstance(links, Transmission | Modulation):
        raise ConfigError(
            f"links is a list, but got one {type(links).__name__}, {describe(links)}; put it in brackets: links=[...]"
        )

    if isinstance(links, str | Mapping) or not isinstance(links, Iterable):
        raise ConfigError(f"links is a list of Transmission and Modulation, but got {in_words(links)}")
    if isinstance(outputs, str):
        raise ConfigError(f"outputs is a list of parts, but got {outputs!r}; did you mean [{outputs!r}]?")
    if not isinstance(outputs, Iterable):
        raise ConfigError(f"outputs is a list of parts, but got {in_words(outputs)}")


def check_names(parts: Mapping[str, nn.Module], outputs: Sequence[str]) -> None:
    """Raises for a part that is no module, has an invalid name or hides a state, and for an output that is no part."""
    for name, part in parts.items():
        if not isinstance(part, nn.Module):
            hint = "; layers in a row are a Sequential(*layers)" if isinstance(part, list | tuple) else ""
            raise ConfigError(f"part {name!r} needs to be a module, but is {in_words(part)}{hint}")

        if not isinstance(name, str) or not name or "." in name or hasattr(nn.ModuleDict, name):
            raise ConfigError(f"a part cannot be called {name!r}; the name is taken or holds a dot, choose another")
        refuse_hidden_state(part, name)

    for name in outputs:
        if not isinstance(name, str) or owner_of(name, parts) not in parts or name.endswith("."):
            raise ConfigError(f"the output {in_words(name)} is not a part: {did_you_mean(str(name), parts)}")


def check_part(name: str, part: nn.Module, incoming: Sequence[Route]) -> None:
    """Raises where a part cannot take the signals of its links.

    Args:
        name: of the part.
        part: the module.
        incoming: its links.
    """
    into = [route.link.into for route in incoming if not isinstance(route.link, Modulation)]
    named = [argument for argument in into if argument is not None]
    unnamed = len(into) - len(named)
    if isinstance(part, Stateful) and unnamed != 1:
        raise ConfigError(
            f"the stateful part {name!r} takes one signal by position, but {unnamed} links bring one; name the others "
            "with into="
        )

    _check_arguments(name, part, unnamed, named)
    for route in incoming:
        if isinstance(route.link, Modulation):
            check_path(part, name, route.link.path)


def steps_of_layers(parts: Mapping[str, nn.Module], plan: NetworkPlan, dt: float) -> dict[Stateful, float]:
    """The step of each layer that has none yet: the period of its part's clock, or of the clock that its unit runs on.

    Args:
        parts: by name.
        plan: clocks and routes.
        dt: base step [s].

    Raises:
        ConfigError: a layer has another step, or two.
    """
    steps: dict[Stateful, float] = {}
    for name, part in parts.items():
        match_dt(name, part, plan.clocks[name].period * dt, steps)

    for route in plan.routes.values():
        unit = route.link.unit
        who = f"the unit {route.name}"
        if unit is not None and unit.kernel is not None:
            match_dt(who, unit.kernel, unit.kernel_period(route.source) * dt, steps)
        if unit is not None and unit.discretizer is not None:
            match_dt(who, unit.discretizer, route.clock.period * dt, steps)

    return steps


def _check_arguments(name: str, part: nn.Module, unnamed: int, named: Sequence[str]) -> None:
    """Raises where the arguments of a part do not match its links."""
    signature = _signature(part.forward)
    if signature is None:
        return

    count = unnamed + isinstance(part, Stateful)  # the state comes second
    try:
        signature.bind(*[None] * count, **dict.fromkeys(named))
    except TypeError as error:
        raise ConfigError(
            f"the links of part {name!r} bring {unnamed} signals by position and {sorted(named)} by name, but its "
            f"forward takes {signature}: {error}"
        ) from None

    if isinstance(part, Stateful):
        _check_named_inputs(name, part, named)


def _check_named_inputs(name: str, part: Stateful, named: Sequence[str]) -> None:
    """Raises where a stateful part has no such input, or would take a named signal for a modulation."""
    known = {argument for method in (part.forward, part.step) for argument in _explicit(method)} - {"x", "x_t", "state"}
    for argument in named:
        if argument in part.modulable_paths():
            raise ConfigError(
                f"{argument!r} is a quantity of part {name!r}, which a Modulation acts on: Modulation(..., "
                f"'{name}.{argument}', by='replace')"
            )

        if argument not in known:
            raise ConfigError(f"part {name!r} has no input {argument!r}; {did_you_mean(argument, sorted(known))}")


def _explicit(method: Any) -> list[str]:
    """The arguments of a method that have a name of their own."""
    signature = _signature(method)
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [n for n, p in signature.parameters.items() if p.kind not in kinds] if signature is not None else []


def _signature(method: Any) -> inspect.Signature | None:
    try:
        return inspect.signature(method)
    except (TypeError, ValueError):
        return None  # compiled code has no signature


# layers behind which NaN and infinity still show in a membrane
_LINEAR = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Flatten, nn.Identity)


def infer_input_specs(clocks: Mapping[str, Clock], inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The shape, dtype and device of each input of a stream, as an empty tensor `(B, 0, *N)`.

    Args:
        clocks: of all inputs.
        inputs: `(T, B, *N)` each, with any T.

    Returns:
        The empty tensors, batch first like every tensor in a state.

    Raises:
        ConfigError: an input is missing, or none holds floats.
        ShapeError: batches, dtypes or devices differ; under autocast float32 and half precision mix.
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
            raise ShapeError(f"input {name!r} needs a signal (T, B, *N), but got {_shape_or_words(x)}")
        if x.is_complex():
            raise ShapeError(f"input {name!r} needs floats, whole numbers or flags, but got {x.dtype}; use x.abs()")

        if like is None and x.is_floating_point():
            like = x

        known[name] = empty_spec(x)

    like = next(iter(known.values())) if like is None else like.transpose(0, 1)
    for name, empty in known.items():
        dtype = like.dtype if empty.is_floating_point() else empty.dtype
        _refuse_other(name, empty, like.shape[0], dtype, like.device)

    return known


def empty_spec(x: Tensor) -> Tensor:
    """The batch, shape, dtype and device of an input `(T, B, *N)`, as an empty tensor `(B, 0, *N)`."""
    return x.new_empty((x.shape[1], 0, *x.shape[2:]))


def check_inputs(clocks: Mapping[str, Clock], inputs: Mapping[str, Tensor], known: Mapping[str, Tensor]) -> None:
    """Raises where an input is unknown, malformed or of another stream than before.

    Args:
        clocks: of all inputs.
        inputs: of one call.
        known: result of `infer_input_specs`.
    """
    _refuse_unknown(clocks, inputs)
    for name, x in inputs.items():
        empty = known[name]
        if not isinstance(x, Tensor) or x.ndim != empty.ndim or x.shape[2:] != empty.shape[2:]:
            shape = ", ".join(["T", str(len(empty)), *map(str, empty.shape[2:])])
            raise ShapeError(
                f"input {name!r} needs a signal ({shape}), as at the start of the stream, but got {_shape_or_words(x)}"
            )

        if x.shape[1] != empty.shape[0] or x.dtype != empty.dtype or x.device != empty.device:
            _refuse_other(name, x.transpose(0, 1), empty.shape[0], empty.dtype, empty.device)


def _shape_or_words(x: object) -> str:
    if isinstance(x, Tensor):
        return str(tuple(x.shape))
    return in_words(x) + ("; torch.from_numpy makes a tensor of it" if type(x).__name__ == "ndarray" else "")


def _refuse_unknown(clocks: Mapping[str, Clock], inputs: Mapping[str, Tensor]) -> None:
    for name in inputs:
        if name not in clocks:
            raise ConfigError(f"there is no input {name!r}; {did_you_mean(name, clocks)}")


def _refuse_other(name: str, x: Tensor, batch: int, dtype: torch.dtype, device: torch.device) -> None:
    """Raises where a signal, with its batch first, has another batch, dtype or device than the stream."""
    if x.shape[0] != batch:
        raise ShapeError(
            f"input {name!r} has a batch of {len(x)}, but the stream has {batch}; signals are time first, (T, B, *N): "
            "where the batch comes first, give x.transpose(0, 1)"
        )

    mixes = is_autocast(device) and {x.dtype, dtype} <= SINGLE_OR_HALF  # autocast casts where it has to
    if (x.dtype != dtype and not mixes) or x.device != device:
        raise ShapeError(
            f"input {name!r} is {x.dtype} on {x.device}, but the stream is {dtype} on {device}; move it with .to()"
        )


def check_finite(name: str, x: Tensor | None) -> None:
    """Raises where an input holds NaN or infinity, if its values can be read without waiting for a device."""
    if not isinstance(x, Tensor) or not x.is_floating_point() or x.numel() == 0 or not reads_values(x, is_first=True):
        return

    # the sum is not finite where any value is not
    total = x.detach().sum(dtype=torch.float32 if x.element_size() < 4 else None)
    if not math.isfinite(number_on_cpu(total) if x.is_cpu else float(total)):
        refuse_not_finite(name, x)


def refuse_not_finite(name: str, x: Tensor) -> None:
    """Raises where an input holds NaN or infinity; it waits for the signal's device."""
    if x.dtype == torch.bool:
        return

    number = int((~x.detach().isfinite()).sum())
    if number:
        raise DataError(
            f"input {name!r} has {number} values that are not finite (NaN or infinite); correct the data first"
        )


def refuse_part_not_finite(
    plan: NetworkPlan,
    signals: Mapping[str, Tensor | None],
    start: int,
    stop: int,
    cause: Exception | None = None,
) -> None:
    """Raises where the output of a part holds NaN or infinity; it waits for the signals' device.

    Args:
        plan: of the network.
        signals: outputs of the parts in these ticks, None for none.
        start: first tick.
        stop: the tick after the last.
        cause: what a layer of the part found.
    """
    found: list[tuple[int, str]] = []
    for group in plan.groups:
        for name in (signal for part in group.parts for signal in plan.signals[part]):
            y = signals.get(name)
            if y is None or not y.is_floating_point() or y.numel() == 0 or is_finite(y):
                continue
            row = int((~y.detach().isfinite()).flatten(1).any(1).nonzero()[0])
            found.append((plan.clocks[name].ticks(start, stop)[row], name))

    if found:
        # of one tick the first by the order in which parts run: the others have got it from there
        tick, name = min(found, key=lambda one: one[0])
        detail = "" if cause is None else f" ({cause})"
        raise DataError(
            f"part {name!r} is the first that gave NaN or infinity, at tick {tick}{detail}; check its parameters and, "
            "in training, the learning rate"
        ) from cause


def needs_finite_check(inputs: Iterable[str], plan: NetworkPlan, parts: Mapping[str, nn.Module]) -> list[str]:
    """Inputs in which NaN or infinity could pass unnoticed, so that the network checks every value itself.

    The other inputs lead straight to neurons, which check their membranes after the first call: one value a neuron,
    not one a neuron and step. A part in a loop or under modulation runs in pieces, so its first call is not the whole.

    Args:
        inputs: their names.
        plan: of the network.
        parts: all parts.

    Returns:
        Names of inputs.
    """
    routes = plan.routes.values()
    in_pieces = {part for group in plan.groups if group.loop for part in group.parts}
    in_pieces |= {route.link.part for route in routes if isinstance(route.link, Modulation)}
    guarded = {
        route.name: route.direct and route.link.part not in in_pieces and _guards(parts[route.link.part])
        for route in routes
    }

    safe = {route.link.source for route in routes if guarded[route.name]}
    unsafe = {name for route in routes for name in route.sources if not guarded[route.name]}

    return [name for name in inputs if name not in safe or name in unsafe]


def _guards(part: nn.Module) -> bool:
    """Whether NaN or infinity in the input of a part always shows in the membranes of its first neurons."""
    for layer in part if isinstance(part, Sequential) else [part]:
        if isinstance(layer, Neuron):
            # a neuron in its refractory time ignores its input
            own = type(layer).forward is Neuron.forward and type(layer)._loop is Neuron._loop
            return own and not getattr(layer, "refractory", 0)

        if type(layer) not in _LINEAR:
            return False

    return False
