"""A first hybrid unit

A hybrid unit carries spikes into values in up to four stages. This one has a window of 20 steps and a kernel that
weighs spikes by their age; it has no nonlinearity and no discretizer. It gives one value a window.
"""

import torch

from spikebridge.analysis.plots.figures import membrane_traces, to_svg
from spikebridge.hybrid import Exponential, HybridUnit, Tumbling

torch.manual_seed(0)
rates = torch.linspace(0.05, 0.6, 100)[:, None, None]
spikes = (torch.rand(100, 1, 2) < rates).float()

unit = HybridUnit(Tumbling(20), Exponential(tau=0.01, dt=0.001))
values, state = unit(spikes)
print(values[:, 0].detach().round(decimals=2).tolist())

held = values[:, 0].detach().repeat_interleave(20, 0)
title = "Spikes of two neurons, and the values of the unit"
picture = to_svg(membrane_traces(held, dt=0.001, spikes=spikes[:, 0], title=title))
