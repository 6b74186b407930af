"""A finding of the doctor: a fault, its place and its remedy; and the run that all checks share."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from spikebridge.hybrid import HybridNetwork

Inputs: TypeAlias = Tensor | Mapping[str, Tensor]
Loss: TypeAlias = Callable[..., Tensor]
Kind: TypeAlias = Literal[
    "dead", "saturated", "no gradient", "vanishing gradient", "batch-dependent", "unused", "constant modulation"
]


@dataclass(frozen=True)
class Finding:
    """A fault.

    Args:
        kind: which one.
        where: path of a layer, name of a part, input or link.
        what: the observation, with its numbers.
        remedy: what to do.
        severity: an "error" spoils results or training, a "warning" may be intended.
    """

    kind: Kind
    where: str
    what: str
    remedy: str
    severity: Literal["error", "warning"] = "warning"


def run(network: nn.Module, inputs: Inputs) -> dict[str, Tensor]:
    """The outputs by name, always with the same random draws; a module that is no hybrid network has one, "output"."""
    with _fixed_seed():
        y = network(inputs)

    if isinstance(network, HybridNetwork):
        outputs: dict[str, Tensor] = y[0]
        return outputs

    return {"output": y[0] if isinstance(y, tuple) else y}


@contextmanager
def _fixed_seed(seed: int = 0) -> Iterator[None]:
    """Seeds the global random-number generator inside the block; its state is restored afterwards.

    Example:
        >>> with _fixed_seed():
        ...     a = torch.rand(3)
        >>> with _fixed_seed():
        ...     b = torch.rand(3)
        >>> torch.equal(a, b)
        True
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
