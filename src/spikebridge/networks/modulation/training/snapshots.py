"""Snapshots: each task's sub-network before and after its training, to measure transfer on other samples later.

Stored as bytes: the distance of each weight from its final value, in 127ths of the largest distance in its tensor.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from spikebridge.networks.modulation.model.branch import Branch
from spikebridge.networks.modulation.model.subnetwork import extract_subnetwork
from spikebridge.training.run.weights import read_weights, save_weights


class Snapshots:
    """Saves sub-networks during a training; one file each, so that a resumed training still has them.

    Args:
        branch: untrained.
        gates: `(K, C)` a layer.
        folder: of the files; None keeps the snapshots in memory.
    """

    def __init__(self, branch: Branch, gates: Sequence[Tensor], folder: Path | None) -> None:
        self.gates = gates
        self.folder = folder
        self._in_memory: dict[str, dict[str, Tensor]] = {}
        self._save(branch, 0, "before")

    def __call__(self, module: nn.Module, num_learned: int) -> dict[str, float]:
        """Saves the task just learned and the next one; measures nothing."""
        if isinstance(module, Branch):
            self._save(module, num_learned - 1, "after")
            if num_learned < len(self.gates[0]):
                self._save(module, num_learned, "before")

        return {}

    def tensors(self) -> dict[str, Tensor]:
        """All snapshots, as `before.TASK.NAME` and `after.TASK.NAME`."""
        found = dict(self._in_memory)
        if self.folder is not None:
            found |= {file.stem: read_weights(file) for file in sorted(self.folder.glob("*.safetensors"))}

        return {f"{part}.{name}": value for part, values in found.items() for name, value in values.items()}

    def remove_files(self) -> None:
        """Removes the folder of the files."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _save(self, branch: Branch, task: int, when: str) -> None:
        part = extract_subnetwork(branch, [layer[task] for layer in self.gates])
        values = {name: parameter.detach().cpu().clone() for name, parameter in part.named_parameters()}

        if self.folder is None:
            self._in_memory[f"{when}.{task}"] = values
        else:
            self.folder.mkdir(parents=True, exist_ok=True)
            save_weights(self.folder / f"{when}.{task}.safetensors", values)


def quantize_snapshots(snapshots: Mapping[str, Tensor], branch: Branch, gates: Sequence[Tensor]) -> dict[str, Tensor]:
    """Snapshots as bytes, each with its step.

    Args:
        snapshots: from `Snapshots.tensors`.
        branch: at the end of the training.
        gates: `(K, C)` a layer.
    """
    final = _final_values(snapshots, branch, gates)
    found = {}

    for key, value in snapshots.items():
        distance = value - final[key]
        step = distance.abs().max().clamp(min=1e-12) / 127
        found[key] = (distance / step).round().to(torch.int8)
        found[f"{key}.step"] = step.reshape(1)

    return found


def dequantize_snapshots(stored: Mapping[str, Tensor], branch: Branch, gates: Sequence[Tensor]) -> dict[str, Tensor]:
    """Snapshots from their bytes."""
    distances = {key: value * stored[f"{key}.step"] for key, value in stored.items() if not key.endswith(".step")}
    final = _final_values(distances, branch, gates)
    return {key: final[key] + distance for key, distance in distances.items()}


def _final_values(snapshots: Mapping[str, Tensor], branch: Branch, gates: Sequence[Tensor]) -> dict[str, Tensor]:
    parts = [dict(extract_subnetwork(branch, row).named_parameters()) for row in zip(*gates, strict=True)]
    names = {key: key.split(".", 2) for key in snapshots}
    return {key: parts[int(task)][name].detach() for key, (_, task, name) in names.items()}
