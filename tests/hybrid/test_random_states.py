"""Property tests of links that set and read states, on random graphs with exact numbers."""

import random

import pytest
import torch
from random_graphs import Graph, build, by_tick, random_graph, run_cut, run_steps, signals
from test_random_networks import TICKS, assert_near, assert_same_bits, block, gradients, random_cuts
from tick_by_tick import Simulator

from spikebridge.ops import reference

pytestmark = pytest.mark.untyped


def graph_of(seed: int) -> Graph:
    return random_graph(seed, wakes=seed % 2 == 0, states=True, quick=seed % 3 == 0)


@pytest.mark.parametrize("number", range(2))
def test_links_to_states_give_what_the_tick_by_tick_simulator_gives(number: int) -> None:
    for seed in block(number, 7):
        graph = graph_of(seed)
        inputs = signals(graph, TICKS)
        outputs, _ = build(graph)(inputs, ticks=TICKS)
        for sample in range(2):
            simulator = Simulator(graph, by_tick(graph, inputs, sample, TICKS), TICKS)
            for name, part in graph.parts.items():
                expected = [simulator.output(name, tick)[0] for tick in range(TICKS) if part.clock.has(tick)]
                assert outputs[name][:, sample].tolist() == expected, f"graph {seed}, {name}"


@pytest.mark.parametrize("number", range(2))
def test_whole_steps_cuts_and_single_samples_with_links_to_states_are_equal_to_the_bit(number: int) -> None:
    for seed in block(number, 7):
        graph = graph_of(seed)
        network = build(graph)
        inputs = signals(graph, TICKS, batch=3)
        with torch.no_grad():
            whole, _ = network(inputs, ticks=TICKS)
            assert_same_bits(seed, whole, run_steps(graph, network, inputs, TICKS))
            assert_same_bits(seed, whole, run_cut(graph, network, inputs, random_cuts(seed)))
            sample = random.Random(seed).randrange(3)
            alone, _ = network({name: x[:, [sample]] for name, x in inputs.items()}, ticks=TICKS)
            assert_same_bits(seed, alone, {name: y[:, [sample]] for name, y in whole.items()})
            with reference():
                assert_same_bits(seed, whole, network(inputs, ticks=TICKS)[0])


def test_gradients_through_states_are_those_of_a_cut_stream() -> None:
    for seed in range(1, 12, 2):
        graph = graph_of(seed)
        inputs = signals(graph, TICKS)
        assert_near(seed, gradients(graph, inputs, [TICKS]), gradients(graph, inputs, random_cuts(seed)), 1e-9)


def test_the_random_graphs_have_all_kinds_of_links_to_states() -> None:
    networks = [build(graph_of(seed)) for seed in range(40)]
    ports = [(name, own, n.plan) for n in networks for name, own in n.plan.ports.items()]

    assert sum(bool(own.reads) for _, own, _ in ports) > 5
    assert sum(bool(own.sets) and name in plan.wakes for name, own, plan in ports) > 5
    assert any(route.delay and route.link.unit.window is not None for _, own, _ in ports for route in own.sets)
