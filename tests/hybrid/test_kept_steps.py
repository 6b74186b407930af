"""Shapes and arguments of parts are kept between calls of `step`: whatever changes a part changes the next step too."""

import gc
import weakref
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import nn

from modules import parallel
from spikebridge.errors import StateError
from spikebridge.hybrid import HybridNetwork
from spikebridge.hybrid.network import program
from spikebridge.neurons import LIF, PLIF, Sequential
from spikebridge.neurons.state import tensors_of
from spikebridge.ops import reference

Change = Callable[[HybridNetwork], Any]


def network() -> HybridNetwork:
    torch.manual_seed(0)
    layers = Sequential(
        fc=nn.Linear(3, 4), lif=LIF(0.01, v_threshold=0.3), inner=Sequential(act=nn.Tanh(), plif=PLIF(tau=0.02))
    )

    return parallel({"snn": layers}).eval()


def halved(network: HybridNetwork) -> None:
    snn: Any = network.parts["snn"]
    with torch.no_grad():
        for parameter in snn.parameters():
            parameter.mul_(0.5)


CHANGES: dict[str, Change] = {
    "a number": lambda n: setattr(n.parts["snn"].lif, "v_threshold", 0.9),
    "a number of another": lambda n: setattr(n.parts["snn"].lif, "tau", 0.05),
    "a number becomes a tensor": lambda n: setattr(n.parts["snn"].lif, "tau", torch.tensor(0.05)),
    "values of parameters": halved,
    "a layer": lambda n: setattr(n.parts["snn"], "lif", LIF(0.05, dt=0.001, v_threshold=0.5)),
    "a layer inside": lambda n: setattr(n.parts["snn"].inner, "act", nn.ReLU()),
    "the part": lambda n: n.parts.update({"snn": Sequential(fc=nn.Linear(3, 4), lif=LIF(0.05, dt=0.001), a=nn.Tanh())}),
    "weights that are loaded": lambda n: n.load_state_dict(
        {name: value * 0.5 for name, value in n.state_dict().items()}
    ),
    "a hook of the part": lambda n: n.parts["snn"].register_forward_hook(lambda part, given, y: (y[0] + 1, y[1])),
    "a hook": lambda n: n.parts["snn"].lif.register_forward_hook(lambda layer, given, y: (y[0] + 1, y[1])),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_step_after_a_change_is_that_of_the_changed_part(change: str) -> None:
    one = network()
    xs = torch.rand(8, 2, 3, generator=torch.Generator().manual_seed(1)) * 3
    state = None

    for x in xs[:4]:
        _, state = one.step({"x": x}, state)

    other = deepcopy(one)
    for changed in (one, other):
        torch.manual_seed(2)
        CHANGES[change](changed)

    if change == "the part":
        state = None

    expected_state = state
    differs = False
    before = network()
    before_state = state

    for x in xs[4:]:
        y, state = one.step({"x": x}, state)
        with reference():
            expected, expected_state = other.step({"x": x}, expected_state)
        torch.testing.assert_close(y["snn"], expected["snn"], rtol=1e-6, atol=1e-6)
        old, before_state = before.step({"x": x}, before_state)
        pairs = zip(tensors_of((old, before_state.parts)), tensors_of((y, state.parts)), strict=True)
        differs = differs or not all(a.shape == b.shape and torch.equal(a, b) for a, b in pairs)

    assert differs


def test_a_state_that_is_replaced_in_a_stream_is_compared() -> None:
    one = network()
    x = torch.ones(2, 3)
    _, state = one.step({"x": x})
    _, state = one.step({"x": x}, state)
    _, smaller = one.step({"x": x[:1]})
    _, state = one.step({"x": x}, state)
    state.parts["snn"] = smaller.parts["snn"]

    with pytest.raises(StateError, match="snn"):
        one.step({"x": x}, state)


@pytest.mark.untyped
def test_a_stream_with_gradients_leaves_no_graph_in_the_network() -> None:
    one = network()
    state = None
    for _ in range(3):
        _, state = one.step({"x": torch.ones(2, 3)}, state)
    assert state is not None
    membranes = [weakref.ref(tensor) for tensor in tensors_of(state.parts)]

    del state
    gc.collect()

    assert membranes and not any(membrane() is not None for membrane in membranes)


def test_gradients_of_a_trained_quantity_are_those_of_each_call() -> None:
    one = network()
    x = torch.ones(2, 3)
    plif: Any = one.parts["snn"].inner.plif
    grads = []

    for _ in range(2):
        state = None
        total = torch.zeros(())
        for _ in range(6):
            y, state = one.step({"x": x}, state)
            total = total + y["snn"].sum()

        one.zero_grad()
        total.backward()
        grads.append(torch.cat([p.grad.flatten() for p in one.parameters() if p.grad is not None]))

    assert torch.equal(*grads)
    assert all(p.grad is not None and p.grad.any() for p in plif.parameters())


@pytest.mark.untyped
def test_a_part_is_checked_once_and_a_network_is_freed(monkeypatch: pytest.MonkeyPatch) -> None:
    checked = []
    original = program.apply_part

    def counted(part: nn.Module, *arguments: Any, **settings: Any) -> Any:
        checked.append(part)
        return original(part, *arguments, **settings)

    monkeypatch.setattr(program, "apply_part", counted)
    layers = Sequential(fc=nn.Linear(3, 4), lif=LIF(0.01))
    one = parallel({"snn": layers})
    state = None

    for x in torch.rand(6, 2, 3):
        _, state = one.step({"x": x}, state)

    assert checked == [layers]

    gone = weakref.ref(one)
    del one, layers, state
    checked.clear()
    gc.collect()

    assert gone() is None


def test_a_state_of_another_kind_is_still_refused() -> None:
    one = network()
    _, state = one.step({"x": torch.ones(2, 3)})
    for wrong in (tuple(state), state._replace(ticks="1"), state._replace(ticks=True)):
        with pytest.raises(StateError):
            one.step({"x": torch.ones(2, 3)}, wrong)
