"""A learned delay

A spike should arrive 6 ms later than it does. The delay of its line is learned from the distance between the two
times; the gradient is that of a Gaussian around the delay, and in evaluation the delay is an integer number of steps.
"""

import torch

from spikebridge.analysis.plots.figures import accuracy_lines, to_svg
from spikebridge.hybrid import Delay

spikes = torch.zeros(40, 1, 1)
spikes[10] = 1
delay = Delay(torch.tensor([0.001]), max_delay=0.012, dt=0.001, learn="delay")
optimizer = torch.optim.Adam(delay.parameters(), lr=0.0002)
times = torch.arange(40.0).reshape(40, 1, 1)
learned = []

for _ in range(80):
    y, _ = delay(spikes)
    arrival = (times * y).sum() / y.sum()

    optimizer.zero_grad()
    (arrival - 16).square().backward()
    optimizer.step()
    learned.append(1e3 * delay.delay.item())

arrival = delay.eval()(spikes)[0].argmax().item()
print(f"learned delay: {learned[-1]:.1f} ms; the spike of step 10 arrives at step {arrival}")
lines = {"learned": learned, "needed": [6.0] * 80}
picture = to_svg(accuracy_lines(range(80), lines, "training step", "delay [ms]"))
