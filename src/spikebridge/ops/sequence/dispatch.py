"""The implementation of neurons over time that serves a signal: plain C where it is there and can, else PyTorch."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from spikebridge.ops.selection import runs_natively
from spikebridge.ops.sequence import forward, native
from spikebridge.ops.sequence.spec import BackwardArgs, ForwardArgs, ForwardResult, NeuronSpec


class SequenceSteps(NamedTuple):
    """An implementation of both directions."""

    forward: Callable[[ForwardArgs], ForwardResult]
    backward: Callable[[BackwardArgs], dict[str, Tensor]]


_IN_PYTORCH = SequenceSteps(forward.forward_steps, forward.backward_steps)
_IN_C = SequenceSteps(native.forward_steps, native.backward_steps)


def choose(spec: NeuronSpec, x: Tensor) -> SequenceSteps:
    """The fastest implementation that can run a case."""
    return _IN_C if runs_natively(x, spec) else _IN_PYTORCH
