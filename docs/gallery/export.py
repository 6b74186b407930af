"""Export and comparison

A trained network becomes a bundle: NIR for the SNN, ONNX for the ANN, numbers for the units. Every level then runs
on the same sample, and their differences are compared with tolerances.
"""

from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import nn

from spikebridge.analysis.plots.bundle_diagram import draw_bundle
from spikebridge.deploy import compare_bundle, export
from spikebridge.hybrid import HybridNetwork, HybridUnit, Mean, Transmission, Tumbling, every
from spikebridge.neurons import LIF, Sequential

torch.manual_seed(0)
network = HybridNetwork(
    dt=0.001,
    inputs={"events": every(0.001)},
    parts={"snn": Sequential(fc=nn.Linear(6, 8), lif=LIF(tau=0.01, v_threshold=0.3)), "ann": nn.Linear(8, 3)},
    links=[Transmission("events", "snn"), Transmission("snn", "ann", HybridUnit(Tumbling(4), Mean()))],
    outputs=["ann"],
)

with TemporaryDirectory() as folder:
    bundle = export(network, {"events": torch.rand(64, 2, 6)}, Path(folder) / "small.bundle")
    comparison = compare_bundle(bundle)
    print("all levels agree:", comparison.passed)
    print(sorted({row.level for row in comparison.rows}))
    picture = draw_bundle(asdict(bundle.manifest))
