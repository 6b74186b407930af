"""Recomputation: the same numbers and gradients from less memory."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spikebridge.errors import ConfigError
from spikebridge.neurons import LIF, CubaLIF, Integrator, Recurrent, Sequential
from spikebridge.ops import pack_spikes, recompute, reference, without_native

pytestmark = pytest.mark.untyped


def network() -> Sequential:
    torch.manual_seed(0)
    return Sequential(
        nn.Linear(6, 32),
        LIF(0.01, dt=0.004, learn="tau"),
        nn.Dropout(0.2),
        Recurrent(CubaLIF(dt=0.004), nn.Linear(32, 32)),
        nn.Linear(32, 3),
        Integrator(dt=0.004),
    )


def train(net: Sequential, x: Tensor, span: int | None, state: Any = None) -> list[Tensor]:
    torch.manual_seed(1)
    net.zero_grad()
    x = x.detach().requires_grad_()
    y, end = net(x, state) if span is None else recompute(net, x, state, span=span)
    (y.square().sum() + end.layers[1].v.sum()).backward()

    return [y.detach(), x.grad, *(p.grad for p in net.parameters())]


@pytest.mark.parametrize("span", [1, 5, 7, 20, 50])
def test_numbers_and_gradients_are_the_same(span: int) -> None:
    net = network().eval()
    x = torch.randn(20, 2, 6)
    with torch.no_grad():
        _, state = net(torch.randn(3, 2, 6))

    for a, b in zip(train(net, x, span, state), train(net, x, None, state), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


WAYS = [reference, without_native, pack_spikes]


@pytest.mark.parametrize("way", WAYS)
def test_a_way_that_held_forward_holds_again_in_the_backward_pass(way: Any) -> None:
    net = Sequential(nn.Linear(6, 64), LIF(0.01, dt=0.004), nn.Linear(64, 64), LIF(dt=0.004))
    x = torch.randn(20, 8, 6)
    expected = torch.autograd.grad(net(x)[0].sum(), list(net.parameters()))

    with way():
        y, _ = recompute(net, x, span=5)

    found = torch.autograd.grad(y.sum(), list(net.parameters()))
    y, _ = recompute(net, x, span=5)
    with way():
        other = torch.autograd.grad(y.sum(), list(net.parameters()))

    for a, b, c in zip(expected, found, other, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(c, a, rtol=1e-4, atol=1e-4)


def test_draws_are_drawn_again() -> None:
    net = network().train()
    x = torch.randn(20, 2, 6)
    for a, b in zip(train(net, x, 5), train(net, x, 5), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def peak_memory(net: Sequential, x: Tensor, span: int | None) -> int:
    """The most bytes that were taken at once in a training step, counted as they are taken and given back."""
    # events are kept: otherwise an older PyTorch warns that they are cleared
    with torch.profiler.profile(profile_memory=True, acc_events=True) as profile:
        train(net, x, span)

    held = most = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)

    return most


def test_less_memory_is_taken() -> None:
    net = network().eval()
    x = torch.randn(144, 8, 6)
    train(net, x, None)
    # the states of 12 spans and the 12 steps of one, instead of 144 steps
    assert peak_memory(net, x, 12) < peak_memory(net, x, None) / 3


def test_networks_that_count_and_bad_spans_are_refused() -> None:
    counting = Sequential(nn.BatchNorm1d(6), LIF(dt=0.004))
    x = torch.randn(20, 2, 6)
    with pytest.raises(ConfigError, match="BatchNorm1d at '0' counts its inputs"):
        recompute(counting, x, span=5)

    recompute(counting.eval(), x, span=5)
    for span in (0, 2.5, "5"):
        with pytest.raises(ConfigError, match=f"at least 1 step, an integer, but got {span!r}"):
            recompute(counting, x, span=span)  # type: ignore[arg-type]
