"""A discretizer in fake integers; its step stands in `spikebridge.deploy.stages.discretizers`."""

from typing import Any

import torch
from torch import Tensor

from spikebridge.deploy.bundle.manifest import record_name
from spikebridge.deploy.bundle.stages import discretizer_form
from spikebridge.deploy.quantization.config import QConfig
from spikebridge.deploy.quantization.fake_integers import FakeIntegerArithmetic
from spikebridge.deploy.quantization.layers import IntegerOp, Numbers, QTensor, Settings, ratio_numbers
from spikebridge.deploy.quantization.neurons import QuantNeuron
from spikebridge.deploy.quantization.quantizer import QParams, Quantizer, double, rescale, round_ste
from spikebridge.deploy.stages.arithmetic import DRAW_BITS
from spikebridge.deploy.stages.discretizers import TABLE, DiscretizerForm
from spikebridge.errors import ExportError
from spikebridge.hybrid import Bernoulli, Discretizer, SpikingLayer
from spikebridge.hybrid.unit.discretizer import straight_through
from spikebridge.neurons.neuron import Neuron
from spikebridge.neurons.surrogate import ARCTAN


class QuantDiscretizer(Discretizer):
    """A discretizer in fake integers: real values in and out, integers between.

    Args:
        inner: the discretizer.
        qconfig: its widths.
        length: steps of a window.
        path: for messages.
    """

    def __init__(self, inner: Discretizer, qconfig: QConfig, length: int, path: str) -> None:
        super().__init__()
        self.inner, self.qconfig, self.length, self.path = inner, qconfig, length, path
        self.kind = inner.kind
        self.input_quantizer, self.own = Quantizer.of(qconfig), Quantizer.of(qconfig)
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
            most = 2 ** (self.qconfig.activations - 1) - 1
            self.own.set_qparams(QParams(1.0, *levels({**self._settings(), "most": most}, self.length)))
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
            values, _ = form.step(a, q.unbind(1), length, None)
            return torch.stack(values, 1), None
        state = self.initial_state(h.shape[2], h.device) if state is None else state
        values, state = form.step(a, q.flatten(0, 1).unbind(0), length, state)
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
