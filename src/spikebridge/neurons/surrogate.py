"""Surrogate gradients: a step forward, a smooth bump backward.

`surrogate(v - v_threshold)` is 1 where the membrane has reached the threshold and 0 elsewhere. The derivative of the
step is replaced by a bump around the threshold (E. Neftci et al., IEEE Signal Processing Magazine 36, 2019). `width`
stretches the bump. Its area stays 1, as that of the true derivative; only the fast sigmoid keeps its height at 1, as
printed, and has the area `2 width`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import forward_ad

from spikebridge.errors import ConfigError, in_words, is_positive


def _fired(x: Tensor) -> Tensor:
    """1 where `x >= 0`, else 0; NaN stays NaN, since as a 0 it would be silence without an error."""
    if torch.compiler.is_compiling():
        return (x >= 0).to(x.dtype)  # exported networks compare only
    # -1 below 0, else 0, then 1 is added: a mask of truth values would have to be converted, most of the time
    return x.clamp(-1, 0).floor_().add_(1)


class _Step(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, derivative: Callable[[Tensor], Tensor]) -> Tensor:
        return _fired(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, ctx.derivative = inputs
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return gradient * ctx.derivative(x), None


class _StepForward(_Step):
    """The same with a derivative forward too, which a compiler would not trace."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _Step.setup_context(ctx, inputs, output)
        ctx.save_for_forward(inputs[0])

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: None) -> Tensor:
        (x,) = ctx.saved_tensors
        return tangent * ctx.derivative(x)


class _EagerStep(torch.autograd.Function):
    """The same outside transforms: `apply` reads no signature where there is no `setup_context`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, derivative: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.derivative = derivative
        ctx.save_for_backward(x)
        return _fired(x)

    backward = staticmethod(_Step.backward)


@dataclass(frozen=True)
class Surrogate:
    """A step with a stated derivative. Subclasses give `derivative`.

    Args:
        width: distance around the threshold over which gradients flow, in units of the membrane.
    """

    width: float = 1.0

    def __post_init__(self) -> None:
        if not is_positive(self.width):
            raise ConfigError(f"{type(self).__name__} needs width > 0, but got {in_words(self.width)}")

    def __call__(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Spikes: 1 where `x >= 0`, NaN where x is, else 0, with the surrogate's derivative in the backward pass."""
        if torch.compiler.is_compiling():
            return _Step.apply(x, self.derivative)
        # a tensor in a transform may not show that it requires a derivative
        if torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0:
            return _StepForward.apply(x, self.derivative)
        if x.requires_grad:
            return _EagerStep.apply(x, self.derivative)

        return _fired(x)  # without a backward pass: a third of the time

    def derivative(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """The value that replaces the derivative of the step at distance `x` from the threshold."""
        raise NotImplementedError


def check_surrogate(who: str, surrogate: object) -> None:
    """Raises if a surrogate is given by name or as a class."""
    if isinstance(surrogate, type) or not callable(surrogate):
        raise ConfigError(
            f"{who} needs its surrogate as Arctan(), Triangle() or another, but got {in_words(surrogate)}"
        )


class Rectangle(Surrogate):
    """`1 / width` within half a width of the threshold (Y. Wu et al., Frontiers in Neuroscience 12, 2018).

    Example:
        >>> Rectangle(width=2.0).derivative(torch.tensor([0.0, 0.9, 1.1])).tolist()
        [0.5, 0.5, 0.0]
    """

    def derivative(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return (x.abs() <= self.width / 2).to(x.dtype).div_(self.width)


class Triangle(Surrogate):
    """Falls from `1 / width` at the threshold to 0 one width away (S. K. Esser et al., PNAS 113, 2016).

    Example:
        >>> Triangle(width=2.0).derivative(torch.tensor([0.0, 1.0, 3.0])).tolist()
        [0.5, 0.25, 0.0]
    """

    def derivative(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return (self.width - x.abs()).clamp_(min=0).mul_(1 / self.width**2)


class Arctan(Surrogate):
    """`1 / (1 + (pi x / width)^2) / width` (W. Fang et al., ICCV 2021; their alpha is 2 / width).

    Example:
        >>> [round(h, 6) for h in Arctan(width=1.0).derivative(torch.tensor([0.0, 1 / math.pi])).tolist()]
        [1.0, 0.5]
    """

    def derivative(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        # the same, written so that one operation makes the sum: 1 / (width + pi^2 / width x^2)
        return torch.addcmul(x.new_full((), self.width), x, x, value=math.pi**2 / self.width).reciprocal_()


class FastSigmoid(Surrogate):
    """`1 / (1 + |x| / width)^2` (F. Zenke and S. Ganguli, Neural Computation 30, 2018; their slope is 1 / width).

    Example:
        >>> FastSigmoid(width=1.0).derivative(torch.tensor([0.0, 1.0])).tolist()
        [1.0, 0.25]
    """

    def derivative(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        root = x.abs().mul_(1 / self.width).add_(1)
        return (root * root).reciprocal_()


ARCTAN = Arctan()  # the neurons' default; a surrogate cannot change, so one serves all
