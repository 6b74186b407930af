"""Modulation of thresholds

An ANN sets the thresholds of spiking neurons: where its value is high, the neurons stay silent. Inputs and weights
of the neurons are the same throughout.
"""

import torch
from torch import nn

from spikebridge.analysis.plots.figures import raster, to_svg
from spikebridge.hybrid import HybridNetwork, Modulation, Transmission, every
from spikebridge.neurons import LIF, Sequential

torch.manual_seed(0)
network = HybridNetwork(
    dt=0.001,
    inputs={"current": every(0.001), "context": every(0.05)},
    parts={"ann": nn.Linear(1, 12), "snn": Sequential(lif=LIF(tau=0.02, v_threshold=0.5))},
    links=[
        Transmission("current", "snn"),
        Transmission("context", "ann"),
        Modulation("ann", "snn.lif.v_threshold", by="add"),
    ],
    outputs=["snn"],
)

with torch.no_grad():
    network.parts["ann"].weight.copy_(torch.linspace(-0.3, 1.5, 12)[:, None])
    network.parts["ann"].bias.zero_()
    outputs, _ = network({"current": torch.rand(200, 1, 12), "context": torch.tensor([0.0, 1, 0, 1]).reshape(4, 1, 1)})

print("spikes in each quarter:", outputs["snn"][:, 0].reshape(4, 50, 12).sum((1, 2)).int().tolist())
picture = to_svg(raster(outputs["snn"][:, 0], dt=0.001, title="The context is on in the second and the last quarter"))
