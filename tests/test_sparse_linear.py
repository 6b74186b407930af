"""Sparse connections: sums over connections, both ways of computing them, and their gradients."""

import pytest
import torch

from research.claims.networks.sparse_linear import SparseLinear
from spikebridge.analysis import count_cost
from spikebridge.errors import ConfigError, ShapeError
from spikebridge.ops import reference

pytestmark = pytest.mark.untyped


def connections(weights: float = 0.5) -> SparseLinear:
    """7 of the 12 pairs of 4 sending and 3 receiving neurons; one pair is connected twice."""
    sources = torch.tensor([0, 1, 1, 2, 3, 3, 3])
    targets = torch.tensor([0, 0, 2, 1, 1, 2, 2])
    return SparseLinear(4, 3, sources, targets, weights)


def dense(layer: SparseLinear) -> torch.Tensor:
    weight = torch.zeros(3, 4)
    for (target, source), value in zip(layer.indices.T.tolist(), layer.weights.tolist(), strict=True):
        weight[target, source] += value
    return weight


def test_spikes_give_the_sums_of_a_dense_layer_in_both_ways() -> None:
    layer = connections()
    x = torch.zeros(40, 2, 4)
    x[3, 0, 1] = x[17, 1, 3] = 1.0
    x[39, 1, 0] = 2.0
    expected = x @ dense(layer).T

    with torch.no_grad():
        torch.testing.assert_close(layer(x), expected)
        with reference():
            torch.testing.assert_close(layer(x), expected)
        assert layer(x[:0]).shape == (0, 2, 3)

    torch.testing.assert_close(layer(x), expected)


def test_gradients_reach_silent_inputs_and_every_weight() -> None:
    layer = connections()
    x = torch.zeros(1, 4, requires_grad=True)
    layer(x).sum().backward()

    assert x.grad is not None
    assert x.grad.tolist() == [[0.5, 1.0, 0.5, 1.5]]

    layer(torch.tensor([[1.0, 2.0, 0.0, 0.0]])).sum().backward()
    assert layer.weights.grad is not None
    assert layer.weights.grad.tolist() == [1.0, 2.0, 2.0, 0.0, 0.0, 0.0, 0.0]


def test_new_weights_count() -> None:
    layer = connections()
    x = torch.zeros(40, 4)
    x[0, 0] = 1.0

    with torch.no_grad():
        assert layer(x)[0].tolist() == [0.5, 0.0, 0.0]

        layer.weights.mul_(2)
        assert layer(x)[0].tolist() == [1.0, 0.0, 0.0]

        layer.weights.data = torch.full((7,), 3.0)
        assert layer(x)[0].tolist() == [3.0, 0.0, 0.0]

        y = layer.double()(x.double())
        assert y.dtype == torch.float64
        assert y[0].tolist() == [3.0, 0.0, 0.0]


def test_a_part_of_the_connections_keeps_its_weights() -> None:
    part = connections().between(torch.tensor([3, 1]), torch.tensor([2]))
    with torch.no_grad():
        assert part(torch.eye(2)).tolist() == [[1.0], [0.5]]


def test_operations_are_spikes_times_their_connections() -> None:
    spikes = torch.tensor([[0.0, 1.0, 0.0, 1.0]])  # 2 and 3 connections
    assert count_cost(connections(), spikes).total.synops == 5
    assert count_cost(connections(), 0.5 * spikes).total.macs == 2.5


def test_wrong_connections_are_refused() -> None:
    with pytest.raises(ConfigError, match="4 neurons as sources, numbered from 0, but a connection names neuron 4"):
        SparseLinear(4, 3, torch.tensor([4]), torch.tensor([0]))

    with pytest.raises(ConfigError, match="targets as integers"):
        SparseLinear(4, 3, torch.tensor([1]), torch.tensor([0.5]))

    with pytest.raises(ConfigError, match="one weight, or one for each of 1 connections"):
        SparseLinear(4, 3, torch.tensor([1]), torch.tensor([0]), torch.ones(2))

    with pytest.raises(ConfigError, match="fan_in=5"):
        SparseLinear.fixed_fan_in(4, 3, 5, 1.0, torch.Generator())

    with pytest.raises(ShapeError, match="takes 4 neurons"):
        connections()(torch.ones(1, 3))
