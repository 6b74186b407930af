"""The arithmetic of fake integers: tensors of float64 that hold integers, with straight-through gradients.

Every value is an integer below 2^53, so that sums and products are exact in any order, and a stage or neuron of
`spikebridge.deploy.stages` gives the same bits as with integers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from spikebridge.deploy.quantization.quantizer import fixed_point_ratio, power, rescale
from spikebridge.deploy.stages.arithmetic import DRAW_BITS, FRACTION, MAX_STEPS, FloatArithmetic, IntegerArithmetic
from spikebridge.errors import ExportError
from spikebridge.hybrid.unit.discretizer import draw_uniform, straight_through
from spikebridge.neurons.surrogate import ARCTAN, Surrogate
from spikebridge.ops.saturation import clip

_MAX_FACTOR = 1 << 17  # of two states whose product, with a multiplier of 15 bits, is below 2^53


def _unclipped(q: Tensor) -> Tensor:
    return q


@dataclass
class FakeIntegerArithmetic(IntegerArithmetic):
    """Fake integers, with the integers of a stage as constants.

    `ratios` are the changes of scale: `in.`, `out.`, those of modulated quantities. The clamps clip state and output to
    their widths, and count clipped values. `scale` is that of the integers that are compared with a threshold.
    """

    xp: ClassVar[Any] = torch

    ratios: Mapping[str, Tensor]
    clamp_state: Callable[[Tensor], Tensor] = _unclipped
    clamp_output: Callable[[Tensor], Tensor] = _unclipped
    scale: Tensor | float = 1.0
    surrogate: Surrogate = ARCTAN

    def __post_init__(self) -> None:
        pass  # constants stay tensors

    def zeros(self, shape: tuple[int, ...], like: Tensor) -> Tensor:
        return like.new_zeros(shape)

    def rescale(self, q: Tensor, ratio: str = "out.") -> Tensor:
        return rescale(q, self.ratios[ratio]) if ratio in self.ratios else q

    def product(self, p: Tensor, q: Tensor) -> Tensor:
        if self.settings["high"] >= _MAX_FACTOR:
            raise ExportError(
                f"a product of two states needs membranes of at most {_MAX_FACTOR.bit_length()} bits; give a QConfig "
                f"with membranes={_MAX_FACTOR.bit_length()}"
            )
        return super().product(p, q)

    def bound(self, q: Tensor) -> Tensor:
        return self.clamp_state(q)

    def clip_output(self, q: Tensor) -> Tensor:
        return self.clamp_output(q)

    def _shifted(self, q: Tensor) -> Tensor:
        exact = q / 2**FRACTION
        return straight_through(torch.floor(exact + 0.5), exact)

    def count(self, number: Tensor) -> Tensor:
        return (number + 1).clamp(max=MAX_STEPS)

    def divide(self, total: Tensor, number: Tensor) -> Tensor:
        # exact, as the division of integers: all terms are integers below 2^53
        multiplier, shift = fixed_point_ratio(self.ratios["out."])
        unit = power(shift) * number
        hard = torch.div(2 * total.detach() * multiplier + unit, 2 * unit, rounding_mode="floor")

        return straight_through(hard, total * self.ratios["out."] / number)

    def fire(self, v: Tensor, threshold: Tensor) -> Tensor:
        # the surrogate has the width of real values
        return self.surrogate((v - threshold) * self.scale)

    def entry(self, name: str, index: Tensor) -> Any:
        return self[name][index.detach().long()]

    def draw(self, h: Tensor, index: Any) -> tuple[Tensor, Any]:
        # here the index is the state of the torch class
        uniform, index = draw_uniform(index, 1, h.shape[1:])
        return uniform[0].double() * 2**DRAW_BITS, index

    def spikes(self, condition: Tensor, h: Tensor) -> Tensor:
        return straight_through(condition.double(), clip(h * self.scale, 0, 1))

    def detached(self, spikes: Tensor) -> Tensor:
        return spikes.detach() if self.settings.get("detach_reset") else spikes

    def _take(self, steps: Tensor, index: Tensor) -> Tensor:
        return torch.take_along_dim(steps, index, 1)


@dataclass
class ObservedArithmetic(FloatArithmetic):
    """Floats of torch; every state is shown to `observe` before it would be clipped."""

    xp: ClassVar[Any] = torch

    observe: Callable[[Tensor], None]

    def zeros(self, shape: tuple[int, ...], like: Tensor) -> Tensor:
        return like.new_zeros(shape)

    def entry(self, name: str, index: Tensor) -> Any:
        return self[name][index.long()]

    def bound(self, q: Tensor) -> Tensor:
        self.observe(q)
        return q

    def fire(self, v: Tensor, threshold: Tensor | float) -> Tensor:
        return (v >= threshold).to(v.dtype)
