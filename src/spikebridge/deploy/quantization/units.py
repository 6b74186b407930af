"""A hybrid unit in fake integers: kernel, nonlinearity and discretizer, with real values in and out.

The steps of kernels and discretizers stand in `spikebridge.deploy.stages`; here are their scales.
"""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from spikebridge.deploy.bundle.manifest import record_name
from spikebridge.deploy.bundle.stages import kernel_form
from spikebridge.deploy.quantization.config import QConfig, QConfigMapping
from spikebridge.deploy.quantization.discretizers import QuantDiscretizer
from spikebridge.deploy.quantization.fake_integers import FakeIntegerArithmetic
from spikebridge.deploy.quantization.layers import IntegerOp, Numbers, Settings, ratio_numbers
from spikebridge.deploy.quantization.neurons import HEADROOM
from spikebridge.deploy.quantization.parts import QuantizedModule
from spikebridge.deploy.quantization.program import QuantProgram
from spikebridge.deploy.quantization.quantizer import (
    FRACTION,
    QParams,
    Quantizer,
    double,
    round_ste,
    up_to_power_of_two,
)
from spikebridge.deploy.quantization.tracer import trace_graph
from spikebridge.errors import ExportError
from spikebridge.hybrid import FIR, Gaussian, HybridUnit, Kernel, Window


class QuantKernel(Kernel):
    """A kernel in fake integers: real values in and out, integers between.

    Args:
        kernel: the kernel.
        qconfig: its widths.
        path: for messages.
    """

    def __init__(self, kernel: Kernel, qconfig: QConfig, path: str) -> None:
        super().__init__(kernel.keep)
        form = kernel_form(type(kernel))
        if form is None:
            raise ExportError(f"{path!r} is a {type(kernel).__name__}, a kernel that has no integer form")
        self.kernel, self.form, self.qconfig, self.path = kernel, form, qconfig, path
        self.num_taps = getattr(kernel, "num_taps", 1)
        self.input_quantizer, self.out = Quantizer.of(qconfig), Quantizer.of(qconfig)
        self.sums = Quantizer(qconfig.membranes)
        self.max_seen = 0.0
        self.observing = True

    @property
    def high(self) -> int:
        """The largest integer of the state."""
        return 2 ** (self.qconfig.membranes - 1) - 1

    def calibrate(self) -> None:
        """Chooses the scales of output and state."""
        self.out.calibrate()
        scale = torch.ones((), dtype=torch.float64)
        if self.form.leaks:
            scale = scale * ((self.max_seen or 1.0) * HEADROOM / self.high)
            scale = up_to_power_of_two(scale) if self.qconfig.power_of_two else scale
        self.sums.set_qparams(QParams(float(scale), -self.high, self.high))

    def convert(self) -> None:
        """From observing to integers."""
        self.observing = False

    def initial_state(self, x_t: Tensor) -> Any:
        if self.observing:
            return self.kernel.initial_state(x_t)
        return self.form.start(self._arithmetic(), x_t.double())

    def step(self, x_t: Tensor, state: Any, **modulation: Any) -> tuple[Tensor, Any]:
        if self.observing:
            h_t, state = self.kernel.step(x_t, state, **modulation)
            self.out.observe(h_t)
            if self.form.leaks and x_t.numel():
                self.max_seen = max([self.max_seen, *(float(value.detach().abs().max()) for value in state)])
            return h_t, state
        a = self._arithmetic()
        q, state = self.form.step(a, self.input_quantizer.quantize(x_t), state)
        return (a.clip_output(q) * self.out.scale).to(x_t.dtype), state

    def integers(self) -> tuple[dict[str, Tensor], Tensor]:
        """The constants in integers, and the scale of what the step gives before it is rescaled."""
        quantities = {name: getattr(self.kernel, name) for name in self.kernel.modulable}
        scale = self.sums.scale if self.form.leaks else self.input_quantizer.scale
        state_scale, found = scale, {}
        for name, value in self.kernel.arguments(quantities, torch.zeros(())).items():
            if name == "rise":
                scale = scale * double(value)
            elif name == "taps":
                taps = double(value)
                most = taps.detach().abs().amax(0)
                own = torch.where(most > 0, most / (2 ** (self.qconfig.weights - 1) - 1), 1.0)
                own = up_to_power_of_two(own) if self.qconfig.power_of_two else own
                found["taps"], scale = round_ste(taps / own), own * scale
            else:
                found[name] = round_ste(double(value) * (2**FRACTION if name.startswith("decay") else 1 / state_scale))
        return found, scale

    def record(self) -> IntegerOp:
        """The integer operation."""
        constants, _ = self.integers()
        numbers: Numbers = {name: q.to(torch.int8) if name == "taps" else q.long() for name, q in constants.items()}
        for name, ratio in self._ratios().items():
            numbers |= {f"{name}{key}": n for key, n in ratio_numbers(ratio).items()}
        qparams = self.out.qparams
        settings: Settings = {"keep": self.keep, "high": self.high, "low_out": qparams.low, "high_out": qparams.high}
        settings |= {name: getattr(self.kernel, name) for name in self.form.settings}
        name = record_name(FIR if isinstance(self.kernel, Gaussian) else type(self.kernel))
        return IntegerOp(name, settings, numbers, self.out.scale)

    def _ratios(self) -> dict[str, Tensor]:
        own = {"in.": self.input_quantizer.scale / self.sums.scale} if self.form.leaks else {}
        return own | {"out.": self.integers()[1] / self.out.scale}

    def _arithmetic(self) -> FakeIntegerArithmetic:
        settings = {name: getattr(self.kernel, name) for name in self.form.settings}
        return FakeIntegerArithmetic(
            settings, self.integers()[0], self._ratios(), self.sums.clamp, self.out.clamp, scale=self.out.scale
        )


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
