"""The measures of the NeuroBench harness, by hand; the harness itself by research/deploy/neurobench_harness.py."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from spikebridge.analysis import neurobench
from spikebridge.errors import ConfigError, ShapeError
from spikebridge.hybrid import HybridNetwork, HybridUnit, Modulation, Sum, Transmission, Tumbling, every
from spikebridge.neurons import IF, Sequential

RESULTS = Path(__file__).resolve().parents[2] / "research" / "deploy" / "results"


def ones(num_in: int, num_out: int) -> nn.Linear:
    layer = nn.Linear(num_in, num_out)
    nn.init.constant_(layer.weight, 1.0)
    nn.init.zeros_(layer.bias)
    return layer


def test_a_plain_network_by_hand() -> None:
    net = nn.Sequential(ones(3, 2), nn.ReLU(), ones(2, 1))
    first: Any = net[0]
    first.weight.data[0] = torch.tensor([0.0, -1.0, 0.0])

    # sample 1: spikes into the first layer, 0 and 2 pairs; sample 2 has a real value, so the whole call counts as MACs
    x = torch.tensor([[1.0, 0.0, 1.0], [0.5, 1.0, 0.0]])
    found = neurobench(net, [(x, torch.tensor([[2.0], [1.0]]))], scores=("SMAPE",))

    assert found["ParameterCount"] == 6 + 2 + 2 + 1 and found["Footprint"] == 4 * 11
    assert found["ConnectionSparsity"] == 0.25  # two of eight weights
    # outputs of ReLU: (0, 2) and (max(-1, 0), 1.5)
    assert found["ActivationSparsity"] == 0.5

    # first layer 2 and 1 + 2 pairs; second one pair each: 7 over two samples
    assert found["SynapticOperations"] == {"Effective_MACs": 3.5, "Effective_ACs": 0.0, "Dense": 8.0}
    assert found["MembraneUpdates"] == 0
    # answers 2 and 1.5 for 2 and 1: 200 mean(0, .5 / 2.5)
    assert found["SMAPE"] == pytest.approx(20.0)


def network() -> HybridNetwork:
    return HybridNetwork(
        dt=1.0,
        inputs={"x": every(1.0)},
        parts={"snn": Sequential(fc=ones(2, 2), fire=IF(v_threshold=2.0)), "ann": nn.Sequential(ones(2, 1), nn.ReLU())},
        links=[Transmission("x", "snn"), Transmission("snn", "ann", HybridUnit(Tumbling(2), Sum(), ones(2, 2)))],
        outputs=["ann"],
    )


def test_a_hybrid_network_by_hand() -> None:
    # currents 1, 2, 0, 2: membranes 1, 3 -> 0, 0, 2 -> 0 in both neurons; spikes at ticks 1 and 3
    x = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0], [1.0, 1.0]]).unsqueeze(1)
    answers: dict[str, Any] = {}
    found = neurobench(network(), [({"x": x}, None)], answer=lambda y: answers.update(y) or y["ann"])

    # SNN: 2 + 4 + 0 + 4 ACs of 16; the unit: windows sum to 1 and 1, so 4 ACs each; the ANN reads 2 and 2: 2 MACs each
    assert found["SynapticOperations"] == {"Effective_MACs": 4.0, "Effective_ACs": 18.0, "Dense": 16.0 + 8.0 + 4.0}
    # two neurons: the first step counts whole, then 1 -> 0 changes both, 0 -> 0 none, 0 -> 0 (reset at once) none
    assert found["MembraneUpdates"] == 4.0
    # 4 of 8 outputs of neurons, and none of 2 outputs of ReLU, are zero
    assert found["ActivationSparsity"] == 0.4
    assert not answers  # nothing is scored


def test_weights_that_a_link_modulates_and_batches_of_two_sizes() -> None:
    net = HybridNetwork(
        dt=1.0,
        inputs={"x": every(1.0), "w": every(1.0)},
        parts={"a": ones(2, 1), "b": nn.Identity()},
        links=[Transmission("x", "a"), Transmission("w", "b"), Modulation("b", "a.weight", by="multiply")],
        outputs=["a"],
    )

    w = torch.tensor([0.0, 1.0]).reshape(1, 1, 1, 2)
    batches = [
        ({"x": torch.full((1, n, 2), 0.5), "w": w.expand(1, n, 1, 2)}, torch.full((n, 1), value))
        for n, value in ((1, 0.5), (3, 0.0))
    ]

    found = neurobench(net, batches, answer=lambda y: y["a"][-1], scores=("ClassificationAccuracy",))
    assert found["SynapticOperations"]["Effective_MACs"] == 1.0  # the other weight is 0 at present
    assert found["ClassificationAccuracy"] == 0.25  # the answers are 0.5


def test_scores_and_refusals() -> None:
    targets = torch.tensor([[0.0, 1.0], [2.0, 3.0]])
    # errors 0 and 1 in the first column, whose spread is 2; none in the second: mean of 1 - 1/2 and 1
    found = neurobench(nn.Identity(), [(torch.tensor([[0.0, 1.0], [1.0, 3.0]]), targets)], scores=("R2",))

    assert found["R2"] == 0.75
    with pytest.raises(ConfigError, match="no score 'R3'"):
        neurobench(nn.Identity(), [], scores=("R3",))  # type: ignore[arg-type]

    with pytest.raises(ConfigError, match="operations of GRUCell at '0' are not counted"):
        neurobench(nn.Sequential(nn.GRUCell(1, 1)), [])

    with pytest.raises(ShapeError, match="hold none"):
        neurobench(nn.Identity(), [])

    with pytest.raises(ShapeError, match=r"targets have shape \(1,\), but the answers \(1, 2\)"):
        neurobench(nn.Identity(), [(torch.ones(1, 2), torch.ones(1))], scores=("R2",))

    with pytest.raises(ShapeError, match="input 'x' is missing"):
        neurobench(network(), [({}, None)])


def test_the_harness_found_the_same_digits() -> None:
    rows = json.loads((RESULTS / "neurobench_harness.json").read_text(encoding="utf-8"))["models"]
    assert len(rows) >= 3
    for row in rows:
        assert row["ours"] == row["harness"], row["model"]
