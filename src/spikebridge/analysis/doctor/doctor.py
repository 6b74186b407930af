"""Diagnosis of a network: finds faults that training hides, and names a remedy for each.

| fault | meaning |
|---|---|
| dead | a layer never spikes, or a ReLU is always 0 |
| saturated | every neuron of a layer spikes at every step |
| no gradient | no gradient reaches a part or unit |
| vanishing gradient | a gradient less than a millionth of the others |
| batch-dependent | the outputs of a sample change with the other samples of the batch |
| unused | an input, part, layer or link that affects no output |
| constant modulation | a modulating link gives all samples the same values at all times |
| constant wake | a part is never awake, or always |
"""

from copy import deepcopy

from torch import nn

from spikebridge.analysis.doctor.checks import batch_dependence, missing_gradients, silent_and_saturated_layers
from spikebridge.analysis.doctor.finding import Finding, Loss
from spikebridge.analysis.doctor.links import idle_wiring, uncalled_layers
from spikebridge.analysis.hooks import Inputs
from spikebridge.errors import ShapeError
from spikebridge.hybrid import HybridNetwork


def diagnose(network: nn.Module, inputs: Inputs, loss: Loss | None = None) -> list[Finding]:
    """Diagnoses a copy of a network on real inputs, in its present mode (training or evaluation).

    Args:
        network: a hybrid network, a stateful layer or any module.
        inputs: a few samples: by name, `(T, B, *N)` for a stateful layer, `(B, *N)` for a plain module. An effect that
            they do not show counts as absent.
        loss: of the outputs (those of a hybrid network by name); without it gradients are not checked.

    Returns:
        The findings; an empty list for a healthy network.

    Raises:
        ShapeError: an empty input, or a loss of several numbers.

    Example:
        >>> import torch
        >>> from spikebridge.neurons import IF, Sequential
        >>> for finding in diagnose(Sequential(fire=IF(v_threshold=100.0)), torch.ones(4, 1, 1)):
        ...     print(f"{finding.where} is {finding.kind}: {finding.remedy}")
        fire is dead: lower v_threshold to about 2, or scale its input by 50
    """
    tensors = inputs.values() if isinstance(inputs, dict) else [inputs]
    if any(x.numel() == 0 for x in tensors):  # type: ignore[union-attr]
        raise ShapeError("a diagnosis needs inputs to run the network on, but an input is empty; give a few samples")

    network = deepcopy(network)
    findings = silent_and_saturated_layers(network, inputs)
    findings += uncalled_layers(network, inputs)
    if isinstance(network, HybridNetwork):
        findings += idle_wiring(network, inputs, faulty={finding.where.split(".")[0] for finding in findings})

    findings += batch_dependence(network, inputs)
    if loss is not None:
        # an unused part gets no gradient, for the same reason
        unused = {finding.where for finding in findings if finding.kind == "unused"}
        findings += [f for f in missing_gradients(network, inputs, loss) if f.where.split(".")[0] not in unused]

    return findings
