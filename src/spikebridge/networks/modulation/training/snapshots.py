"""Snapshots: the sub-network of each task before and after its training, to measure transfer on other samples later.

A weight is stored as a byte: its distance from its final value, in 127ths of the largest distance in its tensor.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spikebridge.data.io.closed_folder import inside
from spikebridge.networks.modulation.model.branch import Branch, extract_subnetwork
from spikebridge.training.run.weights import read_weights, save_weights


class Snapshots:
    """Saves sub-networks during a training, one file each, so that a resumed training still has them."""

    def __init__(self, branch: Branch, gates: Sequence[Tensor], folder: Path) -> None:
        self.gates = gates
        self.folder = folder
        self._save(branch, 0, "before")

    def __call__(self, branch: Any, num_learned: int) -> dict[str, float]:
        """Saves the last learned task and the next one, as a measure without numbers."""
        self._save(branch, num_learned - 1, "after")
        if num_learned < len(self.gates[0]):
            self._save(branch, num_learned, "before")

        return {}

    def tensors(self) -> dict[str, Tensor]:
        """All snapshots, as `before.TASK.NAME` and `after.TASK.NAME`."""
        saved = {
            file.stem: read_weights(inside(self.folder, file.name))
            for file in sorted(self.folder.glob("*.safetensors"))
        }
        return {f"{part}.{name}": value for part, values in saved.items() for name, value in values.items()}

    def remove_files(self) -> None:
        """Removes the folder of the files."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _save(self, branch: Branch, task: int, when: str) -> None:
        part = extract_subnetwork(branch, [layer[task] for layer in self.gates])
        values = {name: parameter.detach().cpu().clone() for name, parameter in part.named_parameters()}
        self.folder.mkdir(parents=True, exist_ok=True)
        save_weights(inside(self.folder, f"{when}.{task}.safetensors"), values)


def quantize_snapshots(snapshots: Mapping[str, Tensor], branch: Branch, gates: Sequence[Tensor]) -> dict[str, Tensor]:
    """Snapshots as bytes, each with its step, relative to the trained branch."""
    final = _final_values(snapshots, branch, gates)
    quantized = {}

    for key, value in snapshots.items():
        distance = value - final[key]
        step = distance.abs().max().clamp(min=1e-12) / 127
        quantized[key] = (distance / step).round().to(torch.int8)
        quantized[f"{key}.step"] = step.reshape(1)

    return quantized


def dequantize_snapshots(stored: Mapping[str, Tensor], branch: Branch, gates: Sequence[Tensor]) -> dict[str, Tensor]:
    """Snapshots from their bytes."""
    distances = {key: value * stored[f"{key}.step"] for key, value in stored.items() if not key.endswith(".step")}
    final = _final_values(distances, branch, gates)
    return {key: final[key] + distance for key, distance in distances.items()}


def _final_values(snapshots: Mapping[str, Tensor], branch: Branch, gates: Sequence[Tensor]) -> dict[str, Tensor]:
    parts = [dict(extract_subnetwork(branch, row).named_parameters()) for row in zip(*gates, strict=True)]
    names = {key: key.split(".", 2) for key in snapshots}
    return {key: parts[int(task)][name].detach() for key, (_, task, name) in names.items()}
