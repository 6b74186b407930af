"""Gates that alike tasks share: a new task takes over open neurons of the nearest task before it.

Units that were trained to tell tasks apart give mates of a group gates that overlap by two thirds. What is not shared
cannot transfer. Here a task first looks whether a task before it has nearly the same gate of its own, and if so keeps a
part of the neurons that this one opened, the most driven first. Nobody says which tasks belong together.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from spikebridge.errors import ConfigError

NEAR = 0.3


def take_over(
    own: Sequence[Bool[Tensor, "K _"]], drives: Sequence[Float[Tensor, "K _"]], share: float, near: float = NEAR
) -> list[Bool[Tensor, "K _"]]:
    """The gates of tasks in their order; each sees those before it alone.

    Args:
        own: the gates that the tasks would open by themselves, of each hidden layer; tasks are compared by these.
        drives: of each hidden layer.
        share: of the open neurons that are taken over, 0 (none) to 1 (the whole gate).
        near: cosine of two tasks' own gates above which the later one takes over. Gates of unlike tasks have about the
            opening for a cosine.

    Returns:
        gates that open as many neurons as before.

    Raises:
        ConfigError: a share outside 0 to 1.

    Example:
        >>> drives = [torch.tensor([[4.0, 3.0, 2.0, 1.0, 0.0], [4.0, 2.9, 3.0, 0.0, 0.0], [0.0, 0.0, 0.0, 2.0, 3.0]])]
        >>> own = [torch.tensor([[1, 1, 0, 0, 0], [1, 0, 1, 0, 0], [0, 0, 0, 1, 1]]).bool()]
        >>> take_over(own, drives, share=1.0)[0].int().tolist()  # the second is near the first, the third is new
        [[1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 0, 1, 1]]
    """
    if not 0 <= share <= 1:
        raise ConfigError(f"share, of the open neurons that are taken over, should be from 0 to 1, but is {share}")
    codes = torch.cat([layer.float() for layer in own], 1)
    codes = codes / codes.norm(dim=1, keepdim=True).clamp(min=1)
    gates = [layer.clone() for layer in own]
    for task in range(1, len(codes)):
        cosine, nearest = (codes[:task] @ codes[task]).max(0)
        if cosine <= near:
            continue
        for layer, drive in zip(gates, drives, strict=True):
            layer[task] = _part_of(layer[nearest], drive[task], int(layer[task].sum()), share)
    return gates


def _part_of(other: Tensor, drive: Tensor, number: int, share: float) -> Tensor:
    """So many neurons: a share of them the most driven that the other gate opens, the rest the most driven of all."""
    taken = min(round(share * number), int(other.sum()))
    gate = torch.zeros_like(other)
    gate[drive.masked_fill(~other, -torch.inf).topk(taken).indices] = True
    gate[drive.masked_fill(gate, -torch.inf).topk(number - taken).indices] = True
    return gate
