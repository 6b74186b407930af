"""Bundles of links that bring a value once, of sets with a mask, and of weights that are state."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from spikebridge.deploy import Runner, compare_bundle, export, quantize
from spikebridge.errors import ExportError
from spikebridge.hybrid import HybridNetwork, HybridUnit, Modulation, SetPool, Sum, Transmission, Tumbling, every
from spikebridge.neurons import LIF, Integrator

pytestmark = pytest.mark.untyped


class Pair(nn.Module):
    def forward(self, x: Tensor, cue: Tensor) -> Tensor:
        return x + 2 * cue


def network_of(**settings: object) -> HybridNetwork:
    """Cues that come every third tick act once: on a sum, and on the threshold of neurons."""
    return HybridNetwork(
        dt=0.001,
        inputs={"x": every(0.001), "cue": every(0.003)},
        parts={"pair": Pair(), "snn": LIF(), "sum": Integrator()},
        links=[
            Transmission("x", "pair"),
            Transmission("cue", "pair", once=True, initial=0.5),
            Transmission("pair", "snn"),
            Modulation("cue", "snn.v_threshold", by="multiply", once=True),
            Transmission("snn", "sum"),
            Modulation("cue", "sum.r", by="add", once=True),
        ],
        outputs=["snn", "sum"],
        **settings,
    ).eval()


def test_a_bundle_brings_values_once(tmp_path: Path) -> None:
    torch.manual_seed(0)
    inputs = {"x": torch.rand(30, 2, 3), "cue": torch.rand(10, 2, 3)}
    network = network_of()
    bundle = export(network, inputs, tmp_path / "once")
    assert compare_bundle(bundle).passed

    others = {"x": torch.rand(20, 1, 3), "cue": torch.rand(7, 1, 3)}
    expected, _ = network(others)
    runner = Runner(bundle)
    given = runner.run({name: x.numpy() for name, x in others.items()})
    for name in ("snn", "sum"):
        np.testing.assert_allclose(given[name], expected[name].detach().numpy(), rtol=0, atol=1e-5)


def test_a_bundle_takes_masks_of_sets(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = HybridNetwork(
        dt=0.001,
        inputs={"found": every(0.001), "mask": every(0.001)},
        parts={"snn": LIF()},
        links=[Transmission("found", "snn", HybridUnit(Tumbling(2), Sum(), SetPool("mean")), mask="mask")],
        outputs=["snn"],
    ).eval()
    inputs = {"found": 2 * torch.rand(40, 2, 5, 3), "mask": torch.rand(40, 2, 5) < 0.4}
    bundle = export(network, inputs, tmp_path / "sets")
    assert compare_bundle(bundle).passed

    others = {"found": 2 * torch.rand(12, 1, 5, 3), "mask": torch.rand(12, 1, 5) < 0.3}
    given = Runner(bundle).run({name: x.numpy() for name, x in others.items()})
    np.testing.assert_array_equal(given["snn"], network(others)[0]["snn"].detach().numpy())


def test_integers_refuse_them_in_one_line() -> None:
    inputs = {"x": torch.rand(30, 2, 3), "cue": torch.rand(10, 2, 3)}
    with pytest.raises(ExportError, match="once=True, which has no integer form") as caught:
        quantize(network_of(), inputs)
    assert "\n" not in str(caught.value)
