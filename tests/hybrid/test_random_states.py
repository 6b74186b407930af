"""Property tests of links that set and read states, on random graphs with exact numbers."""

import pytest
import torch
from random_graphs import Graph, build, random_graph
from test_random_networks import (
    assert_same_gradients,
    assert_same_in_every_form,
    assert_simulated,
    block,
)

pytestmark = pytest.mark.untyped


def graph_of(seed: int) -> Graph:
    return random_graph(seed, wakes=seed % 2 == 0, states=True, quick=seed % 3 == 0)


@pytest.mark.parametrize("number", range(2))
def test_links_to_states_give_what_the_tick_by_tick_simulator_gives(number: int) -> None:
    for seed in block(number, 7):
        assert_simulated(seed, graph_of(seed))


@pytest.mark.parametrize("number", range(2))
def test_whole_steps_cuts_and_single_samples_with_links_to_states_are_equal_to_the_bit(number: int) -> None:
    for seed in block(number, 7):
        graph = graph_of(seed)
        with torch.no_grad():
            assert_same_in_every_form(seed, graph, build(graph))


def test_gradients_through_states_are_those_of_a_cut_stream() -> None:
    for seed in range(1, 12, 2):
        assert_same_gradients(seed, graph_of(seed))


def test_the_random_graphs_have_all_kinds_of_links_to_states() -> None:
    networks = [build(graph_of(seed)) for seed in range(40)]
    ports = [(name, own, n.plan) for n in networks for name, own in n.plan.ports.items()]

    assert sum(bool(own.reads) for _, own, _ in ports) > 5
    assert sum(bool(own.sets) and name in plan.wakes for name, own, plan in ports) > 5
    assert any(route.delay and route.link.unit.window is not None for _, own, _ in ports for route in own.sets)
