"""Outputs without a tick, integers as signals: worked by hand."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from modules import parallel
from spikebridge.errors import SpikebridgeError
from spikebridge.hybrid import HybridNetwork, Transmission, Tumbling, every, ticks
from spikebridge.hybrid.unit.discretizer import Integrate
from spikebridge.hybrid.unit.unit import HybridUnit
from spikebridge.neurons import Integrator


def fast_and_slow() -> HybridNetwork:
    """A fast part at every tick, a slow one at 2, 5, 8, ..."""
    return HybridNetwork(
        dt=1.0,
        inputs={"x": every(1.0)},
        parts={"fast": nn.Identity(), "slow": nn.Identity()},
        links=[
            Transmission("x", "fast"),
            Transmission("fast", "slow", HybridUnit(Tumbling(3), None, nn.Linear(2, 5), Integrate())),
        ],
        outputs=["fast", "slow"],
    )


def signal(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("exact", [False, True])
def test_an_output_without_a_tick_is_empty(exact: bool) -> None:
    network = fast_and_slow().eval()
    outputs, state = network({"x": signal(2, 4, 2)}, exact=exact)

    assert {name: tuple(y.shape) for name, y in outputs.items()} == {"fast": (2, 4, 2), "slow": (0, 4, 5)}

    outputs, state = network({"x": signal(1, 4, 2)}, state, exact=exact)
    assert {name: tuple(y.shape) for name, y in outputs.items()} == {"fast": (1, 4, 2), "slow": (1, 4, 5)}

    outputs, state = network({}, state, ticks=0, exact=exact)
    assert {name: tuple(y.shape) for name, y in outputs.items()} == {"fast": (0, 4, 2), "slow": (0, 4, 5)}


def test_a_step_gives_every_output_too() -> None:
    network = fast_and_slow()
    state = None
    shapes = []

    for x_t in signal(4, 4, 2):
        outputs, state = network.step({"x": x_t}, state)
        shapes.append(tuple(outputs["slow"].shape))
        assert outputs["fast"].shape == (4, 2)

    assert shapes == [(0, 4, 5), (0, 4, 5), (4, 5), (0, 4, 5)]


def test_empty_outputs_have_the_dtype_of_their_stream() -> None:
    network = fast_and_slow()
    network({"x": signal(1, 4, 2)})
    outputs, _ = network.double()({"x": signal(1, 4, 2).double()})
    assert outputs["slow"].dtype == torch.float64


def test_a_stream_of_empty_outputs_adds_up_to_the_whole() -> None:
    network = fast_and_slow().eval()
    x = signal(9, 4, 2)
    whole, _ = network({"x": x})
    state = None
    pieces = []

    for start in range(0, 9, 2):
        outputs, state = network({"x": x[start : start + 2]}, state)
        pieces.append(outputs["slow"])

    assert torch.equal(torch.cat(pieces), whole["slow"])


def reader(**link: Any) -> HybridNetwork:
    """Words as numbers, their vectors, and the sum of them."""
    torch.manual_seed(0)
    return HybridNetwork(
        dt=1.0,
        inputs={"words": every(1.0)},
        parts={"vectors": nn.Embedding(10, 3), "sum": Integrator(tau=float("inf"))},
        links=[Transmission("words", "vectors", **link), Transmission("vectors", "sum")],
        outputs=["vectors", "sum"],
        clocks={"vectors": every(1.0)} if link.get("held") else {},
    )


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
def test_an_embedding_reads_whole_numbers(dtype: torch.dtype) -> None:
    network = reader()
    words = torch.tensor([[1, 4], [2, 2], [9, 0]], dtype=dtype)
    outputs, state = network({"words": words})
    table = network.parts["vectors"].weight

    assert torch.equal(outputs["vectors"], table[words.long()])

    torch.testing.assert_close(outputs["sum"][-1], table[words.long()].sum(0))
    state = None
    for t, word in enumerate(words):
        y, state = network.step({"words": word}, state)
        torch.testing.assert_close(y["sum"], outputs["sum"][t])

    outputs["sum"].sum().backward()
    assert table.grad is not None and table.grad[4].tolist() == [3, 3, 3]  # read at the first of three ticks


@pytest.mark.parametrize("link", [{"delay": ticks(1)}, {"held": True, "delay": 1.0}, {"delay": ticks(1), "initial": 7}])
def test_whole_numbers_are_delayed_and_held_as_such(link: dict[str, Any]) -> None:
    network = reader(**link)
    outputs, state = network({"words": torch.tensor([[1], [4]])})
    first = link.get("initial", 0)

    assert torch.equal(outputs["vectors"], network.parts["vectors"].weight[torch.tensor([[first], [1]])])

    y, _ = network({"words": torch.tensor([[5]])}, state)
    assert torch.equal(y["vectors"][0, 0], network.parts["vectors"].weight[4])


def test_whole_numbers_of_a_network_in_double_precision() -> None:
    outputs, _ = reader().double()({"words": torch.tensor([[1], [4]])})
    assert outputs["sum"].dtype == torch.float64


def test_whole_numbers_where_floats_belong_are_refused_with_the_part() -> None:
    network = parallel({"p": Integrator()})
    with pytest.raises(SpikebridgeError, match=r"part 'p': Integrator needs a floating signal, but got torch\.int64"):
        network({"x": torch.ones(2, 1, 1, dtype=torch.int64)})
