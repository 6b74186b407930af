"""Single samples of a stream: one begins again while the others run on, or stands still behind its end."""

from collections.abc import Mapping
from itertools import pairwise
from math import lcm
from typing import Any

import torch
from torch import Tensor

from spikebridge.errors import ConfigError, ShapeError, in_words
from spikebridge.hybrid.clock import count_ticks
from spikebridge.hybrid.network.delivery import split_inputs
from spikebridge.hybrid.network.link import LinkState, Route, describe
from spikebridge.hybrid.network.network import HybridNetwork, NetworkState
from spikebridge.neurons.state import form_of, where

_NEUTRAL = {"add": 0.0, "multiply": 1.0}  # values under which a quantity is as without a modulation


def restart(network: HybridNetwork, state: NetworkState, samples: Tensor) -> NetworkState:
    """The state of a stream in which some samples begin again, at any tick; the others are as they were.

    Parts, units and held values of these samples are those of a new stream. Clocks run on, so an unfinished window
    holds zeros in the place of the steps before, and values on their way on a delayed link are initial ones. All shapes
    stay, so an end of an episode inside a batch costs one choice for each tensor. Nothing is read back from a device.

    Args:
        network: the network.
        state: that it returned.
        samples: flags `(B,)`, true for those that begin again.

    Returns:
        The state.

    Raises:
        ShapeError: no flags `(B,)`.
        ConfigError: a value of such a sample that cannot be taken back: of a modulation by "replace", or one that will
            set a state. It does not hold where a new one arrives at this tick.

    Example:
        >>> from spikebridge.hybrid import Transmission, every
        >>> from spikebridge.neurons import Integrator
        >>> links = [Transmission("x", "sum")]
        >>> parts = {"sum": Integrator(tau=float("inf"))}
        >>> network = HybridNetwork(dt=1.0, inputs={"x": every(1.0)}, parts=parts, links=links, outputs=["sum"])
        >>> _, state = network({"x": torch.ones(5, 2, 1)})
        >>> outputs, _ = network.step({"x": torch.ones(2, 1)}, restart(network, state, torch.tensor([True, False])))
        >>> outputs["sum"].flatten().tolist()
        [1.0, 6.0]
    """
    network.check_stream(state, {})
    batch = len(state.like)
    if not isinstance(samples, Tensor) or samples.dtype != torch.bool or samples.shape != (batch,):
        got = f"{samples.dtype} {tuple(samples.shape)}" if isinstance(samples, Tensor) else in_words(samples)
        raise ShapeError(f"restart needs flags ({batch},), torch.bool, one for each sample, but got {got}")

    fresh = network.initial_state({name: x.transpose(0, 1) for name, x in state.inputs.items()})
    links = {}
    for name, route in network.plan.routes.items():
        begin = _initial_link(network, route, fresh.links[name], state.links[name], state.ticks)
        links[name] = _begun(samples, begin, state.links[name])

    parts = {name: _begun(samples, fresh.parts[name], own) for name, own in state.parts.items()}
    return state._replace(parts=parts, links=links)


def _initial_link(network: HybridNetwork, route: Route, fresh: LinkState, now: LinkState, tick: int) -> LinkState:
    """The state of a link of a new stream, with as many values on their way as the stream has."""
    held = fresh.held
    if held is None and route.path and (now.held is not None or now.queue is not None):
        if route.by not in _NEUTRAL and not _is_renewed(network, route, now, tick):
            what = "sets a state" if route.sets else "replaces a quantity"
            raise ConfigError(
                f"{describe(route.link)} {what}, and its last value cannot be taken back for single samples; restart "
                "at a tick at which a new one arrives, or begin a new stream"
            )

        template = now.held if now.held is not None else now.queue[:, 0]  # type: ignore[index]
        held = torch.full_like(template, _NEUTRAL.get(route.by, 0.0))

    queue = now.queue
    if queue is not None:
        start = 0.0 if held is None or route.num_flags else held.unsqueeze(1)
        queue = torch.zeros_like(queue) + start

    return fresh._replace(held=held, queue=queue)


def _is_renewed(network: HybridNetwork, route: Route, now: LinkState, tick: int) -> bool:
    """True if the target reads a later value than those that a link has delivered, or has on their way."""
    if now.queue is not None:
        return False
    if route.once or (route.sets and route.link.part not in network.plan.wakes):
        clock = network.plan.clocks[route.link.part]
        last = clock.next(0) + (clock.count(tick) - 1) * clock.period if clock.count(tick) else -1
        return route.clock.between(last + 1 - route.delay, tick - route.delay) == 0

    return route.clock.has(tick - route.delay)


def _begun(samples: Tensor, fresh: Any, now: Any) -> Any:
    """A state in which some samples are those of another one; zeros where that has none yet."""
    if isinstance(now, Tensor):
        if not isinstance(fresh, Tensor) or fresh.shape != now.shape:
            fresh = torch.zeros_like(now)
        return where(samples, fresh.to(now.dtype), now)
    if isinstance(now, dict):
        return {name: _begun(samples, fresh[name], value) for name, value in now.items()}
    if isinstance(now, tuple):
        has_same_form = type(fresh) is type(now) and len(fresh) == len(now)
        pairs = zip(fresh if has_same_form else [None] * len(now), now, strict=True)
        items = [_begun(samples, one, other) for one, other in pairs]
        return type(now)(*items) if hasattr(now, "_fields") else tuple(items)

    return now


def run_lengths(
    network: HybridNetwork, inputs: Mapping[str, Tensor], lengths: Tensor, state: NetworkState | None = None
) -> tuple[dict[str, Tensor], NetworkState]:
    """Runs samples of unequal lengths: behind its end a sample stands still, and resumes there in the next call.

    Args:
        network: the network.
        inputs: padded samples, `(K, B, *N)` each.
        lengths: base ticks of each sample in this call, integers `(B,)` of 0 or more.
        state: after the call before; None starts a stream.

    Returns:
        The outputs, 0 behind the end of a sample, and the state, in which it is that at its end.

    Raises:
        ShapeError: no integers `(B,)`, or one beyond the data.
        ConfigError: a sample that ends inside a period of the clocks and windows, so that it could not resume.

    Example:
        >>> from spikebridge.hybrid import Transmission, every
        >>> from spikebridge.neurons import Integrator
        >>> links = [Transmission("x", "sum")]
        >>> parts = {"sum": Integrator(tau=float("inf"))}
        >>> network = HybridNetwork(dt=1.0, inputs={"x": every(1.0)}, parts=parts, links=links, outputs=["sum"])
        >>> outputs, state = run_lengths(network, {"x": torch.ones(4, 2, 1)}, torch.tensor([4, 2]))
        >>> outputs["sum"][..., 0].T.tolist(), state.parts["sum"].v.flatten().tolist()
        ([[1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 0.0, 0.0]], [4.0, 2.0])
    """
    state = network.initial_state(inputs) if state is None else state
    start = state.ticks
    counts = {name: len(inputs[name]) if name in inputs else 0 for name in network.inputs}
    stop = start + count_ticks(network.inputs, counts, start, None, network.dt)
    ends = _ends(network, lengths, len(state.like), (start, stop))
    edges = sorted({start, *ends, stop})
    before = {start: state}
    collected: dict[str, list[Tensor]] = {name: [network.empty(name, state)] for name in network.outputs}

    for (a, b), piece in zip(pairwise(edges), split_inputs(network.inputs, inputs, edges), strict=True):
        outputs, state = network(piece, state, b - a)
        before[b] = state
        running = (lengths + start >= b).to(state.like.device)
        for name, y in outputs.items():
            collected[name].append(torch.where(running.reshape(1, -1, *[1] * (y.ndim - 2)), y, torch.zeros_like(y)))

    for end in ends - {stop}:
        state = _stopped(lengths + start == end, before[end], state)

    return {name: torch.cat(ys) for name, ys in collected.items()}, state


def _ends(network: HybridNetwork, lengths: Tensor, batch: int, span: tuple[int, int]) -> set[int]:
    """The ticks at which samples end in a span of ticks."""
    start, stop = span
    is_whole = isinstance(lengths, Tensor) and lengths.dtype in (torch.int32, torch.int64)
    if not is_whole or lengths.shape != (batch,):
        got = f"{lengths.dtype} {tuple(lengths.shape)}" if isinstance(lengths, Tensor) else in_words(lengths)
        raise ShapeError(f"lengths needs integers ({batch},), the ticks of each sample, but got {got}")

    ends = {start + length for length in lengths.tolist()}
    if not all(start <= end <= stop for end in ends):
        raise ShapeError(
            f"a length is from 0 to {stop - start}, the ticks of the inputs, but got {lengths.tolist()}; cut it, or "
            "give longer inputs"
        )

    period = lcm(*(group.schedule.period for group in network.plan.groups))
    for end in sorted(ends):
        if (stop - end) % period:
            raise ConfigError(
                f"a sample has {end - start} of {stop - start} ticks, and can resume only with a multiple of {period} "
                "ticks less, the period of clocks and windows; pad the inputs, or cut the sample"
            )

    return ends


def _stopped(samples: Tensor, at_end: NetworkState, now: NetworkState) -> NetworkState:
    """A state in which some samples are those of an earlier one."""
    if form_of(at_end.parts) != form_of(now.parts) or form_of(at_end.links) != form_of(now.links):
        raise ConfigError(
            f"a sample ends at tick {at_end.ticks}, before every part and link had a value, and could not resume; "
            "give it more ticks"
        )

    samples = samples.to(now.like.device)
    parts = {name: where(samples, at_end.parts[name], own) for name, own in now.parts.items()}
    return now._replace(parts=parts, links={n: where(samples, at_end.links[n], own) for n, own in now.links.items()})
