"""The same network in integers

Post-training quantisation turns parts and units into integers of 8 bits. The integer model runs in NumPy alone, and
its outputs are equal to the bit to those of the quantised network.
"""

import torch
from torch import nn

from spikebridge.analysis.plots.figures import accuracy_lines, to_svg
from spikebridge.deploy import QConfig, QConfigMapping, integer_model, quantize
from spikebridge.hybrid import Exponential, HybridNetwork, HybridUnit, Transmission, every
from spikebridge.neurons import LIF, Sequential

torch.manual_seed(0)
network = HybridNetwork(
    dt=0.001,
    inputs={"events": every(0.001)},
    parts={"snn": Sequential(fc=nn.Linear(4, 8), fire=LIF(0.01, v_threshold=0.2)), "ann": nn.Linear(8, 1)},
    links=[Transmission("events", "snn"), Transmission("snn", "ann", HybridUnit(None, Exponential(0.02, dt=0.001)))],
    outputs=["ann"],
).eval()
stream = {"events": torch.rand(80, 2, 4)}
lines = {"float": network(stream)[0]["ann"][:, 0, 0].detach()}

for bits in (8, 4):
    quantized = quantize(network, stream, QConfigMapping((QConfig(weights=bits),)))
    model = integer_model(quantized, stream)
    answers = model.dequantize(model.run(model.quantize({"events": stream["events"].numpy()})))["ann"]
    is_equal = torch.equal(torch.tensor(answers), quantized(stream)[0]["ann"])
    print(f"weights of {bits} bits: equal to the quantised network: {is_equal}")
    lines[f"weights of {bits} bits"] = answers[:, 0, 0]

picture = to_svg(accuracy_lines(range(80), lines, "time [ms]", "answer"))
