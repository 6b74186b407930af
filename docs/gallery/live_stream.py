"""A live stream

A network steps at every bin of a stream and answers at once. Pieces of any length give the numbers of the whole.
"""

from time import perf_counter

import torch
from torch import nn

from spikebridge.analysis.plots.figures import membrane_traces, to_svg
from spikebridge.hybrid import Exponential, HybridNetwork, HybridUnit, Transmission, every
from spikebridge.neurons import LIF, Sequential

torch.manual_seed(0)
network = HybridNetwork(
    dt=0.001,
    inputs={"events": every(0.001)},
    parts={"snn": Sequential(fc=nn.Linear(16, 32), lif=LIF(tau=0.02, v_threshold=0.3)), "ann": nn.Linear(32, 3)},
    links=[Transmission("events", "snn"), Transmission("snn", "ann", HybridUnit(None, Exponential(0.02, dt=0.001)))],
    outputs=["ann"],
).eval()

events = (torch.rand(200, 1, 16) < 0.2).float()
state = None
answers = []
seconds = []
with torch.no_grad():
    for bin_ in events:
        start = perf_counter()
        outputs, state = network.step({"events": bin_}, state)
        seconds.append(perf_counter() - start)
        answers.append(outputs["ann"])

    whole, _ = network({"events": events})

streamed = torch.stack(answers)
print("equal to the whole:", torch.allclose(streamed, whole["ann"], atol=1e-5))
print("faster than the events:", sorted(seconds)[100] < 0.001)
picture = to_svg(membrane_traces(streamed[:, 0], dt=0.001, title="Three answers, one a millisecond"))
