"""What the doctor says: a fault, where it is, and what clears it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from spikebridge.hybrid import HybridNetwork

Inputs: TypeAlias = Tensor | Mapping[str, Tensor]
Outputs: TypeAlias = Tensor | dict[str, Tensor]
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
        what: what was seen, with its numbers.
        remedy: what to do.
        severity: an "error" spoils results or training, a "warning" may be meant so.
    """

    kind: Kind
    where: str
    what: str
    remedy: str
    severity: Literal["error", "warning"] = "warning"


def run(network: nn.Module, inputs: Inputs) -> dict[str, Tensor]:
    """The outputs by name, always with the same draws of chance; those of a module that is no network as "output"."""
    with same_draws():
        y = network(inputs)
    if isinstance(network, HybridNetwork):
        outputs: dict[str, Tensor] = y[0]
        return outputs
    return {"output": y[0] if isinstance(y, tuple) else y}


@contextmanager
def same_draws(seed: int = 0) -> Iterator[None]:
    """The global generator begins at a seed, and afterwards goes on where it was.

    Example:
        >>> with same_draws():
        ...     a = torch.rand(3)
        >>> with same_draws():
        ...     b = torch.rand(3)
        >>> torch.equal(a, b)
        True
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
