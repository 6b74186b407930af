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
    """A replacement for the derivative of the spike, known by its class and its `width`."""

    @property
    def width(self) -> float: ...

    def derivative(self, x: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class NeuronSpec:
    """The kind of neuron. A synaptic current and an adaptation are there where the `NeuronMemory` has them.

    Args:
        surrogate: derivative of the spike; None for a neuron that does not fire.
        reset: "zero" sets the membrane to `v_reset`, "subtract" takes the threshold away.
        detach_reset: no gradient through the reset.
    """

    surrogate: SurrogateGradient | None = None
    reset: Literal["zero", "subtract"] = "zero"
    detach_reset: bool = False

    @property
    def fires(self) -> bool:
        return self.surrogate is not None


class NeuronParams(NamedTuple):
    """The parameters of neurons. Each is a float, or a tensor in the dtype and on the device of the signal.

    A tensor lines up from the right with the signal `(T, B, *N)`: `()`, `(*N)`, `(B, *N)`, or `(T, B, *N)` where each
    axis may be 1. One with as many axes as the signal may change in time.
    """

    decay: Value
    v_threshold: Value = 1.0
    v_reset: Value = 0.0
    v_leak: Value = 0.0
    r: Value = 1.0
    decay_syn: Value = 0.0
    decay_adaptation: Value = 0.0
    jump: Value = 0.0


class NeuronMemory(NamedTuple):
    """The state of a neuron, each `(B, *N)`: membrane after the reset, synaptic current, adaptation (after a jump).

    None stands for what the neuron does not have.
    """

    v: Tensor
    i: Tensor | None = None
    a: Tensor | None = None

    def each(self, function: Callable[[Tensor], Tensor]) -> "NeuronMemory":
        """The same with a function applied to what there is."""
        return NeuronMemory(
            function(self.v), None if self.i is None else function(self.i), None if self.a is None else function(self.a)
        )

    def of_batch(self, part: slice) -> "NeuronMemory":
        """That of a part of the batch, in the same place."""
        return self.each(lambda memory: memory[part])


class ForwardResult(NamedTuple):
    """The result of a forward pass: outputs, maybe pooled, membranes before the reset if kept, the last memory."""

    y: Tensor
    v: Tensor | None
    end: NeuronMemory


class BackwardArgs(NamedTuple):
    """Arguments of a backward pass: from gradients of the outputs and of the last memory to those of a sequence.

    Args:
        spec: what kind of neuron.
        x: the input, given only where "r" or "decay_syn" is wanted.
        v: the membranes before the reset, as the forward pass kept them. All else is worked out again from them.
        start: the memory before the first step.
        values: the numbers of the neuron.
        grad_y: of the outputs `(T, B, *N)`, with any strides; None for zeros.
        grad_end: of the last memory by name, "v", "i" and "a"; what is missing is zeros.
        wanted: names out of "x", fields of `NeuronMemory`, and fields of `NeuronParams` that are tensors.
        out: memory for the gradient of the input, which may be `v` itself where that is not read again: reused memory
            costs no page faults.
        pool: the windows behind which `grad_y` comes, where the outputs were pooled.
    """

    spec: NeuronSpec
    x: Tensor | None
    v: Tensor
    start: NeuronMemory
    values: NeuronParams
    grad_y: Tensor | None
    grad_end: dict[str, Tensor]
    wanted: Collection[str]
    out: Tensor | None = None
    pool: Size | None = None
