"""The generators of all processes, in one checkpoint."""

import logging
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from spikebridge.training.generators import capture, derived_seed, restore, seed_generators

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_log = logging.getLogger(__name__)


def gathered_generators(fabric: "Fabric") -> list[dict[str, Tensor]]:
    """The states of the generators of every process, by its number (all of them must call this)."""
    states = capture()
    if fabric.world_size == 1:
        return [states]
    everybody: list[dict[str, Tensor]] = [{} for _ in range(fabric.world_size)]
    for name, state in states.items():
        own = state.to(fabric.device)
        parts = [torch.empty_like(own) for _ in everybody]
        torch.distributed.all_gather(parts, own)
        for process, part in zip(everybody, parts, strict=True):
            process[name] = part
    return everybody


def scatter_generators(fabric: "Fabric", states: list[dict[str, Tensor]], seed: int, step: int) -> None:
    """Gives this process its generators back; with another number of processes new ones, which a warning says."""
    if len(states) == fabric.world_size:
        restore(states[fabric.global_rank])
        return
    _log.warning(
        "the checkpoint is of %d processes, this training has %d: "
        "what draws from the global generators goes on with other numbers",
        len(states),
        fabric.world_size,
    )
    seed_generators(derived_seed(seed, step), fabric.global_rank)
