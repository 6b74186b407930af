"""Property tests of values that are read once, of sets with a mask, and of lengths, on random graphs."""

import random
from math import lcm

import pytest
import torch
from random_graphs import Graph, build, random_graph, run_cut, run_steps, signals
from test_random_networks import (
    TICKS,
    assert_near,
    assert_same_gradients,
    assert_same_in_every_form,
    assert_simulated,
    block,
    random_cuts,
)

from spikebridge.errors import ConfigError
from spikebridge.hybrid import HybridNetwork, run_lengths

pytestmark = pytest.mark.untyped


def graph_of(seed: int) -> Graph:
    return random_graph(seed, wakes=seed % 3 == 1, states=seed % 3 == 2, quick=seed % 2 == 0, arrivals=True)


@pytest.mark.parametrize("number", range(2))
def test_values_read_once_and_masks_are_what_the_tick_by_tick_simulator_gives(number: int) -> None:
    for seed in block(number, 6):
        assert_simulated(seed, graph_of(seed), samples=[1])


@pytest.mark.parametrize("number", range(2))
def test_whole_steps_cuts_and_single_samples_are_equal_to_the_bit(number: int) -> None:
    for seed in block(number, 6):
        graph = graph_of(seed)
        with torch.no_grad():
            assert_same_in_every_form(seed, graph, build(graph))


def test_on_real_numbers_whole_steps_and_cuts_are_near() -> None:
    for seed in range(3):
        graph = graph_of(seed)
        network = build(graph, exact=False)
        inputs = signals(graph, TICKS, exact=False)
        for dtype, tolerance in ((torch.float32, 1e-6), (torch.float64, 1e-12)):
            network = network.to(dtype)
            given = {name: x.to(dtype) if x.is_floating_point() else x for name, x in inputs.items()}
            with torch.no_grad():
                whole, _ = network(given, ticks=TICKS)
                assert_near(seed, whole, run_steps(graph, network, given, TICKS), tolerance)
                assert_near(seed, whole, run_cut(graph, network, given, random_cuts(seed)), tolerance)


def test_gradients_of_a_cut_stream_are_those_of_the_whole() -> None:
    for seed in range(1, 6, 2):
        assert_same_gradients(seed, graph_of(seed))


def shorter(network: HybridNetwork, rng: random.Random) -> int:
    """A length from which a sample can resume."""
    period = lcm(*(group.schedule.period for group in network.plan.groups))
    return TICKS - period * rng.randint(1, max(1, TICKS // period)) if period <= TICKS else TICKS


def test_a_sample_that_ends_gives_what_it_gives_alone_and_resumes() -> None:
    resumed = 0
    for seed in range(10):
        graph = graph_of(seed)
        network = build(graph)
        inputs = signals(graph, TICKS, batch=2)
        length = shorter(network, random.Random(seed))
        with torch.no_grad():
            alone = run_cut(graph, network, {name: x[:, [1]] for name, x in inputs.items()}, [length])
            whole, _ = network(inputs, ticks=TICKS)
            try:
                outputs, state = run_lengths(network, inputs, torch.tensor([TICKS, length]))
            except ConfigError:
                # inputs of unequal phases, or a part without a value at the end
                continue

        resumed += length < TICKS
        for name, y in outputs.items():
            number = len(alone[name])
            assert torch.equal(y[:, 0], whole[name][:, 0]), f"graph {seed}, {name}"
            assert torch.equal(y[:number, [1]], alone[name]), f"graph {seed}, {name}"
            assert not y[number:, 1].any(), f"graph {seed}, {name}"
        assert state.ticks == TICKS

    assert resumed > 1


def test_the_random_graphs_have_values_that_are_read_once_and_masks() -> None:
    links = [link for seed in range(30) for link in graph_of(seed).links]
    assert sum(link.once for link in links) > 20
    assert sum(link.once and link.path is not None for link in links) > 5
    assert sum(link.unit is not None and link.unit.is_set for link in links) > 10
