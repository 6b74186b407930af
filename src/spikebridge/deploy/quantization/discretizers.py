"""Discretizers of hybrid units in whole numbers: thresholds in the signal's scale, tables of spikes."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikebridge.deploy.bundle.manifest import record_name
from spikebridge.deploy.quantization.config import QConfig
from spikebridge.deploy.quantization.layers import IntegerOp, Numbers, QTensor, Settings, ratio_numbers
from spikebridge.deploy.quantization.neurons import QuantNeuron
from spikebridge.deploy.quantization.quantizer import QParams, Quantizer, double, rescale, round_ste
from spikebridge.errors import ExportError
from spikebridge.hybrid import (
    Bernoulli,
    Burst,
    Count,
    Discretizer,
    FirstSpike,
    FirstTime,
    Integrate,
    Last,
    Phase,
    SignedDelta,
    SpikingLayer,
    Threshold,
)
from spikebridge.hybrid.unit.discretizer import draw_uniform, straight_through
from spikebridge.neurons.neuron import Neuron

KNOWN = (Bernoulli, Threshold, SpikingLayer, SignedDelta, Integrate, Last, Count, FirstTime, FirstSpike, Phase, Burst)
DRAW_BITS = 24


class Sent(NamedTuple):
    """How many quanta the receiver has by now."""

    total: Tensor


class QuantDiscretizer(Discretizer):
    """A discretizer that takes and gives real values on grids.

    Args:
        inner: the discretizer.
        region: its widths.
        length: steps of a window.
        path: for messages.
    """

    def __init__(self, inner: Discretizer, qconfig: QConfig, length: int, path: str) -> None:
        super().__init__()
        if type(inner) not in KNOWN:
            raise ExportError(f"{path!r} is a {type(inner).__name__}, a discretizer that has no integer form")
        self.inner, self.qconfig, self.length, self.path = inner, qconfig, length, path
        self.kind = inner.kind
        self.input_quantizer, self.own = Quantizer.of(qconfig), Quantizer.of(qconfig)
        self.observing = True
        self.neuron: QuantNeuron | None = None
        if isinstance(inner, SpikingLayer):
            if not isinstance(inner.layer, Neuron):
                raise ExportError(f"{path!r} fires by a {type(inner.layer).__name__}; only a layer of neurons can be")
            self.neuron = QuantNeuron(inner.layer, qconfig, f"{path}.layer")

    @property
    def out(self) -> Quantizer:
        """The grid of what comes out."""
        return self.input_quantizer if isinstance(self.inner, Last) else self.own

    def calibrate(self) -> None:
        """Chooses the grid of what comes out."""
        if self.neuron is not None:
            self.neuron.calibrate()
        spikes = isinstance(self.inner, Bernoulli | Threshold | FirstSpike | Phase | Burst)
        if spikes or (self.neuron is not None and self.neuron.spikes):
            self.own.set_qparams(QParams(1.0, 0, 1))
        elif isinstance(self.inner, Count | FirstTime):
            self.own.set_qparams(QParams(1.0, 0, self.length))
        elif isinstance(self.inner, SignedDelta):
            max_seen = self.inner.limit or 2 ** (self.qconfig.activations - 1) - 1
            self.own.set_qparams(QParams(1.0, -max_seen, max_seen))
        else:
            self.own.calibrate()

    def convert(self) -> None:
        """From watching to whole numbers."""
        self.observing = False

    def initial_state(self, batch: int, device: torch.device) -> Any:
        return self.inner.initial_state(batch, device)

    def forward(self, h: Tensor, length: int, state: Any = None) -> tuple[Tensor, Any]:
        if self.observing:
            if self.neuron is not None:
                y, state = self.neuron([QTensor(h.flatten(0, 2))], h.shape[2], state, {})
                y_real = y.x.reshape(*h.shape[:3], *y.x.shape[1:])
            else:
                y_real, state = self.inner(h, length, state)
            self.own.observe(y_real)
            return y_real, state
        q, state = self._whole(self.input_quantizer.quantize(h), h, length, state)
        return (q * self.out.scale).to(h.dtype), state

    def record(self) -> IntegerOp:
        """The integer operation."""
        numbers: Numbers = {}
        qparams = self.own.qparams
        settings: Settings = {"low_out": qparams.low, "high_out": qparams.high, "low": self.input_quantizer.qparams.low}
        name = record_name(type(self.inner))
        if isinstance(self.inner, Threshold):
            numbers["v_threshold"] = self._threshold().long()
        elif isinstance(self.inner, FirstSpike | Phase | Burst):
            name, numbers["entries"] = "Spikes", self._spikes(self.length).to(torch.int8)
        elif isinstance(self.inner, Bernoulli):
            settings["seed"], numbers["entries"] = self.inner.seed, self._chances().long()
        elif isinstance(self.inner, SignedDelta):
            numbers |= ratio_numbers(self.input_quantizer.scale / self.inner.quantum)
            settings["limit"] = self._limit()
        elif isinstance(self.inner, Integrate):
            numbers |= ratio_numbers(self.input_quantizer.scale / self.own.scale)
        elif self.neuron is not None:
            fires = self.neuron.record([self.input_quantizer.scale], [(0, 0)])
            numbers |= fires.numbers
            settings |= fires.settings
            numbers |= {f"out.{key}": n for key, n in ratio_numbers(fires.scale / self.own.scale).items()}
        return IntegerOp(name, settings, numbers, self.out.scale)

    def _whole(self, q: Tensor, h: Tensor, length: int, state: Any) -> tuple[Tensor, Any]:
        inner: Any = self.inner
        if self.neuron is not None:
            y, state = self.neuron([QTensor(q.flatten(0, 2), self.input_quantizer.scale)], h.shape[2], state, {})
            spikes = y.x.reshape(*h.shape[:3], *y.x.shape[1:])
            return self.own.clamp(rescale(spikes, y.known / self.own.scale)), state
        if isinstance(inner, Threshold):
            return inner.surrogate((q - self._threshold()) * self.input_quantizer.scale), None
        if isinstance(inner, FirstSpike | Phase | Burst):
            rows = self._spikes(length)[(q[:, 0].detach() - self.input_quantizer.qparams.low).long()]
            soft, _ = inner((q * self.input_quantizer.scale).to(h.dtype), length)
            return straight_through(rows.movedim(-1, 1), soft.double()), None
        if isinstance(inner, Bernoulli):
            state = self.initial_state(h.shape[2], h.device) if state is None else state
            uniform, state = draw_uniform(state, h.shape[0] * h.shape[1], h.shape[3:])
            chance = self._chances()[(q.detach() - self.input_quantizer.qparams.low).long()]
            spikes = (uniform.double().reshape(q.shape) * 2**DRAW_BITS < chance).double()
            return straight_through(spikes, (q * self.input_quantizer.scale).clamp(0, 1)), state
        if isinstance(inner, SignedDelta):
            return self._send(q, state)
        if isinstance(inner, Integrate):
            return self.own.clamp(rescale(q.sum(1, keepdim=True), self.input_quantizer.scale / self.own.scale)), None
        y, _ = inner(q, length)  # Last, Count and FirstTime ask only what is zero, or nothing
        return y, None

    def _send(self, q: Tensor, state: Sent | None) -> tuple[Tensor, Sent]:
        inner: Any = self.inner
        total = q.new_zeros(q.shape[2:]) if state is None else state.total
        sent, limit = [], self._limit()
        for q_t in q.flatten(0, 1).unbind(0):
            change = rescale(q_t, self.input_quantizer.scale / inner.quantum) - total
            sent.append(change.clamp(-limit, limit))
            total = total + sent[-1]
        return torch.stack(sent).reshape(q.shape) if sent else torch.empty_like(q), Sent(total)

    def _limit(self) -> int:
        return self.own.qparams.high

    def _threshold(self) -> Tensor:
        inner: Any = self.inner
        return round_ste(double(inner.v_threshold) / self.input_quantizer.scale)

    def _levels(self) -> Tensor:
        qparams = self.input_quantizer.qparams
        return torch.arange(qparams.low, qparams.high + 1, dtype=torch.float64) * qparams.scale

    def _spikes(self, length: int) -> Tensor:
        """The spikes that each whole number makes, `(levels, L)`."""
        with torch.no_grad():
            spikes, _ = self.inner(self._levels().float().reshape(1, 1, 1, -1), length)
        return spikes[0, :, 0].T.double()

    def _chances(self) -> Tensor:
        """Below which draw of 24 bits each whole number spikes."""
        return torch.floor(self._levels().clamp(0, 1) * 2**DRAW_BITS + 0.5)
