"""Property tests of parts that run only when they are awake, on random graphs with exact numbers."""

import pytest
import torch
from random_graphs import build, random_graph, signals
from test_random_networks import (
    TICKS,
    assert_same_bits,
    assert_same_gradients,
    assert_same_in_every_form,
    assert_simulated,
    block,
)

from spikebridge.ops import reference

pytestmark = pytest.mark.untyped

# graphs with a link from a part that gives no value while it is asleep
SKIPPING = [57, 98, 123, 231, 303, 389, 426, 90, 540, 67, 289, 547]


def seeds(number: int) -> list[int]:
    return [*block(number, 5), *SKIPPING[number::4]]


@pytest.mark.parametrize("number", range(4))
def test_woken_parts_give_what_the_tick_by_tick_simulator_gives(number: int) -> None:
    for seed in seeds(number):
        assert_simulated(seed, random_graph(seed, wakes=True))


@pytest.mark.parametrize("number", range(4))
def test_whole_steps_cuts_and_single_samples_of_woken_parts_are_equal_to_the_bit(number: int) -> None:
    for seed in seeds(number):
        graph = random_graph(seed, wakes=True, quick=seed % 3 == 0)
        # with gradients all samples are computed, without them the awake ones
        with torch.set_grad_enabled(seed % 4 == 0):
            assert_same_in_every_form(seed, graph, build(graph))


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
        assert_same_gradients(seed, random_graph(seed, wakes=True))


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
