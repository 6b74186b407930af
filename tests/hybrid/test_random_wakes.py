"""Property tests of parts that run only when they are awake, on random graphs with exact numbers."""

import random

import pytest
import torch
from random_graphs import build, by_tick, random_graph, run_cut, run_steps, signals
from test_random_networks import TICKS, assert_near, assert_same_bits, block, random_cuts
from tick_by_tick import Simulator

from spikebridge.ops import reference

pytestmark = pytest.mark.untyped

# graphs with a link from a part that gives no value while it is asleep
SKIPPING = [57, 98, 123, 231, 303, 389, 426, 90, 540, 67, 289, 547]


def seeds(number: int) -> list[int]:
    return [*block(number, 5), *SKIPPING[number::4]]


@pytest.mark.parametrize("number", range(4))
def test_woken_parts_give_what_the_tick_by_tick_simulator_gives(number: int) -> None:
    for seed in seeds(number):
        graph = random_graph(seed, wakes=True)
        inputs = signals(graph, TICKS)
        outputs, _ = build(graph)(inputs, ticks=TICKS)
        for sample in range(2):
            simulator = Simulator(graph, by_tick(graph, inputs, sample, TICKS), TICKS)
            for name, part in graph.parts.items():
                ticks = [tick for tick in range(TICKS) if part.clock.has(tick)]
                expected = [simulator.output(name, tick)[0] for tick in ticks]
                assert outputs[name][:, sample].tolist() == expected, f"graph {seed}, {name}"
                if name in graph.woken:
                    flags = [[float(simulator.awake(name, tick))] for tick in ticks]
                    assert outputs[f"{name}.awake"][:, sample].tolist() == flags, f"graph {seed}, {name}"


@pytest.mark.parametrize("number", range(4))
def test_whole_steps_cuts_and_single_samples_of_woken_parts_are_equal_to_the_bit(number: int) -> None:
    for seed in seeds(number):
        graph = random_graph(seed, wakes=True, quick=seed % 3 == 0)
        network = build(graph)
        inputs = signals(graph, TICKS, batch=3)
        # with gradients all samples are computed, without them the awake ones
        with torch.set_grad_enabled(seed % 4 == 0):
            whole, _ = network(inputs, ticks=TICKS)
            assert_same_bits(seed, whole, run_steps(graph, network, inputs, TICKS))
            assert_same_bits(seed, whole, run_cut(graph, network, inputs, random_cuts(seed)))
            sample = random.Random(seed).randrange(3)
            alone, _ = network({name: x[:, [sample]] for name, x in inputs.items()}, ticks=TICKS)
            assert_same_bits(seed, alone, {name: y[:, [sample]] for name, y in whole.items()})


@pytest.mark.parametrize("number", range(4))
def test_the_awake_rows_alone_give_what_computing_all_gives(number: int) -> None:
    for seed in seeds(number):
        graph = random_graph(seed, wakes=True)
        network = build(graph)
        inputs = signals(graph, TICKS, batch=3)
        with torch.no_grad():
            fast, _ = network(inputs, ticks=TICKS)
            with reference():
                assert_same_bits(seed, fast, network(inputs, ticks=TICKS)[0])


@pytest.mark.parametrize("number", range(2))
def test_gradients_of_woken_parts_are_those_of_a_cut_stream(number: int) -> None:
    for seed in seeds(number):
        graph = random_graph(seed, wakes=True)
        inputs = signals(graph, TICKS)
        found = []
        for cuts in ([TICKS], random_cuts(seed)):
            network = build(graph)
            leaves = {name: x.clone().requires_grad_(x.is_floating_point()) for name, x in inputs.items()}
            outputs = run_cut(graph, network, leaves, cuts)
            loss = sum(((y + 1) ** 2).sum() for y in outputs.values())
            if isinstance(loss, torch.Tensor) and loss.requires_grad:
                loss.backward()
            named = {**leaves, **dict(network.named_parameters())}
            found.append({n: torch.zeros_like(x) if x.grad is None else x.grad for n, x in named.items()})

        assert_near(seed, *found, 1e-9)


def test_the_random_graphs_have_all_kinds_of_wakes() -> None:
    graphs = [random_graph(seed, wakes=True) for seed in range(200)]
    links = [link for graph in graphs for link in graph.links if link.wake]
    wakes = [link.wake for link in links]

    assert {wake.asleep for wake in wakes} == {"hold", "zero", "none"}
    assert {wake.state for wake in wakes} == {"keep", "leak", "reset"}
    assert {wake.num_flags for wake in wakes} > {1, 2, 3}
    assert sum(wake.replay > 0 for wake in wakes) > 5
    assert sum(link.delay > 0 for link in links) > 10
    assert all(any(route.skips for route in build(random_graph(seed, wakes=True)).routes) for seed in SKIPPING)
