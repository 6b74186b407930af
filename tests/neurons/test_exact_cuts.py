"""Random rows of layers in exact numbers: however a stream is cut, stepped or batched, it is the same to the bit.

Weights, inputs and modulations are multiples of 1/4 and decays are 1/2, all in double precision, so that no sum depends
on the order of its terms.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from modules import EXACT_NEURONS, quarters
from spikebridge.neurons import (
    Effect,
    Izhikevich,
    Recurrent,
    Sequential,
    select,
)

pytestmark = pytest.mark.untyped

NEURONS = [*EXACT_NEURONS.values(), partial(Izhikevich, dt=0.0005)]


def exact_linear(generator: torch.Generator, inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs).double()
    with torch.no_grad():
        layer.weight.copy_(quarters(generator, outputs, inputs))
        layer.bias.copy_(quarters(generator, outputs))

    return layer


@dataclass(frozen=True)
class Plan:
    """The settings of a stream, in plain numbers."""

    seed: int
    num_steps: int
    batch: int
    width: int
    layers: list[tuple[int, bool]]  # which neuron, and whether it is recurrent
    modulated: list[tuple[int, bool]]  # which path, and whether it changes in time


# plain numbers alone are drawn: executed type checks draw too, which must not happen inside a strategy
plans = st.builds(
    Plan,
    seed=st.integers(0, 2**31),
    num_steps=st.integers(0, 12),
    batch=st.integers(1, 4),
    width=st.integers(1, 3),
    layers=st.lists(st.tuples(st.integers(0, len(NEURONS) - 1), st.booleans()), min_size=1, max_size=3),
    modulated=st.lists(st.tuples(st.integers(0, 100), st.booleans()), max_size=3),
)


def build(plan: Plan) -> tuple[Sequential, Tensor, dict[str, Tensor], torch.Generator]:
    """A row of one to three layers, a signal, and the signals that modulate some of its quantities."""
    generator = torch.Generator().manual_seed(plan.seed)
    layers: list[nn.Module] = []
    for kind, recurrent in plan.layers:
        neuron = NEURONS[kind]().double()
        back = exact_linear(generator, plan.width, plan.width)
        layers += [exact_linear(generator, plan.width, plan.width), Recurrent(neuron, back) if recurrent else neuron]

    network = Sequential(*layers)
    x = quarters(generator, plan.num_steps, plan.batch, plan.width, largest=4)
    # time constants stay, or their decays would not be exact
    exact = ("v_threshold", "v_reset", "v_leak", "r", "jump", "weight", "bias")
    paths = [path for path in network.modulable_paths() if path.rpartition(".")[2] in exact]
    modulation = {
        paths[index % len(paths)]: quarters(generator, plan.num_steps if varies else 1, plan.batch, largest=4)
        for index, varies in plan.modulated
    }

    return network, x, modulation, generator


def run(network: Sequential, x: Tensor, state: Any, modulation: dict[str, Tensor], begin: int) -> tuple[Tensor, Any]:
    """A stretch of the stream that begins at a step."""
    here = {
        path: Effect(signal if len(signal) == 1 else signal[begin : begin + len(x)], "add")
        for path, signal in modulation.items()
    }
    return network(x, state, **here)


def flat(state: Any) -> list[Any]:
    return [leaf for child in state for leaf in flat(child)] if isinstance(state, tuple) else [state]


def same(left: Any, right: Any) -> bool:
    pairs = zip(flat(left), flat(right), strict=True)
    return all(torch.equal(a, b) if isinstance(a, Tensor) else a == b for a, b in pairs)


@settings(max_examples=60, deadline=None)
@given(plans, st.data())
def test_a_stream_cut_anywhere_is_the_whole(plan, data):
    network, x, modulation, _ = build(plan)
    whole, last = run(network, x, None, modulation, 0)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(x)), max_size=4)))
    pieces = []
    state = None

    for begin, end in zip([0, *cuts], [*cuts, len(x)], strict=True):
        y, state = run(network, x[begin:end], state, modulation, begin)
        pieces.append(y)

    assert torch.equal(torch.cat(pieces), whole)
    assert same(state, last)


@settings(max_examples=40, deadline=None)
@given(plans)
def test_steps_are_the_whole(plan):
    network, x, modulation, _ = build(plan)
    whole, last = run(network, x, None, modulation, 0)
    state = network.initial_state(x.new_zeros(x.shape[1:]))
    steps = [whole[:0]]

    for t in range(len(x)):
        effects = {p: Effect(s if len(s) == 1 else s[t : t + 1], "add") for p, s in modulation.items()}
        y_t, state = network.step(x[t], state, **effects)
        steps.append(y_t.unsqueeze(0))

    assert torch.equal(torch.cat(steps), whole)
    assert same(state, last)


@settings(max_examples=40, deadline=None)
@given(plans, st.data())
def test_a_sample_is_the_same_alone_and_among_others(plan, data):
    network, x, modulation, _ = build(plan)
    whole, last = run(network, x, None, modulation, 0)
    chosen = data.draw(st.lists(st.integers(0, x.shape[1] - 1), min_size=1, max_size=3))
    some, state = run(network, x[:, chosen], None, {p: s[:, chosen] for p, s in modulation.items()}, 0)

    assert torch.equal(some, whole[:, chosen])
    assert same(state, select(last, chosen))


@settings(max_examples=40, deadline=None)
@given(plans, st.data())
def test_later_inputs_and_modulations_never_change_earlier_outputs(plan, data):
    network, x, modulation, generator = build(plan)
    whole, _ = run(network, x, None, modulation, 0)
    t = data.draw(st.integers(0, len(x)))
    later = torch.cat([x[:t], quarters(generator, len(x) - t, *x.shape[1:], largest=4)])
    changed = {
        p: s if len(s) == 1 else torch.cat([s[:t], quarters(generator, len(s) - t, s.shape[1], largest=4)])
        for p, s in modulation.items()
    }

    assert torch.equal(run(network, later, None, changed, 0)[0][:t], whole[:t])


@settings(max_examples=30, deadline=None)
@given(plans, st.data())
def test_gradients_do_not_depend_on_the_cut(plan, data):
    network, x, modulation, generator = build(plan)
    weights = quarters(generator, *network(x)[0].shape, largest=4)
    cut = data.draw(st.integers(0, len(x)))
    gradients = []

    for cuts in ([], [cut]):
        leaf = x.clone().requires_grad_()
        state = None
        loss = 0 * leaf.sum()  # an empty stream has a gradient too

        for begin, end in zip([0, *cuts], [*cuts, len(x)], strict=True):
            y, state = run(network, leaf[begin:end], state, modulation, begin)
            loss = loss + (y * weights[begin:end]).sum()

        gradients.append(torch.autograd.grad(loss, [leaf, *network.parameters()], allow_unused=True))

    for got, expected in zip(*gradients, strict=True):
        if got is not None or expected is not None:
            torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)
