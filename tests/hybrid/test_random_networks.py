"""The contract of every network, on random ones: against a simulator, to the bit, on real numbers, for gradients."""

import random
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from random_graphs import Graph, build, by_tick, forget_unread, piece, random_graph, run_cut, run_steps, signals
from tick_by_tick import Simulator
from torch import Tensor

from spikebridge.hybrid import HybridNetwork
from spikebridge.ops import reference

pytestmark = pytest.mark.untyped

TICKS = 20
Outputs = dict[str, Tensor]


def block(number: int, size: int = 6) -> range:
    return range(number * size, (number + 1) * size)


def random_cuts(seed: int) -> list[int]:
    rng = random.Random(seed)
    return [*sorted(rng.choices(range(TICKS + 1), k=rng.randint(1, 5))), TICKS]


def assert_same_bits(seed: int, one: Outputs, other: Outputs) -> None:
    assert one.keys() == other.keys(), f"graph {seed}"
    for name in one:
        assert torch.equal(one[name], other[name]), f"graph {seed}, {name}"


def assert_near(seed: int, one: Outputs, other: Outputs, tolerance: float) -> None:
    assert one.keys() == other.keys(), f"graph {seed}"
    for name in one:
        torch.testing.assert_close(
            one[name],
            other[name],
            rtol=tolerance,
            atol=tolerance,
            msg=lambda text, n=name: f"graph {seed}, {n}: {text}",
        )


def assert_simulated(seed: int, graph: Graph, samples: Iterable[int] = range(2)) -> None:
    """Asserts that a network gives what the simulator gives tick by tick."""
    inputs = signals(graph, TICKS)
    outputs, state = build(graph)(inputs, ticks=TICKS)
    assert state.ticks == TICKS
    for sample in samples:
        simulator = Simulator(graph, by_tick(graph, inputs, sample, TICKS), TICKS)
        for name, part in graph.parts.items():
            ticks = [tick for tick in range(TICKS) if part.clock.has(tick)]
            expected = [simulator.output(name, tick)[0] for tick in ticks]
            given = outputs[name][:, sample].tolist() if name in outputs else []
            assert given == expected, f"graph {seed}, {name}"
            if name in graph.woken:
                flags = [[float(simulator.awake(name, tick))] for tick in ticks]
                assert outputs[f"{name}.awake"][:, sample].tolist() == flags, f"graph {seed}, {name}"


def assert_same_in_every_form(seed: int, graph: Graph, network: HybridNetwork) -> None:
    """Asserts that whole, steps, cuts, single samples and the reference are equal to the bit."""
    inputs = signals(graph, TICKS, batch=3)
    whole, _ = network(inputs, ticks=TICKS)
    assert_same_bits(seed, whole, run_steps(graph, network, inputs, TICKS))
    assert_same_bits(seed, whole, run_cut(graph, network, inputs, random_cuts(seed)))
    sample = random.Random(seed).randrange(3)
    alone, _ = network({name: x[:, [sample]] for name, x in inputs.items()}, ticks=TICKS)
    assert_same_bits(seed, alone, {name: y[:, [sample]] for name, y in whole.items()})
    with reference():
        assert_same_bits(seed, whole, network(inputs, ticks=TICKS)[0])


@pytest.mark.parametrize("number", range(12))
def test_a_network_gives_what_the_tick_by_tick_simulator_gives(number: int) -> None:
    for seed in block(number):
        assert_simulated(seed, random_graph(seed))


@pytest.mark.parametrize("number", range(6))
def test_whole_and_step_and_any_cut_are_equal_to_the_bit(number: int) -> None:
    for seed in block(number):
        graph = random_graph(seed)
        network = build(graph)
        inputs = signals(graph, TICKS)
        whole, _ = network(inputs, ticks=TICKS)
        assert_same_bits(seed, whole, run_steps(graph, network, inputs, TICKS))
        assert_same_bits(seed, whole, run_cut(graph, network, inputs, random_cuts(seed)))


@pytest.mark.parametrize("number", range(4))
def test_stochastic_units_draw_the_same_in_whole_step_and_cut(number: int) -> None:
    for seed in block(number):
        graph = random_graph(seed, draws=True)
        if not any(link.unit and link.unit.q == "bernoulli" for link in graph.links):
            continue
        network = build(graph)
        inputs = signals(graph, TICKS)
        whole, _ = network(inputs, ticks=TICKS)
        assert_same_bits(seed, whole, run_steps(graph, network, inputs, TICKS))
        assert_same_bits(seed, whole, run_cut(graph, network, inputs, random_cuts(seed)))


@pytest.mark.parametrize("number", range(2))
def test_a_modulation_that_never_arrives_leaves_the_plain_network(number: int) -> None:
    for seed in block(number):
        graph = random_graph(seed)
        plain = deepcopy(graph)
        plain.links = [link for link in graph.links if link.path is None]
        forget_unread(plain)
        graph.links = [link if link.path is None else replace(link, held=True, delay=100) for link in graph.links]
        inputs = signals(graph, TICKS)
        fewer = {name: inputs[name] for name in plain.inputs}
        assert_same_bits(seed, build(graph)(inputs, ticks=TICKS)[0], build(plain)(fewer, ticks=TICKS)[0])


@pytest.mark.parametrize("number", range(2))
def test_a_sample_never_depends_on_its_batch_mates(number: int) -> None:
    for seed in block(number):
        graph = random_graph(seed)
        network = build(graph)
        inputs = signals(graph, TICKS, batch=3)
        whole, _ = network(inputs, ticks=TICKS)

        for sample in range(3):
            alone, _ = network({name: x[:, [sample]] for name, x in inputs.items()}, ticks=TICKS)
            assert_same_bits(seed, alone, {name: y[:, [sample]] for name, y in whole.items()})


@pytest.mark.parametrize("number", range(2))
def test_the_future_never_changes_the_past(number: int) -> None:
    for seed in block(number):
        graph = random_graph(seed)
        network = build(graph)
        present = random.Random(seed).randint(0, TICKS)
        inputs = signals(graph, TICKS)
        others = signals(graph, TICKS, seed=1)

        for name, x in piece(graph, inputs, 0, present).items():
            others[name] = torch.cat([x, others[name][len(x) :]])

        one, _ = network(inputs, ticks=TICKS)
        other, _ = network(others, ticks=TICKS)
        for name, y in one.items():
            past = sum(graph.parts[name].clock.has(tick) for tick in range(present))
            assert torch.equal(y[:past], other[name][:past]), f"graph {seed}, {name}"


@pytest.mark.parametrize("number", range(2))
def test_on_real_numbers_whole_and_step_and_cut_are_near(number: int) -> None:
    for seed in block(number):
        graph = random_graph(seed)
        network = build(graph, exact=False)
        inputs = signals(graph, TICKS, exact=False)
        whole, _ = network(inputs, ticks=TICKS)
        assert_near(seed, whole, run_steps(graph, network, inputs, TICKS), 1e-4)
        assert_near(seed, whole, run_cut(graph, network, inputs, random_cuts(seed)), 1e-4)


@pytest.mark.parametrize("number", range(4))
def test_an_exact_run_gives_bits_on_real_numbers_too(number: int) -> None:
    for seed in block(number):
        graph = random_graph(seed)
        network = build(graph, exact=False)
        inputs = signals(graph, TICKS, exact=False)
        whole, _ = network(inputs, ticks=TICKS, exact=True)
        assert_same_bits(seed, whole, run_steps(graph, network, inputs, TICKS))
        assert_same_bits(seed, whole, run_cut(graph, network, inputs, random_cuts(seed), exact=True))


def gradients(graph: Graph, inputs: Outputs, cuts: list[int]) -> Outputs:
    """The gradients of every input and parameter from the sum of all squares of outputs, 0 where there is none."""
    network = build(graph)
    leaves = {name: x.clone().requires_grad_(x.is_floating_point()) for name, x in inputs.items()}
    outputs = run_cut(graph, network, leaves, cuts)
    loss = sum(((y + 1) ** 2).sum() for y in outputs.values())

    if isinstance(loss, Tensor) and loss.requires_grad:
        loss.backward()

    named = {**leaves, **dict(network.named_parameters())}
    return {name: torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for name, leaf in named.items()}


def assert_same_gradients(seed: int, graph: Graph) -> None:
    """Asserts that the gradients of a cut stream are those of the whole."""
    inputs = signals(graph, TICKS)
    assert_near(seed, gradients(graph, inputs, [TICKS]), gradients(graph, inputs, random_cuts(seed)), 1e-9)


@pytest.mark.parametrize("number", range(4))
def test_gradients_of_a_cut_stream_are_those_of_the_whole(number: int) -> None:
    for seed in block(number):
        assert_same_gradients(seed, random_graph(seed))


def test_a_network_runs_where_its_tensors_are() -> None:
    # a tensor made on another device would not go together with those without values on "meta"
    for seed in block(0):
        graph = random_graph(seed, draws=True)
        if any(link.unit and link.unit.trigger == "mask" for link in graph.links):
            continue

        network = build(graph)
        inputs = signals(graph, TICKS)
        here, _ = network(inputs, ticks=TICKS)
        there, _ = network.to("meta")({name: x.to("meta") for name, x in inputs.items()}, ticks=TICKS)

        assert {n: (y.shape, y.device.type) for n, y in there.items()} == {
            n: (y.shape, "meta") for n, y in here.items()
        }


def test_the_random_graphs_have_all_that_is_promised() -> None:
    graphs = [random_graph(seed) for seed in range(150)]
    networks = [build(graph) for graph in graphs]
    links = [link for graph in graphs for link in graph.links]
    units = [link.unit for link in links if link.unit is not None]
    loops = [len(group.parts) for network in networks for group in network.plan.groups if group.loop]

    assert {1, 2, 3} <= set(loops)
    assert {unit.window for unit in units} == {None, "hold", "tumbling", "sliding", "since"}
    assert {link.by for link in links if link.path} == {"add", "multiply", "replace"}
    assert sum(link.path is not None and link.path.endswith("weight") for link in links) > 25
    assert sum(unit.context is not None for unit in units) > 25
    assert sum(unit.trigger == "mask" for unit in units) > 5
    assert sum(link.delay > 0 and not link.held for link in links) > 50

    assert all(
        network.clock_of(name) == part.clock
        for g, network in zip(graphs, networks, strict=True)
        for name, part in g.parts.items()
    )


def on_rows_and_in_spans(
    graph: Graph, monkeypatch: pytest.MonkeyPatch, cuts: list[int], draws: bool = False
) -> tuple[list[Outputs], list[Outputs]]:
    """Outputs and gradients of a stream on real numbers: as it runs, and by the path that checks every call."""
    found = []
    for rows in (True, False):
        with monkeypatch.context() as patch:
            if not rows:
                patch.setattr("spikebridge.hybrid.network.network.supports_rows", lambda like: False)

            network = build(graph, exact=False)
            inputs = signals(graph, TICKS, exact=False)
            leaves = {name: x.requires_grad_(x.is_floating_point()) for name, x in inputs.items()}
            outputs = run_cut(graph, network, leaves, cuts)
            steps = run_steps(graph, network, inputs, TICKS)
            loss = sum(((y + 1) ** 2).sum() for y in [*outputs.values(), *steps.values()])

            if isinstance(loss, Tensor) and loss.requires_grad:
                loss.backward()

            named = {**leaves, **dict(network.named_parameters())}
            found.append([outputs, steps, {name: leaf.grad for name, leaf in named.items() if leaf.grad is not None}])

    return found[0], found[1]


@pytest.mark.parametrize("number", range(3))
def test_ticks_on_rows_equal_the_checked_path_to_the_bit(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in block(number, size=4):
        graph = random_graph(seed, draws=seed % 2 == 1, quick=True)
        rows, spans = on_rows_and_in_spans(graph, monkeypatch, random_cuts(seed))
        for one, other in zip(rows[:2], spans[:2], strict=True):
            assert_same_bits(seed, one, other)
        assert_near(seed, rows[2], spans[2], 1e-5)
