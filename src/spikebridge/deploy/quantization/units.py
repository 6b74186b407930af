"""A hybrid unit in whole numbers, stage by stage: it takes and gives real values on grids, as the unit did.

Kernels of hybrid units in whole numbers: what they sum up stays inside the width of a membrane.
"""

import copy
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikebridge.deploy.bundle.manifest import record_name
from spikebridge.deploy.quantization.config import QConfig, QConfigMapping
from spikebridge.deploy.quantization.discretizers import QuantDiscretizer
from spikebridge.deploy.quantization.layers import IntegerOp, Numbers, Settings, ratio_numbers
from spikebridge.deploy.quantization.neurons import HEADROOM
from spikebridge.deploy.quantization.parts import QuantizedModule
from spikebridge.deploy.quantization.program import QuantProgram
from spikebridge.deploy.quantization.quantizer import (
    FRACTION,
    QParams,
    Quantizer,
    double,
    fixed_point_ratio,
    leak_towards,
    power,
    rescale,
    round_ste,
    up_to_power_of_two,
)
from spikebridge.deploy.quantization.tracer import trace_graph
from spikebridge.errors import ExportError
from spikebridge.hybrid import FIR, Alpha, Difference, Exponential, Gaussian, HybridUnit, Kernel, Mean, Sum, Window
from spikebridge.hybrid.unit.discretizer import straight_through
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


class QuantKernel(Kernel):
    """A kernel that takes and gives real values on grids.

    Args:
        kernel: the kernel.
        region: its widths.
        path: for messages.
    """

    def __init__(self, kernel: Kernel, qconfig: QConfig, path: str) -> None:
        super().__init__(kernel.keep)
        if type(kernel) not in (Sum, Mean, Exponential, Alpha, Difference, FIR, Gaussian):
            raise ExportError(f"{path!r} is a {type(kernel).__name__}, a kernel that has no integer form")
        self.kernel, self.qconfig, self.path = kernel, qconfig, path
        self.num_taps = getattr(kernel, "num_taps", 1)
        self.input_quantizer, self.out = Quantizer.of(qconfig), Quantizer.of(qconfig)
        self.sums = Quantizer(qconfig.membranes)
        self.max_seen = 0.0
        self.observing = True

    @property
    def high(self) -> int:
        """The largest whole number of what it remembers."""
        return 2 ** (self.qconfig.membranes - 1) - 1

    @property
    def leaks(self) -> bool:
        """Whether it has a scale of its own, finer than that of its input."""
        return isinstance(self.kernel, Exponential | Alpha)

    def calibrate(self) -> None:
        """Chooses grid and scale."""
        self.out.calibrate()
        scale = torch.ones((), dtype=torch.float64)
        if self.leaks:
            scale = scale * ((self.max_seen or 1.0) * HEADROOM / self.high)
            scale = up_to_power_of_two(scale) if self.qconfig.power_of_two else scale
        self.sums.set_qparams(QParams(float(scale), -self.high, self.high))

    def convert(self) -> None:
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
                self.max_seen = max([self.max_seen, *(float(value.detach().abs().max()) for value in state)])
            return h_t, state
        q, state = self._follow(self.input_quantizer.quantize(x_t), state)
        q = self.out.clamp(q)
        return (q * self.out.scale).to(x_t.dtype), state

    def whole(self) -> dict[str, Tensor]:
        """Decays and taps in whole numbers, and the scale of what the kernel gives."""
        kernel: Any = self.kernel
        if isinstance(kernel, Exponential | Alpha):
            decay = round_ste(double(decay_of(kernel.tau, kernel.dt)) * 2**FRACTION)
            rise = torch.ones(()) if isinstance(kernel, Exponential) else double(kernel.dt * torch.e / kernel.tau)
            return {"decay": decay, "scale": self.sums.scale * double(rise)}
        if isinstance(kernel, FIR | Gaussian):
            like = torch.zeros((), dtype=torch.float32)
            given = {name: getattr(kernel, name) for name in kernel.modulable}
            taps = double(kernel.arguments(given, like)["taps"])
            max_seen = taps.detach().abs().amax(0)
            own = torch.where(max_seen > 0, max_seen / (2 ** (self.qconfig.weights - 1) - 1), 1.0)
            own = up_to_power_of_two(own) if self.qconfig.power_of_two else own
            return {"taps": round_ste(taps / own), "scale": own * self.input_quantizer.scale}
        return {"scale": self.input_quantizer.scale}

    def record(self) -> IntegerOp:
        """The integer operation."""
        known = self.whole()
        scale = known.pop("scale")
        numbers: Numbers = {name: q.long() for name, q in known.items()}
        if "taps" in numbers:
            numbers["taps"] = numbers["taps"].to(torch.int8)
        if self.leaks:
            numbers |= {
                f"in.{name}": n for name, n in ratio_numbers(self.input_quantizer.scale / self.sums.scale).items()
            }
        numbers |= {f"out.{name}": n for name, n in ratio_numbers(scale / self.out.scale).items()}
        qparams = self.out.qparams
        settings: Settings = {"keep": self.keep, "high": self.high, "low_out": qparams.low, "high_out": qparams.high}
        if isinstance(self.kernel, Difference):
            settings["lag"] = self.kernel.lag
        name = record_name(FIR if isinstance(self.kernel, Gaussian) else type(self.kernel))
        return IntegerOp(name, settings, numbers, self.out.scale)

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
        if isinstance(kernel, FIR | Gaussian):
            last = torch.cat([state.last, x.unsqueeze(1)], dim=1)
            taps = known["taps"]
            weights = taps.flip(0).reshape(len(taps), *[1] * (x.ndim + 1 - taps.ndim), *taps.shape[1:])
            return rescale((last.movedim(1, 0) * weights).sum(0), ratio), Steps(last[:, 1:])
        came = rescale(x, self.input_quantizer.scale / self.sums.scale)
        nothing = torch.zeros((), dtype=torch.float64)
        if isinstance(kernel, Exponential):
            total = self.sums.clamp(leak_towards(state.total, nothing, known["decay"]) + came)
            return rescale(total, ratio), Sums(total)
        second = self.sums.clamp(leak_towards(state.second + state.first, nothing, known["decay"]))
        first = self.sums.clamp(leak_towards(state.first, nothing, known["decay"]) + came)
        return rescale(second, ratio), TwoSums(first, second)


def _mean(total: Tensor, number: Tensor, ratio: Tensor) -> Tensor:
    """`total ratio / number` in whole numbers, halves upwards: one division of whole numbers."""
    multiplier, shift = fixed_point_ratio(ratio)
    unit = power(shift) * number
    hard = torch.div(2 * total.detach() * multiplier + unit, 2 * unit, rounding_mode="floor")
    return straight_through(hard, total * ratio / number)


class QuantizedUnit(HybridUnit):
    """A unit whose stages compute with whole numbers; its window is as it was.

    Attributes:
        whole_kernel, program, whole_discretizer: the stages, None where there is none.
    """

    def __init__(
        self,
        window: Window | None,
        kernel: QuantKernel | None,
        program: QuantProgram | None,
        discretizer: QuantDiscretizer | None,
    ) -> None:
        super().__init__(window, kernel, None if program is None else QuantizedModule(program), discretizer)
        self.quant_kernel, self.program, self.quant_discretizer = kernel, program, discretizer

    @property
    def out(self) -> Quantizer | None:
        """The grid of what comes out; None where the unit only passes on what came in."""
        if (
            self.quant_discretizer is not None
            and self.quant_discretizer.out is not self.quant_discretizer.input_quantizer
        ):
            return self.quant_discretizer.out
        if self.program is not None:
            name = self.program.input_with(self.program.out)
            if name is None:
                return self.program.out
            if name != "#0":
                raise ExportError("a unit whose nonlinearity gives nothing but its context has no integer form")
        return None if self.quant_kernel is None else self.quant_kernel.out

    def calibrate(self) -> None:
        """Chooses every grid but those of what comes in."""
        for stage in (self.quant_kernel, self.program, self.quant_discretizer):
            if stage is not None:
                stage.calibrate()

    def convert(self, source: QParams, context: QParams | None) -> None:
        """From watching to whole numbers.

        Args:
            source: grid of what comes in.
            context: grid of the second signal.
        """
        if self.quant_kernel is not None:
            self.quant_kernel.input_quantizer.set_qparams(source)
            self.quant_kernel.convert()
            source = self.quant_kernel.out.qparams
        if self.program is not None:
            for name, qparams in zip(self.program.inputs, (source, context), strict=False):
                if qparams is not None:
                    self.program.input_quantizer(name).set_qparams(qparams)
            self.program.convert()
            source = self.program.out.qparams
        if self.quant_discretizer is not None:
            self.quant_discretizer.input_quantizer.set_qparams(source)
            self.quant_discretizer.calibrate()
            self.quant_discretizer.convert()


def quantized_unit(
    unit: HybridUnit, path: str, config: QConfigMapping, stages: Mapping[str, Tensor], context: Tensor | None
) -> QuantizedUnit:
    """A unit that watches, to be settled later.

    Args:
        unit: in evaluation mode.
        path: `units.LINK`.
        config: regions.
        stages: what comes into the nonlinearity, one row a sample, as "kernel".
        context: one value of the second signal, `(B, *C)`.

    Raises:
        ExportError: a stage has no integer form.
    """

    def qconfig(stage: str) -> QConfig:
        found = config.qconfig(f"{path}.{stage}")
        if found is None:
            raise ExportError(f"'{path}.{stage}' is in no region, though other stages of the unit are; add one for it")
        return found

    kernel = None if unit.kernel is None else QuantKernel(unit.kernel, qconfig("kernel"), f"{path}.kernel")
    program = None
    if unit.nonlinearity is not None:
        signals = [stages["kernel"], *([] if context is None else [context])]
        where = f"{path}.nonlinearity"
        program = QuantProgram(trace_graph(unit.nonlinearity, signals, {}, where), where, config)
    length = 1 if unit.window is None else unit.window.length or 1
    discretizer = None
    if unit.discretizer is not None:
        where = f"{path}.discretizer"
        discretizer = QuantDiscretizer(unit.discretizer, qconfig("discretizer"), length, where)
    return QuantizedUnit(copy.deepcopy(unit.window), kernel, program, discretizer)
