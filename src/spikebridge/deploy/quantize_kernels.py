"""Kernels of hybrid units in whole numbers: what they sum up stays inside the width of a membrane."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikebridge.deploy.quantize_arithmetic import (
    FRACTION,
    double,
    dyadic,
    leak_towards,
    power,
    rescale,
    snap,
    up_to_power_of_two,
)
from spikebridge.deploy.quantize_config import Region
from spikebridge.deploy.quantize_grid import Grid, Quantizer
from spikebridge.deploy.quantize_layers import Numbers, Record, Settings, ratio_numbers
from spikebridge.deploy.quantize_modulated import HEADROOM
from spikebridge.errors import ExportError
from spikebridge.hybrid import Alpha, Difference, Exponential, Gaussian, Kernel, Mean, Sum, Taps
from spikebridge.hybrid.discretizer import straight_through
from spikebridge.neurons.lif import decay_of

MOST_STEPS = 1 << 16


class Sums(NamedTuple):
    """What a window has summed so far."""

    total: Tensor


class CountedSums(NamedTuple):
    """The sum, and over how many steps."""

    total: Tensor
    num_steps: Tensor


class TwoSums(NamedTuple):
    """The two stages of an alpha function."""

    first: Tensor
    second: Tensor


class Steps(NamedTuple):
    """The last steps, oldest first `(B, n, *N)`."""

    last: Tensor


class FirstSteps(NamedTuple):
    """Steps to compare with, and whether the window has begun `(B,)`."""

    last: Tensor
    started: Tensor


class WholeKernel(Kernel):
    """A kernel that takes and gives real values on grids.

    Args:
        kernel: the kernel.
        region: its widths.
        path: for messages.
    """

    def __init__(self, kernel: Kernel, region: Region, path: str) -> None:
        super().__init__(kernel.keep)
        if type(kernel) not in (Sum, Mean, Exponential, Alpha, Difference, Taps, Gaussian):
            raise ExportError(f"{path!r} is a {type(kernel).__name__}, a kernel that has no integer form")
        self.kernel, self.region, self.path = kernel, region, path
        self.num_taps = getattr(kernel, "num_taps", 1)
        self.entry, self.out = Quantizer.of(region), Quantizer.of(region)
        self.sums = Quantizer(region.membranes)
        self.most = 0.0
        self.observing = True

    @property
    def high(self) -> int:
        """The largest whole number of what it remembers."""
        return 2 ** (self.region.membranes - 1) - 1

    @property
    def leaks(self) -> bool:
        """Whether it has a scale of its own, finer than that of its input."""
        return isinstance(self.kernel, Exponential | Alpha)

    def settle(self) -> None:
        """Chooses grid and scale."""
        self.out.settle()
        scale = torch.ones((), dtype=torch.float64)
        if self.leaks:
            scale = scale * ((self.most or 1.0) * HEADROOM / self.high)
            scale = up_to_power_of_two(scale) if self.region.power_of_two else scale
        self.sums.take(Grid(float(scale), -self.high, self.high))

    def begin(self) -> None:
        """From watching to whole numbers."""
        self.observing = False

    def initial_state(self, x_t: Tensor) -> Any:
        carry: Any = self.kernel.initial_state(x_t)
        if self.observing:
            return carry
        if isinstance(self.kernel, Mean):
            return CountedSums(carry.total.double(), carry.num_steps.double())
        if isinstance(self.kernel, Difference):
            return FirstSteps(carry.last.double(), carry.started)
        if isinstance(self.kernel, Alpha):
            return TwoSums(carry.first.double(), carry.second.double())
        return Sums(carry.total.double()) if isinstance(self.kernel, Sum | Exponential) else Steps(carry.last.double())

    def step(self, x_t: Tensor, state: Any, **modulation: Any) -> tuple[Tensor, Any]:
        if self.observing:
            h_t, state = self.kernel.step(x_t, state, **modulation)
            self.out.observe(h_t)
            if self.leaks and x_t.numel():
                self.most = max([self.most, *(float(value.detach().abs().max()) for value in state)])
            return h_t, state
        q, state = self._follow(self.entry.enter(x_t), state)
        q = self.out.clamp(q)
        return (q * self.out.scale).to(x_t.dtype), state

    def whole(self) -> dict[str, Tensor]:  # type: ignore[override]
        """Decays and taps in whole numbers, and the scale of what the kernel gives."""
        kernel: Any = self.kernel
        if isinstance(kernel, Exponential | Alpha):
            decay = snap(double(decay_of(kernel.tau, kernel.dt)) * 2**FRACTION)
            rise = torch.ones(()) if isinstance(kernel, Exponential) else double(kernel.dt * torch.e / kernel.tau)
            return {"decay": decay, "scale": self.sums.scale * double(rise)}
        if isinstance(kernel, Taps | Gaussian):
            like = torch.zeros((), dtype=torch.float32)
            given = {name: getattr(kernel, name) for name in kernel.modulable}
            taps = double(kernel.arguments(given, like)["taps"])
            most = taps.detach().abs().amax(0)
            own = torch.where(most > 0, most / (2 ** (self.region.weights - 1) - 1), 1.0)
            own = up_to_power_of_two(own) if self.region.power_of_two else own
            return {"taps": snap(taps / own), "scale": own * self.entry.scale}
        return {"scale": self.entry.scale}

    def record(self) -> Record:
        """The integer operation."""
        known = self.whole()
        scale = known.pop("scale")
        numbers: Numbers = {name: q.long() for name, q in known.items()}
        if "taps" in numbers:
            numbers["taps"] = numbers["taps"].to(torch.int8)
        if self.leaks:
            numbers |= {f"in.{name}": n for name, n in ratio_numbers(self.entry.scale / self.sums.scale).items()}
        numbers |= {f"out.{name}": n for name, n in ratio_numbers(scale / self.out.scale).items()}
        grid = self.out.grid
        settings: Settings = {"keep": self.keep, "high": self.high, "low_out": grid.low, "high_out": grid.high}
        if isinstance(self.kernel, Difference):
            settings["lag"] = self.kernel.lag
        name = "Taps" if isinstance(self.kernel, Gaussian) else type(self.kernel).__name__
        return Record(name, settings, numbers, self.out.scale)

    def _follow(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        kernel, known = self.kernel, self.whole()
        ratio = known["scale"] / self.out.scale
        if isinstance(kernel, Sum):
            total = self.sums.clamp(state.total + x)
            return rescale(total, ratio), Sums(total)
        if isinstance(kernel, Mean):
            total, number = self.sums.clamp(state.total + x), (state.num_steps + 1).clamp(max=MOST_STEPS)
            return _mean(total, number, ratio), CountedSums(total, number)
        if isinstance(kernel, Difference):
            started = state.started.reshape(-1, *[1] * x.ndim)
            last = torch.where(started, state.last, x.unsqueeze(1))
            newest = last if kernel.lag is None else torch.cat([last[:, 1:], x.unsqueeze(1)], dim=1)
            return rescale(x - last[:, 0], ratio), FirstSteps(newest, torch.ones_like(state.started))
        if isinstance(kernel, Taps | Gaussian):
            last = torch.cat([state.last, x.unsqueeze(1)], dim=1)
            taps = known["taps"]
            weights = taps.flip(0).reshape(len(taps), *[1] * (x.ndim + 1 - taps.ndim), *taps.shape[1:])
            return rescale((last.movedim(1, 0) * weights).sum(0), ratio), Steps(last[:, 1:])
        came = rescale(x, self.entry.scale / self.sums.scale)
        nothing = torch.zeros((), dtype=torch.float64)
        if isinstance(kernel, Exponential):
            total = self.sums.clamp(leak_towards(state.total, nothing, known["decay"]) + came)
            return rescale(total, ratio), Sums(total)
        second = self.sums.clamp(leak_towards(state.second + state.first, nothing, known["decay"]))
        first = self.sums.clamp(leak_towards(state.first, nothing, known["decay"]) + came)
        return rescale(second, ratio), TwoSums(first, second)


def _mean(total: Tensor, number: Tensor, ratio: Tensor) -> Tensor:
    """`total ratio / number` in whole numbers, halves upwards: one division of whole numbers."""
    multiplier, shift = dyadic(ratio)
    unit = power(shift) * number
    hard = torch.div(2 * total.detach() * multiplier + unit, 2 * unit, rounding_mode="floor")
    return straight_through(hard, total * ratio / number)
