"""A hybrid unit in fake integers: kernel, nonlinearity and discretizer, with real values in and out.

The steps are array forms (`spikebridge.deploy.stages`); here are their scales.
"""

import copy
from typing import Any

import torch
from torch import Tensor

from spikebridge.deploy.bundle.manifest import record_name
from spikebridge.deploy.bundle.stages import discretizer_form, kernel_form
from spikebridge.deploy.quantization.config import QConfig, QConfigMapping
from spikebridge.deploy.quantization.fake_integers import FakeIntegerArithmetic
from spikebridge.deploy.quantization.layers import IntegerOp, QTensor, Settings
from spikebridge.deploy.quantization.neurons import HEADROOM, QuantNeuron, QuantUserNeuron, quant_neuron
from spikebridge.deploy.quantization.program import QuantizedModule, QuantProgram
from spikebridge.deploy.quantization.quantizer import (
    FRACTION,
    Numbers,
    QParamsRecord,
    Quantizer,
    double,
    ratio_numbers,
    rescale,
    round_ste,
    scales_of,
    state_scale,
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
    """A kernel in fake integers: real values in and out."""

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
        self.largest = 0.0
        self.observing = True

    @property
    def high(self) -> int:
        return 2 ** (self.qconfig.membranes - 1) - 1

    def calibrate(self) -> None:
        self.out.calibrate()
        scale = torch.ones((), dtype=torch.float64)
        if self.form.leaks:
            scale = state_scale((self.largest or 1.0) * HEADROOM, self.high, self.qconfig)

        self.sums.set_qparams(QParamsRecord(float(scale), -self.high, self.high))

    def convert(self) -> None:
        self.observing = False

    def initial_state(self, x_t: Tensor) -> Any:
        if self.observing:
            return self.kernel.initial_state(x_t)
        return self.form.start(self._arithmetic(), x_t.double())

    def step(self, x_t: Tensor, state: Any, **modulation: Any) -> tuple[Tensor, Any]:
        if self.observing:
            return self._observe(x_t, state, modulation)

        a = self._arithmetic()
        q, state = self.form.step(a, self.input_quantizer.quantize(x_t), state)

        return (a.clip_output(q) * self.out.scale).to(x_t.dtype), state

    def integers(self) -> tuple[dict[str, Tensor], Tensor]:
        """The constants in integers, and the scale of the step's value before it is rescaled."""
        quantities = {name: getattr(self.kernel, name) for name in self.kernel.modulable}
        # a kernel without a leak adds integers of the input up, exactly
        value_scale = self.sums.scale if self.form.leaks else self.input_quantizer.scale
        scale = value_scale
        integers = {}

        for name, value in self.kernel.arguments(quantities, torch.zeros(())).items():
            if name == "rise":
                scale = scale * double(value)
            elif name == "ticks":
                integers[name] = value
            elif name == "taps":
                taps = double(value)
                tap_scales = scales_of(taps.detach().abs().amax(0), self.qconfig)
                integers[name] = round_ste(taps / tap_scales)
                scale = tap_scales * scale
            elif name.startswith("decay"):
                integers[name] = round_ste(double(value) * 2**FRACTION)
            else:
                integers[name] = round_ste(double(value) * (1 / value_scale))

        return integers, scale

    def record(self) -> IntegerOp:
        numbers: Numbers = {
            name: q.to(torch.int8) if name == "taps" else q.long() for name, q in self.integers()[0].items()
        }
        for prefix, ratio in self._ratios().items():
            numbers |= ratio_numbers(ratio, prefix)

        qparams = self.out.qparams
        settings: Settings = {"keep": self.keep, "high": self.high, "low_out": qparams.low, "high_out": qparams.high}
        # in integers a Gaussian is its taps
        kind = FIR if isinstance(self.kernel, Gaussian) else type(self.kernel)

        return IntegerOp(record_name(kind), settings | self._settings(), numbers, self.out.scale)

    def _observe(self, x_t: Tensor, state: Any, modulation: dict[str, Any]) -> tuple[Tensor, Any]:
        """The float kernel, and the largest value of its state."""
        h_t, state = self.kernel.step(x_t, state, **modulation)
        self.out.observe(h_t)
        if self.form.leaks and x_t.numel():
            self.largest = max([self.largest, *(float(value.detach().abs().max()) for value in state)])

        return h_t, state

    def _settings(self) -> Settings:
        return {name: getattr(self.kernel, name) for name in self.form.settings}

    def _ratios(self) -> dict[str, Tensor]:
        ratios = {"in.": self.input_quantizer.scale / self.sums.scale} if self.form.leaks else {}
        return ratios | {"out.": self.integers()[1] / self.out.scale}

    def _arithmetic(self) -> FakeIntegerArithmetic:
        return FakeIntegerArithmetic(
            self._settings(), self.integers()[0], self._ratios(), self.sums.clamp, self.out.clamp, scale=self.out.scale
        )


class _QuantDiscretizer(Discretizer):
    """A discretizer in fake integers: real values in and out; `length` is the number of steps of a window."""

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
            self.neuron = _spiking_layer(inner.layer, qconfig, path)
        elif form is None:
            raise ExportError(f"{path!r} is a {type(inner).__name__}, a discretizer that has no integer form")

        self._form = form

    @property
    def form(self) -> DiscretizerForm:
        if self._form is None:
            raise ValueError("a spiking layer has no form of its own: its neurons have")
        return self._form

    @property
    def out(self) -> Quantizer:
        return self.input_quantizer if self.neuron is None and self.form.levels == "input" else self.own

    def calibrate(self) -> None:
        if self.neuron is not None:
            self.neuron.calibrate()
            if self.neuron.spikes:
                self.own.set_qparams(QParamsRecord(1.0, 0, 1))
            else:
                self.own.calibrate()
        elif callable(self.form.levels):
            max_level = 2 ** (self.qconfig.activations - 1) - 1
            low, high = self.form.levels({**self._settings(), "max_level": max_level}, self.length)
            self.own.set_qparams(QParamsRecord(1.0, low, high))
        else:
            self.own.calibrate()

    def convert(self) -> None:
        self.observing = False

    def initial_state(self, batch: int, device: torch.device) -> Any:
        return self.inner.initial_state(batch, device)

    def forward(self, h: Tensor, length: int, state: Any = None) -> tuple[Tensor, Any]:
        if self.observing:
            y, state = self._layer(QTensor(h.flatten(0, 2)), h, state) if self.neuron else self.inner(h, length, state)
            self.own.observe(y)
            return y, state

        q, state = self._integers(self.input_quantizer.quantize(h), h, length, state)
        return (q * self.out.scale).to(h.dtype), state

    def record(self) -> IntegerOp:
        qparams = self.own.qparams
        settings: Settings = {"low_out": qparams.low, "high_out": qparams.high, "low": self.input_quantizer.qparams.low}
        numbers: Numbers = {}
        name = record_name(type(self.inner))

        if self.neuron is not None:
            layer = self.neuron.record([self.input_quantizer.scale], [(0, 0)])
            settings |= layer.settings
            numbers |= layer.numbers | ratio_numbers(layer.scale / self.own.scale, "out.")
        elif self.form.integer == "table":
            name = TABLE
            numbers["entries"] = self._table(self.length).to(torch.int8)
        else:
            settings |= self._settings()
            numbers |= {key: q.long() for key, q in self._constants().items()}
            numbers |= ratio_numbers(self._ratio()) if self.form.rescales else {}

        return IntegerOp(name, settings, numbers, self.out.scale)

    def _integers(self, q: Tensor, h: Tensor, length: int, state: Any) -> tuple[Tensor, Any]:
        if self.neuron is not None:
            y, state = self._layer(QTensor(q.flatten(0, 2), self.input_quantizer.scale), h, state)
            return self.own.clamp(rescale(y, self.neuron.out_scale / self.own.scale)), state
        if self.form.integer == "torch":
            return self.inner(q, length, state)[0], None
        if self.form.integer == "table":
            return self._looked_up(q, h, length), None

        return self._stepped(q, h, length, state)

    def _looked_up(self, q: Tensor, h: Tensor, length: int) -> Tensor:
        rows = self._table(length)[(q[:, 0].detach() - self.input_quantizer.qparams.low).long()]
        # the table gives the spikes, the torch class their gradient
        soft, _ = self.inner((q * self.input_quantizer.scale).to(h.dtype), length)
        return straight_through(rows.movedim(-1, 1), soft.double())

    def _stepped(self, q: Tensor, h: Tensor, length: int, state: Any) -> tuple[Tensor, Any]:
        a = self._arithmetic()
        if not self.form.stateful:
            # all windows side by side
            values, _ = self.form.run(a, q.unbind(1), length, None)
            return torch.stack(values, 1), None

        # the state goes over from window to window, so that their values come one after the other
        state = self.initial_state(h.shape[2], h.device) if state is None else state
        if state is None and self.form.start is not None:
            state = self.form.start(a, q.new_zeros(q.shape[2:]))

        values, state = self.form.run(a, q.flatten(0, 1).unbind(0), length, state)

        return (torch.stack(values).reshape(q.shape) if values else torch.empty_like(q)), state

    def _layer(self, value: QTensor, h: Tensor, state: Any) -> tuple[Tensor, Any]:
        if self.neuron is None:
            raise ValueError("only a spiking layer has neurons")
        y, state = self.neuron([value], h.shape[2], state, {})
        return y.x.reshape(*h.shape[:3], *y.x.shape[1:]), state

    def _arithmetic(self) -> FakeIntegerArithmetic:
        return FakeIntegerArithmetic(
            settings={**self._settings(), "low": self.input_quantizer.qparams.low},
            constants=self._constants(),
            ratios={"out.": self._ratio()} if self.form.rescales else {},
            clamp_output=self.own.clamp,
            scale=self.input_quantizer.scale,
            surrogate=getattr(self.inner, "surrogate", None) or ARCTAN,
        )

    def _settings(self) -> Settings:
        settings: Settings = {name: getattr(self.inner, name) for name in self.form.settings}
        if "limit" in settings and not self.own.observing:
            settings["limit"] = self.own.qparams.high
        return settings

    def _constants(self) -> Numbers:
        scale = self.input_quantizer.scale
        constants = {name: round_ste(double(getattr(self.inner, name)) / scale) for name in self.form.thresholds}
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


def _spiking_layer(layer: Any, qconfig: QConfig, path: str) -> QuantNeuron:
    neuron = quant_neuron(layer, qconfig, f"{path}.layer") if isinstance(layer, Neuron) else None
    if neuron is None or isinstance(neuron, QuantUserNeuron):
        raise ExportError(f"{path!r} fires by a {type(layer).__name__}; only a layer of the package's neurons can be")

    return neuron


class QuantizedUnit(HybridUnit):
    """A unit whose stages compute with integers, with the window of the float unit; None for a stage it lacks."""

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
        """The quantizer of the output; None if the unit passes the scale of its input on."""
        discretizer = self.quant_discretizer
        if discretizer is not None and discretizer.out is not discretizer.input_quantizer:
            return discretizer.out

        if self.program is not None:
            name = self.program.input_with(self.program.out)
            if name is None:
                return self.program.out
            if name != "#0":
                raise ExportError("a unit whose nonlinearity returns its context has no integer form")

        return None if self.quant_kernel is None else self.quant_kernel.out

    def calibrate(self) -> None:
        for stage in (self.quant_kernel, self.program, self.quant_discretizer):
            if stage is not None:
                stage.calibrate()

    def convert(self, source: QParamsRecord, context: QParamsRecord | None) -> None:
        """Switches from observing to integers; takes scale and range of the source and of the context."""
        if self.quant_kernel is not None:
            self.quant_kernel.input_quantizer.set_qparams(source)
            self.quant_kernel.convert()
            # each stage reads the scale of the one before
            source = self.quant_kernel.out.qparams

        if self.program is not None:
            for name, qparams in zip(self.program.inputs, (source, context), strict=False):
                if qparams is not None:
                    self.program.input_quantizer(name).set_qparams(qparams)

            self.program.convert()
            source = self.program.out.qparams

        if self.quant_discretizer is not None:
            self.quant_discretizer.input_quantizer.set_qparams(source)
            # its thresholds and tables have the scale of its input
            self.quant_discretizer.calibrate()
            self.quant_discretizer.convert()


def quantized_unit(
    unit: HybridUnit, path: str, config: QConfigMapping, h: Tensor, context: Tensor | None
) -> QuantizedUnit:
    """An observed unit: call `calibrate`, then `convert`. `h` and the context are one input of the nonlinearity."""
    kernel = None
    if unit.kernel is not None:
        stage = f"{path}.kernel"
        kernel = QuantKernel(unit.kernel, _stage_qconfig(config, stage), stage)

    program = None
    if unit.nonlinearity is not None:
        stage = f"{path}.nonlinearity"
        signals = [h] if context is None else [h, context]
        program = QuantProgram(trace_graph(unit.nonlinearity, signals, {}, stage), stage, config)

    discretizer = None
    if unit.discretizer is not None:
        stage = f"{path}.discretizer"
        discretizer = _QuantDiscretizer(unit.discretizer, _stage_qconfig(config, stage), unit.window_length, stage)

    return QuantizedUnit(copy.deepcopy(unit.window), kernel, program, discretizer)


def _stage_qconfig(config: QConfigMapping, path: str) -> QConfig:
    qconfig = config.qconfig(path)
    if qconfig is None:
        raise ExportError(f"{path!r} is in no region, though other stages of the unit are; add one for it")
    return qconfig
