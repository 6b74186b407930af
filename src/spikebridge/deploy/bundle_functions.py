"""Stages of hybrid units that a bundle does not know by name, as functions of one window: to ONNX and back."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikebridge.axes import Signal, Step, Windows
from spikebridge.errors import ExportError
from spikebridge.hybrid import Discretizer, HybridUnit, Kernel
from spikebridge.neurons.state import State


class KernelFunction(nn.Module):
    """The value that a kernel gives at the end of a window, as a function of the window's steps.

    Args:
        kernel: one that gives its last value alone.
    """

    def __init__(self, kernel: Kernel) -> None:
        super().__init__()
        self.kernel = kernel

    def forward(self, steps: Float[Tensor, "B L *N"]) -> Float[Tensor, "B *N2"]:
        """The last value."""
        return self.kernel.last(steps.transpose(0, 1))


class DiscretizerFunction(nn.Module):
    """A discretizer without memory, as a function of the values of one window.

    Args:
        discretizer: the discretizer.
        length: steps of a window.
    """

    def __init__(self, discretizer: Discretizer, length: int) -> None:
        super().__init__()
        self.discretizer = discretizer
        self.length = length

    def forward(self, values: Float[Tensor, "B M *N"]) -> Float[Tensor, "B M2 *N2"]:
        """What comes out."""
        y, _ = self.discretizer(values.transpose(0, 1).unsqueeze(0), self.length)
        return y.squeeze(0).transpose(0, 1)


def check_function(unit: HybridUnit, stage: str, values: Windows, where: str) -> None:
    """Raises where a stage is no function of one window: one that remembers, or a kernel that gives every step.

    Args:
        unit: whose stage it is.
        stage: "kernel" or "discretizer".
        values: what comes into it, `(K, M, B, *N)`.
        where: its place, for the message.
    """
    module: Any = getattr(unit, stage)
    if stage == "kernel":
        if unit.form != "cut" or unit.kept:
            raise ExportError(
                f"{where} is a {type(module).__name__}, which a bundle holds only where it gives one value at the end "
                "of a window of known length"
            )
        return
    with torch.no_grad():
        state = module(values, unit.window.length or 1 if unit.window is not None else 1)[1]
    if state is not None:
        raise ExportError(f"{where} is a {type(module).__name__} with a memory, which a bundle does not hold")


class WindowSteps(NamedTuple):
    """The last steps, oldest first, `(B, L, *N)`."""

    steps: Tensor


class FunctionKernel(Kernel):
    """A kernel that is a function of a whole window.

    Args:
        function: of `(B, L, *N)`.
        length: steps of a window.
        num_axes: of one step of one sample, `*N`.

    Example:
        >>> kernel = FunctionKernel(nn.Flatten(), length=2, num_axes=1)
        >>> kernel.last(torch.tensor([1.0, 2.0]).reshape(2, 1, 1)).tolist()
        [[1.0, 2.0]]
    """

    is_faster = True

    def __init__(self, function: nn.Module, length: int, num_axes: int) -> None:
        super().__init__()
        self.function = function
        self.length = length
        self.num_axes = num_axes

    def initial_state(self, x_t: Step) -> WindowSteps:
        return WindowSteps(x_t.new_zeros((x_t.shape[0], self.length, *x_t.shape[1:])))

    def step(self, x_t: Step, state: WindowSteps, **modulation: Any) -> tuple[Step, WindowSteps]:
        steps = torch.cat([state.steps[:, 1:], x_t.unsqueeze(1)], 1)
        return self.function(steps), WindowSteps(steps)

    def last(self, x: Signal) -> Float[Tensor, "B *N2"]:
        # windows side by side, where there are several, are as samples
        lead = x.shape[1 : x.ndim - self.num_axes]
        rows: Tensor = self.function(x.movedim(0, len(lead)).flatten(0, len(lead) - 1))
        return rows.unflatten(0, lead)


class FunctionDiscretizer(Discretizer):
    """A discretizer that is a function of the values of a window.

    Args:
        function: of `(B, M, *N)`.
        kind: "steps", "reduces" or "expands".
    """

    def __init__(self, function: nn.Module, kind: Any) -> None:
        super().__init__()
        self.function = function
        self.kind = kind

    def forward(self, h: Windows, length: int, state: State = None) -> tuple[Float[Tensor, "K M2 B *N2"], None]:
        rows = h.movedim(2, 1)
        y = self.function(rows.flatten(0, 1))
        return y.unflatten(0, rows.shape[:2]).movedim(1, 2), None
