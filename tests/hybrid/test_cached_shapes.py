"""A hybrid network keeps the shapes of its first call: no tensor of a transform, a trace or a thread stays in it."""

import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn
from torch.func import grad, vmap

from spikebridge.hybrid import HybridNetwork, HybridUnit, Mean, Modulation, Transmission, Tumbling, every, ticks
from spikebridge.neurons import LIF, Sequential


def looped(norm: bool = False) -> HybridNetwork:
    """A loop of transmission and modulation, and a unit with a window; maybe with batch normalisation."""
    torch.manual_seed(0)
    ann = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)) if norm else nn.Linear(4, 3)

    return HybridNetwork(
        dt=0.001,
        inputs={"x": every(0.001)},
        parts={"snn": Sequential(fc=nn.Linear(5, 4), lif=LIF(0.01, dt=0.001)), "ann": ann},
        links=[
            Transmission("x", "snn"),
            Transmission("snn", "ann", HybridUnit(Tumbling(2), Mean())),
            Modulation("ann", "snn.lif.r", HybridUnit(None, None, nn.Linear(3, 4)), by="add", delay=ticks(2)),
        ],
        outputs=["ann"],
    )


def loss(network: HybridNetwork) -> Callable[[Tensor], Tensor]:
    return lambda x: network({"x": x})[0]["ann"].square().sum()


class Outputs(nn.Module):
    """The outputs alone, as an exported program gives them."""

    def __init__(self, network: HybridNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.network({"x": x})[0]["ann"]
        return y


CALLS: dict[str, Callable[[HybridNetwork, Tensor], object]] = {
    "grad": lambda network, x: grad(loss(network))(x),
    "vmap": lambda network, x: vmap(loss(network))(torch.stack([x, x])),
    "grad of grad": lambda network, x: grad(lambda y: grad(loss(network))(y).sum())(x),
    "inference": lambda network, x: torch.inference_mode()(loss(network))(x),
    "meta": lambda network, x: deepcopy(network).to("meta")({"x": x.to("meta")}),
    "export": lambda network, x: torch.export.export(Outputs(network), (x,), strict=False),
}


@pytest.mark.untyped
@pytest.mark.parametrize("call", CALLS)
def test_a_call_inside_a_transform_leaves_nothing_behind(call: str) -> None:
    x = torch.rand(6, 2, 5)
    expected = loss(looped())(x)
    network = looped()
    CALLS[call](network, x)

    assert torch.equal(loss(network)(x), expected)
    assert torch.equal(loss(deepcopy(network))(x), expected)

    CALLS[call](network, x)  # once more, after a plain call
    leaf = x.clone().requires_grad_()
    loss(network)(leaf).backward()

    assert leaf.grad is not None and leaf.grad.abs().sum() > 0


def test_gradients_of_samples_are_those_of_one_after_another() -> None:
    network = looped()
    x = torch.rand(3, 6, 2, 5)
    each = torch.stack([grad(loss(network))(one) for one in x])
    torch.testing.assert_close(vmap(grad(loss(network)))(x), each)


@pytest.mark.parametrize("first", [False, True])
def test_an_export_does_not_warn(first: bool) -> None:
    network = looped().eval()
    x = torch.rand(6, 2, 5)
    if first:
        network({"x": x})

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        program = torch.export.export(Outputs(network), (x,), strict=False)

    torch.testing.assert_close(program.module()(x), Outputs(network)(x))


def test_a_network_keeps_no_tensor() -> None:
    network = looped()
    kept = dict(vars(network))
    network({"x": torch.rand(6, 2, 5)})
    network({"x": torch.rand(4, 3, 5)})
    added = repr({name: value for name, value in vars(network).items() if kept.get(name) is not value})

    assert "tensor(" not in added

    network._signal_specs.clear()  # the shapes alone are inferred again
    assert torch.isfinite(loss(network)(torch.rand(6, 2, 5)))


@pytest.mark.untyped
def test_threads_share_a_network() -> None:
    network = looped()
    signals = [torch.rand(6, batch, 5) for batch in (2, 3, 4, 5)] * 4
    expected = [deepcopy(network)({"x": x})[0]["ann"] for x in signals]

    def run(x: Tensor) -> Tensor:
        network.forget_shapes()
        y: Tensor = network({"x": x})[0]["ann"]
        return y

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(run, signals))

    for y, right in zip(found, expected, strict=True):
        torch.testing.assert_close(y, right)


def test_threads_that_begin_streams_leave_batch_normalisation_in_training() -> None:
    network = looped(norm=True)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda batch: network.initial_state({"x": torch.rand(0, batch, 5)}), [2, 3, 4, 5] * 8))
    assert all(module.training for module in network.modules())
