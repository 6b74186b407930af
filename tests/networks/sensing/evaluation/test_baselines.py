"""Baselines by name, and the network without memory."""

import pytest
import torch

from research.sensing.baselines.evaluate import events_alone, without_memory
from spikebridge.errors import ConfigError
from spikebridge.networks.sensing.evaluation._baselines import baseline_names
from spikebridge.networks.sensing.model.sensing import Sensing
from spikebridge.networks.sensing.model.units import SensingOptions
from spikebridge.networks.sensing.tracker.tracker import SensingTracker, TrackerOptions

DT = 1 / 240


def last_output(sensing: Sensing, events: torch.Tensor) -> torch.Tensor:
    """The output of the SNN in the last bin."""
    with torch.no_grad():
        return sensing.parts["where"](events)[0][-1]


def test_a_tracker_without_memory_ignores_earlier_bins_and_leaves_the_other_as_it_was() -> None:
    torch.manual_seed(0)
    tracker = SensingTracker(Sensing(DT, SensingOptions(num_features=4)).eval(), TrackerOptions(crop=48))
    weights = {name: x.clone() for name, x in tracker.sensing.state_dict().items()}
    other = without_memory(tracker)
    events = (torch.rand(4, 1, 2, 48, 48) < 0.3).float()

    for network, forgets in ((other.sensing, True), (tracker.sensing, False)):
        earlier = last_output(network, events)
        alone = last_output(network, events[-1:])
        assert torch.allclose(earlier, alone, atol=1e-5) is forgets

    assert all(torch.equal(x, weights[name]) for name, x in tracker.sensing.state_dict().items())


def test_names_are_those_of_baselines_and_of_networks_of_the_run() -> None:
    assert baseline_names("hold, ann-hold,hold,none", ["none"]) == ["hold", "ann_hold", "none"]
    assert baseline_names("none", ["learned"]) == []
    with pytest.raises(ConfigError, match="did you mean 'kalman'"):
        baseline_names("kalmann", ["learned"])
    with pytest.raises(ConfigError, match=r"csrt of sensing left the package; research/sensing/baselines"):
        baseline_names("csrt", ["learned"])


def test_a_network_without_an_snn_has_no_tracker_of_events() -> None:
    frames_alone = SensingTracker(Sensing(DT, SensingOptions(unit="none")).eval(), TrackerOptions(crop=48))
    with pytest.raises(ConfigError, match="needs a network with an SNN"):
        events_alone(frames_alone)
