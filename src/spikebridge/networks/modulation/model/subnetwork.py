"""Exact sub-networks: the open neurons of a branch as a smaller branch.

Nothing reads a closed neuron, so its rows and columns can be left out. Outputs and gradients stay the same, and closed
weights cannot change, not even by momentum, Adam's moments or weight decay.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from spikebridge.errors import ShapeError
from spikebridge.networks.modulation.model.branch import Branch
from spikebridge.neurons.quantity import names_of_floats

# the hidden layer whose neurons lie along each axis of a parameter; 0 is none
_AXES = {
    "inlet.weight": (1, 0),
    "inlet.bias": (1,),
    "body.layer1.v_threshold": (1,),
    "body.fc2.weight": (2, 1),
    "body.fc2.bias": (2,),
    "body.layer2.v_threshold": (2,),
    "body.fc3.weight": (0, 2),
    "body.fc3.bias": (0,),
}


def open_indices(branch: Branch, gates: Sequence[Bool[Tensor, "_"]]) -> dict[str, tuple[Tensor | None, ...]]:
    """Indices of the open neurons along each axis of each parameter of a branch; None is all.

    Args:
        branch: the whole branch.
        gates: open neurons of both hidden layers.

    Raises:
        ShapeError: gates of the wrong size, or a layer without an open neuron.

    Example:
        >>> indices = open_indices(Branch(3, (4, 2)), [torch.tensor([True, False, True, False]), torch.ones(2).bool()])
        >>> indices["body.fc2.weight"]
        (tensor([0, 1]), tensor([0, 2]))
    """
    if tuple(len(gate) for gate in gates) != branch.num_hidden:
        raise ShapeError(
            f"the branch has hidden layers of {branch.num_hidden} neurons, but got gates of "
            f"{tuple(len(gate) for gate in gates)}"
        )

    numbers: list[Tensor | None] = [None, *(gate.nonzero()[:, 0] for gate in gates)]
    if any(index is not None and len(index) == 0 for index in numbers):
        raise ShapeError(
            "a gate closes a whole layer, so nothing is left of the branch; raise rho, the share of open neurons"
        )

    return {name: tuple(numbers[layer] for layer in _AXES[name]) for name, _ in branch.named_parameters()}


def extract_subnetwork(branch: Branch, gates: Sequence[Bool[Tensor, "_"]]) -> Branch:
    """The open part of a branch as a smaller branch, with copies of the open weights.

    Args:
        branch: the whole branch.
        gates: open neurons of both hidden layers.

    Returns:
        A branch whose parameters have the same names.

    Example:
        >>> whole = Branch(3, (4, 4))
        >>> gates = [torch.tensor([True, False, True, False]), torch.tensor([False, True, True, True])]
        >>> extract_subnetwork(whole, gates).sizes
        (3, 2, 3, 10)
    """
    indices = open_indices(branch, gates)
    sizes = int(gates[0].sum()), int(gates[1].sum())
    with torch.device("meta"):  # weights come from the whole branch: none are drawn
        part = Branch(branch.sizes[0], sizes, branch.sizes[3], branch.settings)

    whole = dict(branch.named_parameters())
    weights = {}

    for name, axes in indices.items():
        tensor = whole[name].detach()
        for axis, index in enumerate(axes):
            tensor = tensor if index is None else tensor.index_select(axis, index.to(tensor.device))
        weights[name] = tensor.clone()

    floats = names_of_floats(branch)
    weights |= {name: value for name, value in branch.state_dict().items() if name in floats}
    part.load_state_dict(weights, assign=True)

    return part.train(branch.training)


def per_sample_logits(
    branch: Branch, x: Float[Tensor, "T B N"], gates: Sequence[Bool[Tensor, "B _"]]
) -> Float[Tensor, "B K"]:
    """Logits where each sample has its own gates: samples with equal gates share one sub-network.

    Args:
        branch: the whole branch.
        x: `(T, B, d)`, or `(1, B, d)` for images.
        gates: of both hidden layers, one row for each sample.

    Returns:
        `(B, num_classes)`, without gradients to the branch.
    """
    rows, member = torch.unique(torch.cat(list(gates), 1), dim=0, return_inverse=True)
    with torch.no_grad():
        if len(rows) > x.shape[1] // 2:  # few samples share a gate
            return branch(x, **branch.modulation([gate.to(x.dtype) for gate in gates]))
        first = gates[0].shape[1]
        logits = x.new_empty(x.shape[1], branch.sizes[3])

        for number, row in enumerate(rows):
            chosen = (member == number).nonzero()[:, 0]
            logits[chosen] = extract_subnetwork(branch, [row[:first], row[first:]])(x[:, chosen])

    return logits
