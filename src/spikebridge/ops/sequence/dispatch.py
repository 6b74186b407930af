"""Which implementation of a neuron serves a signal: plain C where it is there and can, else PyTorch."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from spikebridge.ops.selection import runs_natively
from spikebridge.ops.sequence import forward as steps
from spikebridge.ops.sequence import native
from spikebridge.ops.sequence.spec import BackwardArgs, ForwardResult, NeuronSpec


class SequenceSteps(NamedTuple):
    """An implementation, with the signatures of `forward_steps` and `backward_steps`."""

    forward: Callable[..., ForwardResult]
    backward: Callable[[BackwardArgs], dict[str, Tensor]]


_IN_PYTORCH = SequenceSteps(steps.forward_steps, steps.backward_steps)
IN_C = SequenceSteps(native.forward_steps, native.backward_steps)


def choose(spec: NeuronSpec, x: Tensor) -> SequenceSteps:
    """The fastest implementation that can run a case."""
    return IN_C if runs_natively(x, spec) else _IN_PYTORCH
