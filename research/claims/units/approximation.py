"""Claim: kernel and nonlinearity make hybrid units universal approximators.

    python research/claims/units/approximation.py           # writes results/approximation.json
    python research/claims/units/approximation.py --quick   # one seed, two sizes; printed only

A unit of K kernels and a hidden layer of width w learns functionals of a signal's past: a Volterra functional of
second order, NARMA-10, the exclusive-or of two spike trains with delays of 2 and 5 steps, and a fading memory with
noise, whose smallest error is known. Kernels are learned taps over 16 steps, or exponentials with learned time
constants. A GRU and a network on the whole window have as many parameters. Errors are standard deviations relative to
that of the target, on signals of another seed.
"""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from research.claims.experiment import Results, main, spread
from spikebridge.hybrid import FIR, Exponential, HybridUnit, Kernel

WINDOW = 16
WASHOUT = 40
WIDTHS = (2, 8, 32)
KERNELS = (1, 4, 16)
NOISE = 0.1


def band_limited(steps: int, batch: int, generator: torch.Generator) -> Tensor:
    """Noise without its fast half, in -1 to 1, `(T, B)`."""
    spectrum = torch.fft.rfft(torch.rand(steps, batch, generator=generator) - 0.5, dim=0)
    spectrum[len(spectrum) // 2 :] = 0
    x = torch.fft.irfft(spectrum, steps, dim=0)
    return (x / x.std() / 2).clamp(-1, 1)


def delayed(x: Tensor, delay: int) -> Tensor:
    """The signal delayed by some steps."""
    return torch.cat([x.new_zeros(delay, *x.shape[1:]), x[:-delay]]) if delay else x


def volterra(steps: int, batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A linear and a quadratic kernel that fade over 12 steps."""
    x = band_limited(steps, batch, generator)
    past = torch.stack([delayed(x, k) for k in range(12)])
    fade = torch.exp(-torch.arange(12) / 4.0)
    turned = fade * torch.cos(torch.arange(12) / 2.0)
    first = torch.einsum("k,ktb->tb", fade, past)

    return x[..., None], first + torch.einsum("k,ktb->tb", turned, past) ** 2 - first * past[3]


def narma(steps: int, batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """NARMA-10 (A. F. Atiya and A. G. Parlos, 2000), the input in 0 to 0.5."""
    x = 0.5 * torch.rand(steps, batch, generator=generator)
    y = [torch.zeros(batch)] * 10
    for t in range(10, steps):
        total = torch.stack(y[-10:]).sum(0)
        y.append(torch.clamp(0.3 * y[-1] + 0.05 * y[-1] * total + 1.5 * x[t - 10] * x[t - 1] + 0.1, max=1.0))

    return 4 * x[..., None] - 1, torch.stack(y)


def exclusive_or(steps: int, batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The exclusive-or of a spike 2 steps ago and one of another train 5 steps ago."""
    x = (torch.rand(steps, batch, 2, generator=generator) < 0.5).float()
    return x, (delayed(x[..., 0], 2) != delayed(x[..., 1], 5)).float()


def fading(steps: int, batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The sine of a leaky sum, with noise that cannot be predicted."""
    x = band_limited(steps, batch, generator)
    y = []
    total = torch.zeros(batch)

    for x_t in x:
        total = 0.8 * total + x_t
        y.append(torch.sin(total))

    clean = torch.stack(y)
    noise = NOISE * torch.randn(clean.shape, generator=generator)

    return x[..., None], (clean / clean.std() + noise)


TARGETS: dict[str, Callable[[int, int, torch.Generator], tuple[Tensor, Tensor]]] = {
    "Volterra": volterra,
    "NARMA-10": narma,
    "exclusive-or": exclusive_or,
    "fading memory": fading,
}
BEST = {"fading memory": NOISE / math.sqrt(1 + NOISE**2)}


class Unit(nn.Module):
    """A hybrid unit of several kernels on the same signal."""

    def __init__(self, kind: str, inputs: int, kernels: int, width: int) -> None:
        super().__init__()
        self.kernels = kernels
        kernel: Kernel

        if kind == "taps":
            kernel = FIR(WINDOW, (inputs, kernels), keep=True)
            nn.init.normal_(kernel.weight, std=WINDOW**-0.5)
        else:
            tau = torch.logspace(math.log10(0.7), math.log10(12), kernels).expand(inputs, -1)
            kernel = Exponential(tau.clone(), dt=1.0, keep=True, learn="tau")

        layers = nn.Sequential(nn.Flatten(), nn.Linear(inputs * kernels, width), nn.Tanh(), nn.Linear(width, 1))
        self.unit = HybridUnit(None, kernel, layers)

    def forward(self, x: Tensor) -> Tensor:
        """`(T, B, inputs)` to `(T, B)`."""
        return self.unit(x.unsqueeze(-1).expand(-1, -1, -1, self.kernels))[0].squeeze(-1)


class Gru(nn.Module):
    """A GRU with a linear read-out."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.gru = nn.GRU(inputs, width)
        self.read_out = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """`(T, B, inputs)` to `(T, B)`."""
        return self.read_out(self.gru(x)[0]).squeeze(-1)


class Window(nn.Module):
    """A network on the last steps of the signal."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(inputs * WINDOW, width), nn.Tanh(), nn.Linear(width, 1))

    def forward(self, x: Tensor) -> Tensor:
        """`(T, B, inputs)` to `(T, B)`."""
        return self.layers(torch.cat([delayed(x, k) for k in range(WINDOW)], -1)).squeeze(-1)


def size(module: nn.Module) -> int:
    """The number of parameters."""
    return sum(p.numel() for p in module.parameters())


def nearest(make: Callable[[int], nn.Module], goal: int) -> nn.Module:
    """The module with a number of parameters nearest to the goal."""
    return make(min(range(1, 200), key=lambda width: abs(size(make(width)) - goal)))


def error(module: nn.Module, target: str, seed: int, updates: int) -> float:
    """The error of a trained module on a signal of another seed."""
    make = TARGETS[target]
    steps = 300
    batch = 8
    x, y = make(steps, batch, torch.Generator().manual_seed(seed))
    mean = y[WASHOUT:].mean()
    sd = y[WASHOUT:].std()
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, updates)

    for _ in range(updates):
        optimizer.zero_grad()
        ((module(x) - (y - mean) / sd)[WASHOUT:]).square().mean().backward()
        optimizer.step()
        schedule.step()

    x, y = make(steps, batch, torch.Generator().manual_seed(1000 + seed))
    with torch.no_grad():
        return float((module(x) - (y - mean) / sd)[WASHOUT:].square().mean().sqrt())


def seeded(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    """A module whose weights are drawn with a seed."""
    torch.manual_seed(seed)
    return make()


def slope(sizes: tuple[int, ...], errors: list[float]) -> float:
    """The slope of the log error over the log size."""
    return float(np.polyfit(np.log(sizes), np.log(errors), 1)[0])


def run(quick: bool) -> Results:
    """Errors against width and kernels, and of the twins."""
    seeds, updates = (1, 10) if quick else (5, 250)
    widths, counts = ((2, 8), (1, 4)) if quick else (WIDTHS, KERNELS)
    rows = []
    twins = []

    for target in ["exclusive-or"] if quick else TARGETS:
        inputs = TARGETS[target](60, 1, torch.Generator())[0].shape[-1]
        for kind in ("taps", "exponentials"):
            sweeps = {"width": [(max(counts), w) for w in widths], "kernels": [(k, 32) for k in counts]}
            for axis, sizes in sweeps.items():
                errors = [
                    [error(seeded(partial(Unit, kind, inputs, k, w), s), target, s, updates) for s in range(seeds)]
                    for k, w in sizes
                ]

                means = [sum(by_seed) / len(by_seed) for by_seed in errors]
                lengths = widths if axis == "width" else counts
                row = {"target": target, "kernel": kind, "axis": axis, "sizes": lengths, "slope": slope(lengths, means)}
                rows.append({**row, "errors": [spread(by_seed) for by_seed in errors]})
                print(target, kind, axis, [round(mean, 3) for mean in means], flush=True)

        unit = Unit("taps", inputs, max(counts), 32)
        goal = size(unit)
        others: dict[str, Callable[[], nn.Module]] = {
            "unit, taps": partial(Unit, "taps", inputs, max(counts), 32),
            "GRU": partial(nearest, partial(Gru, inputs), goal),
            "window": partial(nearest, partial(Window, inputs), goal),
        }

        for name, make in others.items():
            by_seed = [error(seeded(make, s), target, s, updates) for s in range(seeds)]
            twins.append({"target": target, "network": name, "parameters": size(make()), "error": spread(by_seed)})
            print(target, name, twins[-1]["error"]["mean"], flush=True)

    return {"rows": rows, "twins": twins, "seeds": seeds, "updates": updates, "best": BEST}


if __name__ == "__main__":
    main("approximation", __doc__, run)
