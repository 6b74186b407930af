"""Quantised parts: real values that are multiples of a scale in and out, integers inside."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jaxtyping import Shaped
from torch import Tensor, nn

from spikebridge.deploy.quantization.program import QuantProgram, modulable
from spikebridge.errors import ShapeError
from spikebridge.neurons import Effect, Recurrent, Stateful
from spikebridge.neurons.neuron import Neuron


class _PartState(NamedTuple):
    layers: tuple[Any, ...]


class QuantizedModule(nn.Module):
    """A plain part, or the nonlinearity of a unit."""

    def __init__(self, program: QuantProgram) -> None:
        super().__init__()
        self.program = program

    def forward(self, *signals: Shaped[Tensor, "R ..."], **named: Shaped[Tensor, "R ..."]) -> Shaped[Tensor, "R ..."]:
        inputs = {**{f"#{i}": x for i, x in enumerate(signals)}, **named}
        y, _ = self.program({name: inputs[name] for name in self.program.inputs}, 1, {}, {})
        return y


class QuantizedPart(Stateful):
    """A stateful part, with the paths of modulation of the float part."""

    def __init__(self, program: QuantProgram, part: Stateful) -> None:
        super().__init__()
        self.program = program
        self.is_single = isinstance(part, Neuron | Recurrent)

    def modulable_paths(self) -> list[str]:
        paths = modulable(self.program.layers)
        return [path.removeprefix("neuron.") for path in paths] if self.is_single else paths

    def initial_state(self, x_t: Tensor) -> _PartState:
        return self(x_t.new_empty((0, *x_t.shape)))[1]

    def step(self, x_t: Tensor, state: Any, **modulation: Any) -> tuple[Tensor, _PartState]:
        y, state = self(x_t.unsqueeze(0), state, **modulation)
        return y[0], state

    def forward(
        self, x: Shaped[Tensor, "T B ..."], state: Any = None, **modulation: Any
    ) -> tuple[Shaped[Tensor, "T B ..."], _PartState]:
        names = self.program.stateful_steps
        states = dict(zip(names, state.layers, strict=True)) if state is not None else {}
        rows, after = self.program({"#0": x.flatten(0, 1)}, x.shape[1], states, self._effects(modulation, len(x)))
        y = rows.reshape(len(x), x.shape[1], *rows.shape[1:])

        return y, _PartState(tuple(after[name] for name in names))

    def _effects(self, modulation: Mapping[str, Any], num_steps: int) -> dict[str, dict[str, Sequence[Effect]]]:
        """Modulation by path as effects by layer and quantity."""
        by_layer: dict[str, dict[str, Sequence[Effect]]] = {}
        for path, value in modulation.items():
            if value is None:
                continue

            effects = [value] if isinstance(value, Effect) else value
            if not isinstance(effects, list | tuple):
                raise ShapeError(f"{path!r} of a quantised part is modulated by a link, but got {type(value).__name__}")
            if any(len(effect.signal) not in (1, num_steps) for effect in effects):
                raise ShapeError(f"modulation of {path} needs 1 or {num_steps} steps in time")

            name, _, quantity = path.rpartition(".")
            by_layer.setdefault(self.program.layer_at(name), {})[quantity] = effects

        return by_layer
