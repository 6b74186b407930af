"""A spiking part of a network in a chip's integers, in torch, with straight-through gradients for its weights.

Weights, biases and thresholds of a neuron are scaled together, so that their ratio stays. A layer reads the spikes that
the layer before sent one step earlier, as on the chip.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from spikebridge.deploy.chips.chip import ChipSpec
from spikebridge.deploy.chips.code import InputCode
from spikebridge.deploy.chips.core import INPUT, Connection, Population
from spikebridge.deploy.chips.layers import ChainLayer, Misfit
from spikebridge.deploy.chips.model import ChipModel, ChipPartRecord
from spikebridge.deploy.quantization.fake_integers import FakeIntegerArithmetic
from spikebridge.deploy.quantization.layers import weighted
from spikebridge.deploy.quantization.quantizer import round_ste
from spikebridge.deploy.stages.neurons import MembraneState, membrane_step
from spikebridge.hybrid.unit.discretizer import straight_through
from spikebridge.neurons import CubaLIF, Stateful

_HEADROOM = 2.0  # of the range of a state over its largest value in calibration
_FULL_SHARE = 0.9  # of neurons whose largest weight has all its bits, from which on a larger shift is better
_STATE_GUESS = 8.0  # largest state in thresholds, before one is measured


@dataclass
class FakeChipIntegers(FakeIntegerArithmetic):
    """The primitives of a chip's steps in torch: exact values, straight-through gradients."""

    largest: Tensor | None = None  # of the states, where they are measured
    largest_count: Tensor | None = None  # of a neuron in a step

    def shift_down(self, q: Tensor, bits: Any) -> Tensor:
        exact = q / 2**bits
        return straight_through(torch.floor(exact), exact)

    def shift_to_zero(self, q: Tensor, bits: Any) -> Tensor:
        exact = q / 2**bits
        return straight_through(torch.trunc(exact), exact)

    def clip(self, q: Tensor, low: int, high: int) -> Tensor:
        if self.largest is not None:
            torch.maximum(self.largest, q.detach().abs().amax(0), out=self.largest)
        return q.clamp(low, high)

    def spike_counts(self, v: Tensor, threshold: Any, highest: int) -> Tensor:
        hard = torch.floor(v / threshold).clamp(0, highest)
        if self.largest_count is not None:
            torch.maximum(self.largest_count, hard.detach().amax(), out=self.largest_count)

        # the surrogate is that of one spike; each further threshold that is reached adds one
        further = (v / threshold - 2).clamp(0, highest - 1) if highest > 1 else 0.0
        return straight_through(hard, self.surrogate((v - threshold) * self.scale) + further)


class ChipLayer(nn.Module):
    """Weights and neurons in a chip's integers: `scale` of each row of the weights, their shift, and the thresholds."""

    decay: Tensor
    decay_syn: Tensor
    gain: Tensor
    bias_gain: Tensor
    real_threshold: Tensor
    scale: Tensor
    threshold: Tensor
    largest: Tensor | None  # states in real values, once they are measured
    largest_count: Tensor | None  # of a neuron in a step, once they are measured

    def __init__(self, layer: ChainLayer, chip: ChipSpec, *, is_read_out: bool) -> None:
        super().__init__()
        self.name = layer.name
        self.chip = chip
        self.weights = layer.weights
        self.source_shape = layer.source_shape
        self.shape = layer.shape
        self.max_spikes = 1 if is_read_out else chip.max_spikes
        self.surrogate = layer.neurons.surrogate
        self.detach_reset = layer.neurons.detach_reset
        self.kind = type(f"Fake{chip.steps.__name__}", (chip.steps, FakeChipIntegers), {})

        neurons = layer.neurons
        arguments = neurons.arguments({name: getattr(neurons, name) for name in neurons.modulable})
        steps = chip.steps
        asked = [self._by_neuron(arguments["decay"]), self._by_neuron(arguments.get("decay_syn", 0.0))]
        decay, decay_syn = steps.decay_numbers(asked[0]), steps.synapse_numbers(asked[1])
        got = [steps.decays(decay), steps.decays(decay_syn)]
        self.changes = [float(np.abs(b - a).max()) for a, b in zip(asked, got, strict=True)]  # of both decays

        r = self._by_neuron(arguments.get("r", 1.0))
        # a current that a neuron reads after its decay, and r, are part of the weights
        gain = r / got[1] if steps.reads_decayed_current else r
        # a constant current ends at the value that a bias on the membrane stands for
        bias_gain = r * (1 / (1 - got[1])) if isinstance(neurons, CubaLIF) else r
        by_row = {"gain": gain, "bias_gain": bias_gain, "real_threshold": self._by_neuron(arguments["v_threshold"])}
        for name, value in {"decay": decay, "decay_syn": decay_syn, **by_row}.items():
            tensor = torch.as_tensor(value, dtype=torch.float64, device=self.weights.weight.device)
            self.register_buffer(name, self._by_row(tensor) if name in by_row else tensor, persistent=False)

        for name in ("largest", "largest_count", "scale", "threshold"):
            self.register_buffer(name, None, persistent=False)

        self.choose()

    def choose(self) -> None:
        """Takes the largest shift at which states, thresholds and weights fit, and the scale at it."""
        free = self._largest_scale()
        for shift in range(self.chip.max_shift, -1, -1):
            self.take_shift(shift)
            if (self.scale >= free * 2**shift / 2).double().mean() >= _FULL_SHARE:
                return

    def take_shift(self, shift: int) -> None:
        """Takes the scale and the thresholds at a shift."""
        chip = self.chip
        threshold = self.real_threshold
        states = _STATE_GUESS * threshold if self.largest is None else self._by_row(self.largest)
        scale = self._largest_scale() * 2**shift
        scale = torch.minimum(scale, chip.max_state / (_HEADROOM * states.clamp(min=1e-12)))
        scale = torch.minimum(scale, chip.max_threshold / threshold)
        bias = self.weights.bias
        if bias is not None:
            size = (bias.detach().double() * self.bias_gain).abs()
            scale = torch.minimum(scale, chip.max_bias / size.clamp(min=1e-12))

        # rounded down, so that the weights still fit
        integers = torch.floor(scale * threshold).clamp(min=1)
        if not chip.threshold_per_neuron:
            integers = integers.min().expand_as(integers)

        self.shift = shift
        self.threshold = integers
        self.scale = integers / threshold

    def integer_weight(self) -> Tensor:
        """The weights of a chip's register, before their shift."""
        return round_ste(self._scaled_weight()).clamp(*self.chip.weight)

    def change_of_weights(self) -> float:
        """The largest change of a weight by its rounding, in parts of the largest weight of its neuron."""
        exact = self._scaled_weight().detach().flatten(1)
        change = (self.integer_weight().detach().flatten(1) - exact).abs().amax(1)
        return float((change / exact.abs().amax(1).clamp(min=1e-12)).max())

    def _scaled_weight(self) -> Tensor:
        weight = self.weights.weight.double()
        scale = self.gain * self.scale / 2**self.shift
        return weight * scale.reshape(-1, *[1] * (weight.ndim - 1))

    def numbers(self) -> dict[str, Tensor]:
        """The integers of the neurons."""
        bias = torch.zeros_like(self.scale)
        if self.weights.bias is not None:
            bias = round_ste(self.weights.bias.double() * self.bias_gain * self.scale)

        return {
            "v_threshold": self._spread(self.threshold),
            "bias": self._spread(bias.clamp(-self.chip.max_bias, self.chip.max_bias)),
            "decay": self.decay,
            "decay_syn": self.decay_syn,
        }

    def arithmetic(self) -> FakeChipIntegers:
        """The chip's steps in torch, with the integers of the layer."""
        settings = {"spikes": True, "refractory": 0, "reset": self.chip.reset}
        settings |= {"max_spikes": self.max_spikes, "detach_reset": self.detach_reset}
        constants = {**self.numbers(), "v_leak": 0.0, "v_reset": 0.0}
        scale = 1 / self._spread(self.scale) / self.chip.unit
        return self.kind(settings, constants, {}, scale=scale, surrogate=self.surrogate)

    def currents(self, spikes: Tensor) -> Tensor:
        """Currents `(T, B, N)` of spikes `(T, B, *M)`."""
        rows = spikes.reshape(spikes.shape[0] * spikes.shape[1], *self.source_shape)
        y = weighted(self.weights, rows, self.integer_weight() * 2**self.shift)
        return y.reshape(*spikes.shape[:2], prod(self.shape))

    def misfits(self, path: str) -> Iterator[Misfit]:
        """Weights that no shift and threshold of the chip can hold."""
        largest = float((self._peak() * self.scale / 2**self.shift).max())
        highest = self.chip.weight[1]
        if largest > highest + 0.5:
            limit = f"a weight of {largest:.0f} at a threshold of 1, but {self.chip.name} has {highest}"
            nearest = "larger thresholds or smaller weights"
            yield Misfit(f"{path}.{self.name}", f"{limit} shifted by {self.shift}", nearest)

    def population(self, source: str, code: InputCode | None) -> tuple[Population, dict[str, np.ndarray]]:
        """The layer for the core and its integers, with weights for each channel of a coded input."""
        weight = self.integer_weight().detach().cpu().numpy()
        layer = self.weights
        shape = self.source_shape
        convolution = None
        if isinstance(layer, nn.Linear):
            weight = weight.T if code is None else code.weights(weight.T, 0)
        else:
            if code is not None:
                weight = code.weights(weight, 1)
                shape = (shape[0] * code.repeats, *shape[1:])
            sizes = {"stride": list(layer.stride), "dilation": list(layer.dilation), "groups": 1}
            convolution = {**sizes, "padding": [[n, n] for n in layer.padding]}

        connection = Connection(source, self.shift, shape, convolution)
        numbers = {f"{self.name}/{name}": value.detach().cpu().numpy() for name, value in self.numbers().items()}
        record = Population(self.name, (connection,), self.max_spikes, self.shape)
        return record, {**numbers, f"{self.name}/weight_0": weight}

    def _peak(self) -> Tensor:
        """The largest weight of each row, with the gain of its neurons."""
        return self.weights.weight.detach().double().abs().flatten(1).amax(1) * self.gain

    def _largest_scale(self) -> Tensor:
        """The scale of each row at which its largest weight has all bits."""
        scale = self.chip.weight[1] / self._peak().clamp(min=1e-12)
        if self.chip.threshold_per_neuron:
            return scale

        return (scale * self.real_threshold).min() / self.real_threshold

    def _by_neuron(self, value: Any) -> np.ndarray:
        value = torch.as_tensor(value, dtype=torch.float64).detach().cpu()
        return value.expand(self.shape).reshape(-1).numpy().copy()

    def _by_row(self, value: Tensor) -> Tensor:
        """The largest value of the neurons of each row of the weights."""
        return value.reshape(len(self.weights.weight), -1).amax(1)

    def _spread(self, value: Tensor) -> Tensor:
        """Values of rows as those of their neurons."""
        return value.repeat_interleave(prod(self.shape) // len(value))


class _ChipState(NamedTuple):
    """Membranes and currents of each layer, and the last spikes that each layer read."""

    v: tuple[Tensor, ...]
    i: tuple[Tensor, ...]
    read: tuple[Tensor, ...]


class ChipPart(Stateful):
    """A spiking part on a chip.

    Args:
        chip: the chip.
        part: the part in floats.
        layers: of the part, which fit the chip; they share their weights with it.
        code: of the input.
    """

    def __init__(self, chip: ChipSpec, part: nn.Module, layers: Sequence[ChainLayer], code: InputCode) -> None:
        super().__init__()
        self.chip = chip
        self.code = code
        # no child, since its weights are those of the layers
        self.original = (part,)
        last = len(layers) - 1
        self.layers = nn.ModuleList(
            ChipLayer(one, chip, is_read_out=chip.read_out and position == last) for position, one in enumerate(layers)
        )
        self.share_shift()

    @property
    def delay(self) -> int:
        """Steps by which spikes come later than in the float part."""
        return self.chip.input_delay + len(self.layers) - 1

    def initial_state(self, x_t: Tensor) -> _ChipState:
        zeros = [x_t.new_zeros((len(x_t), prod(one.shape)), dtype=torch.float64) for one in self._layers()]
        sources = [torch.zeros_like(x_t, dtype=torch.float64), *zeros[:-1]]
        return _ChipState(tuple(zeros), tuple(zeros), tuple(sources))

    def step(self, x_t: Tensor, state: _ChipState, **modulation: Any) -> tuple[Tensor, _ChipState]:
        y, state = self(x_t.unsqueeze(0), state, **modulation)
        return y[0], state

    def forward(
        self, x: Shaped[Tensor, "T B ..."], state: _ChipState | None = None, **modulation: Any
    ) -> tuple[Shaped[Tensor, "T B ..."], _ChipState]:
        state = self.initial_state(x[0] if len(x) else x.new_zeros(x.shape[1:])) if state is None else state
        spikes, state = self._pass(x, state, [layer.arithmetic() for layer in self._layers()])
        return spikes.reshape(*x.shape[:2], *self._layers()[-1].shape).to(x.dtype), state

    @torch.no_grad()
    def calibrate(self, x: Tensor) -> None:
        """Chooses scales and shifts so that the states on a signal fit."""
        arithmetics = [layer.arithmetic() for layer in self._layers()]
        largest = [torch.zeros_like(layer.decay) for layer in self._layers()]
        for a, states in zip(arithmetics, largest, strict=True):
            a.largest = states
            a.largest_count = states.new_zeros(())

        self._pass(x, self.initial_state(x[0]), arithmetics)
        for layer, a, states in zip(self._layers(), arithmetics, largest, strict=True):
            layer.largest = states * a.scale
            layer.largest_count = a.largest_count
            layer.choose()

        self.share_shift()

    def _pass(self, x: Tensor, state: _ChipState, arithmetics: Sequence[FakeChipIntegers]) -> tuple[Tensor, _ChipState]:
        spikes = x.double()
        after = []
        for position, (layer, a) in enumerate(zip(self._layers(), arithmetics, strict=True)):
            sent = torch.cat([state.read[position].unsqueeze(0), spikes])
            # what a chip delays by a step
            arriving = sent[:-1] if position or self.chip.input_delay else spikes
            membranes = MembraneState(state.v[position], None, state.i[position])
            steps = [arriving.new_zeros((0, *membranes.v.shape))]
            for current in layer.currents(arriving).unbind(0):
                y, membranes = membrane_step(a, current, membranes)
                steps.append(y.unsqueeze(0))

            spikes = torch.cat(steps)
            after.append((membranes.v, membranes.i, sent[-1]))

        return spikes, _ChipState(*zip(*after, strict=True))

    def share_shift(self) -> None:
        """One shift for all connections between hidden neurons, where the chip has one."""
        layers = self._layers()
        hidden = layers[1:-1] if self.chip.read_out else layers[1:]
        if not self.chip.shared_shift or len(hidden) < 2:
            return

        shift = min(layer.shift for layer in hidden)
        for layer in hidden:
            layer.take_shift(shift)

    def model(self, name: str, dt: float) -> ChipModel:
        """The part in integers, without torch; `dt` is the step of its clock [s]."""
        first, *others = self._layers()
        sources = [layer.name for layer in self._layers()[:-1]]
        layers = [first.population(INPUT, self.code)]
        layers += [one.population(source, None) for one, source in zip(others, sources, strict=True)]
        numbers = {key: value for _, own in layers for key, value in own.items()}
        record = ChipPartRecord(self.chip.name, name, dt, self.delay, self.code, tuple(one for one, _ in layers))
        return ChipModel(self.chip, record, numbers)

    def misfits(self, path: str) -> list[Misfit]:
        """The weights that the chip cannot hold."""
        return [misfit for layer in self._layers() for misfit in layer.misfits(path)]

    def choices(self, path: str) -> list[dict[str, Any]]:
        """A row for each layer: shift, weights, thresholds, and what rounding changes of its weights and decays."""
        return [_row(layer, path) for layer in self._layers()]

    def _layers(self) -> list[ChipLayer]:
        return list(self.layers)  # type: ignore[arg-type]


def _row(layer: ChipLayer, path: str) -> dict[str, Any]:
    weight = layer.integer_weight().detach()
    return {
        "layer": f"{path}.{layer.name}",
        "neurons": prod(layer.shape),
        "weights": f"{int(weight.min())} to {int(weight.max())}",
        "shift": layer.shift,
        "thresholds": f"{int(layer.threshold.min())} to {int(layer.threshold.max())}",
        # those of the part in floats fire once at most
        "spikes a step": "-" if layer.largest_count is None else f"0 to {int(layer.largest_count)}",
        "change of weights": layer.change_of_weights(),
        "change of decay": layer.changes[0],
        "change of synaptic decay": layer.changes[1],
    }
