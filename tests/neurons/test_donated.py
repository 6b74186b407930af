"""Neurons behind a product, which may take the memory of its outputs."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spikebridge.neurons import IF, LIF, PLIF, AdaptiveLIF, CubaLIF, Integrator, Neuron, Sequential
from spikebridge.ops import recompute, reference, without_native
from spikebridge.ops.sequence import native

needs_library = pytest.mark.skipif(not native.available(), reason=f"no native steps: {native.why_not()}")

NEURONS: dict[str, Neuron] = {
    "IF": IF(v_threshold=0.7),
    "LIF": LIF(2.0, dt=1.0),
    "LIF, soft reset": LIF(2.0, dt=1.0, reset="subtract"),
    "LIF, learned threshold": LIF(2.0, v_threshold=torch.ones(6), dt=1.0, learn="v_threshold"),
    "PLIF": PLIF(2.0, dt=1.0),
    "AdaptiveLIF": AdaptiveLIF(2.0, tau_adaptation=5.0, dt=1.0),
    "CubaLIF": CubaLIF(2.0, 3.0, dt=1.0),
    "Integrator": Integrator(2.0, dt=1.0),
}


def learned(run: Any, neuron: Neuron, x: Tensor) -> list[Tensor]:
    """Outputs and gradients, with the signal made by an operation that no other reads."""
    leaf = x.clone().requires_grad_()
    neuron.zero_grad()
    y, state = run(leaf * 1.0)
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    ((y * weights).sum() + state[0].sum()).backward()
    grads = [p.grad.clone() for p in neuron.parameters() if p.grad is not None]

    return [y.detach(), *(m.detach() for m in state if m is not None), leaf.grad, *grads]


@pytest.mark.parametrize("kind", NEURONS)
@pytest.mark.parametrize(("shape", "threads"), [((1, 1, 6), 1), ((9, 3, 6), 1), ((9, 3, 6), 2), ((20, 5, 350, 6), 2)])
def test_it_gives_what_forward_gives_to_the_bit(kind: str, shape: tuple[int, ...], threads: int) -> None:
    neuron = NEURONS[kind]
    before = torch.get_num_threads()
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)) + 0.4
    torch.set_num_threads(threads)

    try:
        for way in (without_native, reference):
            with way():
                for one, other in zip(
                    learned(partial(neuron.run, donated=True), neuron, x), learned(neuron, neuron, x), strict=True
                ):
                    assert torch.equal(one, other)

        for one, other in zip(
            learned(partial(neuron.run, donated=True), neuron, x), learned(neuron, neuron, x), strict=True
        ):
            assert torch.equal(one, other)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("shape", [(3, 2, 16, 6, 8), (5, 40, 32, 28, 28)])  # the second is written past the caches
def test_pooled_pictures_too(shape: tuple[int, ...]) -> None:
    neuron = LIF(2.0, dt=1.0)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)) + 0.4
    x = x.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, shape[:2])

    def run(way: Any) -> Any:
        return lambda signal: way(signal, size=(2, 2))

    found = [learned(run(partial(neuron.run, donated=donated)), neuron, x) for donated in (True, False)]
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


@needs_library
def test_membranes_take_the_place_of_the_signal() -> None:
    x = torch.full((3, 1, 64), 0.6, requires_grad=True)
    given = x * 1.0
    IF().run(given, donated=True)

    assert given.detach()[:, 0, 0].tolist() == pytest.approx([0.6, 1.2, 0.6])

    other = x * 1.0
    IF()(other)

    assert (other == 0.6).all()


def network() -> Sequential:
    torch.manual_seed(0)
    return Sequential(nn.Linear(6, 32), LIF(2.0, dt=1.0), nn.Linear(32, 6), Integrator(2.0, dt=1.0))


def gradients(net: Sequential, x: Tensor, **modulation: Any) -> list[Tensor]:
    net.zero_grad()
    net(x, **modulation)[0].square().sum().backward()
    return [p.grad.clone() for p in net.parameters() if p.grad is not None]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The kinds of the neurons that took the memory of their input."""
    found: list[str] = []
    run = Neuron.run

    def counted(self: Neuron, *arguments: Any, donated: bool = False, **settings: Any) -> Any:
        found.extend([type(self).__name__] if donated else [])
        return run(self, *arguments, donated=donated, **settings)

    monkeypatch.setattr(Neuron, "run", counted)
    return found


def test_in_a_row_it_is_taken_behind_a_product_to_which_nobody_listens(calls: list[str]) -> None:
    net = network()
    x = 2 * torch.rand(9, 4, 6)
    quick = gradients(net, x)

    assert calls == ["LIF", "Integrator"]

    seen: list[Tensor] = []
    handle = net[0].register_forward_hook(lambda module, given, y: seen.append(y))
    heard = gradients(net, x)
    handle.remove()

    assert calls[2:] == ["Integrator"]
    assert torch.equal(seen[0], net[0](x.flatten(0, 1)))
    with reference():
        plain = gradients(net, x)

    for one, two, three in zip(quick, heard, plain, strict=True):
        assert torch.equal(one, two)
        torch.testing.assert_close(two, three)


def test_a_signal_of_the_caller_is_never_taken(calls: list[str]) -> None:
    x = torch.rand(9, 4, 6, requires_grad=True)
    given = x * 2.0
    before = given.detach().clone()
    Sequential(LIF(2.0, dt=1.0), LIF(2.0, dt=1.0))(given)
    Sequential(nn.Identity(), LIF(2.0, dt=1.0))(given)
    Sequential(nn.Sigmoid(), LIF(2.0, dt=1.0))(given)  # whose backward pass asks what came out

    assert calls == [] and torch.equal(given, before)

    gradients(network(), x.detach(), **{"0.bias": torch.ones(32)})
    assert calls == ["Integrator"]


def test_backward_twice_and_in_spans(calls: list[str]) -> None:
    net = network()
    x = 2 * torch.rand(12, 4, 6)
    expected = gradients(net, x)
    net.zero_grad()
    loss = net(x)[0].square().sum()

    for _ in range(2):
        loss.backward(retain_graph=True)

    for parameter, other in zip(net.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, 2 * other)

    net.zero_grad()
    recompute(net, x, span=5)[0].square().sum().backward()
    for parameter, other in zip(net.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, other)
