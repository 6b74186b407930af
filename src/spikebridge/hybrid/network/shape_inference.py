"""Shape inference: empty signals `(0, B, *N)` are sent through the graph once, so that users give no shapes.

In a loop, a part reads a delayed link before its source has run, so the shape on that link is unknown. Candidate shapes
are tried: one is right when the loop gives the same shape back; a shape that the loop gives instead is tried next.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from itertools import product
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from spikebridge.errors import ConfigError, ShapeError, SpikebridgeError, did_you_mean, in_words
from spikebridge.hybrid.clock import Clock
from spikebridge.hybrid.network.delivery import members, sort_values, unfit_initial
from spikebridge.hybrid.network.execution import apply_part, name_outputs
from spikebridge.hybrid.network.graph import Group, NetworkGraph, owner_of
from spikebridge.hybrid.network.link import LinkState, Route, SignalSpec, Transmission, describe, wake_of
from spikebridge.hybrid.network.state_links import check_value, state_at
from spikebridge.hybrid.unit.awake_steps import run_awake
from spikebridge.hybrid.unit.unit import UnitState
from spikebridge.neurons.base import Stateful
from spikebridge.neurons.state import State
from spikebridge.ops.precision import SINGLE_OR_HALF, is_autocast

Shapes: TypeAlias = dict[str, torch.Size]  # by the name of a link

_Call: TypeAlias = tuple[str, nn.Module, list[Tensor]]  # of a layer: its path and its signals

_STATISTICS = threading.RLock()
# errors that a module raises for a signal that does not fit
_MISFITS = (RuntimeError, ValueError, IndexError, TypeError, AssertionError)


def infer_input_specs(clocks: Mapping[str, Clock], inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The shape, dtype and device of each input `(T, B, *N)` of a stream, as an empty tensor `(B, 0, *N)`."""
    _refuse_unknown(clocks, inputs)
    specs: dict[str, Tensor] = {}
    like: Tensor | None = None

    for name in clocks:
        if name not in inputs:
            raise ConfigError(
                f"the first call needs every input, to know its shape, but {name!r} is missing; give an empty "
                "(0, B, *N) where it has no sample yet"
            )

        x = inputs[name]
        if not isinstance(x, Tensor) or x.is_nested or x.ndim < 2:
            raise ShapeError(f"input {name!r} needs a signal (T, B, *N), but got {_shape_or_words(x)}")
        if x.is_complex():
            raise ShapeError(f"input {name!r} needs floats, integers or flags, but got {x.dtype}; use x.abs()")

        if like is None and x.is_floating_point():
            like = x

        specs[name] = _empty_spec(x)

    like = next(iter(specs.values())) if like is None else like.transpose(0, 1)
    for name, spec in specs.items():
        dtype = like.dtype if spec.is_floating_point() else spec.dtype
        _refuse_other(name, spec, like.shape[0], dtype, like.device)

    return specs


def _empty_spec(x: Tensor) -> Tensor:
    """The batch, shape, dtype and device of an input `(T, B, *N)`, as an empty tensor `(B, 0, *N)`."""
    return x.new_empty((x.shape[1], 0, *x.shape[2:]))


def check_inputs(clocks: Mapping[str, Clock], inputs: Mapping[str, Tensor], specs: Mapping[str, Tensor]) -> None:
    """Raises if an input is unknown, malformed or of another stream than before, as `infer_input_specs` found it."""
    _refuse_unknown(clocks, inputs)
    for name, x in inputs.items():
        spec = specs[name]
        if not isinstance(x, Tensor) or x.is_nested or x.ndim != spec.ndim or x.shape[2:] != spec.shape[2:]:
            shape = ", ".join(["T", str(len(spec)), *map(str, spec.shape[2:])])
            raise ShapeError(
                f"input {name!r} needs a signal ({shape}), as at the start of the stream, but got {_shape_or_words(x)}"
            )

        _refuse_other(name, x.transpose(0, 1), spec.shape[0], spec.dtype, spec.device, continues=True)


def _shape_or_words(x: object) -> str:
    if isinstance(x, Tensor) and not x.is_nested:
        return str(tuple(x.shape))
    return in_words(x) + ("; torch.from_numpy makes a tensor of it" if type(x).__name__ == "ndarray" else "")


def _refuse_unknown(clocks: Mapping[str, Clock], inputs: Mapping[str, Tensor]) -> None:
    for name in inputs:
        if name not in clocks:
            raise ConfigError(f"there is no input {name!r}; {did_you_mean(name, clocks)}")


def _refuse_other(
    name: str, x: Tensor, batch: int, dtype: torch.dtype, device: torch.device, continues: bool = False
) -> None:
    """Raises if a signal, with its batch first, has another batch, dtype or device than the stream, new or running."""
    if x.shape[0] != batch:
        remedy = "where the batch comes first, give x.transpose(0, 1)"
        if continues and x.shape[1] != batch:
            remedy = "take some samples of the state with spikebridge.neurons.select, or give none for a new stream"
        elif x.ndim == 2:
            remedy = "a signal (T, N) of one sample lacks the batch: give x.unsqueeze(1)"

        raise ShapeError(
            f"input {name!r} has a batch of {len(x)}, but the stream has {batch}; signals are time first, (T, B, *N): "
            f"{remedy}"
        )

    if x.dtype == dtype and x.device == device:
        return

    # autocast casts where it has to
    if x.device != device or not (is_autocast(device) and {x.dtype, dtype} <= SINGLE_OR_HALF):
        raise ShapeError(
            f"input {name!r} is {x.dtype} on {x.device}, but the stream is {dtype} on {device}; move it with .to()"
        )


def like_of(network: NetworkGraph, signals: Iterable[Tensor]) -> Tensor:
    """A tensor with the dtype and device of a stream: the first one of the widest floats, else one like the weights."""
    signals = list(signals)
    # under autocast a stream may mix float32 and halves
    if floats := [x for x in signals if x.is_floating_point()]:
        return max(floats, key=Tensor.element_size)

    weights = (p for module in network.modules() for p in module.parameters(recurse=False) if p.is_floating_point())
    dtype = next((p.dtype for p in weights), torch.get_default_dtype())

    return signals[0].new_empty(signals[0].shape[:2], dtype=dtype)


def _through_unit(
    network: NetworkGraph, route: Route, signals: Mapping[str, Tensor], state: UnitState | None = None
) -> tuple[Tensor, UnitState]:
    """Sends an empty signal through the unit of a link, from a state or as a new stream."""
    x = signals[route.link.source]
    unit = network.unit_of(route)
    if unit is None:
        return x, UnitState()

    context = None if route.beside is None else signals[route.beside]
    if route.masks and context is not None:
        x = members(x, context, route)
    starts = None if route.trigger is None else ()
    if route.skips is not None:
        y, _, after = run_awake(unit, x, x.new_ones(x.shape[:2]) > 0, state or UnitState(), starts, context)
        return y, after

    return unit(x, state, starts=starts, context=context)


def _through_part(network: NetworkGraph, part: str, signals: Mapping[str, Tensor], shapes: Shapes) -> tuple[Any, State]:
    """Sends empty signals through the links of a part and the part; `shapes` are those of links not run yet."""
    like = like_of(network, signals.values())

    def read(route: Route) -> Tensor:
        if route.name in shapes:
            return like.new_empty((0, like.shape[1], *shapes[route.name]))
        return _through_unit(network, route, signals)[0]

    routes = [route for route in network.plan.incoming[part] if not route.path and not route.num_flags]
    inputs, named, _ = sort_values(routes, map(read, routes))
    return apply_part(network.parts[part], inputs, named, checked=True)


def _feedback_shapes(network: NetworkGraph, group: Group, signals: Mapping[str, Tensor]) -> Shapes:
    """The shapes `*N` on the delayed links of a loop; a tensor given as initial value has the shape already."""
    shapes = {}
    unknown = []

    for route in group.delayed:
        if isinstance(route.link, Transmission):
            if isinstance(route.link.initial, Tensor) and route.link.initial.ndim:
                shapes[route.name] = route.link.initial.shape
            else:
                unknown.append(route)

    return _FeedbackSearch(network, unknown).run(group.parts, signals, shapes) if unknown else shapes


class _FeedbackSearch:
    """Tries candidate shapes part by part, in the order in which the parts run."""

    def __init__(self, network: NetworkGraph, unknown: list[Route]) -> None:
        self.network = network
        self.unknown = unknown
        self.returned: list[torch.Size] = []
        self.misfit: Exception | None = None

    def run(self, parts: list[str], signals: Mapping[str, Tensor], shapes: Shapes) -> Shapes:
        """The first shapes that the loop gives back unchanged."""
        candidates = _candidates(self.network, signals)
        tried: list[torch.Size] = []
        while len(tried) < len(candidates):
            consistent = self._try(parts, signals, shapes, candidates)
            if consistent is not None:
                return consistent

            tried = candidates
            candidates = list(dict.fromkeys([*candidates, *self.returned]))

        raise ConfigError(
            f"the shape that comes back through {', '.join(describe(route.link) for route in self.unknown)} could not "
            f"be found (last tried: {self.misfit}); give it with Transmission(..., initial=torch.zeros(shape))"
        ) from self.misfit

    def _try(
        self, parts: list[str], signals: Mapping[str, Tensor], shapes: Shapes, candidates: list[torch.Size]
    ) -> Shapes | None:
        if not parts:
            return shapes

        part, *rest = parts
        open_links = [
            route
            for route in self.network.plan.incoming[part]
            if route in self.unknown and any(source not in signals for source in route.sources)
        ]
        for guess in product(candidates, repeat=len(open_links)):
            trial = shapes | {route.name: shape for route, shape in zip(open_links, guess, strict=True)}
            try:
                y, state = _through_part(self.network, part, signals, trial)
            except _MISFITS as misfit:
                self.misfit = misfit
                continue

            after = {**signals, **_named(self.network, part, y, state)}
            try:
                is_consistent = all(self._is_consistent(route, signals, after, trial) for route in self.unknown)
            except _MISFITS as misfit:
                self.misfit = misfit
                continue

            consistent = self._try(rest, after, trial, candidates) if is_consistent else None
            if consistent is not None:
                return consistent

        return None

    def _is_consistent(
        self, route: Route, before: Mapping[str, Tensor], after: Mapping[str, Tensor], trial: Shapes
    ) -> bool:
        """True if a candidate shape is that of its link, which is checked once, when the link's source has just run."""
        runs_now = all(s in after for s in route.sources) and any(s not in before for s in route.sources)
        if route.name not in trial or not runs_now:
            return True

        shape = _through_unit(self.network, route, after)[0].shape[2:]
        if shape != trial[route.name]:
            self.returned.append(shape)
            self.misfit = self.misfit or ConfigError(f"{tuple(trial[route.name])} came back as {tuple(shape)}")

        return shape == trial[route.name]


def _candidates(network: NetworkGraph, signals: Mapping[str, Tensor]) -> list[torch.Size]:
    """Shapes that a loop may have: of signals, of inputs and outputs of layers, of inputs joined with a signal."""
    shapes = [x.shape[2:] for x in signals.values()]
    candidates = list(shapes)

    for module in network.modules():
        if isinstance(module, nn.Linear):
            widths = [shape[0] for shape in shapes if len(shape) == 1]
            sizes = [module.out_features, module.in_features, *(module.in_features - width for width in widths)]
            candidates += [torch.Size([size]) for size in sizes if size > 0]
        elif isinstance(module, nn.modules.conv._ConvNd):
            for shape in (shape for shape in shapes if len(shape) == len(module.kernel_size) + 1):
                sizes = [module.out_channels, module.in_channels, module.in_channels - shape[0]]
                candidates += [torch.Size([size, *shape[1:]]) for size in sizes if size > 0]

    # a shape of ones broadcasts, and comes back as the shape that it was added to
    candidates += [torch.Size([1] * rank) for rank in range(1, 5)]
    return list(dict.fromkeys(candidates))


class NetworkSpecs(NamedTuple):
    """The values of links, and of the signals that parts give, by name."""

    links: dict[str, SignalSpec]
    parts: dict[str, SignalSpec]


def infer_shapes(network: NetworkGraph, inputs: Mapping[str, Tensor]) -> NetworkSpecs:
    """The shapes and dtypes of every link and part, for empty inputs `(0, B, *N)`."""
    signals = dict(inputs)
    specs: dict[str, SignalSpec] = {}
    states: dict[str, State] = {}
    device = next(iter(signals.values())).device

    # random numbers that parts draw here leave those drawn later as they are
    with _without_statistics(network), torch.random.fork_rng([device] if device.type == "cuda" else []):
        for group in network.plan.groups:
            shapes = _feedback_shapes(network, group, signals)
            for part in group.parts:
                y, states[part] = _through_part_or_explain(network, part, signals, shapes)
                signals |= _named(network, part, y, states[part])
            for route in (route for part in group.parts for route in network.plan.incoming[part]):
                specs[route.name] = _spec(network, route, signals, shapes)
                if route.sets:
                    check_value(network.parts[route.link.part], states[route.link.part], route, specs[route.name])

    return NetworkSpecs(
        specs,
        {
            signal: SignalSpec(signals[signal].shape[2:], signals[signal].dtype)
            for part in network.plan.incoming
            for signal in network.plan.signals[part]
        },
    )


def fill_states(
    network: NetworkGraph, inputs: Mapping[str, Tensor], links: Mapping[str, LinkState], specs: Mapping[str, SignalSpec]
) -> tuple[dict[str, State], dict[str, LinkState]]:
    """Complete initial states of parts and links, without a None for what the first sample would make."""
    signals = dict(inputs)
    parts: dict[str, State] = {}
    full = dict(links)

    with _without_statistics(network):
        for group in network.plan.groups:
            shapes = {route.name: specs[route.name].shape for route in group.delayed}
            for part in group.parts:
                y, parts[part] = _through_part(network, part, signals, shapes)
                signals |= _named(network, part, y, parts[part])

            for route in (route for part in group.parts for route in network.plan.incoming[part]):
                _, unit = _through_unit(network, route, signals, links[route.name].unit)
                full[route.name] = links[route.name]._replace(unit=unit)

    return {part: parts[part] for part in network.plan.incoming}, full


def _named(network: NetworkGraph, part: str, y: Any, state: State) -> dict[str, Tensor]:
    """The output of a part, and the states of it that links read, by the names of its signals."""
    signals = network.plan.signals[part]
    ports = network.plan.ports.get(part)
    if part not in network.plan.wakes and ports is None:
        return name_outputs(part, y, signals)

    outputs = name_outputs(part, y, network.plan.given(part))
    first = next(iter(outputs.values()))
    for signal, path in () if ports is None else ports.reads.items():
        value = state_at(network.parts[part], state, path)
        outputs[signal] = value.new_empty((0, *value.shape))
    if part not in network.plan.wakes:
        return outputs

    return {**outputs, signals[-1]: like_of(network, [first]).new_empty((0, first.shape[1], 1))}


def _through_part_or_explain(network: NetworkGraph, part: str, signals: Mapping[str, Tensor], shapes: Shapes) -> Any:
    incoming = network.plan.incoming[part]
    for route in incoming:
        if route.name not in shapes and all(name in signals for name in route.sources):
            _through_unit_or_explain(network, route, signals)

    initial = {route.name: tuple(shapes[route.name]) for route in incoming if route.name in shapes}
    also = f", with initial values of shapes {initial}" if initial else ""
    run = partial(_through_part, network, part, signals, shapes)

    return _run_or_explain(run, network.parts[part], f"part {part!r}", also)


def _through_unit_or_explain(network: NetworkGraph, route: Route, signals: Mapping[str, Tensor]) -> Tensor:
    unit = network.unit_of(route)
    if unit is None:
        return signals[route.link.source]

    y: Tensor = _run_or_explain(
        partial(_through_unit, network, route, signals), unit, f"the unit of {describe(route.link)}"
    )[0]
    return y


def _run_or_explain(run: Callable[[], tuple[Any, State]], module: nn.Module, who: str, also: str = "") -> Any:
    """The output and state of a part or a unit on empty signals, or an error that names the layer that fails.

    `also` are further words on the signals.
    """
    try:
        return run()
    except _MISFITS as misfit:
        reason = str(misfit).partition("\n")[0]
        if also:
            raise ShapeError(
                f"{who} does not accept the signals of its links{also}: {reason}; give initial values of the right "
                "shape *N"
            ) from misfit

        if isinstance(misfit, SpikebridgeError):
            raise type(misfit)(f"{who}: {reason}") from misfit

        # once more, now with hooks
        with suppress(*_MISFITS), _running_layers(module) as layers:
            run()
        if not layers:
            raise ShapeError(f"{who} does not accept its signals: {reason}") from misfit
        raise _misfit_of(who, *layers[-1], reason) from misfit


@contextmanager
def _running_layers(module: nn.Module) -> Iterator[list[_Call]]:
    """The layers of a module that are running, the innermost one last; if one fails, they stay."""
    calls: list[_Call] = []
    handles: list[Any] = []

    def enter(path: str, layer: nn.Module, signals: tuple[Any, ...], named: dict[str, Any]) -> None:
        calls.append((path, layer, [x for x in (*signals, *named.values()) if isinstance(x, Tensor)]))

    def leave(*_: Any) -> None:
        calls.pop()

    for path, layer in module.named_modules():
        if not isinstance(layer, Stateful | nn.ModuleList | nn.ModuleDict):
            handles.append(layer.register_forward_pre_hook(partial(enter, path), with_kwargs=True))
            handles.append(layer.register_forward_hook(leave))

    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _misfit_of(who: str, path: str, layer: nn.Module, signals: list[Tensor], reason: str) -> ShapeError:
    """The error of a layer, at a path in a part or a unit, that does not accept its signals."""
    text = repr(layer)
    name = (type(layer).__name__ if "\n" in text or len(text) > 100 else text) + (f" at {path!r}" if path else "")
    kept = next((p.dtype for p in layer.parameters() if p.is_floating_point()), None)

    for x in signals:
        if kept is not None and x.dtype != kept and not isinstance(layer, nn.Embedding):
            move = f", or move the network with .to({x.dtype})" if x.is_floating_point() else ""
            return ShapeError(
                f"{who} keeps {kept} in its {name}, but its signal is {x.dtype}; give x.to({kept}) (.float(), "
                f".double()){move}"
            )

    shapes = " and ".join(str(tuple(x.shape[1:])) for x in signals) or "no signal"
    remedy = "change the layer, or the part or unit before it"
    if signals and all(x.ndim < 2 for x in signals):
        remedy = "a signal (T, N) of one sample lacks the batch: give x.unsqueeze(1)"

    return ShapeError(
        f"{who} does not accept its signals: its {name} got {shapes} (the shape *N of a signal (T, B, *N)), and "
        f"{reason}; {remedy}"
    )


def _spec(network: NetworkGraph, route: Route, signals: Mapping[str, Tensor], shapes: Shapes) -> SignalSpec:
    y = _through_unit_or_explain(network, route, signals)
    if shapes.get(route.name, y.shape[2:]) != y.shape[2:]:
        raise unfit_initial(route, shapes[route.name], y.shape[2:])

    context = None if route.beside is None else signals[route.beside]
    trigger = route.sources[-1] if route.trigger is not None else None
    # a mask has state; with a clock the starts of windows follow from the ticks
    is_flag = any(trigger == wake_of(wake).awake for wake in network.plan.wakes.values())
    masked = is_flag or (trigger is not None and signals[trigger].dtype == torch.bool)
    if trigger is not None and not masked and owner_of(trigger, network.parts) in network.parts:
        raise ConfigError(
            f"the trigger {trigger!r} of {describe(route.link)} is a part that gives floats, so a window would start "
            "at each of its ticks; let it give flags, (T, B), for example x > 0, or name an input"
        )

    shape, dtype = (None, None) if context is None else (context.shape[2:], context.dtype)

    return SignalSpec(y.shape[2:], y.dtype, shape, dtype, masked)


@contextmanager
def _without_statistics(network: NetworkGraph) -> Iterator[None]:
    """Inside, batch normalisation is in evaluation mode: empty signals have no statistics."""
    trained = [child for children in (network.parts, network.units) for child in children.values() if child.training]
    norms = [m for child in trained for m in child.modules() if isinstance(m, nn.modules.batchnorm._NormBase)]
    if not norms:
        yield
        return

    # one thread at a time: another would find modes that this one has set
    with _STATISTICS:
        norms = [norm for norm in norms if norm.training]
        for norm in norms:
            norm.training = False
        try:
            yield
        finally:
            for norm in norms:
                norm.training = True
