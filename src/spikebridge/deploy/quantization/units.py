"""A hybrid unit in fake integers: kernel, nonlinearity and discretizer, with real values in and out.

The steps of kernels and discretizers stand in `spikebridge.deploy.stages`; here are their scales.
"""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from spikebridge.deploy.bundle.manifest import record_name
from spikebridge.deploy.bundle.stages import discretizer_form, kernel_form
from spikebridge.deploy.quantization.config import QConfig, QConfigMapping
from spikebridge.deploy.quantization.fake_integers import FakeIntegerArithmetic
from spikebridge.deploy.quantization.layers import IntegerOp, Numbers, QTensor, Settings, ratio_numbers
from spikebridge.deploy.quantization.neurons import HEADROOM, QuantNeuron
from spikebridge.deploy.quantization.parts import QuantizedModule
from spikebridge.deploy.quantization.program import QuantProgram
from spikebridge.deploy.quantization.quantizer import (
    FRACTION,
    QParams,
    Quantizer,
    double,
    rescale,
    round_ste,
    up_to_power_of_two,
)
from spikebridge.deploy.quantization.tracer import trace_graph
from spikebridge.deploy.stages.arithmetic import DRAW_BITS
from spikebridge.deploy.stages.discretizers import TABLE, DiscretizerForm
from spikebridge.errors import ExportError
from spikebridge.hybrid import FIR, Bernoulli, Discretizer, Gaussian, HybridUnit, Kernel, SpikingLayer, Window
from spikebridge.hybrid.unit.discretizer import straight_through
from spikebridge.neurons.neuron import Neuron
from spikebridge.neurons.surrogate import ARCTAN


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

        self.kernel = kernel
        self.form = form
        self.qconfig = qconfig
        self.path = path
        self.num_taps = getattr(kernel, "num_taps", 1)
        self.input_quantizer = Quantizer.of(qconfig)
        self.out = Quantizer.of(qconfig)
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
        state_scale = scale
        found = {}

        for name, value in self.kernel.arguments(quantities, torch.zeros(())).items():
            if name == "rise":
                scale = scale * double(value)
            elif name == "ticks":
                found[name] = value
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


class _QuantDiscretizer(Discretizer):
    """A discretizer in fake integers: real values in and out, integers between.

    Args:
        inner: the discretizer.
        qconfig: its widths.
        length: steps of a window.
        path: for messages.
    """

    def __init__(self, inner: Discretizer, qconfig: QConfig, length: int, path: str) -> None:
        super().__init__()
        self.inner = inner
        self.qconfig = qconfig
        self.length = length
        self.path = path
        self.kind = inner.kind
        self.input_quantizer = Quantizer.of(qconfig)
        self.own = Quantizer.of(qconfig)
        self.observing = True
        self.neuron: QuantNeuron | None = None
        form = discretizer_form(type(inner))

        if isinstance(inner, SpikingLayer):
            if not isinstance(inner.layer, Neuron):
                raise ExportError(f"{path!r} fires by a {type(inner.layer).__name__}; only a layer of neurons can be")
            self.neuron = QuantNeuron(inner.layer, qconfig, f"{path}.layer")
        elif form is None:
            raise ExportError(f"{path!r} is a {type(inner).__name__}, a discretizer that has no integer form")

        self._form = form

    @property
    def form(self) -> DiscretizerForm:
        """The discretizer in arrays."""
        if self._form is None:
            raise ValueError("a spiking layer has no form of its own: its neurons have")
        return self._form

    @property
    def out(self) -> Quantizer:
        """The quantizer of what comes out."""
        return self.input_quantizer if self.neuron is None and self.form.levels == "input" else self.own

    def calibrate(self) -> None:
        """Chooses the scale of what comes out."""
        levels = None if self.neuron is not None else self.form.levels
        if self.neuron is not None:
            self.neuron.calibrate()

        if self.neuron is not None and self.neuron.spikes:
            self.own.set_qparams(QParams(1.0, 0, 1))
        elif callable(levels):
            max_level = 2 ** (self.qconfig.activations - 1) - 1
            self.own.set_qparams(QParams(1.0, *levels({**self._settings(), "max_level": max_level}, self.length)))
        else:
            self.own.calibrate()

    def convert(self) -> None:
        """From observing to integers."""
        self.observing = False

    def initial_state(self, batch: int, device: torch.device) -> Any:
        return self.inner.initial_state(batch, device)

    def forward(self, h: Tensor, length: int, state: Any = None) -> tuple[Tensor, Any]:
        if self.observing:
            y, state = self._fired(QTensor(h.flatten(0, 2)), h, state) if self.neuron else self.inner(h, length, state)
            self.own.observe(y)
            return y, state

        q, state = self._integers(self.input_quantizer.quantize(h), h, length, state)
        return (q * self.out.scale).to(h.dtype), state

    def record(self) -> IntegerOp:
        """The integer operation."""
        numbers: Numbers = {}
        qparams = self.own.qparams
        settings: Settings = {"low_out": qparams.low, "high_out": qparams.high, "low": self.input_quantizer.qparams.low}
        name = record_name(type(self.inner))

        if self.neuron is not None:
            fires = self.neuron.record([self.input_quantizer.scale], [(0, 0)])
            numbers |= fires.numbers
            settings |= fires.settings
            numbers |= {f"out.{key}": n for key, n in ratio_numbers(fires.scale / self.own.scale).items()}
        elif self.form.integer == "table":
            name, numbers["entries"] = TABLE, self._table(self.length).to(torch.int8)
        else:
            settings |= self._settings()
            numbers |= {key: q.long() for key, q in self._constants().items()}
            numbers |= ratio_numbers(self._ratio()) if self.form.rescales else {}

        return IntegerOp(name, settings, numbers, self.out.scale)

    def _integers(self, q: Tensor, h: Tensor, length: int, state: Any) -> tuple[Tensor, Any]:
        if self.neuron is not None:
            y, state = self._fired(QTensor(q.flatten(0, 2), self.input_quantizer.scale), h, state)
            return self.own.clamp(rescale(y, self.neuron.out_scale / self.own.scale)), state

        form = self.form
        if form.integer == "torch":
            return self.inner(q, length, state)[0], None

        if form.integer == "table":
            rows = self._table(length)[(q[:, 0].detach() - self.input_quantizer.qparams.low).long()]
            soft, _ = self.inner((q * self.input_quantizer.scale).to(h.dtype), length)
            return straight_through(rows.movedim(-1, 1), soft.double()), None

        a = self._arithmetic()
        if not form.stateful:
            values, _ = form.run(a, q.unbind(1), length, None)
            return torch.stack(values, 1), None

        state = self.initial_state(h.shape[2], h.device) if state is None else state
        values, state = form.run(a, q.flatten(0, 1).unbind(0), length, state)

        return (torch.stack(values).reshape(q.shape) if values else torch.empty_like(q)), state

    def _fired(self, value: QTensor, h: Tensor, state: Any) -> tuple[Tensor, Any]:
        """What the neurons of a spiking layer give."""
        if self.neuron is None:
            raise ValueError("only a spiking layer has neurons")
        y, state = self.neuron([value], h.shape[2], state, {})
        return y.x.reshape(*h.shape[:3], *y.x.shape[1:]), state

    def _arithmetic(self) -> FakeIntegerArithmetic:
        inner: Any = self.inner
        return FakeIntegerArithmetic(
            settings={**self._settings(), "low": self.input_quantizer.qparams.low},
            constants=self._constants(),
            ratios={"out.": self._ratio()} if self.form.rescales else {},
            clamp_output=self.own.clamp,
            scale=self.input_quantizer.scale,
            surrogate=getattr(inner, "surrogate", None) or ARCTAN,
        )

    def _settings(self) -> Settings:
        settings: Settings = {name: getattr(self.inner, name) for name in self.form.settings}
        if "limit" in settings and not self.own.observing:
            settings["limit"] = self.own.qparams.high
        return settings

    def _constants(self) -> Numbers:
        constants = {
            name: round_ste(double(getattr(self.inner, name)) / self.input_quantizer.scale)
            for name in self.form.thresholds
        }
        if isinstance(self.inner, Bernoulli):
            constants["entries"] = torch.floor(self._levels().clamp(0, 1) * 2**DRAW_BITS + 0.5)

        return constants

    def _ratio(self) -> Tensor:
        unit = 1.0 if self.form.unit is None else getattr(self.inner, self.form.unit)
        return self.input_quantizer.scale / (unit * self.own.scale)

    def _levels(self) -> Tensor:
        qparams = self.input_quantizer.qparams
        return torch.arange(qparams.low, qparams.high + 1, dtype=torch.float64) * qparams.scale

    def _table(self, length: int) -> Tensor:
        """The spikes of each integer of the input, `(levels, L)`."""
        with torch.no_grad():
            spikes, _ = self.inner(self._levels().float().reshape(1, 1, 1, -1), length)
        return spikes[0, :, 0].T.double()


class QuantizedUnit(HybridUnit):
    """A unit whose stages compute with integers; its window is as it was.

    Attributes:
        quant_kernel, program, quant_discretizer: the stages, None where there is none.
    """

    def __init__(
        self,
        window: Window | None,
        kernel: QuantKernel | None,
        program: QuantProgram | None,
        discretizer: _QuantDiscretizer | None,
    ) -> None:
        super().__init__(window, kernel, None if program is None else QuantizedModule(program), discretizer)
        self.quant_kernel = kernel
        self.program = program
        self.quant_discretizer = discretizer

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
        """From observing to integers.

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
        discretizer = _QuantDiscretizer(unit.discretizer, qconfig("discretizer"), length, where)

    return QuantizedUnit(copy.deepcopy(unit.window), kernel, program, discretizer)
