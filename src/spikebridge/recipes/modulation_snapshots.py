"""Each task's sub-network as it was before and after its turn, so that transfer can be measured on other pictures."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from spikebridge.networks.modulation import Branch
from spikebridge.networks.modulation_cut import cut_branch
from spikebridge.training import read_weights, save_weights


class Snapshots:
    """Takes sub-networks while tasks are learnt; a file each, so that a stopped learning still has them.

    Args:
        branch: untrained.
        gates: `(K, C)` a layer.
        folder: where files go; None keeps them in memory.
    """

    def __init__(self, branch: Branch, gates: list[Tensor], folder: Path | None) -> None:
        self.gates, self.folder = gates, folder
        self._kept: dict[str, dict[str, Tensor]] = {}
        self._take(branch, 0, "before")

    def __call__(self, module: nn.Module, num_learnt: int) -> dict[str, float]:
        """Takes the task just learnt and the next one; measures nothing."""
        if isinstance(module, Branch):
            self._take(module, num_learnt - 1, "after")
            if num_learnt < len(self.gates[0]):
                self._take(module, num_learnt, "before")
        return {}

    @property
    def taken(self) -> dict[str, Tensor]:
        """All of them, as `before.TASK.NAME` and `after.TASK.NAME`."""
        found = dict(self._kept)
        if self.folder is not None:
            found |= {file.stem: read_weights(file) for file in sorted(self.folder.glob("*.safetensors"))}
        return {f"{part}.{name}": value for part, values in found.items() for name, value in values.items()}

    def forget(self) -> None:
        """Removes the files."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _take(self, branch: Branch, task: int, when: str) -> None:
        part = cut_branch(branch, [layer[task] for layer in self.gates])
        values = {name: parameter.detach().cpu().clone() for name, parameter in part.named_parameters()}
        if self.folder is None:
            self._kept[f"{when}.{task}"] = values
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        save_weights(self.folder / f"{when}.{task}.safetensors", values)


def packed(snapshots: Mapping[str, Tensor], branch: Branch, gates: list[Tensor]) -> dict[str, Tensor]:
    """Snapshots as bytes: how far each weight is from where it ended, in 127ths of the tensor's largest way.

    Args:
        snapshots: `before.TASK.NAME` and `after.TASK.NAME`.
        branch: as it ended.
        gates: `(K, C)` a layer.
    """
    found = {}
    for key, (now, value) in _with_end(snapshots, branch, gates).items():
        way = value - now
        step = way.abs().max().clamp(min=1e-12) / 127
        found[key] = (way / step).round().to(torch.int8)
        found[f"{key}.step"] = step.reshape(1)
    return found


def unpacked(bytes_: Mapping[str, Tensor], branch: Branch, gates: list[Tensor]) -> dict[str, Tensor]:
    """Snapshots from their bytes."""
    ways = {key: value * bytes_[f"{key}.step"] for key, value in bytes_.items() if not key.endswith(".step")}
    return {key: now + way for key, (now, way) in _with_end(ways, branch, gates).items()}


def _with_end(values: Mapping[str, Tensor], branch: Branch, gates: list[Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    parts = [dict(cut_branch(branch, [layer[k] for layer in gates]).named_parameters()) for k in range(len(gates[0]))]
    ends = {key: parts[int(key.split(".")[1])][key.split(".", 2)[2]].detach() for key in values}
    return {key: (ends[key], values[key]) for key in values}
