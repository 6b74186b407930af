"""Random networks in integers and in C, most with parts that sleep: the bits of the quantised network."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import random_graphs
import torch
from compiled_c import COMPILER, same
from random_graphs import Graph, build, forget_unread, random_graph, signals
from torch import Tensor, nn

from spikebridge.deploy import IntegerModel, integer_model, quantize
from spikebridge.deploy.c.export import write_c
from spikebridge.hybrid import HybridNetwork

pytestmark = pytest.mark.untyped

TICKS = 40


class Affine(nn.Module):
    """The nonlinearity of random units as layers, which have an integer form."""

    def __init__(self, spec: Any, exact: bool) -> None:
        super().__init__()
        self.first = random_graphs._linear(spec.weight)
        self.second = None if spec.context_weight is None else random_graphs._linear(spec.context_weight)
        self.squash = nn.Tanh()

    def forward(self, h: Tensor, context: Tensor | None = None) -> Tensor:
        y = self.first(h)
        return self.squash(y if self.second is None or context is None else y + self.second(context))


def quantizable(seed: int, wakes: bool = True) -> Graph:
    """A random graph without what has no integer form: stateful parts with further inputs, and modulated weights."""
    graph = random_graph(seed, wakes=wakes)
    spiking = [name for name, part in graph.parts.items() if part.kind == "into"]
    for name in spiking:
        graph.parts[name].kind = "lif"

    kept = []
    for link in graph.links:
        is_second = link.target in spiking and link.into is not None
        paths = [one.path for one in kept if one.target == link.target]
        has_form = link.path is None or link.path.endswith(("v_threshold", "v_leak", "gate.gate"))
        if not is_second and has_form and (link.path is None or link.path not in paths):
            kept.append(link)

    graph.links = kept
    forget_unread(graph)
    return graph


def quantized(
    seed: int, patch: pytest.MonkeyPatch, wakes: bool = True
) -> tuple[HybridNetwork, IntegerModel, dict[str, Tensor]]:
    """A quantised network, its integer model, and inputs."""
    patch.setattr(random_graphs, "Affine", Affine)
    patch.setattr(random_graphs, "Round", lambda exact: nn.Tanh())
    graph = quantizable(seed, wakes)
    inputs = signals(graph, TICKS, batch=3, exact=False)
    network = quantize(build(graph, exact=False), inputs)

    return network, integer_model(network, inputs), inputs


# in the graphs without wakes a trigger of windows is read as a signal, too
@pytest.mark.parametrize(("seed", "wakes"), [(21, True), (28, True), (30, True), (16, False), (47, False)])
def test_random_networks_have_the_bits_of_the_quantised_network_in_integers_and_in_c(
    seed: int, wakes: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, model, inputs = quantized(seed, monkeypatch, wakes)
    with torch.no_grad():
        expected, _ = network(inputs, ticks=TICKS)
    entered = model.quantize({name: x.numpy() for name, x in inputs.items()})
    for name, y in model.dequantize(model.run(entered, TICKS)).items():
        np.testing.assert_array_equal(y, expected[name].float().numpy())

    written = write_c(model, entered, TICKS, tmp_path / "own")
    if COMPILER is not None:
        assert same(written) > 0


def test_the_graphs_in_integers_have_all_kinds_of_wakes() -> None:
    graphs = [quantizable(seed) for seed in (21, 28, 30)]
    wakes = [link.wake for graph in graphs for link in graph.links if link.wake is not None]
    assert {wake.asleep for wake in wakes} == {"hold", "zero", "none"}
    assert {wake.state for wake in wakes} == {"keep", "leak", "reset"}
    assert {wake.replay for wake in wakes} == {0, 1, 3}
