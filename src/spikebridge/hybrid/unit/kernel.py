"""H, the kernel: convolves in time inside a window, always causal (R. Zhao et al., 2022, eq. 5).

A kernel is defined by one step, `h_t, carry = kernel.step(x_t, carry)`. Kept (`keep=True`, or in a running window) it
gives one value a step; else it gives its last one, one a window. Kernels with time constants stand in `parametric.py`,
those of finitely many taps in `taps.py`, the change in `difference.py`.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from spikebridge.axes import Signal, Step
from spikebridge.errors import ConfigError, did_you_mean
from spikebridge.neurons.base import Stateful, refuse_unknown
from spikebridge.neurons.quantity import Modulated
from spikebridge.neurons.state import State
from spikebridge.ops.filters.leaky_sum import Restarts, last_sum, leaky_sum
from spikebridge.ops.filters.one_pass import means_of
from spikebridge.ops.selection import is_sum_profitable, runs_in_one_pass, supports_sequence


class Kernel(Stateful):
    """What all kernels share. A carry's tensors have the batch first, so that single samples can restart.

    Subclasses give `initial_state` and a pure `step_function` of the input, the carry and the arguments that
    `arguments` makes of the physical quantities, once a sequence; or they give `step` itself.

    Args:
        keep: give out every step of a window, not only the last.
        dt: step of the clock that the kernel runs on [s], for kernels with time constants.
        learn: names of the quantities that are trained.
        quantities: a float or a tensor of one value a neuron for each declared quantity.
    """

    step_function: ClassVar[Callable[..., tuple[Tensor, State]]]
    is_vectorized: ClassVar[bool] = False  # whether `run` and `last` are another way to the numbers of `step`
    min_steps: int = 0  # steps of a stretch for which `run` is faster in PyTorch alone, as measured
    resets_by_decay: ClassVar[bool] = False  # whether a restart is a decay of 0, so that `run` takes `resets`

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if {"step", "step_function"} & vars(cls).keys() and "is_vectorized" not in vars(cls):
            cls.is_vectorized = False  # what a parent says holds for the parent's step

    def __init__(
        self, keep: bool = False, dt: float | None = None, learn: str | Iterable[str] = (), **quantities: Tensor | float
    ) -> None:
        super().__init__()
        who = type(self).__name__
        if dt is not None and not 0 < dt < float("inf"):
            raise ConfigError(f"{who} needs dt > 0 s, the step of its clock, but got {dt}")
        self.keep = keep
        self.dt = dt
        learned = (learn,) if isinstance(learn, str) else tuple(learn)
        for name in learned:
            if name not in quantities:
                raise ConfigError(f"{who} cannot learn {name!r}; {did_you_mean(name, quantities)}")
        for name, value in quantities.items():
            getattr(type(self), name).store(self, value, learn=name in learned)

    def arguments(self, quantities: dict[str, Any], x_t: Tensor) -> dict[str, Any]:
        """The arguments of the step function from the physical quantities, for steps like `x_t`."""
        return quantities

    def step(self, x_t: Step, state: State, **modulation: Modulated) -> tuple[Float[Tensor, "B *M"], State]:
        refuse_unknown(self, modulation)
        quantities = {name: self._under(modulation.get(name), name, x_t.ndim) for name in self.modulable}
        return type(self).step_function(x_t, state, **self.arguments(quantities, x_t))

    def bound_step(self, x_t: Tensor) -> Callable[[Tensor, State], tuple[Tensor, State]]:
        """The step, with what it needs of the quantities worked out once for all steps like `x_t`."""
        if type(self).step is not Kernel.step:
            return self.step
        quantities = {name: getattr(self, name) for name in self.modulable}
        return partial(type(self).step_function, **self.arguments(quantities, x_t))

    def forward(self, x: Signal, state: State = None, **modulation: Modulated) -> tuple[Float[Tensor, "T B *M"], State]:
        if modulation or x.ndim < 2 or len(x) == 0 or not (self.can_vectorize(x, state) and self.is_profitable(x)):
            return super().forward(x, state, **modulation)
        return self.run_from_start(x) if state is None else self.run(x, state)

    def can_vectorize(self, x: Signal, carry: State) -> bool:
        """Whether `run` and `last` are there for a signal: same numbers, without a loop over steps."""
        if not self.is_vectorized or not supports_sequence(x):
            return False
        delivered: tuple[Tensor, ...] = () if carry is None else carry
        # what the loop would promote, or broadcast, is left to it
        for kept in (*self._parameters.values(), *self._buffers.values(), *delivered):
            if kept is not None and (kept.device != x.device or kept.dtype not in (x.dtype, torch.bool)):
                return False
        return all(t.shape[0] == x.shape[1] for t in delivered)

    def is_profitable(self, x: Signal, num_segments: int = 1) -> bool:
        """Whether `run` is faster than the loop, for a signal that restarts so often."""
        return is_sum_profitable(x, self.min_steps * num_segments)

    def resets_in_one_pass(self, x: Signal) -> bool:
        """Whether `run` takes the steps at which all samples restart as bytes, and forgets there what came before."""
        return self.resets_by_decay and runs_in_one_pass(x)

    def run(self, x: Signal, carry: State, resets: Restarts | None = None) -> tuple[Float[Tensor, "T B *M"], State]:
        """Every step of a stretch, from a carry.

        Here it is the loop over steps, which defines it; the package's kernels have a faster way.

        Args:
            x: `(T, B, *N)`, T >= 1.
            carry: from the step before, None where there is none.
            restarts: for a kernel that `resets_by_decay`, 1 at steps that restart and else 0: bytes where it
                `resets_in_one_pass`, else `(T, 1 or B, 1, ...)`.
        """
        step, values = self.bound_step(x[0]), []
        carry = self.initial_state(x[0]) if carry is None else carry
        for x_t in x.unbind(0):
            h_t, carry = step(x_t, carry)
            values.append(h_t)
        return torch.stack(values), carry

    def run_from_start(self, x: Signal) -> tuple[Float[Tensor, "T B *M"], State]:
        """The same from the beginning of a window."""
        return self.run(x, None)

    def values_from_start(self, x: Signal) -> Float[Tensor, "T B *M"]:
        """What `run_from_start` gives, without the carry."""
        return self.run_from_start(x)[0]

    def carry_from_start(self, x: Signal) -> State:
        """The carry alone."""
        return self.run_from_start(x)[1]

    def last(self, x: Signal) -> Step:
        """The last value of a window `(L, B, *N)` from its beginning to its end."""
        return self.values_from_start(x)[-1]

    def _under(self, modulation: Modulated | None, name: str, ndim: int) -> Tensor | float:
        if modulation is None:
            return getattr(self, name)
        value = getattr(type(self), name).resolve(self, modulation, ndim + 1)
        return value[0] if isinstance(value, Tensor) and value.ndim > ndim else value

    def extra_repr(self) -> str:
        texts = [f"{name}={float(torch.as_tensor(getattr(self, name)).mean()):g}" for name in self.modulable]
        return ", ".join([*texts, *([f"dt={self.dt:g}"] if self.dt else []), *(["keep=True"] if self.keep else [])])


class SumCarry(NamedTuple):
    """What the window has summed so far."""

    total: Tensor


def sum_step(x_t: Step, carry: SumCarry) -> tuple[Step, SumCarry]:
    """One step of a sum.

    Args:
        x_t: input.
        carry: after the last step.

    Returns:
        The sum, as output and as carry.

    Example:
        >>> h_t, carry = sum_step(torch.tensor([[2.0]]), SumCarry(torch.tensor([[1.0]])))
        >>> h_t.item()
        3.0
    """
    total = carry.total + x_t
    return total, SumCarry(total)


class Sum(Kernel):
    """The sum since the window opened.

    Args:
        keep: give out every step.

    Example:
        >>> Sum()(torch.tensor([1.0, 2.0, 3.0]).reshape(3, 1, 1))[0].flatten().tolist()
        [1.0, 3.0, 6.0]
    """

    step_function = staticmethod(sum_step)
    is_vectorized = resets_by_decay = True
    min_steps = 64

    def __init__(self, keep: bool = False) -> None:
        super().__init__(keep)

    def initial_state(self, x_t: Step) -> SumCarry:
        return SumCarry(torch.zeros_like(x_t))

    def run(self, x: Signal, carry: SumCarry | None, resets: Restarts | None = None) -> tuple[Signal, SumCarry]:
        sums, total = leaky_sum(x, None if carry is None else carry.total, 1.0, resets)
        return sums, SumCarry(total)

    def last(self, x: Signal) -> Step:
        return last_sum(x)


class MeanCarry(NamedTuple):
    """What the window has summed, and over how many steps, `(B, 1, ...)`."""

    total: Tensor
    num_steps: Tensor


def mean_step(x_t: Step, carry: MeanCarry) -> tuple[Step, MeanCarry]:
    """One step of a mean.

    Args:
        x_t: input.
        carry: after the last step.

    Returns:
        The mean with this step, and the carry.

    Example:
        >>> h_t, carry = mean_step(torch.tensor([[4.0]]), MeanCarry(torch.tensor([[2.0]]), torch.tensor([[1.0]])))
        >>> h_t.item(), carry.num_steps.item()
        (3.0, 2.0)
    """
    carry = MeanCarry(carry.total + x_t, carry.num_steps + 1)
    return carry.total / carry.num_steps, carry


class Mean(Kernel):
    """The mean since the window opened.

    Args:
        keep: give out every step.

    Example:
        >>> Mean()(torch.tensor([1.0, 2.0, 3.0]).reshape(3, 1, 1))[0].flatten().tolist()
        [1.0, 1.5, 2.0]
    """

    step_function = staticmethod(mean_step)
    is_vectorized = resets_by_decay = True
    min_steps = 24

    def __init__(self, keep: bool = False) -> None:
        super().__init__(keep)

    def initial_state(self, x_t: Step) -> MeanCarry:
        return MeanCarry(torch.zeros_like(x_t), x_t.new_zeros(x_t.shape[:1] + (1,) * (x_t.ndim - 1)))

    def run(self, x: Signal, carry: MeanCarry | None, resets: Restarts | None = None) -> tuple[Signal, MeanCarry]:
        if isinstance(resets, bytes) or (resets is None and runs_in_one_pass(x)):
            return self._in_one_pass(x, carry, resets)
        total, num_steps = self.initial_state(x[0]) if carry is None else carry
        sums, total = leaky_sum(x, total, 1.0, resets)
        num_steps, passed = leaky_sum(x.new_ones((len(x), *num_steps.shape)), num_steps, 1.0, resets)
        return sums.div_(num_steps), MeanCarry(total, passed)

    def _in_one_pass(self, x: Signal, carry: MeanCarry | None, resets: bytes | None) -> tuple[Signal, MeanCarry]:
        total, before = (None, 0.0) if carry is None else carry
        means, total = means_of(x, total, before, resets)
        begin = -1 if resets is None else resets.rfind(1)
        passed = before + len(x) if begin < 0 else len(x) - begin
        if not isinstance(passed, Tensor):
            passed = x.new_full((x.shape[1], *[1] * (x.ndim - 2)), passed)
        return means, MeanCarry(total, passed)

    def last(self, x: Signal) -> Step:
        return last_sum(x) / len(x)
