"""Neurons of whole numbers: membranes, thresholds and leaks in one scale, into which currents of any scale come."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from spikebridge.deploy.quantize_arithmetic import FRACTION, double, leak_towards, rescale, snap, up_to_power_of_two
from spikebridge.deploy.quantize_config import Region
from spikebridge.deploy.quantize_grid import Grid, Quantizer
from spikebridge.deploy.quantize_layers import Numbers, Record, Settings, Value, ratio_numbers, rescales
from spikebridge.errors import ExportError
from spikebridge.neurons import LIF, PLIF, Effect, Integrator, Memoryless
from spikebridge.neurons.lif import IF, leak
from spikebridge.neurons.neuron import Neuron, refuse_not_finite

KNOWN = (LIF, IF, PLIF, Memoryless, Integrator)
HEADROOM = 2.0  # a membrane may rise to so many times what was seen of it
MODULABLE = ("v_threshold", "v_reset", "v_leak")


class Membranes(NamedTuple):
    """Whole membranes after the reset, and refractory steps left (None where there is no refractory time)."""

    v: Tensor
    wait: Tensor | None = None


class WholeNeuron(nn.Module):
    """A layer of neurons.

    Args:
        layer: `LIF`, `IF`, `PLIF`, `Memoryless` or `Integrator`.
        region: its widths.
        path: for messages.

    Attributes:
        effects: for each modulated quantity, the grids of the signals that act on it, in the order of the links.
    """

    def __init__(self, layer: Neuron, region: Region, path: str) -> None:
        super().__init__()
        if type(layer) not in KNOWN:
            raise ExportError(
                f"{path!r} is a {type(layer).__name__}, which has no integer form yet; known are "
                f"{', '.join(kind.__name__ for kind in KNOWN)}"
            )
        self.layer, self.region, self.path = layer, region, path
        self.num_currents = 1
        self.most = 0.0
        self.membranes = Quantizer(region.membranes)
        self.effects: dict[str, list[Quantizer]] = {}

    @property
    def scale(self) -> Tensor:
        """Of the membranes."""
        return self.membranes.scale

    @property
    def high(self) -> int:
        """The largest whole membrane; the lowest is as far below 0."""
        return 2 ** (self.region.membranes - 1) - 1

    @property
    def spikes(self) -> bool:
        """Whether it gives spikes, not membranes."""
        return not isinstance(self.layer, Integrator)

    def settle(self) -> None:
        """Chooses the scale of the membranes on what was seen of them."""
        kept = [self._quantity(name).abs().max() for name in ("v_threshold", "v_reset", "v_leak")]
        most = max(self.most, *(float(value) for value in kept)) or 1.0
        scale = torch.tensor(most * HEADROOM / self.high, dtype=torch.float64)
        scale = up_to_power_of_two(scale) if self.region.power_of_two else scale
        self.membranes.take(Grid(float(scale), -self.high, self.high))

    def forward(
        self, values: Sequence[Value], batch: int, state: Any, effects: Mapping[str, list[Effect]]
    ) -> tuple[Value, Any]:
        """Rows `(T * B, *N)` of currents that add up."""
        self.num_currents = len(values)
        if values[0].scale is None:
            return self._watch(_added([value.x for value in values]), batch, state, effects)
        quantities = self.whole()
        r = self._quantity("r")
        current = _added([rescale(value.x, value.known * r / self.scale) for value in values])
        x = _in_time(current, batch)
        thresholds = {name: self._modulated(name, quantities[name], effects.get(name, []), x) for name in MODULABLE}
        if state is None:
            state = self._start(x, quantities["v_leak"])
        outputs = []
        for t, x_t in enumerate(x.unbind(0)):
            now = {name: q[t] if q.ndim == x.ndim and len(q) > 1 else q for name, q in thresholds.items()}
            now = {name: q[0] if q.ndim == x.ndim else q for name, q in now.items()}
            y_t, state = self._step(x_t, state, quantities["decay"], now)
            outputs.append(y_t)
        y = torch.stack(outputs) if outputs else x.new_empty(x.shape)
        one = torch.ones((), dtype=torch.float64)
        return Value(y.flatten(0, 1), one if self.spikes else self.scale), state

    def whole(self) -> dict[str, Tensor]:
        """Quantities in the membranes' scale, and the decay."""
        decay = torch.zeros(()) if isinstance(self.layer, Memoryless) else self._decay()
        bounded = {name: self._bounded(snap(self._quantity(name) / self.scale)) for name in MODULABLE}
        return {**bounded, "decay": snap(double(decay) * 2**FRACTION)}

    def counted(self, output: tuple[Value, Any]) -> dict[str, float]:
        """One update a neuron and step, and its currents brought into the membrane's scale."""
        number = output[0].x.numel()
        return {"updates": number, **rescales(number * self.num_currents, self.region.power_of_two)}

    def record(self, scales: list[Tensor], bounds: list[tuple[int, int]]) -> Record:
        """The integer operation."""
        numbers: Numbers = {name: q.long() for name, q in self.whole().items()}
        r = self._quantity("r")
        for i, scale in enumerate(scales):
            numbers |= {f"{name}_{i}": n for name, n in ratio_numbers(scale * r / self.scale).items()}
        for name, quantizers in self.effects.items():
            for i, quantizer in enumerate(quantizers):
                for by, ratio in (("multiply", quantizer.scale), ("add", quantizer.scale / self.scale)):
                    numbers |= {f"{name}.{by}_{i}.{key}": n for key, n in ratio_numbers(ratio).items()}
        layer: Any = self.layer
        settings: Settings = {"high": self.high, "spikes": self.spikes, "reset": getattr(layer, "reset", "hard")}
        settings["refractory"] = getattr(layer, "refractory", 0)
        one = torch.ones((), dtype=torch.float64)
        return Record("neuron", settings, numbers, one if self.spikes else self.scale)

    def _step(self, x_t: Tensor, state: Membranes, decay: Tensor, now: Mapping[str, Tensor]) -> tuple[Tensor, Any]:
        v = self._clamp(leak_towards(state.v, now["v_leak"], decay) + x_t)
        if not self.spikes:
            return v, Membranes(v)
        layer: Any = self.layer
        wait = state.wait
        active = None
        if wait is not None:
            active = wait == 0
            v = torch.where(active, v, state.v)
        spikes = layer.surrogate((v - now["v_threshold"]) * self.scale)
        if active is not None and wait is not None:
            spikes = spikes * active
            wait = torch.where(spikes > 0, layer.refractory, (wait - 1).clamp(min=0))
        fired = spikes.detach() if getattr(layer, "detach_reset", False) else spikes
        if getattr(layer, "reset", "hard") == "soft":
            v = self._clamp(v - fired * now["v_threshold"])
        else:
            v = v * (1 - fired) + fired * now["v_reset"]
        return spikes, Membranes(v, wait)

    def _watch(self, x: Tensor, batch: int, state: Any, effects: Mapping[str, list[Effect]]) -> tuple[Value, Any]:
        """The layer itself, and how far its membranes rise before they are reset."""
        signal = _in_time(x, batch)
        before = state if state is not None else self.layer.initial_state(signal.new_zeros(signal.shape[1:]))
        for t in range(len(signal)):
            part = signal[t : t + 1]
            now = {name: [_at(effect, t) for effect in several] for name, several in effects.items()}
            v = leak(before.v, self._decay() if self._leaks else 0.0, getattr(self.layer, "v_leak", 0.0))
            if part.numel():
                self.most = max(self.most, float((v + self._quantity("r") * part[0]).abs().max()))
            before = self.layer(part, before, **now)[1]
        y, state = self.layer(signal, state, **effects)
        return Value(y.flatten(0, 1)), state

    def _modulated(self, name: str, base: Tensor, effects: Sequence[Effect], x: Tensor) -> Tensor:
        """A quantity under what acts on it."""
        for effect, quantizer in zip(effects, self.effects.get(name, []), strict=False):
            q = quantizer.enter(effect.signal)
            q = q.reshape(*q.shape, *[1] * (x.ndim - q.ndim))
            if effect.by == "multiply":
                base = rescale(base * q, quantizer.scale)
            else:
                moved = rescale(q, quantizer.scale / self.scale)
                base = moved if effect.by == "replace" else base + moved
            base = self._bounded(base)
        return base

    def _start(self, x: Tensor, rest: Tensor) -> Membranes:
        wait = torch.zeros(x.shape[1:], dtype=torch.int64) if getattr(self.layer, "refractory", 0) else None
        return Membranes(x.new_zeros(x.shape[1:]) + rest, wait)

    def _clamp(self, v: Tensor) -> Tensor:
        refuse_not_finite(self.layer, v)
        return self.membranes.clamp(v)

    def _bounded(self, q: Tensor) -> Tensor:
        # one above the highest membrane: a threshold out of reach stays out of reach
        return q.clamp(-self.high, self.high + 1)

    @property
    def _leaks(self) -> bool:
        return not isinstance(self.layer, Memoryless)

    def _decay(self) -> Tensor | float:
        return self.layer.arguments({name: getattr(self.layer, name) for name in self.layer.modulable})["decay"]

    def _quantity(self, name: str) -> Tensor:
        default = {"r": 1.0}.get(name, 0.0)
        return double(getattr(self.layer, name, default))


def _at(effect: Effect, t: int) -> Effect:
    return effect if len(effect.signal) == 1 else Effect(effect.signal[t : t + 1], effect.by)


def _added(xs: Sequence[Tensor]) -> Tensor:
    total = xs[0]
    for x in xs[1:]:
        total = total + x
    return total


def _in_time(rows: Tensor, batch: int) -> Tensor:
    """Rows `(T * B, *N)` as a signal; T may be 0."""
    return rows.reshape(len(rows) // max(batch, 1), batch, *rows.shape[1:])
