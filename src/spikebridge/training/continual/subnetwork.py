"""The part of a network that a task may use: quantities that modulate it, and the weights that are open."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from spikebridge.errors import ConfigError, ShapeError, did_you_mean
from spikebridge.training.continual.regularizer import Consolidation, Masks, Parameters

_Indices: TypeAlias = Mapping[str, tuple[Tensor | None, ...]]


@dataclass(frozen=True)
class Subnetwork:
    """The part of a network that a task may use.

    Args:
        quantities: arguments of the network's forward in this task: gates, thresholds.
        indices: open indices along each axis of a parameter, by name: for `W2`, whose rows are neurons of layer 2 and
            whose columns neurons of layer 1, `(open2, open1)`, as a mask or as index numbers; None opens a whole axis.
            A weight is open where all its indices are; a parameter without an entry is open.
        extract: makes the sub-network of the open neurons: a module with parameters of the same names, each the open
            part. It is trained instead of the whole network, without `quantities`, and written back. None trains the
            whole network.

    Example:
        >>> subnetwork = Subnetwork(indices={"weight": (torch.tensor([True, False]), None)})
        >>> subnetwork.masks(dict(nn.Linear(3, 2).named_parameters()))["weight"].tolist()
        [[True, True, True], [False, False, False]]
    """

    quantities: Mapping[str, Any] = field(default_factory=dict)
    indices: _Indices = field(default_factory=dict)
    extract: Callable[[nn.Module], nn.Module] | None = None

    def masks(self, parameters: Parameters) -> dict[str, Tensor]:
        """True where a weight is open, of the parameter's shape, for every parameter with closed indices.

        Args:
            parameters: the parameters of the whole network, by name.

        Raises:
            ConfigError: indices of an unknown parameter.
            ShapeError: indices that do not fit its shape.
        """
        masks = {}
        for name in self.indices:
            if name not in parameters:
                raise ConfigError(f"indices of {name!r}, but no such parameter: {did_you_mean(name, parameters)}")

            parameter = parameters[name]
            mask = torch.ones(parameter.shape, dtype=torch.bool, device=parameter.device)

            for axis, open_places in enumerate(self._numbers(name, parameter)):
                if open_places is not None:
                    line = torch.zeros(parameter.shape[axis], dtype=torch.bool, device=parameter.device)
                    line[open_places] = True
                    mask &= line.reshape([-1 if a == axis else 1 for a in range(parameter.ndim)])

            masks[name] = mask

        return masks

    def gather(self, name: str, whole: Tensor) -> Tensor:
        """The open part of a tensor that has the shape of a parameter, as a copy.

        Example:
            >>> Subnetwork(indices={"b": (torch.tensor([2, 0]),)}).gather("b", torch.tensor([5.0, 6.0, 7.0])).tolist()
            [7.0, 5.0]
        """
        part = whole
        for axis, indices in enumerate(self._numbers(name, whole)):
            if indices is not None:
                part = part.index_select(axis, indices)

        return part.clone() if part is whole else part

    def scatter(self, name: str, whole: Tensor, part: Tensor) -> None:
        """Writes the open part of a tensor back, in place.

        Example:
            >>> whole = torch.zeros(3)
            >>> Subnetwork(indices={"b": (torch.tensor([2, 0]),)}).scatter("b", whole, torch.tensor([7.0, 5.0]))
            >>> whole.tolist()
            [5.0, 0.0, 7.0]
        """
        numbers = self._numbers(name, whole)
        grid = [
            torch.arange(whole.shape[axis], device=whole.device) if indices is None else indices
            for axis, indices in enumerate(numbers)
        ]

        shape = tuple(len(indices) for indices in grid)
        if part.shape != shape:
            raise ShapeError(f"the open part of {name!r} has the shape {shape}, but got {tuple(part.shape)}")

        lines = [line.reshape([-1 if a == i else 1 for a in range(whole.ndim)]) for i, line in enumerate(grid)]
        whole[tuple(lines)] = part

    def module_for(self, module: nn.Module) -> nn.Module:
        """The module that runs in this task: the sub-network, or the whole network where nothing is extracted."""
        return module if self.extract is None else self.extract(module)

    def write_back(self, part: nn.Module, module: nn.Module) -> None:
        """Writes the parameters of a sub-network back into the whole network."""
        own = dict(module.named_parameters())
        with torch.no_grad():
            for name, parameter in part.named_parameters():
                if name not in own:
                    raise ConfigError(f"the sub-network has {name!r}, the network has not: {did_you_mean(name, own)}")
                self.scatter(name, own[name], parameter)

    def _numbers(self, name: str, whole: Tensor) -> list[Tensor | None]:
        indices = self.indices.get(name, ())
        if len(indices) > whole.ndim:
            raise ShapeError(f"{name!r} has shape {tuple(whole.shape)}, but indices along {len(indices)} axes")

        numbers: list[Tensor | None] = []
        for axis, line in enumerate(indices):
            if line is not None and line.dtype == torch.bool:
                if len(line) != whole.shape[axis]:
                    raise ShapeError(
                        f"{name!r} has {whole.shape[axis]} indices along axis {axis}, but a mask of {len(line)}"
                    )

                line = line.nonzero()[:, 0]

            numbers.append(None if line is None else line.to(whole.device))

        return [*numbers, *[None] * (whole.ndim - len(numbers))]


def masked_step(
    parameters: Parameters, optimizer: Optimizer, consolidation: Consolidation, masks: Masks | None = None
) -> None:
    """One step after a backward pass. Closed weights do not move: not by momentum, Adam or weight decay either."""
    # a gradient of 0 is not enough: these three move a weight without one
    closed = {name: ~mask for name, mask in (masks or {}).items() if name in parameters}
    before = {name: parameters[name].detach().clone() for name in closed}

    with torch.no_grad():
        for name, mask in closed.items():
            gradient = parameters[name].grad
            if gradient is not None:
                gradient.masked_fill_(mask, 0)

        consolidation.before_step(parameters, masks)
        optimizer.step()
        consolidation.after_step(parameters, optimizer, masks)

        for name, mask in closed.items():
            parameters[name].copy_(torch.where(mask, before[name], parameters[name]))
