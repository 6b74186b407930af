"""The specification of neurons that all paths share: charge, fire, reset; arguments and results of a sequence.

With `i` and `a` only where the neuron has them, each step is

    i = decay_syn i + x                         (else i = x)
    v = v_leak + decay (v - v_leak) + r i       kept for the backward pass, before the reset
    a = decay_adaptation a
    y = 1 where v - (v_threshold + a) >= 0      (a neuron that does not fire gives v itself)
    v = the reset of v by y
    a = a + jump y

The pure step functions of `neurons/` define it; every path gives their numbers to the bit, forward.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

from torch import Tensor

Value: TypeAlias = Tensor | float
Size: TypeAlias = tuple[int, int]  # height and width


@runtime_checkable
class SurrogateGradient(Protocol):
    """A replacement for the derivative of the spike, identified by its class and its `width`."""

    @property
    def width(self) -> float: ...

    def derivative(self, x: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class NeuronSpec:
    """The kind of neuron. It has a synaptic current and an adaptation where its `NeuronState` has them."""

    surrogate: SurrogateGradient | None = None  # None for a neuron that does not fire
    reset: Literal["zero", "subtract"] = "zero"  # to `v_reset`, or by the threshold
    detach_reset: bool = False  # no gradient through the reset

    @property
    def fires(self) -> bool:
        return self.surrogate is not None


class NeuronParams(NamedTuple):
    """The parameters of neurons: floats, or tensors in the dtype and on the device of the signal."""

    decay: Value
    v_threshold: Value = 1.0
    v_reset: Value = 0.0
    v_leak: Value = 0.0
    r: Value = 1.0
    decay_syn: Value = 0.0
    decay_adaptation: Value = 0.0
    jump: Value = 0.0


class NeuronState(NamedTuple):
    """The state of neurons, each `(B, *N)`; None stands for what the neuron does not have."""

    v: Tensor  # membrane after the reset
    i: Tensor | None = None  # synaptic current
    a: Tensor | None = None  # adaptation after the jump

    def each(self, function: Callable[[Tensor], Tensor]) -> "NeuronState":
        return NeuronState(
            function(self.v), None if self.i is None else function(self.i), None if self.a is None else function(self.a)
        )

    def of_batch(self, part: slice) -> "NeuronState":
        return self.each(lambda tensor: tensor[part])


class ForwardArgs(NamedTuple):
    """The arguments of a forward pass."""

    spec: NeuronSpec
    x: Tensor  # the input (T, B, *N), T >= 1, in float32 or float64, with any strides
    start: NeuronState  # before the first step; never written to
    values: NeuronParams
    keep: bool = False  # the membranes before the reset, for a backward pass
    pool: Size | None = None  # windows of which the largest outputs are given, in plain C alone
    donated: bool = False  # the input is not read again: in plain C the membranes take its memory


class ForwardResult(NamedTuple):
    """The result of a forward pass."""

    y: Tensor  # outputs (T, B, *N), or pooled
    v: Tensor | None  # membranes before the reset, if kept; of a neuron that does not fire its outputs
    end: NeuronState  # the state after the last step


class BackwardArgs(NamedTuple):
    """The arguments of a backward pass: from gradients of the outputs and of the last state to those of a sequence."""

    spec: NeuronSpec
    x: Tensor | None  # the input, only where "r" or "decay_syn" is wanted
    v: Tensor  # membranes before the reset, as the forward pass kept them; all else is computed again from them
    start: NeuronState  # before the first step
    values: NeuronParams
    grad_y: Tensor | None  # of the outputs, with any strides; None for zeros
    grad_end: dict[str, Tensor]  # of the last state, by name; a missing one is zeros
    wanted: Collection[str]  # out of "x", fields of `NeuronState`, and fields of `NeuronParams` that are tensors
    out: Tensor | None = (
        None  # memory for the gradient of the input, maybe that of `v`: used again, it costs no page faults
    )
    pool: Size | None = None  # the windows behind which `grad_y` comes, where the outputs were pooled
