"""Balanced resonate-and-fire neurons behind learned delays

S. Higuchi, S. Kairat, S. M. Bohte and S. Otte, "Balanced Resonate-and-Fire Neurons", ICML 2024, arXiv 2402.14603; I.
Hammouamri, I. Khalfaoui-Hassani and T. Masquelier, "Learning Delays in Spiking Neural Networks using Dilated
Convolutions with Learnable Spacings", ICLR 2024, arXiv 2306.17670. The membrane of such a neuron oscillates, so it
answers to a rhythm and not to a level; a delay moves the spikes of a line, so that those that belong together meet.

Here two lines carry bursts of three pulses each, whose rhythm is fast or slow, one line 31 or 43 ms later than the
other. The class is the pair of rhythm and lag; both lags are longer than the resonators remember. Delays bring the
lines together, resonators tell rhythms, and an ANN reads their rates. Beside it: resonators without delays, and leaky
neurons with delays.
"""

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from spikebridge.analysis.plots.network_diagram import draw_network
from spikebridge.hybrid import Delay, HybridNetwork, HybridUnit, Mean, Transmission, Tumbling, every, narrow_delays
from spikebridge.neurons import LIF, Neuron, Quantity, Sequential
from spikebridge.neurons.surrogate import ARCTAN
from spikebridge.training import WHOLE, Callback, Phase, Settings, fit

TICKS = 84
PERIODS = (7, 10)  # ticks
LAGS = (31, 43)  # ticks
DT = 0.001


class ResonatorState(NamedTuple):
    """Real and imaginary part of the membrane, and the refractory variable."""

    v: Tensor
    w: Tensor
    q: Tensor


def resonator_step(x_t, state, *, omega, offset):
    """One Euler step; the damping keeps the oscillation from growing, and more so after a spike."""
    largest = ((1 - (DT * omega) ** 2).clamp(min=0).sqrt() - 1) / DT
    damping = largest - offset.abs() - state.q
    v = state.v + DT * (damping * state.v - omega * state.w) + x_t
    w = state.w + DT * (omega * state.v + damping * state.w)
    spikes = ARCTAN(v - 1 - state.q)

    return spikes, ResonatorState(v, w, 0.9 * state.q + spikes)


class Resonator(Neuron):
    """Balanced resonate-and-fire neurons, whose angular frequencies [rad/s] and damping offsets [1/s] learn."""

    omega = Quantity()
    offset = Quantity()
    step_function = staticmethod(resonator_step)

    def __init__(self, omega, offset, learn=("omega", "offset")):
        super().__init__(DT, learn, omega=omega, offset=offset)

    def initial_state(self, x_t):
        return ResonatorState(*[torch.zeros_like(x_t) for _ in range(3)])


def build(resonates=True, delays=True):
    """The network, or one without delays or with leaky neurons."""
    frequencies = torch.linspace(70, 150, 24)
    snn = Sequential(
        fc=nn.Linear(8, 48),
        fire=Resonator(6.28 * frequencies.repeat(2), torch.full((48,), 250.0)) if resonates else LIF(tau=0.01),
    )
    begin = torch.cat([torch.linspace(0.01, 0.05, 4), torch.zeros(4)])  # the first line may wait for the second one
    wait = Delay(begin, max_delay=0.06, sigma=0.004, learn="delay") if delays else None
    return HybridNetwork(
        dt=DT,
        inputs={"pulses": every(DT)},
        parts={"snn": snn, "ann": nn.Sequential(nn.Linear(48, 32), nn.ReLU(), nn.Linear(32, 4))},
        links=[
            Transmission("pulses", "snn", HybridUnit(None, wait) if delays else None),
            Transmission("snn", "ann", HybridUnit(Tumbling(TICKS), Mean())),
        ],
        outputs=["ann"],
    )


def samples(number, seed):
    """Pulses of two lines, each on four channels, `(T, B, 8)`, and the class of each sample."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(4, (number,), generator=generator)
    period = torch.tensor(PERIODS)[labels // 2]
    lag = torch.tensor(LAGS)[labels % 2]
    start = torch.randint(10, (number,), generator=generator)
    time = torch.arange(TICKS).unsqueeze(1)

    since = [time - start - late for late in (0, lag)]
    lines = [(one % period == 0) & (one >= 0) & (one < 3 * period) for one in since]
    pulses = torch.stack(lines, -1).repeat_interleave(4, -1)
    kept = torch.rand(pulses.shape, generator=generator) < 0.9
    noise = torch.rand(pulses.shape, generator=generator) < 0.01

    return (pulses & kept | noise).float(), labels


def objective(network, batch):
    """Cross-entropy and accuracy."""
    pulses, labels = batch
    scores = network({"pulses": pulses.transpose(0, 1)})[0]["ann"][0]
    return cross_entropy(scores, labels), {"accuracy": (scores.argmax(-1) == labels).float().mean()}


class Narrowing(Callback):
    """Narrows the learned delays from epoch to epoch."""

    def __init__(self, epochs):
        self.epochs = epochs

    def on_epoch_end(self, training, row):
        narrow_delays(training.module, row["epoch"] / self.epochs)


def run(seed=0, updates=14, number=512):
    """Trains the three networks on a number of samples for `updates` epochs; accuracies on as many others."""
    pulses, labels = samples(number, 100 + seed)
    test, answers = samples(number, 2 * 10**6 + seed)
    data = [(one, label) for one, label in zip(pulses.transpose(0, 1), labels, strict=True)]
    settings = Settings(batch_size=64, accelerator="cpu", quiet=True, seed=seed)
    kinds = {"hybrid": (True, True), "no delays": (True, False), "leaky neurons": (False, True)}
    scores, networks = {}, {}

    for name, kind in kinds.items():
        torch.manual_seed(seed)
        network = networks[name] = build(*kind)
        phase = Phase("all", WHOLE, objective, updates, partial(torch.optim.Adam, lr=0.01))
        fit(network, [phase], data, settings=settings, callbacks=[Narrowing(updates)])
        with torch.no_grad():
            _, measured = objective(network.eval(), (test.transpose(0, 1), answers))
        scores[f"accuracy, {name} [%]"] = 100 * measured["accuracy"].item()

    return scores, {"hybrid": networks["hybrid"]}


def example(seed):
    """A small input."""
    return {"pulses": samples(2, seed)[0]}


picture = draw_network(build())

if __name__ == "__main__":
    from _main import main

    main(run, example)
