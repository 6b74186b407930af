"""Compiled ticks: one or some ticks of a network as one piece of generated code, for loops of small parts.

The ticks that `program.py` runs are traced once (`make_graph`), with parameters and states as inputs, and compiled by
PyTorch's inductor for forward and backward passes. Generated code rounds `exp`, `tanh` and fused products another way,
so that results are equal to those of the network to about one unit in the last place an operation, not to the bit.
"""

import warnings
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.func import functional_call

from spikebridge.errors import ConfigError, SpikebridgeError
from spikebridge.hybrid.clock import count_ticks
from spikebridge.hybrid.network.delivery import split_inputs
from spikebridge.hybrid.network.program import run_tick
from spikebridge.hybrid.unit.discretizer import DrawState
from spikebridge.neurons.state import State, tensors_of
from spikebridge.ops.checks import check_mode
from spikebridge.ops.selection import has_hooks, is_reference, supports_rows

_MAX_GRAPHS = 256
_Network: TypeAlias = Any  # a `HybridNetwork`, whose module imports this one


class CompiledNetwork:
    """A network that runs its ticks as generated code; it shares parameters and states with the network.

    Each pattern of ticks, shape and mode is compiled at its first call, which takes seconds and a C++ compiler. Ticks
    before every signal has begun run as they are. All that a module keeps besides parameters, buffers and numbers is
    taken as it was when its graph was compiled. Inside `reference()` and `checks("always")` the network itself runs.

    Args:
        network: the network to compile.
        block: ticks of one graph. With 1, a whole sequence, steps and any cut agree to the bit; more are faster.

    Raises:
        ConfigError: a block that is no integer above 0.
    """

    def __init__(self, network: _Network, block: int = 1) -> None:
        if isinstance(block, bool) or not isinstance(block, int) or block < 1:
            raise ConfigError(f"a compiled network needs block= as an integer of ticks above 0, but got {block!r}")

        for part in network.plan.called:
            what = "read or set states of" if part in network.plan.ports else "act once on"
            raise ConfigError(f"links {what} part {part!r}, which generated code does not; run the network itself")

        if network.plan.wakes:
            raise ConfigError(
                f"part {next(iter(network.plan.wakes))!r} has a wake, whose flags decide what runs, and generated code "
                "always runs the same; run the network itself"
            )

        self.network = network
        self.block = block
        self.periodic_from = max(1, *(group.schedule.periodic_from for group in network.plan.groups))
        self._graphs: dict[Hashable, _Graph] = {}

    def __call__(
        self, inputs: Mapping[str, Tensor], state: State = None, ticks: int | None = None
    ) -> tuple[dict[str, Tensor], State]:
        """Runs a part of a stream; arguments, results and errors are those of `HybridNetwork.forward`.

        Raises:
            ConfigError: the network draws random numbers, cannot be traced, or there is no compiler.
        """
        network = self.network
        if is_reference() or check_mode.get() == "always":
            return network(inputs, state, ticks)

        if state is None:
            state = network.initial_state(inputs)
        else:
            network.check_stream(state, inputs)

        if state.ticks == 0:
            network.check_finite(inputs, inputs)

        counts = {name: inputs[name].shape[0] if name in inputs else 0 for name in network.inputs}
        start = state.ticks
        stop = start + count_ticks(network.inputs, counts, start, ticks, network.dt)
        begin = min(max(start, self.periodic_from), stop)
        edges = [start, *range(begin, stop, self.block), stop]
        first, *blocks = split_inputs(network.inputs, inputs, edges)
        outputs, state = network(first, state, begin - start) if begin > start else ({}, state)
        collected = {name: [y] for name, y in outputs.items()}

        if blocks:
            modules = dict(network.named_modules())
            _refuse_uncompilable(modules, state)
            state = self._run_blocks(modules, blocks, edges[1:], state, collected)

        made = {name: torch.cat(ys) for name, ys in collected.items()}
        return {name: made[name] if name in made else network.empty(name, state) for name in network.outputs}, state

    def step(self, inputs: Mapping[str, Tensor], state: State = None) -> tuple[dict[str, Tensor], State]:
        """Runs one tick, as `HybridNetwork.step`."""
        # the first tick runs as it is
        if state is None:
            return self.network.step(inputs)

        outputs, state = self({name: x.unsqueeze(0) for name, x in inputs.items()}, state, ticks=1)
        return {name: y[0] if y.shape[0] else y for name, y in outputs.items()}, state

    def _run_blocks(
        self,
        modules: Mapping[str, nn.Module],
        blocks: Sequence[Mapping[str, Tensor]],
        edges: Sequence[int],
        state: State,
        collected: dict[str, list[Tensor]],
    ) -> State:
        network = self.network
        parameters = dict((*network.named_parameters(), *network.named_buffers()))
        values = tensors_of((state.parts, state.links))
        form = _form_of((state.parts, state.links))
        graph: _Graph | None = None

        for (a, b), xs in zip(pairwise(edges), blocks, strict=True):
            ticks = (b - a, *[group.schedule.phase(a) for group in network.plan.groups])
            following = None if graph is None else graph.following.get(ticks)
            if following is None:
                key = (ticks, form, _key(modules.values(), parameters, xs, values))
                following = self._graphs.get(key)
                if following is None:
                    # shapes that differ from call to call would fill the memory with graphs
                    if len(self._graphs) >= _MAX_GRAPHS:
                        self._graphs.clear()
                    names = [f"network.{name}" for name in parameters], list(xs)
                    following = self._graphs[key] = _Graph(_Ticks(network, range(a, b), names, form))

                if graph is not None:
                    graph.following[ticks] = following

            graph = following
            outputs, values = graph([*parameters.values(), *xs.values(), *values])
            form = graph.ticks.after

            for name, y in zip(graph.ticks.outputs, outputs, strict=True):
                collected.setdefault(name, []).append(y)

        parts, links = _filled(form, iter(values))
        return state._replace(ticks=edges[-1], parts=parts, links=links)


_Form: TypeAlias = Any  # a state without its tensors, hashable: types, names, and what is no tensor
_TENSOR = object()


def _form_of(state: State) -> _Form:
    # not torch's own walk over nested values, which takes three times as long
    if isinstance(state, Tensor):
        return _TENSOR
    if isinstance(state, dict):
        return dict, tuple(state), tuple(map(_form_of, state.values()))

    return (type(state), tuple(map(_form_of, state))) if isinstance(state, tuple | list) else state


def _filled(form: _Form, values: Iterator[Tensor]) -> State:
    """The state of a form, with the next of these tensors at each place."""
    if form is _TENSOR:
        return next(values)
    if type(form) is not tuple:
        return form

    children = [_filled(child, values) for child in form[-1]]
    if form[0] is dict:
        return dict(zip(form[1], children, strict=True))

    return form[0](*children) if hasattr(form[0], "_fields") else form[0](children)


class _Ticks(nn.Module):
    """Some ticks of a network as a function of tensors: parameters, inputs, and the states before them."""

    def __init__(
        self, network: _Network, ticks: range, names: tuple[Sequence[str], Sequence[str]], before: _Form
    ) -> None:
        super().__init__()
        self.network = network
        self.ticks = ticks
        self.parameter_names, self.input_names = names
        self.before = self.after = before
        self.outputs: list[str] = []

    def flat(self, *tensors: Tensor) -> list[Tensor]:
        """Outputs and the tensors of the states after, from parameters, inputs and the tensors of the states before."""
        number = len(self.parameter_names)
        parameters = dict(zip(self.parameter_names, tensors[:number], strict=True))
        return functional_call(self, parameters, tensors[number:])

    def forward(self, *tensors: Tensor) -> list[Tensor]:
        number = len(self.input_names)
        ticks = self.ticks
        inputs = dict(zip(self.input_names, tensors[:number], strict=True))
        pieces = split_inputs(self.network.inputs, inputs, range(ticks.start, ticks.stop + 1))
        parts, links = _filled(self.before, iter(tensors[number:]))
        collected: dict[str, list[Tensor]] = {}

        for tick, piece in zip(ticks, pieces, strict=True):
            xs = {name: x[0] for name, x in piece.items()}
            rows, parts, links = run_tick(self.network, xs, (parts, links), tick, checked=False, ready={})
            for name in self.network.outputs:
                if (y := rows[name]) is not None:
                    collected.setdefault(name, []).append(y)

        self.after = _form_of((parts, links))
        self.outputs = list(collected)

        return [*(torch.stack(ys) for ys in collected.values()), *tensors_of((parts, links))]


class _Graph:
    """Some ticks, compiled at the first call."""

    def __init__(self, ticks: _Ticks) -> None:
        self.ticks = ticks
        self.following: dict[Hashable, _Graph] = {}
        self._run: Callable[..., list[Tensor]] | None = None

    def __call__(self, tensors: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Outputs, and the tensors of the states after."""
        if self._run is None:
            run = _compile(self.ticks.flat)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # warnings of the tracer about its own work
                    results = run(*tensors)
            except SpikebridgeError:
                raise
            except Exception as error:  # a tracer or compiler may raise any
                raise ConfigError(
                    f"the ticks of this network cannot be compiled ({type(error).__name__}: {error}); run the network "
                    "itself"
                ) from error

            self._run = run
        else:
            results = self._run(*tensors)

        number = len(self.ticks.outputs)
        return results[:number], results[number:]


def _compile(function: Callable[..., list[Tensor]]) -> Callable[..., list[Tensor]]:
    """A function of tensors as generated code, with its gradients."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # warnings of PyTorch about itself
        from torch._functorch.aot_autograd import aot_function
        from torch._functorch.partitioners import min_cut_rematerialization_partition
        from torch._inductor.compile_fx import compile_fx_inner
        from torch._inductor.decomposition import select_decomp_table

    compiled: Callable[..., list[Tensor]] = aot_function(
        function,
        fw_compiler=compile_fx_inner,
        bw_compiler=partial(compile_fx_inner, is_backward=True),
        partition_fn=partial(min_cut_rematerialization_partition, compiler="inductor"),
        decompositions=select_decomp_table(),
    )
    return compiled


_NUMBERS = (int, float, str)  # a tuple: `isinstance` of a union takes twice as long


def _key(
    modules: Iterable[nn.Module], parameters: Mapping[str, Tensor], xs: Mapping[str, Tensor], values: Sequence[Tensor]
) -> Hashable:
    """The shapes, the numbers that modules keep, and the modes: a graph depends on them and on its ticks."""
    tensors = [(x.shape, x.dtype, x.device, x.requires_grad) for x in (*parameters.values(), *xs.values(), *values)]
    numbers = [
        (id(module), *[value for value in vars(module).values() if isinstance(value, _NUMBERS)]) for module in modules
    ]
    modes = torch.is_grad_enabled(), torch.is_inference_mode_enabled()

    return tuple(parameters), tuple(xs), tuple(tensors), tuple(numbers), modes


def _refuse_uncompilable(modules: Mapping[str, nn.Module], state: State) -> None:
    """Raises if a graph would silently leave something out, or keep it as it is."""
    if not supports_rows(state.like):
        raise ConfigError(
            "a compiled network runs float32 and float64, outside of autocast, torch.compile and torch.func, but got "
            f"{state.like.dtype} on {state.like.device}; run the network itself"
        )

    for name, one in (*state.parts.items(), *state.links.items()):
        if _draws(one):
            raise ConfigError(f"{name!r} draws random numbers, which a compiled network cannot; run the network itself")

    for path, module in modules.items():
        who = f"{type(module).__name__} at {path!r}"
        if module.training and getattr(module, "track_running_stats", False):
            raise ConfigError(f"{who} is trained, and a compiled network updates no running statistics; use eval()")
        if has_hooks(module):
            raise ConfigError(f"{who} has a hook, which a compiled network would not call; remove it")


def _draws(state: State) -> bool:
    children = state.values() if isinstance(state, dict) else state if isinstance(state, tuple | list) else ()
    return isinstance(state, DrawState) or any(map(_draws, children))
