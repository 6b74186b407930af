"""Speed of a spiking layer

One definition, several ways to the same numbers: the plain step function, PyTorch's operations on whole sequences,
and the native library if it is built.
"""

from contextlib import nullcontext
from time import perf_counter

import torch

from spikebridge.analysis.plots.figures import accuracy_lines, to_svg
from spikebridge.neurons import LIF
from spikebridge.ops import reference, without_native

layer = LIF(tau=0.02, dt=0.001)
ways = {"plain steps": reference, "PyTorch": without_native, "fastest here": nullcontext}
sizes = [16, 64, 256, 1024]
times = {name: [] for name in ways}
spikes = {}

for size in sizes:
    x = torch.rand(50, 8, size)
    for name, way in ways.items():
        with way(), torch.no_grad():
            seconds = []
            for _ in range(5):
                start = perf_counter()
                spikes[name], _ = layer(x)
                seconds.append(perf_counter() - start)

            times[name].append(1e3 * min(seconds))

print("equal spikes:", all(torch.equal(y, spikes["plain steps"]) for y in spikes.values()))
picture = to_svg(accuracy_lines(sizes, times, "neurons", "50 steps of 8 samples [ms]"))
