"""Codes side by side

Five coding schemes write the same five values. Each scheme is a pair of fixed hybrid units, an encoder and a
decoder.
"""

import torch
from matplotlib.figure import Figure

from spikebridge.analysis.plots.figures import to_svg
from spikebridge.analysis.plots.style import INK, PAGE_WIDTH, SERIES, style_axes
from spikebridge.coding import BernoulliEncoder, BurstEncoder, LatencyEncoder, PhaseEncoder, RateEncoder

torch.manual_seed(0)
values = torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9]).reshape(1, 1, -1)
schemes = {
    "rate": RateEncoder(16),
    "Bernoulli": BernoulliEncoder(16).eval(),
    "latency": LatencyEncoder(16),
    "phase": PhaseEncoder(16),
    "burst": BurstEncoder(16),
}

figure = Figure(figsize=(PAGE_WIDTH, 1.8), layout="constrained")
for axes, (name, encoder) in zip(figure.subplots(1, len(schemes), sharey=True), schemes.items(), strict=True):
    spikes, _ = encoder(values)
    decoded, _ = encoder.decoder()(spikes)
    print(f"{name:10} error {(decoded - values).abs().max():.3f}, bound {encoder.bound:.3f}")

    style_axes(axes)
    steps, neurons = spikes[:, 0].nonzero(as_tuple=True)
    axes.plot(steps, neurons, "|", color=SERIES[0], markersize=9, markeredgewidth=1.6)
    axes.set_title(name, color=INK, fontsize=10)
    axes.set(xlabel="step", xlim=(-1, 16), ylim=(-0.6, 4.6))
    axes.set_yticks(range(5), [f"{value:.1f}" for value in values.flatten().tolist()])

picture = to_svg(figure, "spikes of five values in five codes")
