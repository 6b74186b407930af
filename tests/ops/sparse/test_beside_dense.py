"""Live stepping where the native step does not serve: PyTorch steps, with the numbers of the network."""

import pytest
import torch
from torch import Tensor, nn

from spikebridge.neurons import IF, Sequential
from spikebridge.ops.sparse.engine import EventDriven
from spikebridge.ops.sparse.native import functions

pytestmark = pytest.mark.untyped


def first_steps(network: Sequential, x: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Two steps prepared beside two steps of the network itself."""
    live = EventDriven(network.eval())
    pairs = []
    state = None
    expected_state = network.initial_state(x)

    for _ in range(2):
        with torch.no_grad():
            expected, expected_state = network.step(x, expected_state)
        y, state = live.step(x, state)
        pairs.append((y, expected))

    return pairs


@pytest.mark.parametrize("shape", [(1, 5, 4), (1, 2, 3, 4), (1, 2, 2, 3, 4)], ids=str)
def test_a_product_for_each_row(shape: tuple[int, ...]) -> None:
    network = Sequential(fc=nn.Linear(4, 300), fire=IF(), flat=nn.Flatten())
    for y, expected in first_steps(network, torch.rand(shape)):
        assert torch.equal(y, expected)


def test_windows_that_see_nothing() -> None:
    pool = nn.MaxPool2d(2, stride=1, padding=1, dilation=(3, 1))
    for y, expected in first_steps(Sequential(pool), torch.rand(1, 2, 2, 2)):
        assert expected.isinf().all() and torch.equal(y, expected)


def test_a_step_of_no_neurons() -> None:
    for y, expected in first_steps(Sequential(IF()), torch.rand(1, 0)):
        assert y.shape == expected.shape == (1, 0)


@pytest.mark.parametrize("when", ["from the beginning", "later"])
def test_under_autocast_each_layer_has_its_own_dtype(when: str) -> None:
    network = Sequential(fc=nn.Linear(80, 90), fc2=nn.Linear(90, 100), fire=IF(), out=nn.Linear(100, 70)).eval()
    x = torch.rand(1, 80)
    live = EventDriven(network)
    if when == "later":
        live.step(x, live.step(x)[1])

    with torch.no_grad(), torch.autocast("cpu"):
        expected, _ = network.step(x, network.initial_state(x))
        y, state = live.step(x, live.initial_state(x))
        assert y.dtype == expected.dtype == torch.bfloat16
        assert torch.equal(y, expected)

    y, _ = live.step(x, state)
    assert y.dtype == torch.float32


@pytest.mark.skipif(not functions(), reason="the native library is not built")
def test_one_product_a_step_is_native() -> None:
    live = EventDriven(Sequential(fc=nn.Linear(4, 3), fire=IF()))
    live.step(torch.rand(1, 4))
    live.step(torch.rand(1, 5, 4))
    assert [plan is not None for plan in live._plans.values()] == [True, False]
