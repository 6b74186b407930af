"""Random small networks, stepped by events, against the networks themselves: equal to the bit with exact numbers."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from modules import EXACT_NEURONS, quarters
from spikebridge.neurons import Sequential
from spikebridge.ops import reference
from spikebridge.ops.sparse.engine import EventDriven
from spikebridge.ops.sparse.native import functions
from tests.ops.sparse.shares import dense_above

pytestmark = pytest.mark.untyped


def networks(draw: Callable[[st.SearchStrategy[Any]], Any]) -> tuple[Sequential, Tensor]:
    """Up to seven layers that fit each other, and a stream for them."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**20)))
    shape = (draw(st.integers(1, 3)), draw(st.integers(2, 11)), draw(st.integers(2, 11)))
    share = draw(st.sampled_from([0.0, 0.03, 0.3, 1.0]))
    num_steps = draw(st.integers(1, 5))
    x = quarters(generator, num_steps, 1, *shape, largest=0.75)
    x = x * (torch.rand(x.shape, generator=generator) < share)
    layers: list[nn.Module] = []
    like = x[:1, 0]

    for _ in range(draw(st.integers(1, 7))):
        kinds = ["fire", "flatten", "linear"] if like.ndim == 2 else ["fire", "fire", "convolve", "pool", "flatten"]
        layer = make(draw, draw(st.sampled_from(kinds)), like, generator)
        layers.append(layer)
        like = layer(like.unsqueeze(0))[0][0] if hasattr(layer, "initial_state") else layer(like)

    return Sequential(*layers).eval(), x


def make(
    draw: Callable[[st.SearchStrategy[Any]], Any], kind: str, like: Tensor, generator: torch.Generator
) -> nn.Module:
    """A layer for steps like one."""
    if kind == "fire":
        return draw(st.sampled_from(list(EXACT_NEURONS.values())))().double()
    if kind == "flatten":
        return nn.Flatten()

    if kind == "pool":
        kernel = draw(st.sampled_from([size for size in (1, 2) if size <= min(like.shape[2:])]))
        pool = draw(st.sampled_from([nn.MaxPool2d, nn.AvgPool2d]))
        return pool(kernel, stride=draw(st.integers(1, 2)), ceil_mode=draw(st.booleans()))

    out = draw(st.sampled_from([1, 3, 17]))
    if kind == "linear":
        layer: nn.Module = nn.Linear(like.shape[1], out)
    else:
        pad = draw(st.integers(0, 1))
        kernel = draw(st.integers(1, min(3, *like.shape[2:])))
        layer = nn.Conv2d(like.shape[1], out, kernel, stride=draw(st.integers(1, 2)), padding=pad)

    for parameter in layer.parameters():
        parameter.data = quarters(generator, *parameter.shape, largest=0.75)

    return layer


@pytest.mark.parametrize(
    "native",
    [pytest.param(True, marks=pytest.mark.skipif(not functions(), reason="the native library is not built")), False],
    ids=["native", "torch"],
)
@settings(max_examples=120, deadline=None)
@given(data=st.data(), max_share=st.sampled_from([None, 0.0, 0.2, 1.0]))
def test_random_networks_give_their_own_numbers(native: bool, data: st.DataObject, max_share: float | None) -> None:
    # built here and not in a strategy: executed annotations draw from `random`, which a strategy may not
    network, x = networks(data.draw)
    with reference(), torch.no_grad():
        expected, last = network(x)

    outputs = []
    with dense_above(max_share):
        live = EventDriven(network, native)
        state = live.initial_state(x[0])
        for x_t in x:
            y, state = live.step(x_t, state)
            outputs.append(y)

    assert torch.equal(torch.stack(outputs), expected)
    for own, theirs in zip(state.layers, last.layers, strict=True):
        for a, b in zip(own or (), theirs or (), strict=True):
            assert (a is None and b is None) or torch.equal(a, b)
