"""The hybrid network: parts joined by links, each with its own clock.

`HybridNetwork.forward` takes four steps: a state (a new one at the start of a stream), the ticks that the inputs cover,
the run over these ticks (`execution.py`), and the new state.
"""

import warnings
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, cast
from weakref import ReferenceType, ref

import torch
from torch import Tensor, nn

from spikebridge._notebook import notebook_html
from spikebridge.errors import (
    ConfigError,
    DataError,
    StateError,
    check_named,
    defer_check,
    deferred,
    did_you_mean,
    in_words,
    is_positive,
)
from spikebridge.hybrid.clock import Clock, Every, clocks_in_ticks, count_ticks
from spikebridge.hybrid.network._demand import _OnDemand
from spikebridge.hybrid.network._plastic import _PlasticParts
from spikebridge.hybrid.network.checks import (
    check_kinds,
    check_names,
    check_part,
    needs_finite_check,
    refuse_inference,
    refuse_part_not_finite,
    steps_of_layers,
)
from spikebridge.hybrid.network.delivery import initial_link_state, refuse_other_link, split_inputs
from spikebridge.hybrid.network.execution import Segment
from spikebridge.hybrid.network.graph import NetworkPlan, make_plan
from spikebridge.hybrid.network.link import Link, LinkState, Route, describe, settings_of
from spikebridge.hybrid.network.program import ReadyPart, RowSegment, run_tick
from spikebridge.hybrid.network.shape_inference import (
    NetworkSpecs,
    check_inputs,
    fill_states,
    infer_input_specs,
    infer_shapes,
    like_of,
)
from spikebridge.hybrid.network.wake import initial_wake_states, refuse_other_wake_state
from spikebridge.hybrid.unit.discretizer import Discretizer
from spikebridge.hybrid.unit.unit import HybridUnit
from spikebridge.hybrid.unit.window import is_alike
from spikebridge.neurons.base import Stateful
from spikebridge.neurons.state import Form, State, TupleForm, allow_state, detach, refuse_other_form, with_path
from spikebridge.ops.checks import check_mode, count_not_finite, reads_values, without_value_checks
from spikebridge.ops.precision import autocast_dtype
from spikebridge.ops.selection import has_own_hooks, supports_rows

if TYPE_CHECKING:
    from spikebridge.hybrid.network.compiled import CompiledNetwork

_Key: TypeAlias = tuple[object, ...]
_Outputs: TypeAlias = dict[str, Tensor]


class NetworkState(NamedTuple):
    """The state of a stream.

    Args:
        ticks: the next tick.
        like: an empty tensor, batch first, with the batch size and device of the stream, and the dtype of its widest
            input.
        parts: states of the parts.
        links: states of the links.
        inputs: an empty `(B, 0, *N)` for each input, with its shape and dtype.
    """

    ticks: int
    like: Tensor
    parts: dict[str, State]
    links: dict[str, LinkState]
    inputs: dict[str, Tensor]


class _Stream(NamedTuple):
    """The last stream of a network whose links were checked."""

    like: ReferenceType[Tensor]  # `NetworkState.like`, which stays the same tensor as long as a stream runs
    specs: NetworkSpecs
    has_autocast: bool
    ready: dict[str, ReadyPart]  # the parts that ran in steps before
    empty: dict[str, Tensor]  # the outputs of parts without a tick


allow_state(NetworkState)  # with those of links and units
_FORM = TupleForm(NetworkState, {**dict.fromkeys(NetworkState._fields), "ticks": int})


class HybridNetwork(nn.Module, _OnDemand, _PlasticParts):
    """A graph of parts and links over one base step.

    Names, arguments and clocks are checked when the network is built. The values of inputs and the parts' use of them
    are checked at the first call of a stream; `checks("always")` of `spikebridge.ops.checks` checks every call.

    Args:
        dt: base step [s]; layers without a `dt` get the period of their clock.
        inputs: the clock of each input, `every(1 / 40)`.
        parts: plain modules or `Stateful` ones. One that gives several tensors by name, in a dict or a NamedTuple, is
            read as "part.key" by links and outputs.
        links: `Transmission`s and `Modulation`s, in the order of a part's arguments.
        outputs: parts, or "part.key", whose outputs the network returns.
        clocks: the clocks of parts without a sampled input.

    Raises:
        ConfigError: clocks, delays or steps that do not fit, loops without delay, unknown names and quantities.

    Example:
        >>> from spikebridge.hybrid import HybridUnit, Mean, Transmission, Tumbling, every
        >>> from spikebridge.neurons import IF
        >>> network = HybridNetwork(
        ...     dt=0.001,
        ...     inputs={"events": every(0.001)},
        ...     parts={"snn": IF(), "ann": nn.Identity()},
        ...     links=[Transmission("events", "snn"), Transmission("snn", "ann", HybridUnit(Tumbling(2), Mean()))],
        ...     outputs=["ann"],
        ... )
        >>> outputs, state = network({"events": torch.tensor([1.0, 0.0, 1.0, 1.0]).reshape(4, 1, 1)})
        >>> outputs["ann"].flatten().tolist(), state.ticks
        ([0.5, 1.0], 4)
    """

    # read in every tick, so without the search of nn.Module
    parts: nn.ModuleDict = cast(Any, property(lambda network: network._modules["parts"]))
    units: nn.ModuleDict = cast(Any, property(lambda network: network._modules["units"]))

    def __init__(
        self,
        *,
        dt: float,
        inputs: Mapping[str, Every],
        parts: Mapping[str, nn.Module],
        links: Sequence[Link],
        outputs: Sequence[str],
        clocks: Mapping[str, Every] | None = None,
    ) -> None:
        super().__init__()
        if not is_positive(dt):
            raise ConfigError(f"a hybrid network needs a base step dt > 0 s, but got {in_words(dt)}")

        check_kinds(inputs=inputs, parts=parts, links=links, outputs=outputs, clocks=clocks)
        self.outputs = tuple(outputs)
        check_names(parts, self.outputs)
        self.dt = dt
        self.inputs = clocks_in_ticks(inputs, dt)
        self.parts = nn.ModuleDict(dict(parts))
        self.plan: NetworkPlan = make_plan(
            self.inputs, dict(parts), clocks_in_ticks(clocks or {}, dt), list(links), self.outputs, dt
        )
        self.incoming = self.plan.incoming
        self._has_loops = any(group.delayed for group in self.plan.groups)
        self.units = nn.ModuleDict({r.name: r.link.unit for r in self.routes if r.link.unit is not None})

        # shapes, dtypes and devices: tensors of a transform or of a trace are of no use outside of it
        self._signal_specs: dict[_Key, NetworkSpecs] = {}
        self._stream: _Stream | None = None
        self.accepted: dict[str, dict[Hashable, Form]] = {name: {} for name in parts}

        for name, part in parts.items():
            check_part(name, part, self.incoming[name])

        # last, so that a network that cannot be built binds nothing
        for layer, step in steps_of_layers(parts, self.plan, dt).items():
            layer.dt = step

        for path, stage in self.named_modules():
            if isinstance(stage, Discretizer):
                stage.bind_path(path)

        self._needs_finite_check = needs_finite_check(self.inputs, self.plan, parts)

    def __getstate__(self) -> dict[str, Any]:
        # a copy begins without a stream, and a weak reference cannot be pickled
        return {**self.__dict__, "_stream": None}

    def _repr_html_(self) -> str | None:
        """The diagram, for a notebook."""
        return notebook_html("network_html", self)

    @property
    def routes(self) -> list[Route]:
        """All links with their clocks, in the order given."""
        return list(self.plan.routes.values())

    def clock_of(self, name: str) -> Clock:
        """The clock of an input or a part."""
        if name not in self.plan.clocks:
            raise ConfigError(f"there is no signal {name!r}; {did_you_mean(name, self.plan.clocks)}")
        return self.plan.clocks[name]

    def unit_of(self, route: Route) -> HybridUnit | None:
        """The unit of a link, also one that replaced another."""
        return self.units._modules.get(route.name)  # type: ignore[return-value]

    def forward(
        self,
        inputs: Mapping[str, Tensor],
        state: NetworkState | None = None,
        ticks: int | None = None,
        *,
        exact: bool = False,
    ) -> tuple[dict[str, Tensor], NetworkState]:
        """Runs a part of a stream, of any number of ticks.

        Args:
            inputs: the samples of these ticks, `(K, B, *N)` each; an input without a sample may be left out.
            state: after the call before; None starts a stream.
            ticks: number of base ticks; None takes the largest for which every input has exactly its samples.
            exact: run tick by tick inside, so that a whole sequence, steps and any cut agree to the bit.

        Returns:
            The outputs of these ticks, `(K, B, *M)` each, with K = 0 for a part without a tick, and the state.

        Raises:
            ShapeError: an input of another stream, or with another number of samples than the ticks have.
            StateError: the state of a part, unit or link is not its own, or is of another stream; the message names it.
            DataError: an input holds values that are not finite, or a part gave some; the message names it.
            ConfigError: an unknown input, or a state of another network.
        """
        start, checked = self._checked_start(inputs, state, exact)
        counts = {name: inputs[name].shape[0] if name in inputs else 0 for name in self.inputs}
        stop = start.ticks + count_ticks(self.inputs, counts, start.ticks, ticks, self.dt)

        try:
            outputs, end = self._run_exactly(inputs, start, stop) if exact else self._run(inputs, start, stop, checked)
        except (StateError, DataError, RuntimeError) as error:
            self._explain(error, inputs, start, stop)
            raise

        if deferred.get() is not None:
            self._defer_check(inputs, start, outputs, stop)
        if state is None and ticks is None and self.training and torch.is_grad_enabled():
            self._warn_of_short_stream(stop)

        return outputs, end

    def step(
        self, inputs: Mapping[str, Tensor], state: NetworkState | None = None
    ) -> tuple[dict[str, Tensor], NetworkState]:
        """Runs one tick.

        Args:
            inputs: those with a sample at this tick, `(B, *N)` each; one that only parts with a wake read may be left
                out while they are asleep (see `wanted`).
            state: after the tick before; None starts a stream, which takes every input, those without a sample as an
                empty `(0, B, *N)`.

        Returns:
            The outputs of this tick, `(B, *M)` each, an empty `(0, B, *M)` for a part without a tick, and the state.
        """
        if state is not None and (stream := self._stream_on_rows(inputs, state)) is not None:
            try:
                rows, state = self._run_tick(inputs, state, stream)
            except (StateError, DataError, RuntimeError) as error:
                self._explain(error, _with_time(inputs), state, state.ticks + 1)
                raise

            # a copy, so that the caller may write into it
            return self._outputs_of(rows, state, stream, Tensor.clone), state

        if isinstance(inputs, Mapping):
            # at the first tick an input without a sample shows its shape as it is
            later = {name for name, clock in self.inputs.items() if clock.phase > 0} if state is None else set()
            inputs = {**inputs, **_with_time({name: x for name, x in inputs.items() if name not in later})}

        outputs, state = self(inputs, state, ticks=1)
        return {name: y[0] if y.shape[0] else y for name, y in outputs.items()}, state

    def compiled(self, block: int = 1) -> "CompiledNetwork":
        """The network as generated code: faster where its ticks are many and small, as in a loop; equal to rounding.

        Args:
            block: ticks of one graph. With 1, a whole sequence, steps and any cut agree to the bit; more are faster.

        Returns:
            A callable like the network, with the same parameters and states. The first call compiles, for seconds.

        Raises:
            ConfigError: a block that is no integer above 0.

        Example:
            >>> from spikebridge.hybrid import Transmission, every
            >>> links = [Transmission("x", "part")]
            >>> network = HybridNetwork(
            ...     dt=0.001, inputs={"x": every(0.001)}, parts={"part": nn.Tanh()}, links=links, outputs=["part"]
            ... )
            >>> fast = network.compiled(block=8)
            >>> fast.block
            8
        """
        from spikebridge.hybrid.network.compiled import CompiledNetwork

        return CompiledNetwork(self, block)

    def initial_state(self, inputs: Mapping[str, Tensor]) -> NetworkState:
        """The state before the first tick. Shapes are found by sending empty signals through the graph once.

        Args:
            inputs: every input, `(T, B, *N)` with any T, also 0.

        Returns:
            The state.

        Raises:
            ConfigError: an input is missing, or the shape on a link of a loop cannot be found.
            ShapeError: inputs of different batch, dtype or device.
        """
        check_named(inputs)
        specs = infer_input_specs(self.inputs, inputs)
        self.forget_shapes()
        signal_specs = self._signal_specs_of(specs)
        state = self._start(specs, signal_specs)
        parts, links = fill_states(self, _time_first(specs), state.links, signal_specs.links)
        parts |= {name: state.parts[name]._replace(part=parts[name]) for name in self.plan.wakes}

        return state._replace(parts=parts, links=links)

    def forget_shapes(self) -> None:
        """Infers shapes again at the next stream; to be called after a part or unit has been replaced."""
        self._signal_specs.clear()
        self._stream = None

    def check_stream(self, state: NetworkState, inputs: Mapping[str, Tensor]) -> _Stream | None:
        """The stream of a state, None in a compiler; raises for another network or stream. It reads no values."""
        if type(state) is not NetworkState or type(state.ticks) is not int:
            refuse_other_form(self, state, _FORM)

        names = (self.incoming.keys(), self.plan.routes.keys(), self.inputs.keys())
        others = (state.parts.keys(), state.links.keys(), state.inputs.keys())
        if names != others:
            mine, theirs = next(pair for pair in zip(names, others, strict=True) if pair[0] != pair[1])
            raise ConfigError(f"the state is of another network: it has {list(theirs)}, not {list(mine)}")

        for name, x in inputs.items():
            spec = state.inputs.get(name)
            if spec is None or not isinstance(x, Tensor) or not is_alike(x, x.shape[1:], spec):
                check_inputs(self.inputs, inputs, state.inputs)

        stream = self._current_stream(state)
        if stream is None and not torch.compiler.is_compiling():
            specs = self._signal_specs_of(state.inputs)
            self._refuse_other_states(state, specs)
            self._stream = stream = _Stream(ref(state.like), specs, torch._C._is_any_autocast_enabled(), {}, {})

        return stream

    def check_finite(self, inputs: Mapping[str, Tensor], names: Iterable[str], waits: bool = False) -> None:
        """Raises if one of some inputs holds NaN or infinity; values on a device are read only if it `waits`."""
        for name in names:
            x = inputs.get(name)
            if not isinstance(x, Tensor) or not x.is_floating_point() or x.numel() == 0:
                continue

            if (waits or reads_values(x, is_first=True)) and (number := count_not_finite(x)):
                raise DataError(
                    f"input {name!r} has {number} values that are not finite (NaN or infinite); correct the data first"
                )

    def empty(self, name: str, state: NetworkState, stream: _Stream | None = None) -> Tensor:
        """The output of a part that has no tick, `(0, B, *M)`."""
        stream = stream or self._current_stream(state)
        if stream is None:
            return self._signal_specs_of(state.inputs).parts[name].empty(state.like)

        if name not in stream.empty:
            stream.empty[name] = stream.specs.parts[name].empty(state.like)
        return stream.empty[name]

    def _current_stream(self, state: NetworkState) -> _Stream | None:
        """The stream of a state, if it was the last whose links were checked."""
        # is_compiling first: a compiler would trace the weak reference
        stream = None if torch.compiler.is_compiling() else self._stream
        if stream is None or stream.like() is not state.like:
            return None
        return stream if stream.has_autocast == torch._C._is_any_autocast_enabled() else None

    def _checked_start(
        self, inputs: Mapping[str, Tensor], state: NetworkState | None, exact: bool
    ) -> tuple[NetworkState, bool]:
        """The state before the call, and True if parts are checked: at the first call of a stream, or always."""
        # asked here first, so that a right call enters no other file
        if not isinstance(inputs, Mapping):
            check_named(inputs)
        if state is not None:
            self.check_stream(state, inputs)

        checked = state is None or state.ticks == 0 or check_mode.get() == "always"
        if checked:
            # the parts check the inputs that lead straight to them, where they run once and from no state
            self.check_finite(inputs, self._needs_finite_check if state is None and not exact else inputs)

        if state is None:
            specs = infer_input_specs(self.inputs, inputs)
            state = self._start(specs, self._signal_specs_of(specs))

        return state, checked

    def _start(self, specs: dict[str, Tensor], signal_specs: NetworkSpecs) -> NetworkState:
        """A state before the first tick, with None for the states that parts and units make of their first sample."""
        like = like_of(self, specs.values())
        links = {
            name: initial_link_state(route, self.unit_of(route), signal_specs.links[name], like)
            for name, route in self.plan.routes.items()
        }
        parts: dict[str, State] = dict.fromkeys(self.incoming)
        if self.plan.wakes:
            parts |= initial_wake_states(self.plan, signal_specs.parts, like)

        return NetworkState(0, like, parts, links, specs)

    def _run(
        self, inputs: Mapping[str, Tensor], state: NetworkState, stop: int, checked: bool = False
    ) -> tuple[_Outputs, NetworkState]:
        """Runs to before a tick, on rows or each part over all its ticks at once."""
        if stop == state.ticks:
            return {name: self.empty(name, state) for name in self.outputs}, state

        is_tick = stop - state.ticks == 1
        on_rows = (is_tick or self._has_loops) and supports_rows(state.like)
        if is_tick and on_rows:
            stream = self._current_stream(state)
            rows, end = self._run_tick({name: x[0] for name, x in inputs.items() if x.shape[0]}, state, stream, checked)
            # stacked: a copy, so that the caller may write into it
            return self._outputs_of(rows, end, stream, lambda row: torch.stack([row])), end

        # loops need rows; outside of them each part runs once over all ticks
        kind = RowSegment if on_rows else Segment
        segment = kind(self, inputs, state.parts, state.links, state.ticks, stop, checked)
        segment.run()
        end = state._replace(ticks=stop, parts=segment.parts, links=segment.link_states())
        if reads_values(state.like, is_first=False):
            refuse_part_not_finite(self.plan, segment.signals, state.ticks, stop)

        return self._outputs_of(segment.signals, end, None, lambda y: y), end

    def _outputs_of(
        self,
        signals: Mapping[str, Tensor | None],
        state: NetworkState,
        stream: _Stream | None,
        taken: Callable[[Tensor], Tensor],
    ) -> _Outputs:
        """The outputs among the signals of a call, each as a function takes it, empty for a part without a tick."""
        return {
            name: self.empty(name, state, stream) if (y := signals[name]) is None else taken(y) for name in self.outputs
        }

    def _run_tick(
        self, rows: Mapping[str, Tensor], state: NetworkState, stream: _Stream | None, checked: bool = False
    ) -> tuple[Mapping[str, Tensor | None], NetworkState]:
        """Runs one tick on rows `(B, *N)`, which gives the rows of all signals."""
        ready = {} if stream is None else stream.ready
        signals, parts, links = run_tick(self, rows, (state.parts, state.links), state.ticks, checked, ready)
        return signals, NetworkState(state.ticks + 1, state.like, parts, links, state.inputs)

    def _stream_on_rows(self, inputs: Mapping[str, Tensor], state: NetworkState) -> _Stream | None:
        """The stream of a state if `step` can run its next tick on rows: exactly those due, like those before."""
        if not isinstance(inputs, Mapping) or deferred.get() is not None or has_own_hooks(self):
            return None

        stream = self.check_stream(state, {})
        # the first tick is checked by `forward`, which a subclass may have replaced
        if state.ticks == 0 or type(self).forward is not HybridNetwork.forward or not supports_rows(state.like):
            return None

        for name, clock in self.inputs.items():
            x = inputs.get(name)
            if x is None and name in self.plan.on_demand:
                continue
            if clock.has(state.ticks) != isinstance(x, Tensor):
                return None
            if x is not None and not is_alike(x, x.shape, state.inputs[name]):
                return None

        return stream if inputs.keys() <= self.inputs.keys() else None

    def _run_exactly(
        self, inputs: Mapping[str, Tensor], state: NetworkState, stop: int
    ) -> tuple[_Outputs, NetworkState]:
        """Runs tick by tick."""
        collected: dict[str, list[Tensor]] = {name: [] for name in self.outputs}
        for piece in split_inputs(self.inputs, inputs, range(state.ticks, stop + 1)):
            outputs, state = self._run(piece, state, state.ticks + 1)
            for name, y in outputs.items():
                collected[name] += [y] if y.shape[0] else []

        return {n: torch.cat(ys) if ys else self.empty(n, state) for n, ys in collected.items()}, state

    def _explain(self, error: Exception, inputs: Mapping[str, Tensor], state: NetworkState, stop: int) -> None:
        """Raises for the part, the unit or the input that caused an error of a call, as far as one can be named."""
        if isinstance(error, StateError):
            raise with_path(error, self) from None
        refuse_inference(self, (dict(inputs), state), error)
        if isinstance(error, DataError):
            self.check_finite(inputs, inputs, waits=True)
            self._refuse_not_finite(inputs, state, stop, error)
        else:
            # empty signals through part after part: the one that does not fit is named
            infer_shapes(self, _time_first(state.inputs))

    def _warn_of_short_stream(self, stop: int) -> None:
        """Warns where the first call of a stream, before tick `stop`, is too short for a value of an output."""
        late = {name: self.plan.clocks[name].phase for name in self.outputs if self.plan.clocks[name].phase >= stop > 1}
        if late:
            name, first = max(late.items(), key=lambda item: item[1])
            warnings.warn(
                f"the {stop} ticks of this call are too short for a value of {name!r}, whose first window closes at "
                f"tick {first}; give {first + 1} ticks, or continue the stream with the state",
                stacklevel=4,
            )

    def _defer_check(
        self, inputs: Mapping[str, Tensor], state: NetworkState, outputs: Mapping[str, Tensor], stop: int
    ) -> None:
        """Leaves a check of this call for NaN to the end of `deferred_checks`."""
        if not torch._C._are_functorch_transforms_active() and not state.like.is_meta:
            call = detach((dict(inputs), state, outputs))
            defer_check(self, partial(self._refuse_nan, *call, stop))

    def _refuse_nan(
        self, inputs: Mapping[str, Tensor], state: NetworkState, outputs: Mapping[str, Tensor], stop: int
    ) -> None:
        """Raises if the outputs of a call hold NaN, with the part where it began."""
        if any(bool(y.isnan().any()) for y in outputs.values()):
            self._refuse_not_finite(inputs, state, stop)

    def _refuse_not_finite(
        self, inputs: Mapping[str, Tensor], state: NetworkState, stop: int, cause: Exception | None = None
    ) -> None:
        """Runs a call again without checks, and raises for the part that first gave NaN or infinity."""
        # random numbers drawn here leave those drawn later as they are
        with without_value_checks(), torch.no_grad(), torch.random.fork_rng(devices=[]):
            segment = Segment(self, inputs, state.parts, state.links, state.ticks, stop, checked=False)
            segment.run()

        refuse_part_not_finite(self.plan, segment.signals, state.ticks, stop, cause)

    def _refuse_other_states(self, state: NetworkState, specs: NetworkSpecs) -> None:
        """Raises if the state of a link is not its own, or a part without a state gets one."""
        for name, route in self.plan.routes.items():
            refuse_other_link(route, self.unit_of(route), state.links[name], specs.links[name], state.like, state.ticks)

        for name, part in self.parts.items():
            if name in self.plan.wakes:
                refuse_other_wake_state(name, state.parts[name], self)
            elif not isinstance(part, Stateful) and state.parts[name] is not None:
                raise StateError(
                    f"part {name!r}, a {type(part).__name__}, has no state, but the state holds a "
                    f"{type(state.parts[name]).__name__} for it; give the state that this network returned",
                    self,
                )

    def _signal_specs_of(self, specs: dict[str, Tensor]) -> NetworkSpecs:
        """The shapes inside the network, inferred once for each shape of its inputs."""
        # a symbol, as while a network is compiled, stands for any size
        is_constant = all(type(size) is int for x in specs.values() for size in x.shape)
        inferred = self._signal_specs.get(_shapes(specs)) if is_constant else None
        if inferred is None:
            inferred = infer_shapes(self, _time_first(specs))
            if is_constant:
                self._signal_specs[_shapes(specs)] = inferred

        return inferred

    def extra_repr(self) -> str:
        lines = [f"dt={self.dt:g}", *(f"input {name!r} {x.describe(self.dt)}" for name, x in self.inputs.items())]
        lines += [
            f"{describe(route.link)} {route.reads.describe(self.dt)}{settings_of(route)}" for route in self.routes
        ]

        return "\n".join(lines)


def _shapes(specs: Mapping[str, Tensor]) -> _Key:
    """The shape and dtype of each input, and autocast, which decide the shapes and dtypes inside a network."""
    halves = {autocast_dtype(x.device) for x in specs.values()} if torch._C._is_any_autocast_enabled() else ()
    return (*[(x.shape[2:], x.dtype) for x in specs.values()], *halves)


def _with_time(rows: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rows `(B, *N)` as signals of one step; anything else as it is."""
    return {name: x.unsqueeze(0) if isinstance(x, Tensor) else x for name, x in rows.items()}


def _time_first(specs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Empty signals as a state keeps them, `(B, 0, *N)`, as signals `(0, B, *N)`."""
    return {name: x.transpose(0, 1) for name, x in specs.items()}
