"""Consolidation: the base class of all methods that protect earlier tasks while new ones are learned.

The task loop calls, in every step and after every task:

| call | when |
|---|---|
| `before_step` | gradients of the task's loss are computed, the optimizer has not moved yet |
| `after_step` | the optimizer has moved |
| `end_of_task` | the training of the task is finished |

`penalty` is the term that the method adds to the loss of the task, for inspection. All methods are elementwise: they
keep one tensor of a parameter's shape for each parameter (`buffers`), and a few numbers (`scalars`). So they can be
extracted for the open weights of a sub-network, written back, and saved in a checkpoint.

Masks name the open weights of a task: `{"fc1.weight": mask}`, true where a weight may move, of the parameter's shape; a
parameter without a mask is open. No method moves a closed weight or changes what it keeps of it.
"""

import copy
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.optim import Optimizer

from spikebridge.errors import ConfigError

Parameters: TypeAlias = Mapping[str, Tensor]
Masks: TypeAlias = Mapping[str, Tensor]
LogitsFunction: TypeAlias = Callable[[nn.Module, Tensor], Float[Tensor, "B C"]]


@runtime_checkable
class LabelledData(Protocol):
    """Samples with labels: a batch is a pair of inputs and labels `(B,)`."""

    @property
    def batch_axis(self) -> int:
        """The axis of the samples in a batch's inputs: 0 for `(B, d)`, 1 for `(T, B, d)`."""

    def __len__(self) -> int:
        """The number of samples."""

    def select(self, indices: Int[Tensor, "n"]) -> Any:
        """The samples of these numbers: `(x, labels)`."""


def default_logits(module: nn.Module, x: Tensor, quantities: Mapping[str, Any] | None = None) -> Tensor:
    """The logits `(B, C)` of a module, with quantities as arguments; of one that returns a state too, without it."""
    y = module(x, **(quantities or {}))
    return y[0] if isinstance(y, tuple) else y


def trained_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that require gradients, by name."""
    return {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}


def masked_where(name: str, new: Tensor, old: Tensor, masks: Masks | None) -> Tensor:
    """The new values of open weights and the old ones of closed weights."""
    return new if masks is None or name not in masks else torch.where(masks[name], new, old)


class Consolidation:
    """No consolidation: new tasks overwrite old ones. The other methods override what they need.

    Attributes:
        buffers: by name of the quantity, then by name of the parameter, of its shape.
        scalars: numbers by name.

    Example:
        >>> none = Consolidation()
        >>> none.penalty({"w": torch.ones(2)}).item()
        0.0
    """

    buffer_names: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.buffers: dict[str, dict[str, Tensor]] = {name: {} for name in self.buffer_names}
        self.scalars: dict[str, float] = {}

    def before_step(self, parameters: Parameters, masks: Masks | None = None) -> None:
        """Runs between the backward pass of the task's loss and the optimizer's step."""

    def after_step(self, parameters: Parameters, optimizer: Optimizer, masks: Masks | None = None) -> None:
        """Runs after the optimizer's step."""

    def end_of_task(
        self,
        model: nn.Module,
        data: LabelledData,
        compute_logits: LogitsFunction = default_logits,
        masks: Masks | None = None,
    ) -> None:
        """Runs after the last step of a task.

        Args:
            model: as it is now.
            data: the task's training samples.
            compute_logits: gives the logits of a model on inputs, with the task's gates where there are any.
            masks: open weights.
        """

    def penalty(self, parameters: Parameters) -> Float[Tensor, ""]:
        """The term that the method adds to the loss, of the whole network; differentiable."""
        first = next(iter(parameters.values()), torch.zeros(()))
        return first.new_zeros(())

    def state_dict(self) -> dict[str, Any]:
        """All buffers and numbers of the method."""
        return {"buffers": self.buffers, "scalars": self.scalars}

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device | str = "cpu") -> None:
        """Restores the state of `state_dict`, on the device of the network.

        Raises:
            ConfigError: it is of another method.
        """
        if set(state["buffers"]) != set(self.buffer_names):
            raise ConfigError(
                f"{type(self).__name__} keeps {', '.join(self.buffer_names) or 'nothing'}, but the state has "
                f"{', '.join(state['buffers']) or 'nothing'}: it is of another method"
            )

        self.buffers = {
            kind: {name: tensor.to(device, copy=True) for name, tensor in tensors.items()}
            for kind, tensors in state["buffers"].items()
        }

        self.scalars = {**state["scalars"]}

    def extract(self, gather: Callable[[str, Tensor], Tensor]) -> "Consolidation":
        """The same method for a sub-network; `gather` gives the open part of a tensor of a named parameter's shape."""
        small = copy.copy(self)
        small.buffers = {
            kind: {name: gather(name, tensor) for name, tensor in tensors.items()}
            for kind, tensors in self.buffers.items()
        }

        small.scalars = {**self.scalars}
        return small

    def write_back(
        self, small: "Consolidation", scatter: Callable[[str, Tensor, Tensor], None], shapes: Parameters
    ) -> None:
        """Writes the buffers of a sub-network's method back.

        Args:
            small: from `extract`.
            scatter: writes the open part into a tensor of a named parameter's shape: `scatter(name, whole, part)`.
            shapes: the parameters of the whole network.
        """
        for kind, tensors in small.buffers.items():
            for name, part in tensors.items():
                whole = self.buffers[kind].get(name)
                if whole is None:
                    whole = self.initial_buffer(kind, shapes[name]).clone()
                    self.buffers[kind][name] = whole

                scatter(name, whole, part)

        self.scalars = {**small.scalars}

    def initial_buffer(self, kind: str, parameter: Tensor) -> Tensor:
        """The value of a buffer before the first task."""
        return torch.zeros_like(parameter)
