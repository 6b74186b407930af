"""Scores of a network: accuracy of windows, by group and over time, the confusion matrix, and cost."""

from collections.abc import Mapping, Sequence
from statistics import fmean, median
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from spikebridge.analysis.cost import count_cost
from spikebridge.analysis.energy import energy, hardware_profile
from spikebridge.analysis.summary import num_parameters
from spikebridge.hybrid import HybridNetwork
from spikebridge.networks.signals.data.sensor import Sensor
from spikebridge.networks.signals.data.windows import Windows
from spikebridge.networks.signals.training.train import answers, tensors_of
from spikebridge.ops.modes import evaluating

_BATCH_SIZE = 256
_NUM_COUNTED = 32  # windows whose operations are counted


def logits_of(network: HybridNetwork, sensor: Sensor, windows: Windows) -> Float[Tensor, "K B C"]:
    """Mean logits so far, at every answer."""
    chunks = []
    with evaluating(network):
        for start in range(0, len(windows.label), _BATCH_SIZE):
            chunk = windows.select(slice(start, start + _BATCH_SIZE))
            chunks.append(answers(network, tensors_of(sensor.inputs(chunk), chunk.label)))

    return torch.cat(chunks, 1)


def score(network: HybridNetwork, sensor: Sensor, windows: Windows, group_names: Sequence[str]) -> dict[str, Any]:
    """All scores of a network on windows."""
    logits = logits_of(network, sensor, windows)
    predicted = logits.argmax(-1).numpy()

    return {
        **accuracies(predicted[-1], windows, group_names),
        "accuracy_by_answer": (predicted == windows.label).mean(1).tolist(),
        "confusion": _confusion_matrix(predicted[-1], windows.label, logits.shape[-1]),
        "parameters": num_parameters(network),
        **_cost(network, sensor, windows),
    }


def accuracies(
    predicted: Int64[np.ndarray, " B"], windows: Windows, group_names: Sequence[str]
) -> dict[str, float | dict[str, float]]:
    """The share of right answers, in all and for each group."""
    right = predicted == windows.label
    groups = np.unique(windows.group)
    names = group_names or ("all",)
    per_group = {names[group]: float(right[windows.group == group].mean()) for group in groups}

    return {
        "accuracy": float(right.mean()),
        "per_group": per_group,
        "mean_of_groups": fmean(per_group.values()),
        "median_of_groups": median(per_group.values()),
    }


def _confusion_matrix(
    predicted: Int64[np.ndarray, " B"], label: Int64[np.ndarray, " B"], num_classes: int
) -> list[list[int]]:
    """Numbers of windows by label (row) and answer (column)."""
    counts = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(counts, (label, predicted), 1)

    return counts.tolist()


def _cost(network: HybridNetwork, sensor: Sensor, windows: Windows) -> Mapping[str, float]:
    """Operations and energy per second of signal."""
    first = windows.select(slice(_NUM_COUNTED))
    inputs = tensors_of(sensor.inputs(first), first.label)
    cost = count_cost(network, {name: inputs[name] for name in network.inputs})
    seconds = first.samples.shape[1] / sensor.rate_hz
    profile = hardware_profile("45nm")

    # the operations of the front end, outside of the network, are not counted but computed from its sizes
    front_end = sensor.front_end.macs_per_second(frames="frames" in network.inputs, signal="signal" in network.inputs)

    return {
        "macs_per_second": cost.total.macs / seconds,
        "synops_per_second": cost.total.synops / seconds,
        "updates_per_second": cost.total.updates / seconds,
        "front_end_macs_per_second": front_end,
        "energy_uj_per_second": 1e6 * (energy(cost, profile).total / seconds + front_end * profile.mac),
    }
