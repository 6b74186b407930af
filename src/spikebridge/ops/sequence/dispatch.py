"""The implementation of neurons over time that serves a signal: plain C where it is there and can, else PyTorch."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from torch import Tensor

from spikebridge.ops.selection import runs_natively
from spikebridge.ops.sequence import forward, native
from spikebridge.ops.sequence.spec import BackwardArgs, ForwardResult, NeuronSpec, Size


class SequenceSteps(NamedTuple):
    """An implementation, with the signatures of `forward_steps` and `backward_steps`."""

    forward: Callable[..., ForwardResult]
    backward: Callable[[BackwardArgs], dict[str, Tensor]]


_IN_PYTORCH = SequenceSteps(forward.forward_steps, forward.backward_steps)
_IN_C = SequenceSteps(native.forward_steps, native.backward_steps)


def choose(spec: NeuronSpec, x: Tensor, pool: Size | None = None, donated: bool = False) -> SequenceSteps:
    """The fastest implementation that can run a case; plain C alone pools, and uses the memory of a donated signal."""
    if not runs_natively(x, spec):
        return _IN_PYTORCH
    if pool is None and not donated:
        return _IN_C

    return _IN_C._replace(forward=partial(native.forward_steps, pool=pool, donated=donated))
