"""Two cameras

A camera gives frames at 40 Hz, another one events at 240 Hz. Each side of the network keeps its own clock. The SNN
sends its firing rates to the ANN; the ANN sets the thresholds of the SNN one tick later.
"""

import torch
from torch import nn

from spikebridge.analysis.plots.network_diagram import draw_network
from spikebridge.hybrid import HybridNetwork, HybridUnit, Mean, Modulation, Transmission, Tumbling, every, ticks
from spikebridge.neurons import LIF, Sequential

network = HybridNetwork(
    dt=1 / 240,
    inputs={"frames": every(1 / 40), "events": every(1 / 240)},
    parts={"what": nn.Bilinear(64, 20, 10), "where": Sequential(fc=nn.Linear(100, 20), lif=LIF(tau=0.02))},
    links=[
        Transmission("frames", "what"),
        Transmission("events", "where"),
        Transmission("where", "what", HybridUnit(Tumbling(6), Mean()), held=True),
        Modulation(
            "what", "where.lif.v_threshold", HybridUnit(None, None, nn.Linear(10, 20)), by="add", delay=ticks(1)
        ),
    ],
    outputs=["what"],
)

outputs, _ = network({"frames": torch.rand(4, 8, 64), "events": torch.rand(24, 8, 100)})  # (T, batch, neurons)
print("one answer a frame:", tuple(outputs["what"].shape))
picture = draw_network(network)
