"""Neurons, gains and gates in fake integers: all quantities of a layer have one scale, and links may modulate them.

The step of a neuron stands in `spikebridge.deploy.stages.neurons`; here are the scales.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from spikebridge.deploy.quantization.config import QConfig
from spikebridge.deploy.quantization.fake_integers import FakeIntegerArithmetic
from spikebridge.deploy.quantization.layers import IntegerOp, Numbers, QTensor, Settings, ratio_numbers, rescales
from spikebridge.deploy.quantization.quantizer import (
    FRACTION,
    QParams,
    Quantizer,
    double,
    rescale,
    round_ste,
    up_to_power_of_two,
)
from spikebridge.deploy.stages.neurons import QUANTITIES, membrane_start, membrane_step, modulated
from spikebridge.errors import ExportError
from spikebridge.hybrid import Gain, Gate
from spikebridge.hybrid.unit.finite_response import delayed
from spikebridge.neurons import LIF, PLIF, AdaptiveLIF, CubaLIF, Effect, Integrator, Memoryless
from spikebridge.neurons.lif import IF, leak
from spikebridge.neurons.neuron import Neuron, refuse_not_finite
from spikebridge.neurons.surrogate import ARCTAN
from spikebridge.ops.saturation import clip

HEADROOM = 2.0  # what remembers may rise to so many times what was seen of it


class QuantLayer(nn.Module):
    """A layer with quantities in one scale, `y, state = layer(values, batch, state, effects)`.

    Args:
        layer: what it was.
        qconfig: its widths.
        path: for messages.

    Attributes:
        modulable: names of the quantities that links may act on.
        effects: for each modulated quantity, the grids of the signals that act on it, in the order of the links.
    """

    modulable: ClassVar[tuple[str, ...]]

    def __init__(self, layer: Any, qconfig: QConfig, path: str) -> None:
        super().__init__()
        self.layer = layer
        self.qconfig = qconfig
        self.path = path
        self.effects: dict[str, list[Quantizer]] = {}

    @property
    def scale(self) -> Tensor:
        """Of its quantities."""
        raise NotImplementedError

    @property
    def high(self) -> int:
        """The largest integer of what remembers; the lowest is as far below 0."""
        return 2 ** (self.qconfig.membranes - 1) - 1

    def calibrate(self) -> None:
        """Chooses the scale on what was seen."""
        raise NotImplementedError

    def effect_numbers(self) -> Numbers:
        """How what acts on a quantity comes into its scale."""
        pairs = ((name, ratio_numbers(ratio)) for name, ratio in self.ratios().items())
        return {f"{name}{key}": n for name, found in pairs for key, n in found.items()}

    def acting(self, effects: Mapping[str, Sequence[Effect]], name: str) -> list[tuple[Tensor, str]]:
        """The signals that act on a quantity, in integers, and how each acts."""
        pairs = zip(effects.get(name, ()), self.effects.get(name, []), strict=False)
        return [(quantizer.quantize(effect.signal), effect.by) for effect, quantizer in pairs]

    def ratios(self) -> dict[str, Tensor]:
        """Changes of scale of what acts on the quantities."""
        found: dict[str, Tensor] = {}
        for name, quantizers in self.effects.items():
            for i, quantizer in enumerate(quantizers):
                found |= {f"{name}.multiply_{i}.": quantizer.scale, f"{name}.add_{i}.": quantizer.scale / self.scale}

        return found

    def bounded(self, q: Tensor) -> Tensor:
        """A quantity inside its width."""
        # one above the highest membrane: a threshold out of reach stays out of reach
        return clip(q, -self.high, self.high + 1)

    def quantity(self, name: str) -> Tensor:
        """A quantity of the layer, in float64."""
        default = {"r": 1.0}.get(name, 0.0)
        return double(getattr(self.layer, name, default))


def effects_at(effects: Mapping[str, Sequence[Effect]], t: int) -> dict[str, list[Effect]]:
    """What acts at one step."""

    def at(effect: Effect) -> Effect:
        return effect if len(effect.signal) == 1 else Effect(effect.signal[t : t + 1], effect.by)

    return {name: [at(effect) for effect in several] for name, several in effects.items()}


def in_time(rows: Tensor, batch: int) -> Tensor:
    """Rows `(T * B, *N)` as a signal; T may be 0.

    Example:
        >>> import torch
        >>> in_time(torch.zeros(6, 5), batch=2).shape
        torch.Size([3, 2, 5])
    """
    return rows.reshape(len(rows) // max(batch, 1), batch, *rows.shape[1:])


_KNOWN = (LIF, IF, PLIF, Memoryless, Integrator, CubaLIF, AdaptiveLIF)


class QuantNeuron(QuantLayer):
    """A layer of neurons.

    Args:
        layer: `LIF`, `IF`, `PLIF`, `Memoryless`, `Integrator`, `CubaLIF` or `AdaptiveLIF`.
        qconfig: its widths.
        path: for messages.
    """

    modulable = QUANTITIES

    def __init__(self, layer: Neuron, qconfig: QConfig, path: str) -> None:
        super().__init__(layer, qconfig, path)
        if type(layer) not in _KNOWN:
            raise ExportError(
                f"{path!r} is a {type(layer).__name__}, which has no integer form; known are "
                f"{', '.join(kind.__name__ for kind in _KNOWN)}"
            )

        self.num_currents = 1
        self.max_seen = 0.0
        self.membranes = Quantizer(qconfig.membranes)

    @property
    def scale(self) -> Tensor:
        return self.membranes.scale

    @property
    def out_scale(self) -> Tensor:
        """Of what comes out: spikes count 1."""
        return torch.ones((), dtype=torch.float64) if self.spikes else self.scale

    @property
    def spikes(self) -> bool:
        """Whether it gives spikes, not membranes."""
        return not isinstance(self.layer, Integrator)

    def calibrate(self) -> None:
        kept = [self.quantity(name).abs().max() for name in QUANTITIES]
        max_seen = max(self.max_seen, *(float(value) for value in kept)) or 1.0
        scale = torch.tensor(max_seen * HEADROOM / self.high, dtype=torch.float64)
        scale = up_to_power_of_two(scale) if self.qconfig.power_of_two else scale
        self.membranes.set_qparams(QParams(float(scale), -self.high, self.high))

    def forward(
        self, values: Sequence[QTensor], batch: int, state: Any, effects: Mapping[str, list[Effect]]
    ) -> tuple[QTensor, Any]:
        """Rows `(T * B, *N)` of currents that add up."""
        self.num_currents = len(values)
        if values[0].scale is None:
            return self._watch(_added([value.x for value in values]), batch, state, effects)

        a = self._arithmetic()
        r = self.quantity("r")
        x = in_time(_added([rescale(value.x, value.known * r / self.scale) for value in values]), batch)
        known = {name: modulated(a, name, self.acting(effects, name), x.ndim) for name in QUANTITIES}

        if state is None:
            state = membrane_start(a, x.new_zeros(x.shape[1:]))

        outputs = []
        for t, x_t in enumerate(x.unbind(0)):
            now = {name: q[t] if q.ndim == x.ndim and len(q) > 1 else q for name, q in known.items()}
            now = {name: q[0] if q.ndim == x.ndim else q for name, q in now.items()}
            y_t, state = membrane_step(a.with_constants(now), x_t, state)
            outputs.append(y_t)

        y = torch.stack(outputs) if outputs else x.new_empty(x.shape)
        return QTensor(y.flatten(0, 1), self.out_scale), state

    def integers(self) -> dict[str, Tensor]:
        """Quantities in the membranes' scale, and decays in parts of 2^15."""
        bounded = {name: self.bounded(round_ste(self.quantity(name) / self.scale)) for name in QUANTITIES}
        if isinstance(self.layer, AdaptiveLIF):
            bounded["jump"] = self.bounded(round_ste(self.quantity("jump") / self.scale))

        return bounded | {name: round_ste(double(decay) * 2**FRACTION) for name, decay in self._decays().items()}

    def counted(self, output: tuple[QTensor, Any]) -> dict[str, float]:
        """One update a neuron and step, and its currents brought into the membranes' scale."""
        number = output[0].x.numel()
        return {"updates": number, **rescales(number * self.num_currents, self.qconfig.power_of_two)}

    def record(self, scales: list[Tensor], bounds: list[tuple[int, int]]) -> IntegerOp:
        """The integer operation."""
        numbers: Numbers = {name: q.long() for name, q in self.integers().items()}
        r = self.quantity("r")
        for i, scale in enumerate(scales):
            numbers |= {f"{name}_{i}": n for name, n in ratio_numbers(scale * r / self.scale).items()}

        return IntegerOp("neuron", self._settings(), numbers | self.effect_numbers(), self.out_scale)

    def _settings(self) -> Settings:
        layer: Any = self.layer
        reset = getattr(layer, "reset", "zero")
        refractory = getattr(layer, "refractory", 0)
        return {"high": self.high, "spikes": self.spikes, "reset": reset, "refractory": refractory}

    def _arithmetic(self) -> FakeIntegerArithmetic:
        layer: Any = self.layer
        return FakeIntegerArithmetic(
            settings={**self._settings(), "detach_reset": getattr(layer, "detach_reset", False)},
            constants=self.integers(),
            ratios=self.ratios(),
            clamp_state=self._clamp,
            scale=self.scale,
            surrogate=getattr(layer, "surrogate", ARCTAN),
        )

    def _watch(self, x: Tensor, batch: int, state: Any, effects: Mapping[str, list[Effect]]) -> tuple[QTensor, Any]:
        """The layer itself, and how far what it remembers rises before it is reset."""
        signal = in_time(x, batch)
        before = state if state is not None else self.layer.initial_state(signal.new_zeros(signal.shape[1:]))
        r = self.quantity("r")
        decays = self._decays()

        for t in range(len(signal)):
            part = signal[t : t + 1]
            if part.numel():
                came = part[0]
                if isinstance(self.layer, CubaLIF):
                    came = before.i * decays["decay_syn"] + came
                v = leak(before.v, decays["decay"], getattr(self.layer, "v_leak", 0.0)) + r * came
                self.max_seen = max(self.max_seen, float(v.abs().max()), float((r * came).abs().max()))

            before = self.layer(part, before, **effects_at(effects, t))[1]
            if isinstance(self.layer, AdaptiveLIF) and part.numel():
                self.max_seen = max(self.max_seen, float((self.quantity("v_threshold") + before.a).abs().max()))

        y, state = self.layer(signal, state, **effects)
        return QTensor(y.flatten(0, 1)), state

    def _clamp(self, v: Tensor) -> Tensor:
        refuse_not_finite(self.layer, v)
        return self.membranes.clamp(v)

    def _decays(self) -> dict[str, Tensor | float]:
        """Of the membranes, and of currents or adaptations."""
        if isinstance(self.layer, Memoryless):
            return {"decay": torch.zeros(())}
        known = self.layer.arguments({name: getattr(self.layer, name) for name in self.layer.modulable})
        return {name: value for name, value in known.items() if name.startswith("decay")}


def _added(xs: Sequence[Tensor]) -> Tensor:
    total = xs[0]
    for x in xs[1:]:
        total = total + x
    return total


class QuantFactor(QuantLayer):
    """A gain or a gate. Its scale is a power of two, so that a gate that is open changes nothing.

    Args:
        layer: `Gain` or `Gate`.
        qconfig: its widths; the factor has those of a membrane.
        path: for messages.
    """

    factor_scale: Tensor

    def __init__(self, layer: Gain | Gate, qconfig: QConfig, path: str) -> None:
        super().__init__(layer, qconfig, path)
        (self.name,) = layer.modulable
        self.modulable = (self.name,)  # type: ignore[misc]
        self.max_seen = 0.0
        self.register_buffer("factor_scale", torch.ones((), dtype=torch.float64))

    @property
    def scale(self) -> Tensor:
        return self.factor_scale

    def calibrate(self) -> None:
        max_seen = max(self.max_seen, float(self.quantity(self.name).abs().max())) or 1.0
        self.factor_scale.copy_(up_to_power_of_two(torch.tensor(max_seen * HEADROOM / self.high, dtype=torch.float64)))

    def forward(
        self, values: Sequence[QTensor], batch: int, state: Any, effects: Mapping[str, list[Effect]]
    ) -> tuple[QTensor, None]:
        """Rows `(T * B, *N)`."""
        (value,) = values
        x = in_time(value.x, batch)
        if value.scale is None:
            factor = self.layer.quantities(x.ndim, dict(effects))[self.name]
            self.max_seen = max(self.max_seen, float(torch.as_tensor(factor).abs().max()))
            return QTensor((x * factor).flatten(0, 1)), None

        constants = {self.name: self._whole()}
        settings = {"high": self.high}
        a = FakeIntegerArithmetic(settings, constants, self.ratios())
        y = x * modulated(a, self.name, self.acting(effects, self.name), x.ndim)

        return QTensor(y.flatten(0, 1), value.scale * self.scale), None

    def counted(self, output: tuple[QTensor, None]) -> dict[str, float]:
        """One product a value."""
        return {"macs": output[0].x.numel()}

    def record(self, scales: list[Tensor], bounds: list[tuple[int, int]]) -> IntegerOp:
        """The integer operation."""
        numbers: Numbers = {self.name: self._whole().long(), **self.effect_numbers()}
        return IntegerOp("factor", {"quantity": self.name, "high": self.high}, numbers, scales[0] * self.scale)

    def _whole(self) -> Tensor:
        return self.bounded(round_ste(self.quantity(self.name) / self.scale))


class QuantDelay(QuantLayer):
    """A delay: integers pass through it as they are, each channel some whole steps later.

    Args:
        layer: `Delay`.
        qconfig: its widths.
        path: for messages.
    """

    modulable = ()

    @property
    def scale(self) -> Tensor:
        return torch.ones((), dtype=torch.float64)

    def calibrate(self) -> None:
        """Nothing: the scale is that of the signal."""

    def forward(
        self, values: Sequence[QTensor], batch: int, state: Any, effects: Mapping[str, list[Effect]]
    ) -> tuple[QTensor, Tensor]:
        """Rows `(T * B, *N)`."""
        (value,) = values
        x = in_time(value.x, batch)
        if state is None:
            state = x.new_zeros((batch, self.layer.max_ticks, *x.shape[2:]))

        before = state.transpose(0, 1)
        y = delayed(x, self.layer.ticks.to(x.device), before)
        kept = torch.cat([before, x])[len(x) :].transpose(0, 1).clone()

        return QTensor(y.flatten(0, 1), value.scale), kept

    def counted(self, output: tuple[QTensor, Any]) -> dict[str, float]:
        """No operation."""
        return {}

    def record(self, scales: list[Tensor], bounds: list[tuple[int, int]]) -> IntegerOp:
        """The integer operation."""
        return IntegerOp("delay", {"max_ticks": self.layer.max_ticks}, {"ticks": self.layer.ticks}, scales[0])
