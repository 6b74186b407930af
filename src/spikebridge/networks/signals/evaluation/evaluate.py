"""Scores of a network: accuracy of windows, for each group and over time, the confusion matrix, and cost."""

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
from spikebridge.training.evaluation import evaluating

_AT_ONCE = 256
_NUM_COUNTED = 32  # windows whose operations are counted


def logits_of(network: HybridNetwork, sensor: Sensor, windows: Windows) -> Float[Tensor, "K B C"]:
    """Mean logits so far, at every answer."""
    chunks = []
    with evaluating(network):
        for start in range(0, len(windows.label), _AT_ONCE):
            some = windows.select(np.arange(start, min(start + _AT_ONCE, len(windows.label))))
            chunks.append(answers(network, tensors_of(sensor.inputs(some), some.label)))

    return torch.cat(chunks, 1)


def score(network: HybridNetwork, sensor: Sensor, windows: Windows, group_names: Sequence[str]) -> dict[str, Any]:
    """All scores of a network on windows.

    Args:
        network: trained.
        sensor: that made the windows.
        windows: to score.
        group_names: of `windows.group`.

    Returns:
        `accuracy` of the last answers, `per_group`, their mean and median, `accuracy_by_answer`, `confusion` (rows are
        labels), parameters, and operations and energy a second of signal.
    """
    logits = logits_of(network, sensor, windows)
    found = logits.argmax(-1).numpy()

    return {
        **accuracies(found[-1], windows, group_names),
        "accuracy_by_answer": (found == windows.label).mean(1).tolist(),
        "confusion": _confusion_matrix(found[-1], windows.label, logits.shape[-1]),
        "parameters": num_parameters(network),
        **_cost(network, sensor, windows),
    }


def accuracies(
    found: Int64[np.ndarray, " B"], windows: Windows, group_names: Sequence[str]
) -> dict[str, float | dict[str, float]]:
    """The share of right answers, in all and for each group.

    Example:
        >>> three, none = np.zeros(3, np.int64), np.zeros((3, 0), np.float32)
        >>> windows = Windows(none[:, :, None], three, three, np.array([0, 0, 1]), three, none)
        >>> accuracies(np.array([0, 1, 0]), windows, ("anna", "ben"))["per_group"]
        {'anna': 0.5, 'ben': 1.0}
    """
    right = found == windows.label
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
    found: Int64[np.ndarray, " B"], label: Int64[np.ndarray, " B"], num_classes: int
) -> list[list[int]]:
    """How often each label (row) was answered with each class (column).

    Example:
        >>> _confusion_matrix(np.array([0, 1, 1]), np.array([0, 0, 1]), 2)
        [[1, 1], [0, 1]]
    """
    counts = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(counts, (label, found), 1)

    return counts.tolist()


def _cost(network: HybridNetwork, sensor: Sensor, windows: Windows) -> Mapping[str, float]:
    """Operations and energy a second of signal, those of the front end included."""
    some = windows.select(np.arange(min(_NUM_COUNTED, len(windows.label))))
    inputs = tensors_of(sensor.inputs(some), some.label)
    counted = count_cost(network, {name: inputs[name] for name in network.inputs})
    total = counted.total
    seconds = some.samples.shape[1] / sensor.rate_hz
    features = sensor.front_end.macs_per_second(frames="frames" in network.inputs, signal="signal" in network.inputs)
    profile = hardware_profile("45nm")

    return {
        "macs_per_second": total.macs / seconds,
        "synops_per_second": total.synops / seconds,
        "updates_per_second": total.updates / seconds,
        "front_end_macs_per_second": features,
        "energy_uj_per_second": 1e6 * (energy(counted, profile).total / seconds + features * profile.mac),
    }
