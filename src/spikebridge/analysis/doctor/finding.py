"""A finding of the doctor: a fault, its place and its remedy; and the run that all checks share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from spikebridge.analysis.hooks import Inputs
from spikebridge.hybrid import HybridNetwork

Loss: TypeAlias = Callable[..., Tensor]
Kind: TypeAlias = Literal[
    "dead",
    "saturated",
    "no gradient",
    "vanishing gradient",
    "batch-dependent",
    "unused",
    "constant modulation",
    "constant wake",
]


@dataclass(frozen=True)
class Finding:
    """A fault: its place (a layer, part, input or link), the observation with its numbers, and the remedy."""

    kind: Kind
    where: str
    what: str
    remedy: str
    severity: Literal["error", "warning"] = "warning"  # a warning may be intended


def run(network: nn.Module, inputs: Inputs) -> dict[str, Tensor]:
    """The outputs by name, always with the same random draws; a plain module has one, "output"."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        y = network(inputs)

    if isinstance(network, HybridNetwork):
        outputs: dict[str, Tensor] = y[0]
        return outputs

    return {"output": y[0] if isinstance(y, tuple) else y}
