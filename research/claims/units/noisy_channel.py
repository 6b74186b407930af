"""Claim: a learned unit is better where the relation is uncertain (the paper names naive Bayes).

    python research/claims/units/noisy_channel.py           # writes results/noisy_channel.json
    python research/claims/units/noisy_channel.py --quick   # one seed, one noise level; printed only

One of eight values is sent in a window of 32 steps on four lines, as a latency (one spike a line) or as a rate (Poisson
spikes). The channel moves spikes (Gaussian jitter of 6 L steps), loses them (0.6 L) and adds some (0.15 L a step), with
L from 0 to 1. Decoders: the designed one of `spikebridge.coding`, which takes the nearest value; a learned unit (16 FIR
kernels a line, then a network of one hidden layer) with unlimited samples and with 200; and the Bayes decoder, which
has the true parameters of the channel, and whose accuracy is the upper bound.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from research.claims.experiment import Results, main, spread
from spikebridge.coding import LatencyDecoder, RateDecoder
from spikebridge.hybrid import FIR, HybridUnit, Tumbling

STEPS = 32
LINES = 4
VALUES = 8
KERNELS = 16
LEVELS = (0.02, 0.1, 0.25, 0.5, 1.0)
FIRST = torch.arange(VALUES) * 4 + 2  # step of the spike of each value
RATES = (torch.arange(VALUES) + 0.5) / VALUES / 2  # spikes a step and line of each value


def channel(level: float) -> tuple[float, float, float]:
    """Jitter [steps], loss, and added spikes a step and line."""
    return 6 * level, 0.6 * level, 0.15 * level


def sent(code: str, values: Tensor, level: float, generator: torch.Generator) -> Tensor:
    """Spike counts at the end of the channel, `(STEPS, B, LINES)`."""
    jitter, loss, added = channel(level)
    number = len(values)
    counts = torch.poisson(torch.full((STEPS, number, LINES), added), generator=generator)

    if code == "latency":
        step = FIRST[values][None, :, None].expand(1, -1, LINES).float()
        is_spike = torch.ones(1, number, LINES, dtype=bool)
    else:
        max_spikes = 40
        num_spikes = torch.poisson((RATES[values] * STEPS)[:, None].expand(-1, LINES), generator=generator)
        is_spike = torch.arange(max_spikes)[:, None, None] < num_spikes
        step = torch.floor(STEPS * torch.rand(max_spikes, number, LINES, generator=generator))

    step = torch.round(step + jitter * torch.randn(step.shape, generator=generator)).long()
    arrives = is_spike & (torch.rand(step.shape, generator=generator) >= loss) & (step >= 0) & (step < STEPS)

    return counts.scatter_add_(0, step.clamp(0, STEPS - 1), arrives.float())


def arrival(level: float) -> Tensor:
    """The probability that a spike of step i arrives in step j, `(STEPS, STEPS)`; rows lack the lost spikes."""
    jitter, loss, _ = channel(level)
    steps = torch.arange(STEPS, dtype=torch.float64)
    edge = (steps[None] - steps[:, None]) / (jitter * math.sqrt(2))
    half = 0.5 / (jitter * math.sqrt(2))

    return (1 - loss) * (torch.erf(edge + half) - torch.erf(edge - half)) / 2


def bayes(code: str, counts: Tensor, level: float) -> Tensor:
    """The most likely value of each sample, exactly."""
    added = channel(level)[2]
    probability = arrival(level)
    counts = counts.double()

    if code == "latency":
        # the spike of a line is lost, or it is one of those in the step where it arrives
        arrived = probability[FIRST]
        lines = (1 - arrived.sum(1))[:, None, None] + torch.einsum("vt,tbl->vbl", arrived, counts) / added
        return lines.log().sum(-1).argmax(0)

    intensity = RATES.double()[:, None] * probability.sum(0) + added
    likelihood = torch.einsum("vt,tbl->vb", intensity.log(), counts) - LINES * intensity.sum(1)[:, None]

    return likelihood.argmax(0)


def designed(code: str, counts: Tensor) -> Tensor:
    """The value whose code is nearest to the decoded signal, a mean over lines."""
    if code == "latency":
        decoded, _ = LatencyDecoder(STEPS)(counts.clamp(max=1))
        codes = 1 - FIRST / STEPS
    else:
        decoded, _ = RateDecoder(STEPS)(counts)
        codes = RATES

    return (decoded[0].mean(-1)[:, None] - codes).abs().argmin(-1)


def learned_unit(seed: int) -> HybridUnit:
    """FIR kernels of every line, then a small network."""
    torch.manual_seed(seed)
    kernel = FIR(STEPS, (LINES, KERNELS))
    nn.init.normal_(kernel.weight, std=STEPS**-0.5)
    layers = nn.Sequential(nn.Flatten(), nn.Linear(LINES * KERNELS, 64), nn.ReLU(), nn.Linear(64, VALUES))

    return HybridUnit(Tumbling(STEPS), kernel, layers)


def logits(unit: HybridUnit, counts: Tensor) -> Tensor:
    """Logits of a unit for windows of counts."""
    y: Tensor = unit(counts.unsqueeze(-1).expand(-1, -1, -1, KERNELS))[0][0]
    return y


def trained(
    draw: Callable[[int], tuple[Tensor, Tensor]], seed: int, updates: int, num_samples: int | None
) -> HybridUnit:
    """A unit trained on new samples in each step, or on a fixed number of them."""
    unit = learned_unit(seed)
    optimizer = torch.optim.AdamW(unit.parameters(), lr=3e-3, weight_decay=0.0 if num_samples is None else 0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, updates)
    fixed = None if num_samples is None else draw(num_samples)

    for _ in range(updates):
        counts, values = draw(256) if fixed is None else fixed
        optimizer.zero_grad()
        F.cross_entropy(logits(unit, counts), values).backward()
        optimizer.step()
        schedule.step()

    return unit


def measure(code: str, level: float, seed: int, updates: int, tests: int) -> dict[str, float]:
    """Accuracies of all decoders on the same samples."""
    generator = torch.Generator().manual_seed(100 + seed)

    def draw(number: int) -> tuple[Tensor, Tensor]:
        values = torch.randint(VALUES, (number,), generator=generator)
        return sent(code, values, level, generator), values

    few = trained(draw, seed, max(1, updates // 4), num_samples=200)
    many = trained(draw, seed, updates, num_samples=None)
    counts, values = draw(tests)

    with torch.no_grad():
        answers = {
            "Bayes": bayes(code, counts, level),
            "learned": logits(many, counts).argmax(-1),
            "learned, 200 samples": logits(few, counts).argmax(-1),
            "designed": designed(code, counts),
        }

    return {name: float((answer == values).float().mean()) for name, answer in answers.items()}


def run(quick: bool) -> Results:
    """Accuracy of each decoder of both codes against the noise."""
    seeds, levels, updates, tests = (1, (0.35,), 20, 500) if quick else (3, LEVELS, 400, 10_000)
    rows = []

    for code in ("latency", "rate"):
        for level in levels:
            by_seed = [measure(code, level, seed, updates, tests) for seed in range(seeds)]
            accuracies = {name: spread([scores[name] for scores in by_seed]) for name in by_seed[0]}
            print(code, level, {name: accuracy["mean"] for name, accuracy in accuracies.items()}, flush=True)
            rows.append({"code": code, "level": level, **accuracies})

    return {"rows": rows, "seeds": seeds, "updates": updates, "tests": tests}


if __name__ == "__main__":
    main("noisy_channel", __doc__, run)
