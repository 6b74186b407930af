"""Feedback: what a layer gives out comes back to its input one tick later."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from spikebridge.errors import ConfigError, ShapeError, in_words
from spikebridge.neurons.base import Stateful, refuse_timeless, scan
from spikebridge.neurons.quantity import Effect, Modulated
from spikebridge.neurons.sequential import split_paths
from spikebridge.neurons.state import State, where
from spikebridge.neurons.stateless import modulated, over_time, per_sample, refuse_hidden_state
from spikebridge.ops.precision import upcast


class RecurrentState(NamedTuple):
    """The state of the layer, its last output, and 1 for samples that have made a step, `(B,)`, None if all have."""

    layer: State
    y: Tensor
    begun: Tensor | None = None


class Recurrent(Stateful):
    """A layer whose output comes back one step later: `y[t] = layer(x[t] + weight(y[t - 1]))`, with `y[-1] = 0`.

    Args:
        layer: any stateful layer.
        weight: a plain module from the layer's output to its input.
        starts_silent: no feedback in the first step of a stream, so that a bias of the weight acts from the second step
            on, as Norse and SpikingJelly read NIR. By default it acts at every step, as NIR's equation says.

    Example:
        >>> import torch
        >>> from spikebridge.neurons import Memoryless
        >>> echo = nn.Linear(1, 1, bias=False)
        >>> _ = nn.init.ones_(echo.weight)
        >>> y, state = Recurrent(Memoryless(), echo)(torch.tensor([1.0, 0.0, 0.0]).reshape(3, 1, 1))
        >>> y.flatten().tolist()
        [1.0, 1.0, 1.0]
    """

    def __init__(self, layer: Stateful, weight: nn.Module, *, starts_silent: bool = False) -> None:
        super().__init__()
        if not isinstance(layer, Stateful):
            raise ConfigError(f"Recurrent needs a Stateful layer, but got {in_words(layer)}")

        if isinstance(weight, Stateful):
            raise ConfigError(
                f"Recurrent needs a plain module as its weight, but got the stateful {type(weight).__name__}"
            )

        refuse_hidden_state(weight, "'weight'")
        self.layer = layer
        self.weight = weight
        self.starts_silent = starts_silent

    def modulable_paths(self) -> list[str]:
        return [f"layer.{path}" for path in self.layer.modulable_paths()] + [
            f"weight.{path}" for path, _ in self.weight.named_parameters()
        ]

    def initial_state(self, x_t: Shaped[Tensor, "B *N"]) -> RecurrentState:
        y, state = self.layer(x_t.new_empty((0, *x_t.shape)))
        begun = upcast(x_t.new_zeros(x_t.shape[0])) if self.starts_silent else None
        return RecurrentState(state, upcast(y.new_zeros(y.shape[1:])), begun)

    def leak(self, state: RecurrentState, num_steps: Tensor) -> RecurrentState:
        # the last output comes back with the first step asleep, whose input is dropped
        is_silent = num_steps > 0
        return state._replace(
            layer=self.layer.leak(state.layer, num_steps), y=where(is_silent, torch.zeros_like(state.y), state.y)
        )

    def step(
        self, x_t: Shaped[Tensor, "B *N"], state: RecurrentState, **modulation: Modulated
    ) -> tuple[Tensor, RecurrentState]:
        effects = split_paths(modulation, ["layer", "weight"])
        previous = state.y.to(x_t.dtype).unsqueeze(0)
        on_weight = effects.get("weight")
        feedback = modulated(self.weight, on_weight, previous) if on_weight else over_time(self.weight, previous)

        if feedback.shape[1:] != x_t.shape:
            raise ShapeError(
                f"Recurrent's weight gives {tuple(feedback.shape[1:])}, but the input step is {tuple(x_t.shape)}"
            )

        begun = state.begun
        if begun is not None:
            feedback = feedback * begun.to(x_t.dtype).reshape(-1, *[1] * (x_t.ndim - 1))
            begun = torch.ones_like(begun)

        y, layer_state = self.layer.step(x_t + feedback[0], state.layer, **effects.get("layer", {}))
        return y, RecurrentState(layer_state, upcast(y), begun)

    def forward(
        self, x: Shaped[Tensor, "T B *N"], state: State = None, **modulation: Any
    ) -> tuple[Tensor, RecurrentState]:
        refuse_timeless(self, x)
        timed = {path: self._with_time(path, value, x) for path, value in modulation.items()}
        return scan(self, x, state, **timed)

    def _with_time(self, path: str, value: Modulated, x: Tensor) -> Modulated:
        """A modulation with an explicit time axis, which the loop could not tell from the others."""
        if not isinstance(value, Tensor) or path not in self.modulable_paths():
            return value

        # an effect on a parameter of the plain weight has axes of time and samples in front
        owner = self.get_submodule(path.rpartition(".")[0])
        if not isinstance(owner, Stateful):
            return Effect(per_sample(self.get_parameter(path), value, len(x), x.shape[1]), "replace")
        if value.ndim < 2 or owner is self.layer:
            return value

        raise ShapeError(
            f"{path!r} lies deep in a Recurrent, where the axes of a tensor {tuple(value.shape)} have no name; give an "
            "Effect, whose signal is (1 or T, B, *M), by='replace'"
        )
