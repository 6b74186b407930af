"""The arithmetic of fake integers: tensors of float64 that hold integers, with straight-through gradients.

Every value is an integer below 2^53, so that sums and products are exact in any order, and a stage or neuron of
`spikebridge.deploy.stages` gives the same bits as with integers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from spikebridge.deploy.quantization.quantizer import fixed_point_ratio, leak_towards, power, rescale
from spikebridge.deploy.stages.arithmetic import DRAW_BITS, MOST_STEPS
from spikebridge.hybrid.unit.discretizer import draw_uniform, straight_through
from spikebridge.neurons.surrogate import ARCTAN, Surrogate
from spikebridge.ops.saturation import clip


@dataclass(frozen=True)
class FakeIntegerArithmetic:
    """Fake integers; the methods are those of `FloatArithmetic` and `IntegerArithmetic`.

    Attributes:
        settings: of the stage.
        constants: its integers.
        ratios: changes of scale, `in.`, `out.` or of a modulated quantity.
        clamp_state: keeps a state inside its width.
        clamp_output: keeps what comes out inside its width.
        scale: of one integer that is compared with a threshold.
        surrogate: derivative of a spike.
    """

    settings: Mapping[str, Any]
    constants: Mapping[str, Tensor]
    ratios: Mapping[str, Tensor]
    clamp_state: Callable[[Tensor], Tensor] = lambda q: q
    clamp_output: Callable[[Tensor], Tensor] = lambda q: q
    scale: Tensor | float = 1.0
    surrogate: Surrogate = ARCTAN

    xp = torch

    def __getitem__(self, name: str) -> Tensor:
        return self.constants[name]

    def zeros(self, shape: tuple[int, ...], like: Tensor) -> Tensor:
        return like.new_zeros(shape)

    def rescale(self, q: Tensor, ratio: str = "out.") -> Tensor:
        return rescale(q, self.ratios[ratio]) if ratio in self.ratios else q

    def bound(self, q: Tensor) -> Tensor:
        return self.clamp_state(q)

    def leak(self, v: Tensor, decay: Tensor, rest: Tensor | int = 0) -> Tensor:
        return leak_towards(v, rest, decay)

    def divide(self, total: Tensor, number: Tensor) -> Tensor:
        number = number.clamp(max=MOST_STEPS)
        multiplier, shift = fixed_point_ratio(self.ratios["out."])
        unit = power(shift) * number
        hard = torch.div(2 * total.detach() * multiplier + unit, 2 * unit, rounding_mode="floor")

        return straight_through(hard, total * self.ratios["out."] / number)

    def round(self, q: Tensor) -> Tensor:
        return q

    def fire(self, v: Tensor, threshold: Tensor) -> Tensor:
        return self.surrogate((v - threshold) * self.scale)

    def limit(self) -> int:
        found: int = self.settings["limit"]
        return found

    def chance(self, h: Tensor) -> Tensor:
        return self["entries"][(h.detach() - self.settings["low"]).long()]

    def draw(self, h: Tensor, state: Any) -> tuple[Tensor, Any]:
        uniform, state = draw_uniform(state, 1, h.shape[1:])
        return uniform[0].double() * 2**DRAW_BITS, state

    def spikes(self, condition: Tensor, h: Tensor) -> Tensor:
        return straight_through(condition.double(), clip(h * self.scale, 0, 1))

    def clip_output(self, q: Tensor) -> Tensor:
        return self.clamp_output(q)

    def detached(self, spikes: Tensor) -> Tensor:
        return spikes.detach() if self.settings.get("detach_reset") else spikes
