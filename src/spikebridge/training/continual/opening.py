"""What of a network a task may use: quantities that modulate it, and the weights that are open."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from spikebridge.errors import ConfigError, ShapeError, did_you_mean
from spikebridge.training.continual.regularizer import Consolidation, Masks, Parameters

Places: TypeAlias = Mapping[str, tuple[Tensor | None, ...]]


@dataclass(frozen=True)
class Opening:
    """What of a network a task may use.

    Args:
        quantities: arguments of the network's forward in this task: its gates, its thresholds.
        places: open places along the axes of parameters, by name: for `W2`, whose rows are neurons of layer 2 and whose
            columns neurons of layer 1, `(open2, open1)`, as truth values or as numbers of the open ones; None is all. A
            weight is open where all its places are; a parameter that is not named is open.
        cut: makes the sub-network of the open neurons: a module with parameters of the same names, each the open part.
            It is trained in place of the whole network, without `quantities`, and pasted back. None trains the whole.

    Example:
        >>> opening = Opening(places={"weight": (torch.tensor([True, False]), None)})
        >>> opening.masks(dict(nn.Linear(3, 2).named_parameters()))["weight"].tolist()
        [[True, True, True], [False, False, False]]
    """

    quantities: Mapping[str, Any] = field(default_factory=dict)
    places: Places = field(default_factory=dict)
    cut: Callable[[nn.Module], nn.Module] | None = None

    def masks(self, parameters: Parameters) -> dict[str, Tensor]:
        """True where a weight is open, of the parameter's shape, for every parameter that has closed places.

        Args:
            parameters: of the whole network, by name.

        Raises:
            ConfigError: a place of a parameter that is not there.
            ShapeError: places that do not fit its shape.
        """
        masks = {}
        for name in self.places:
            if name not in parameters:
                raise ConfigError(f"places of {name!r}, but no such parameter: {did_you_mean(name, parameters)}")
            parameter = parameters[name]
            mask = torch.ones(parameter.shape, dtype=torch.bool, device=parameter.device)
            for axis, open_places in enumerate(self._numbers(name, parameter)):
                if open_places is not None:
                    line = torch.zeros(parameter.shape[axis], dtype=torch.bool, device=parameter.device)
                    line[open_places] = True
                    mask &= line.reshape([-1 if a == axis else 1 for a in range(parameter.ndim)])
            masks[name] = mask
        return masks

    def take(self, name: str, whole: Tensor) -> Tensor:
        """The open part of a tensor that has the shape of a parameter, as a copy.

        Example:
            >>> Opening(places={"b": (torch.tensor([2, 0]),)}).take("b", torch.tensor([5.0, 6.0, 7.0])).tolist()
            [7.0, 5.0]
        """
        part = whole
        for axis, places in enumerate(self._numbers(name, whole)):
            if places is not None:
                part = part.index_select(axis, places)
        return part.clone() if part is whole else part

    def put(self, name: str, whole: Tensor, part: Tensor) -> None:
        """Writes the open part of a tensor back, in place.

        Example:
            >>> whole = torch.zeros(3)
            >>> Opening(places={"b": (torch.tensor([2, 0]),)}).put("b", whole, torch.tensor([7.0, 5.0]))
            >>> whole.tolist()
            [5.0, 0.0, 7.0]
        """
        numbers = self._numbers(name, whole)
        grid = [
            torch.arange(whole.shape[axis], device=whole.device) if places is None else places
            for axis, places in enumerate(numbers)
        ]
        shape = tuple(len(places) for places in grid)
        if part.shape != shape:
            raise ShapeError(f"the open part of {name!r} has the shape {shape}, but got {tuple(part.shape)}")
        lines = [line.reshape([-1 if a == i else 1 for a in range(whole.ndim)]) for i, line in enumerate(grid)]
        whole[tuple(lines)] = part

    def part_of(self, module: nn.Module) -> nn.Module:
        """What is run in this task: the sub-network, or the whole network where nothing is cut."""
        return module if self.cut is None else self.cut(module)

    def paste(self, part: nn.Module, module: nn.Module) -> None:
        """Writes the parameters of a sub-network back into the whole network."""
        own = dict(module.named_parameters())
        with torch.no_grad():
            for name, parameter in part.named_parameters():
                if name not in own:
                    raise ConfigError(f"the sub-network has {name!r}, the network has not: {did_you_mean(name, own)}")
                self.put(name, own[name], parameter)

    def _numbers(self, name: str, whole: Tensor) -> list[Tensor | None]:
        places = self.places.get(name, ())
        if len(places) > whole.ndim:
            raise ShapeError(f"{name!r} has shape {tuple(whole.shape)}, but places along {len(places)} axes")
        numbers: list[Tensor | None] = []
        for axis, line in enumerate(places):
            if line is not None and line.dtype == torch.bool:
                if len(line) != whole.shape[axis]:
                    raise ShapeError(
                        f"{name!r} has {whole.shape[axis]} places along axis {axis}, but {len(line)} truth values"
                    )
                line = line.nonzero()[:, 0]
            numbers.append(None if line is None else line.to(whole.device))
        return [*numbers, *[None] * (whole.ndim - len(numbers))]


def step_open(
    parameters: Parameters, optimizer: Optimizer, consolidation: Consolidation, masks: Masks | None = None
) -> None:
    """One step after a backward pass. Closed weights do not move: not by momentum, Adam or weight decay either.

    Args:
        parameters: by name, with the gradients of the task's loss.
        optimizer: moves them.
        consolidation: holds them back.
        masks: open weights.

    Example:
        >>> w = nn.Parameter(torch.tensor([1.0, 1.0]))
        >>> w.grad = torch.tensor([1.0, 1.0])
        >>> step_open({"w": w}, torch.optim.SGD([w], lr=0.5), Consolidation(), {"w": torch.tensor([True, False])})
        >>> w.tolist()
        [0.5, 1.0]
    """
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
