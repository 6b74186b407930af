"""Gates of a given density: discretizers that set the share of open neurons, a report of it, and shared gates.

The discretizers rank values before the sigmoid, since saturated sigmoids tie. The floor in the objective of the units
does not set the density.

Gates of similar tasks overlap by about two thirds, and what does not overlap cannot transfer. `share_gates` lets a task
copy a part of the gate of the most similar earlier task. Similarity is the cosine of the tasks' own gates; no group
label is used.
"""

import logging
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from spikebridge.axes import Windows
from spikebridge.errors import ConfigError
from spikebridge.hybrid import Discretizer
from spikebridge.hybrid.unit.discretizer import straight_through

_FEW_OPEN = 50
_SIMILAR = 0.3
_log = logging.getLogger(__name__)


def _checked_density(name: str, rho: float) -> float:
    if not 0 < rho <= 1:
        raise ConfigError(f"{name} needs rho, the share of open neurons, above 0 and at most 1, but got {rho}")
    return rho


class KWinners(Discretizer):
    """Opens the `round(rho C)` neurons of a layer with the largest values, in each window and sample; at least one.

    Ties go to the lower index. The gradient goes straight through to the sigmoid of the value.

    Args:
        rho: share of open neurons, above 0 to 1.

    Example:
        >>> KWinners(0.5)(torch.tensor([0.1, 3.0, -1.0, 0.2]).reshape(1, 1, 1, 4), length=1)[0].flatten().tolist()
        [0.0, 1.0, 0.0, 1.0]
    """

    def __init__(self, rho: float) -> None:
        super().__init__()
        self.rho = _checked_density("KWinners", rho)

    def forward(self, h: Windows, length: int, state: None = None) -> tuple[Windows, None]:
        number = max(1, round(self.rho * h.shape[-1]))
        order = h.detach().sort(dim=-1, descending=True, stable=True).indices
        hard = (order.argsort(-1) < number).to(h.dtype)  # the rank of each value
        hard = torch.where(h.isnan(), h.detach(), hard)  # NaN has a rank, too

        return straight_through(hard, h.sigmoid()) if h.requires_grad else hard, None

    def extra_repr(self) -> str:
        return f"rho={self.rho:g}"


class DensityController(Discretizer):
    """Opens neurons above one offset of the layer, chosen so that the mean density over tasks is `rho`.

    The density of a single task may differ. The gradient goes straight through to the sigmoid of the value.

    Args:
        rho: mean share of open neurons over tasks, above 0 to 1.

    Example:
        >>> control = DensityController(0.25).fit(torch.tensor([[0.0, 1.0], [2.0, 3.0]]))
        >>> control(torch.tensor([2.0, 3.0]).reshape(1, 1, 1, 2), length=1)[0].flatten().tolist()
        [0.0, 1.0]
    """

    def __init__(self, rho: float) -> None:
        super().__init__()
        self.rho = _checked_density("DensityController", rho)
        self.register_buffer("offset", torch.zeros(()))

    def fit(self, values: Float[Tensor, "K C"]) -> "DensityController":
        """Sets the offset from the layer's values of some tasks.

        Args:
            values: before the sigmoid, one row for each task.
        """
        ranked = values.flatten().sort(descending=True).values
        number = max(1, round(self.rho * len(ranked)))
        below = ranked[number] if number < len(ranked) else ranked[-1] - 1

        # between the last open and the first closed value
        self.offset = (ranked[number - 1] + below) / 2
        return self

    def forward(self, h: Windows, length: int, state: None = None) -> tuple[Windows, None]:
        above = h - self.offset
        hard = torch.where(above.isnan(), above.detach(), (above.detach() > 0).to(h.dtype))
        return straight_through(hard, above.sigmoid()) if h.requires_grad else hard, None

    def extra_repr(self) -> str:
        return f"rho={self.rho:g}"


def density_report(gates: Sequence[Bool[Tensor, "K _"]]) -> list[dict[str, Any]]:
    """The share of open neurons of each layer over tasks; warns where a task has fewer than 50.

    Args:
        gates: of each layer, one row for each task.

    Returns:
        One row for each layer: mean, min and max of the share, fewest open neurons, and shares never and always open.

    Example:
        >>> density_report([torch.tensor([[True, False], [True, True]])])[0]["mean"]
        0.75
    """
    rows = []
    for number, layer in enumerate(gates, 1):
        share = layer.float().mean(1)
        fewest = int(layer.sum(1).min())
        rows.append(
            {
                "layer": number,
                "mean": float(share.mean()),
                "min": float(share.min()),
                "max": float(share.max()),
                "fewest open": fewest,
                "never open": float((~layer.any(0)).float().mean()),
                "always open": float(layer.all(0).float().mean()),
            }
        )
        if fewest < _FEW_OPEN:
            _log.warning(
                "layer %d has a task with %d open neurons; below %d it hardly learns", number, fewest, _FEW_OPEN
            )

    return rows


def share_gates(
    own: Sequence[Bool[Tensor, "K _"]],
    preactivations: Sequence[Float[Tensor, "K _"]],
    share: float,
    threshold: float = _SIMILAR,
) -> list[Bool[Tensor, "K _"]]:
    """Gates of tasks in their order, each with a part of the gate of the most similar earlier task.

    Args:
        own: gates without sharing, of each hidden layer; tasks are compared by these.
        preactivations: of each hidden layer.
        share: of the open neurons that are copied, 0 to 1.
        threshold: cosine of two own gates above which the later task copies. The cosine of unrelated gates is about
            their density.

    Returns:
        Gates of the same density.

    Raises:
        ConfigError: a share outside 0 to 1.

    Example:
        >>> layer = torch.tensor([[4.0, 3.0, 2.0, 1.0, 0.0], [4.0, 2.9, 3.0, 0.0, 0.0], [0.0, 0.0, 0.0, 2.0, 3.0]])
        >>> own = [torch.tensor([[1, 1, 0, 0, 0], [1, 0, 1, 0, 0], [0, 0, 0, 1, 1]]).bool()]
        >>> share_gates(own, [layer], share=1.0)[0].int().tolist()  # the second is near the first, the third is not
        [[1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 0, 1, 1]]
    """
    if not 0 <= share <= 1:
        raise ConfigError(f"share, of the open neurons that are copied, should be from 0 to 1, but is {share}")

    directions = torch.cat([layer.float() for layer in own], 1)
    directions = directions / directions.norm(dim=1, keepdim=True).clamp(min=1)
    gates = [layer.clone() for layer in own]

    for task in range(1, len(directions)):
        cosine, nearest = (directions[:task] @ directions[task]).max(0)
        if cosine <= threshold:
            continue
        for layer, preactivation in zip(gates, preactivations, strict=True):
            layer[task] = _part_of(layer[nearest], preactivation[task], int(layer[task].sum()), share)

    return gates


def _part_of(other: Tensor, preactivation: Tensor, number: int, share: float) -> Tensor:
    """A gate of `number` neurons: a share of them the strongest of the other gate, the rest the strongest of all."""
    taken = min(round(share * number), int(other.sum()))
    gate = torch.zeros_like(other)
    gate[preactivation.masked_fill(~other, -torch.inf).topk(taken).indices] = True
    gate[preactivation.masked_fill(gate, -torch.inf).topk(number - taken).indices] = True

    return gate
