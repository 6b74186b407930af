"""Neurons, gains, gates and delays in fake integers: the scales of their quantities, and signals that modulate them.

All quantities of a layer have one scale. The steps are array forms (`spikebridge.deploy.stages.neurons`).
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from spikebridge.deploy.bundle.manifest import record_name
from spikebridge.deploy.quantization.config import QConfig
from spikebridge.deploy.quantization.fake_integers import FakeIntegerArithmetic, ObservedArithmetic
from spikebridge.deploy.quantization.layers import IntegerOp, QTensor, Settings, added, rescale_operations
from spikebridge.deploy.quantization.quantizer import (
    FRACTION,
    Numbers,
    QParamsRecord,
    Quantizer,
    double,
    ratio_numbers,
    rescale,
    round_ste,
    state_scale,
    up_to_power_of_two,
)
from spikebridge.deploy.stages.neurons import MEMBRANE, QUANTITIES, NeuronForm, under_effects
from spikebridge.errors import ExportError
from spikebridge.hybrid import Gain, Gate
from spikebridge.hybrid.unit.finite_response import FIRCarry, delayed
from spikebridge.neurons import LIF, PLIF, AdaptiveLIF, CubaLIF, Effect, Integrator, Memoryless
from spikebridge.neurons.lif import IF, leak
from spikebridge.neurons.neuron import Neuron, refuse_not_finite
from spikebridge.neurons.state import tensors_of
from spikebridge.neurons.surrogate import ARCTAN
from spikebridge.ops.saturation import clip

HEADROOM = 2.0  # of the range of a state over its largest value in calibration
_MAX_DIFFERENCE = 0.05  # of the outputs of an array form; near a threshold the last bit of a sum decides
_KNOWN = (LIF, IF, PLIF, Memoryless, Integrator, CubaLIF, AdaptiveLIF)
_Effects = Mapping[str, Sequence[Effect]]


class QuantLayer(nn.Module):
    """A layer with quantities in one scale, `y, state = layer(values, batch, state, effects)`."""

    modulable: ClassVar[tuple[str, ...]]  # quantities that links may modulate

    def __init__(self, layer: Any, qconfig: QConfig, path: str) -> None:
        super().__init__()
        self.layer = layer
        self.qconfig = qconfig
        self.path = path
        # the quantizers of the signals on each modulated quantity, in the order of the links
        self.effects: dict[str, list[Quantizer]] = {}

    @property
    def scale(self) -> Tensor:
        raise NotImplementedError

    @property
    def high(self) -> int:
        """The largest integer of a state; the lowest is as far below 0."""
        return 2 ** (self.qconfig.membranes - 1) - 1

    def calibrate(self) -> None:
        raise NotImplementedError

    def quantity(self, name: str) -> Tensor:
        """A quantity of the layer, in float64."""
        default = {"r": 1.0}.get(name, 0.0)
        return double(getattr(self.layer, name, default))

    def to_integers(self, value: Tensor) -> Tensor:
        """A quantity in the scale of the layer."""
        # one above the highest membrane, so that a threshold out of reach stays out of reach
        return clip(round_ste(value / self.scale), -self.high, self.high + 1)

    def integer_effects(self, effects: _Effects) -> dict[str, list[tuple[Tensor, str]]]:
        integers: dict[str, list[tuple[Tensor, str]]] = {}
        for name, signals in effects.items():
            pairs = zip(signals, self.effects.get(name, []), strict=False)
            integers[name] = [(quantizer.quantize(effect.signal), effect.by) for effect, quantizer in pairs]

        return integers

    def ratios(self) -> dict[str, Tensor]:
        """Changes of scale from the signals that modulate a quantity to the quantity."""
        ratios: dict[str, Tensor] = {}
        for name, quantizers in self.effects.items():
            for i, quantizer in enumerate(quantizers):
                ratios[f"{name}.multiply_{i}."] = quantizer.scale
                ratios[f"{name}.add_{i}."] = quantizer.scale / self.scale

        return ratios

    def effect_numbers(self) -> Numbers:
        numbers: Numbers = {}
        for prefix, ratio in self.ratios().items():
            numbers |= ratio_numbers(ratio, prefix)

        return numbers


def effects_at(effects: _Effects, t: int) -> dict[str, list[Effect]]:
    """The effects at one step."""
    return {name: [_effect_at(effect, t) for effect in signals] for name, signals in effects.items()}


def _effect_at(effect: Effect, t: int) -> Effect:
    return effect if len(effect.signal) == 1 else Effect(effect.signal[t : t + 1], effect.by)


def unflatten_time(rows: Tensor, batch: int) -> Tensor:
    """Rows `(T * B, *N)` as a signal `(T, B, *N)`; T may be 0."""
    return rows.reshape(len(rows) // max(batch, 1), batch, *rows.shape[1:])


class QuantNeuron(QuantLayer):
    """A layer of neurons: `LIF`, `IF`, `PLIF`, `Memoryless`, `Integrator`, `CubaLIF` or `AdaptiveLIF`."""

    modulable = QUANTITIES
    form = MEMBRANE

    def __init__(self, layer: Neuron, qconfig: QConfig, path: str) -> None:
        super().__init__(layer, qconfig, path)
        self.num_currents = 1
        self.largest = 0.0
        self.membranes = Quantizer(qconfig.membranes)

    @property
    def scale(self) -> Tensor:
        return self.membranes.scale

    @property
    def out_scale(self) -> Tensor:
        return torch.ones((), dtype=torch.float64) if self.spikes else self.scale

    @property
    def spikes(self) -> bool:
        return not isinstance(self.layer, Integrator)

    def calibrate(self) -> None:
        quantities = [float(value.abs().max()) for value in self._quantities().values()]
        # a threshold has the scale of the membranes, so that they are compared as integers
        largest = max([self.largest, *quantities]) or 1.0
        scale = state_scale(largest * HEADROOM, self.high, self.qconfig)
        self.membranes.set_qparams(QParamsRecord(float(scale), -self.high, self.high))

    def forward(self, values: Sequence[QTensor], batch: int, state: Any, effects: _Effects) -> tuple[QTensor, Any]:
        """Rows `(T * B, *N)` of currents that add up."""
        self.num_currents = len(values)
        if values[0].scale is None:
            return self._observe(added([value.x for value in values]), batch, state, effects)

        a = self._arithmetic()
        r = self.quantity("r")
        current = added([rescale(value.x, value.integer_scale * r / self.scale) for value in values])
        x = unflatten_time(current, batch)
        if state is None:
            state = self.form.start(a, x.new_zeros(x.shape[1:]))

        # all steps of a quantity at once, then one step of it at a time
        modulated = under_effects(a, self.integer_effects(effects), x.ndim)
        outputs = []
        for t, x_t in enumerate(x.unbind(0)):
            quantities = self._quantities_at(modulated, t, x.ndim)
            y_t, state = self.form.step(modulated.with_constants(quantities), x_t, state)
            outputs.append(y_t)

        y = torch.stack(outputs) if outputs else x.new_empty(x.shape)
        return QTensor(y.flatten(0, 1), self.out_scale), state

    def leak(self, state: Any, num_steps: Tensor, observing: bool) -> Any:
        """The state after steps without input, `(B,)`."""
        if observing:
            return self.layer.leak(state, num_steps)
        return self._leak_arrays(self._arithmetic(), state, num_steps)

    def _leak_arrays(self, a: Any, state: Any, num_steps: Tensor) -> Any:
        # the steps of each sample line up with its membranes
        axes = next(iter(tensors_of(state))).ndim - 1
        leaked: Any = self.form.leak
        return leaked(a, state, num_steps.reshape(-1, *[1] * axes))

    def integers(self) -> dict[str, Tensor]:
        """Quantities in the membranes' scale, and decays in parts of 2^15."""
        quantities = self._quantities()
        if isinstance(self.layer, AdaptiveLIF):
            quantities["jump"] = self.quantity("jump")

        integers = {name: self.to_integers(value) for name, value in quantities.items()}
        return integers | {name: round_ste(double(decay) * 2**FRACTION) for name, decay in self._decays().items()}

    def counted(self, output: tuple[QTensor, Any]) -> dict[str, float]:
        number = output[0].x.numel()
        return {"updates": number, **rescale_operations(number * self.num_currents, self.qconfig.power_of_two)}

    def record(self, scales: list[Tensor], bounds: list[tuple[int, int]]) -> IntegerOp:
        numbers: Numbers = {name: q.long() for name, q in self.integers().items()}
        r = self.quantity("r")
        for i, scale in enumerate(scales):
            numbers |= ratio_numbers(scale * r / self.scale, suffix=f"_{i}")

        return IntegerOp("neuron", self._settings(), numbers | self.effect_numbers(), self.out_scale)

    def _quantities(self) -> dict[str, Tensor]:
        """The quantities in the scale of the membranes."""
        return {name: self.quantity(name) for name in QUANTITIES}

    def _settings(self) -> Settings:
        reset = getattr(self.layer, "reset", "zero")
        refractory = getattr(self.layer, "refractory", 0)
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

    @staticmethod
    def _quantities_at(a: FakeIntegerArithmetic, t: int, ndim: int) -> dict[str, Tensor]:
        # with an axis of time, a modulated quantity has one entry, or one a step
        quantities = {name: a[name] for name in QUANTITIES if name in a.constants}
        return {name: q[t if len(q) > 1 else 0] for name, q in quantities.items() if q.ndim == ndim}

    def _observe(self, x: Tensor, batch: int, state: Any, effects: _Effects) -> tuple[QTensor, Any]:
        """The float layer, and the largest value of its membranes before they are reset."""
        signal = unflatten_time(x, batch)
        before = state if state is not None else self.layer.initial_state(signal.new_zeros(signal.shape[1:]))
        decays = self._decays()

        # step by step, since a layer does not show its membranes before their reset
        for t in range(len(signal)):
            step = signal[t : t + 1]
            if step.numel():
                self._observe_membranes(step[0], before, decays)

            before = self.layer(step, before, **effects_at(effects, t))[1]
            if isinstance(self.layer, AdaptiveLIF) and step.numel():
                self._observe_value(self.quantity("v_threshold") + before.a)

        y, state = self.layer(signal, state, **effects)
        return QTensor(y.flatten(0, 1)), state

    def _observe_membranes(self, current: Tensor, before: Any, decays: Mapping[str, Any]) -> None:
        if isinstance(self.layer, CubaLIF):
            current = before.i * decays["decay_syn"] + current

        charge = self.quantity("r") * current
        self._observe_value(leak(before.v, decays["decay"], getattr(self.layer, "v_leak", 0.0)) + charge)
        self._observe_value(charge)

    def _observe_value(self, x: Tensor) -> None:
        if x.numel():
            self.largest = max(self.largest, float(x.abs().max()))

    def _clamp(self, v: Tensor) -> Tensor:
        # clipping would hide a value that is not finite
        refuse_not_finite(self.layer, v)
        return self.membranes.clamp(v)

    def _decays(self) -> dict[str, Tensor | float]:
        if isinstance(self.layer, Memoryless):
            return {"decay": torch.zeros(())}
        return {name: value for name, value in self._arguments().items() if name.startswith("decay")}

    def _arguments(self) -> dict[str, Any]:
        arguments: dict[str, Any] = self.layer.arguments({q: getattr(self.layer, q) for q in self.layer.modulable})
        return arguments


class QuantUserNeuron(QuantNeuron):
    """A layer of user-defined neurons, by their array form."""

    def __init__(self, layer: Neuron, form: NeuronForm, qconfig: QConfig, path: str) -> None:
        super().__init__(layer, qconfig, path)
        self.form = form
        self.outputs = 0.0
        self.differences = 0.0

    @property
    def spikes(self) -> bool:
        return self.form.spikes

    def calibrate(self) -> None:
        if self.differences > _MAX_DIFFERENCE * self.outputs:
            share = self.differences / max(self.outputs, 1.0)
            raise ExportError(
                f"{self.path!r}: the array form of {type(self.layer).__name__} gives other outputs than its step "
                f"function, {share:.0%} of them on the stream of the calibration"
            )

        super().calibrate()

    def ratios(self) -> dict[str, Tensor]:
        # of the product of two states
        return super().ratios() | {"state.": self.scale}

    def _quantities(self) -> dict[str, Tensor]:
        # the ratio of the input includes r
        constants = self._constants().items()
        return {name: double(value) for name, value in constants if name != "r" and not name.startswith("decay")}

    def _constants(self) -> dict[str, Tensor]:
        numbers = {name: x for name, x in self._arguments().items() if isinstance(x, Tensor | float | int)}
        return {name: torch.as_tensor(value) for name, value in numbers.items()}

    def _settings(self) -> Settings:
        settings = {name: getattr(self.layer, name) for name in self.form.settings}
        return {**settings, "form": record_name(type(self.layer)), "high": self.high, "spikes": self.spikes}

    def leak(self, state: Any, num_steps: Tensor, observing: bool) -> Any:
        if not observing:
            return super().leak(state, num_steps, observing)

        before, arrays = state
        return self.layer.leak(before, num_steps), self._leak_arrays(self._observed_arithmetic(), arrays, num_steps)

    def _observed_arithmetic(self) -> ObservedArithmetic:
        return ObservedArithmetic(self._settings(), self._constants(), self._observe_value)

    def _observe(self, x: Tensor, batch: int, state: Any, effects: _Effects) -> tuple[QTensor, Any]:
        """The float layer beside its array form, which shows the states before they are reset."""
        signal = unflatten_time(x, batch)
        a = self._observed_arithmetic()
        if state is None:
            zeros = signal.new_zeros(signal.shape[1:])
            state = (self.layer.initial_state(zeros), self.form.start(a, zeros))

        before, arrays = state
        y, after = self.layer(signal, before, **effects)
        for t, (x_t, y_t) in enumerate(zip(signal.unbind(0), y.unbind(0), strict=True)):
            effects_t = {name: [(e.signal[0], e.by) for e in own] for name, own in effects_at(effects, t).items()}
            z_t, arrays = self.form.step(under_effects(a, effects_t, x_t.ndim), x_t, arrays)
            self.outputs += float(y_t.abs().sum())
            self.differences += float((z_t - y_t).abs().sum())

        return QTensor(y.flatten(0, 1)), (after, arrays)


def quant_neuron(layer: Neuron, qconfig: QConfig, path: str) -> QuantNeuron:
    """A layer of neurons in fake integers; raises an `ExportError` for one without an integer form."""
    kind = type(layer)
    form = vars(kind).get("array_form")
    if isinstance(form, NeuronForm):
        return QuantUserNeuron(layer, form, qconfig, path)
    if kind in _KNOWN:
        return QuantNeuron(layer, qconfig, path)

    known = ", ".join(known.__name__ for known in _KNOWN)
    raise ExportError(
        f"{path!r} is a {kind.__name__}, which has no integer form; known are {known}, and neurons of your own with a "
        "NeuronForm as their array_form"
    )


class QuantFactor(QuantLayer):
    """A gain or a gate, in integers as wide as membranes."""

    factor_scale: Tensor

    def __init__(self, layer: Gain | Gate, qconfig: QConfig, path: str) -> None:
        super().__init__(layer, qconfig, path)
        (self.name,) = layer.modulable
        self.modulable = (self.name,)  # type: ignore[misc]
        self.largest = 0.0
        self.register_buffer("factor_scale", torch.ones((), dtype=torch.float64))

    @property
    def scale(self) -> Tensor:
        return self.factor_scale

    def calibrate(self) -> None:
        largest = max(self.largest, float(self.quantity(self.name).abs().max())) or 1.0
        scale = torch.tensor(largest * HEADROOM / self.high, dtype=torch.float64)
        # a power of two, so that an open gate changes nothing
        self.factor_scale.copy_(up_to_power_of_two(scale))

    def forward(self, values: Sequence[QTensor], batch: int, state: Any, effects: _Effects) -> tuple[QTensor, None]:
        (value,) = values
        x = unflatten_time(value.x, batch)
        if value.scale is None:
            factor = self.layer.quantities(x.ndim, dict(effects))[self.name]
            self.largest = max(self.largest, float(torch.as_tensor(factor).abs().max()))
            return QTensor((x * factor).flatten(0, 1)), None

        a = FakeIntegerArithmetic(
            {"high": self.high}, {self.name: self.to_integers(self.quantity(self.name))}, self.ratios()
        )
        factor = under_effects(a, self.integer_effects(effects), x.ndim)[self.name]

        return QTensor((x * factor).flatten(0, 1), value.scale * self.scale), None

    def counted(self, output: tuple[QTensor, None]) -> dict[str, float]:
        return {"macs": output[0].x.numel()}

    def record(self, scales: list[Tensor], bounds: list[tuple[int, int]]) -> IntegerOp:
        numbers: Numbers = {self.name: self.to_integers(self.quantity(self.name)).long(), **self.effect_numbers()}
        return IntegerOp("factor", {"quantity": self.name, "high": self.high}, numbers, scales[0] * self.scale)


class QuantDelay(QuantLayer):
    """A delay: integers pass through unchanged, those of each channel some whole steps later."""

    modulable = ()

    @property
    def scale(self) -> Tensor:
        return torch.ones((), dtype=torch.float64)

    def calibrate(self) -> None:
        pass  # the scale is that of the signal

    def forward(self, values: Sequence[QTensor], batch: int, state: Any, effects: _Effects) -> tuple[QTensor, Tensor]:
        (value,) = values
        x = unflatten_time(value.x, batch)
        if state is None:
            state = x.new_zeros((batch, self.layer.max_ticks, *x.shape[2:]))

        # a state has the batch first, `delayed` takes steps
        before = state.transpose(0, 1)
        y = delayed(x, self.layer.ticks.to(x.device), before)
        kept = torch.cat([before, x])[len(x) :].transpose(0, 1).clone()

        return QTensor(y.flatten(0, 1), value.scale), kept

    def counted(self, output: tuple[QTensor, Any]) -> dict[str, float]:
        return {}

    def record(self, scales: list[Tensor], bounds: list[tuple[int, int]]) -> IntegerOp:
        return IntegerOp("delay", {"max_ticks": self.layer.max_ticks}, {"ticks": self.layer.ticks}, scales[0])


class QuantTappedDelay(QuantDelay):
    """A tapped delay line: integers pass through unchanged."""

    def forward(self, values: Sequence[QTensor], batch: int, state: Any, effects: _Effects) -> tuple[QTensor, Tensor]:
        (value,) = values
        x = unflatten_time(value.x, batch)
        y, after = self.layer(x, None if state is None else FIRCarry(state))

        return QTensor(y.flatten(0, 1), value.scale), after.last

    def counted(self, output: tuple[QTensor, Any]) -> dict[str, float]:
        return {"adds": output[0].x.numel() / self.layer.num_taps}

    def record(self, scales: list[Tensor], bounds: list[tuple[int, int]]) -> IntegerOp:
        return IntegerOp("taps", {"num_taps": self.layer.num_taps}, {}, scales[0])
