"""Links to states in drawings, summaries and diagnoses."""

import torch
from torch import nn

from spikebridge.analysis import count_cost, diagnose, summarize
from spikebridge.analysis.plots.network_diagram import draw_network
from spikebridge.hybrid import HybridNetwork, Initialisation, Transmission, every
from spikebridge.neurons import LIF, Sequential


def network_of() -> HybridNetwork:
    torch.manual_seed(0)
    return HybridNetwork(
        dt=0.001,
        inputs={"frames": every(0.004), "events": every(0.001)},
        parts={"ann": nn.Linear(2, 3), "snn": Sequential(fc=nn.Linear(2, 3), lif=LIF(tau=0.02))},
        links=[Transmission("frames", "ann"), Transmission("events", "snn"), Initialisation("ann", "snn.lif.v")],
        outputs=["snn"],
    )


INPUTS = {"frames": torch.rand(5, 4, 2), "events": 2 * torch.rand(20, 4, 2)}


def test_a_link_that_sets_a_state_is_drawn_and_summarised_by_its_path() -> None:
    drawing = draw_network(network_of())
    summary = str(summarize(network_of(), INPUTS))

    assert '<g class="initialisation">' in drawing
    assert "= lif.v" in drawing
    assert "initialisation" in summary
    assert "snn.lif.v" in summary


def test_operations_are_counted_and_a_link_that_acts_is_no_finding() -> None:
    network = network_of()
    nn.init.constant_(network.parts["ann"].weight, 2.0)

    assert count_cost(network, INPUTS).parts["ann"].macs == 6 * 5
    assert not [finding for finding in diagnose(network, INPUTS) if finding.kind == "unused"]
