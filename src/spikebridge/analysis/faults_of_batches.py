"""Samples that depend on the samples beside them."""

from collections.abc import Mapping
from copy import deepcopy

import torch
from torch import Tensor, nn

from spikebridge.analysis.finding import Finding, Inputs, run
from spikebridge.analysis.visits import shown_path
from spikebridge.hybrid import HybridNetwork, HybridUnit
from spikebridge.neurons import Stateful

# the same shapes run in the same order, so that a sample alone in its row is equal to the bit or very near
TOLERANCE = 1e-5


def batch_dependence(network: nn.Module, inputs: Inputs) -> list[Finding]:
    """Whether the outputs of the first sample change when the sample beside it does."""
    patient = deepcopy(network)
    for module in patient.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.eval()  # chance is not what is looked for
    axis = 1 if isinstance(network, HybridNetwork | HybridUnit | Stateful) else 0
    with torch.no_grad():
        one, other = (run(patient, _pair(inputs, axis, same)) for same in (True, False))
    changed = [name for name in one if _differs(one[name].select(axis, 0), other[name].select(axis, 0))]
    if not changed:
        return []
    norms = [
        shown_path(network, name)
        for name, module in network.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and (module.training or not module.track_running_stats)
    ]
    what = f"the output {', '.join(changed)} of a sample changes with the sample beside it"
    if norms:
        remedy = (
            f"{', '.join(norms)} takes its statistics from the batch: call .eval() before you judge the network, or "
            "use nn.GroupNorm"
        )
        return [Finding("batch-dependent", norms[0], what, remedy, "error")]
    remedy = "leave out the operation that mixes samples: a mean, a maximum or a softmax over the batch axis"
    return [Finding("batch-dependent", changed[0], what, remedy, "error")]


def _pair(inputs: Inputs, axis: int, same: bool) -> Inputs:
    """The first sample with itself beside it, or with nothing."""

    def pair(x: Tensor) -> Tensor:
        first = x.narrow(axis, 0, 1)
        return torch.cat([first, first if same else torch.zeros_like(first)], dim=axis)

    return {name: pair(x) for name, x in inputs.items()} if isinstance(inputs, Mapping) else pair(inputs)


def _differs(a: Tensor, b: Tensor) -> bool:
    return a.shape != b.shape or not torch.allclose(a.double(), b.double(), rtol=TOLERANCE, atol=TOLERANCE)
