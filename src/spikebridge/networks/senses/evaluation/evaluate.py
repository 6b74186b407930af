"""Scores of a network on trials: accuracy, energy and looks, of the whole and of each sense alone."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spikebridge.analysis.cost import count_cost
from spikebridge.analysis.energy import energy, hardware_profile
from spikebridge.analysis.summary import num_parameters
from spikebridge.hybrid import HybridNetwork
from spikebridge.networks.senses.data.sampling import Sampled
from spikebridge.networks.senses.model.execution import at_end, ends_of, network_inputs, run_network

_COUNTED = 48  # trials whose operations are counted


def score(
    network: HybridNetwork, data: Sampled, person_names: tuple[str, ...], price_uj: float = 0.0
) -> dict[str, Any]:
    """Accuracy, energy [uJ] and looks a trial, and the accuracy of each sense alone."""
    outputs = run_network(network, data)
    looks = looks_of(outputs, data)
    answer = at_end(outputs["answer"], data)
    right = answer.argmax(-1) == data.label
    parts = energies(network, data)
    whole = sum(parts.values()) + price_uj * float(looks.mean())
    alone = {}

    for name, x in outputs.items():
        if name.endswith("_evidence") and name != "senses_evidence":
            sense = name.removesuffix("_evidence")
            alone[sense] = {
                "accuracy": share(at_end(x, data).argmax(-1) == data.label),
                "energy_uj": sum(value for part, value in parts.items() if part.startswith(f"{sense}_")),
            }

    return {
        "accuracy": share(right),
        "energy_uj": whole,
        "looks": float(looks.mean()),
        "confidence": share(torch.softmax(answer, -1).amax(-1)),
        "seconds": float(ends_of(outputs["answer"], data).float().mean())
        * network.dt
        * max(network.clock_of(name).period for name in network.inputs),
        "parameters": num_parameters(network),
        "per_person": per_person(right, data, person_names),
        "alone": alone,
        "energy_of_parts_uj": parts,
    }


def share(values: Tensor) -> float:
    """The mean of truth values or numbers."""
    return float(values.float().mean())


def per_person(right: Tensor, data: Sampled, names: tuple[str, ...]) -> dict[str, float]:
    """The accuracy on each person."""
    return {names[one]: share(right[torch.from_numpy(data.person == one)]) for one in np.unique(data.person)}


def looks_of(outputs: Mapping[str, Tensor], data: Sampled) -> Tensor:
    """The number of looks in each trial, 0 where no sense looks."""
    if "gate.look" not in outputs:
        return torch.zeros(len(data.label))

    looks = outputs["gate.look"][..., 0]
    inside = torch.arange(len(looks))[:, None] < ends_of(looks, data)
    return (looks * inside).sum(0)


def energies(network: HybridNetwork, data: Sampled) -> dict[str, float]:
    """The energy of each part and link [uJ a trial], counted on trials up to their ends."""
    profile = hardware_profile("45nm")
    length = next(iter(data.lengths.values()))
    # of every length as many
    order = length.argsort()
    order = order[np.linspace(0, len(order) - 1, min(_COUNTED, len(order))).round().astype(np.int64)]
    totals: dict[str, float] = {}

    # a network costs nothing after the end of a trial
    for ticks in length[order].unique().tolist():
        group = order[length[order] == ticks]
        trials = data.select(group)
        share_of_ticks = ticks / len(next(iter(data.signals.values())))
        cut = {name: x[: round(share_of_ticks * len(x))] for name, x in trials.signals.items()}
        cost = count_cost(network, network_inputs(network, cut))
        spent = energy(cost, profile)
        for name, value in {**spent.parts, **spent.links}.items():
            totals[name] = totals.get(name, 0.0) + 1e6 * value * len(group) / len(order)

    return totals
