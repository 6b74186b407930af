"""Bundles of links that bring a value once, of sets with a mask, and of weights that are state."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from spikebridge.deploy import Runner, compare_bundle, export, quantize
from spikebridge.errors import ExportError
from spikebridge.hybrid import HybridNetwork, HybridUnit, Modulation, SetPool, Sum, Transmission, Tumbling, every
from spikebridge.neurons import LIF, Integrator, Stateful

pytestmark = pytest.mark.untyped


class Pair(nn.Module):
    def forward(self, x: Tensor, cue: Tensor) -> Tensor:
        return x + 2 * cue


class HebbianState(NamedTuple):
    weight: Tensor


class Hebbian(Stateful):
    """A product whose weights grow with what they join."""

    plastic = {"weight": "weight"}

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((2, 3), 0.5))

    def initial_state(self, x_t: Tensor) -> HebbianState:
        return HebbianState(self.weight.expand(len(x_t), 2, 3))

    def step(self, x_t: Tensor, state: HebbianState) -> tuple[Tensor, HebbianState]:
        y = (state.weight * x_t.unsqueeze(1)).sum(-1)
        return y, HebbianState(0.9 * state.weight + 0.1 * y.unsqueeze(2) * x_t.unsqueeze(1))


def network_of() -> HybridNetwork:
    """Cues that come every third tick act once, a set of found objects has a mask, and weights are state."""
    return HybridNetwork(
        dt=0.001,
        inputs={"x": every(0.001), "cue": every(0.003), "found": every(0.001), "mask": every(0.001)},
        parts={"pair": Pair(), "snn": LIF(), "sum": Integrator(), "plastic": Hebbian()},
        links=[
            Transmission("x", "pair"),
            Transmission("cue", "pair", once=True, initial=0.5),
            Transmission("pair", "snn"),
            Modulation("cue", "snn.v_threshold", by="multiply", once=True),
            Transmission("found", "sum", HybridUnit(Tumbling(2), Sum(), SetPool("mean")), mask="mask"),
            Modulation("cue", "sum.r", by="add", once=True),
            Transmission("snn", "plastic"),
        ],
        outputs=["snn", "sum", "plastic"],
    ).eval()


def signals(number: int, batch: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(number)
    return {
        "x": torch.rand(number, batch, 3, generator=generator),
        "cue": torch.rand(-(-number // 3), batch, 3, generator=generator),
        "found": torch.rand(number, batch, 5, 3, generator=generator),
        "mask": torch.rand(number, batch, 5, generator=generator) < 0.4,
    }


def test_a_bundle_holds_values_read_once_masks_of_sets_and_plastic_weights(tmp_path: Path) -> None:
    network = network_of()
    bundle = export(network, signals(30, 2), tmp_path / "bundle")
    assert compare_bundle(bundle).passed

    others = signals(20, 1)
    expected, _ = network(others)
    given = Runner(bundle).run({name: x.numpy() for name, x in others.items()})
    for name, y in expected.items():
        np.testing.assert_allclose(given[name], y.detach().numpy(), rtol=0, atol=1e-5)


def test_a_bundle_that_begins_at_a_state_reads_no_value_twice(tmp_path: Path) -> None:
    network = network_of()
    early, late = signals(20, 1), signals(10, 1)
    # the last cue arrived at tick 18, and ticks 20 and 23 bring nothing and the next one
    _, state = network(early, ticks=20)
    rest = {name: x[: 3 if name == "cue" else 10] for name, x in late.items()}
    expected, _ = network(rest, state, ticks=10)
    bundle = export(network, rest, tmp_path / "bundle", state=state, ticks=10)
    given = Runner(bundle).run({name: x.numpy() for name, x in rest.items()}, 10)
    for name, y in expected.items():
        np.testing.assert_allclose(given[name], y.detach().numpy(), rtol=0, atol=1e-5)


def test_integers_refuse_them_in_one_line() -> None:
    with pytest.raises(ExportError, match="once=True, which has no integer form") as caught:
        quantize(network_of(), signals(30, 2))
    assert "\n" not in str(caught.value)
