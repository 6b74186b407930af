"""What is measured of one method and seed: accuracies over tasks, inference, opening, representation, cost."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import torch
from torch import nn

from spikebridge.analysis import count_cost, energy, hardware_profile
from spikebridge.analysis.representation import (
    RESHUFFLED_SHARES,
    activity_correlation,
    embed,
    group_silhouette,
    overlap_correlation,
    reshuffled_accuracy,
    task_similarity,
)
from spikebridge.analysis.task_matrix import TaskMeasures, accuracy_after, task_measures
from spikebridge.networks.modulation import Branch
from spikebridge.networks.modulation_opening import opening_report
from spikebridge.recipes.modulation_cell import Cell, CellSettings
from spikebridge.recipes.modulation_gates import code_table, input_reader
from spikebridge.recipes.modulation_methods import Method
from spikebridge.recipes.modulation_modes import Modes, Way, hidden_rates
from spikebridge.recipes.modulation_tasks import TaskSequence

FEW = (1, 5, 20)
BUFFERS = {"none": 0, "ewc": 2, "si": 3, "meta": 0}
NUM_SIGNALS = 128
NUM_SINGLE = 50


def score(
    cell: Cell,
    method: Method,
    settings: CellSettings,
    sequence: TaskSequence,
    seed: int,
    in_full: bool,
) -> dict[str, Any]:
    """Everything about one trained cell, as plain values.

    Args:
        cell: trained.
        method, settings, sequence, seed: what it was made of.
        in_full: also what one seed is enough for: representation, unlearnt tasks, cost.
    """
    R, group = cell.learnt.accuracies, sequence.group
    seen = sequence.seen
    found: dict[str, Any] = {
        "seed": seed,
        "lr": settings.lr,
        "strength": settings.strength,
        **measured(task_measures(R, group)),
        "seen": measured(task_measures(R, group, seen)),
        "unseen": measured(task_measures(R, group, [not one for one in seen])),
        "after": _rounded(accuracy_after(R)),
        "matrix": [_rounded(row) for row in R],
        "seconds": _rounded(cell.learnt.seconds),
        "growth of seconds": steady_growth(cell.learnt.seconds) if len(cell.learnt.seconds) > 1 else None,
        "memory": memory(cell, method, sequence),
        "modes": {"given": float(R[-1].mean())},
        **cell.notes,
    }
    if method.alone:
        return found
    modes = None if cell.gates is None else Modes(cell.branch, cell.gates, sequence, cell.gating, cell.codes)
    if modes is not None and cell.gates is not None:
        found["opening"] = opening_report([layer.bool() for layer in cell.gates])
        found["modes"] |= score_modes(modes, method, seed)
    if in_full:
        found["cost"] = cost(cell, sequence, modes)
        if modes is not None and not method.per_sample:
            found["reshuffled"] = reshuffled(modes, method)
        found["representation"] = representation(cell, sequence, modes)
    return found


def measured(measures: TaskMeasures) -> dict[str, Any]:
    """Measures as plain numbers, None where no task counts."""
    return {
        name: None if isinstance(value, float) and value != value else value
        for name, value in measures._asdict().items()
    }


def steady_growth(values: Sequence[float]) -> float:
    """By which share of its median a quantity grows with each task: the median slope of all pairs (Theil and Sen).

    A busy machine makes some tasks slow; a line through the means would follow those.

    Example:
        >>> round(steady_growth([1.0, 1.1, 9.0, 1.3, 1.4]), 3)  # 0.1 a task, of 1.3
        0.077
    """
    slopes = [(values[j] - values[i]) / (j - i) for i in range(len(values)) for j in range(i + 1, len(values))]
    return median(slopes) / median(values)


def score_modes(modes: Modes, method: Method, seed: int) -> dict[str, Any]:
    """Accuracy without being told the task, in every way that the method allows."""
    sequence = modes.sequence
    if method.per_sample:
        return {"per_sample": modes.direct(1)}
    few = [number for number in FEW if number <= len(sequence.test.labels)]
    if not method.has_unit:
        reads = input_reader(sequence, seed)
        return {"by input": {"1": modes.by_input(reads, code_table(reads, sequence)).row}}
    # single pictures hardly share a gate, so the whole branch runs for each: the first ones of a task are enough
    some = sequence._replace(test=sequence.test.first(min(NUM_SINGLE, len(sequence.test.labels))))
    single = Modes(modes.branch, modes.gates, some, modes.gating).direct(1)
    return {
        "inferred": {str(n): modes.inferred(n).row for n in few},
        "nearest gate": {str(n): modes.nearest_gate(n).row for n in few},
        "two nearest": modes.two_nearest(),
        "direct": {"1": single, str(few[-1]): modes.direct(few[-1])},
    }


def reshuffled(modes: Modes, method: Method) -> dict[str, Any]:
    """Accuracy on tasks that nobody has learnt, over the share of an order that is shuffled once more (Fig. 3f)."""
    number = len(modes.parts)
    kinds: tuple[Way, ...] = ("given", "inferred", "nearest gate") if method.has_unit else ("given",)
    curves: dict[str, Any] = {"shares": list(RESHUFFLED_SHARES)}
    for way in kinds:
        by_task = reshuffled_accuracy(
            lambda task, share, way=way: modes.reshuffled(task, share, way),  # type: ignore[misc]
            number,
        )
        curves[way] = _rounded(by_task.mean(1))
    return curves


def representation(cell: Cell, sequence: TaskSequence, modes: Modes | None) -> dict[str, Any]:
    """How tasks are told apart: likeness of orders, of gates, of hidden activity; signals in a plane."""
    overlaps = sequence.orders.similarity[sequence.learnt][:, sequence.learnt]
    found: dict[str, Any] = {
        "group": sequence.group,
        "unseen": [not one for one in sequence.seen],
        "overlap": [_rounded(row) for row in overlaps],
    }
    if modes is None:
        rows = []
        for task in sequence.learnt:
            x = sequence.test.in_order(sequence.orders.permutations[task])[:, :200]
            rows.append(torch.cat(hidden_rates(cell.branch.eval(), x)))
        activity = torch.stack(rows)
    else:
        activity = modes.activity()
        codes = torch.cat([layer.float() for layer in modes.gates], 1)
        alike = task_similarity(codes)
        found["gate similarity"] = [_rounded(row) for row in alike]
        if len(codes) > 2:
            found["correlation of gates with overlap"] = overlap_correlation(alike, overlaps)
            found["embedding"] = [_rounded(row) for row in embed(codes)]
        if 1 < len(set(sequence.group)) < len(codes):
            found["silhouette"] = group_silhouette(codes, sequence.group)
        found["signals"] = modes.gates[0][:, :NUM_SIGNALS].int().tolist()
    found["activity correlation"] = [_rounded(row) for row in activity_correlation(activity).clip(-1, 1)]
    return found


def memory(cell: Cell, method: Method, sequence: TaskSequence) -> dict[str, Any]:
    """Numbers that a method keeps, and bits of its gate table; only the table grows with the tasks."""
    branch = sum(parameter.numel() for parameter in cell.branch.parameters())
    gating = 0 if cell.gating is None else sum(parameter.numel() for parameter in cell.gating.parameters())
    bits = [layer.shape[1] for layer in cell.gates or ()]
    copies = len(sequence.learnt) if method.alone else 1
    return {
        "branch": branch * copies,
        "backbone": gating,
        "buffers": BUFFERS[method.keep] * branch,
        # where gates are shared, a task's own one is kept too: by it the next task is known
        "table bits a task": (2 if method.shares else 1) * sum(bits),
        "numbers a task": 0 if cell.codes is None else cell.codes.num_numbers // len(cell.codes),
    }


def cost(cell: Cell, sequence: TaskSequence, modes: Modes | None) -> dict[str, float]:
    """Operations and energy of one picture, in the sub-network of its task where there is one."""
    branch: Branch = cell.branch if modes is None else modes.parts[0]
    x = sequence.test.in_order(sequence.orders.permutations[sequence.learnt[0]])[:, :32]
    counted = count_cost(_Batch(branch.eval()), x.transpose(0, 1))
    total = counted.total
    found = {
        "macs": total.macs,
        "synops": total.synops,
        "updates": total.updates,
        "energy nJ": energy(counted, hardware_profile("45nm")).total * 1e9,
    }
    if cell.gating is not None:
        heads: Mapping[str, nn.Module] = dict(cell.gating.named_modules())
        found["backbone macs"] = float(sum(m.weight.numel() for m in heads.values() if isinstance(m, nn.Linear)))
    return found


class _Batch(nn.Module):
    """A branch that takes its samples first, as plain modules do."""

    def __init__(self, branch: Branch) -> None:
        super().__init__()
        self.branch = branch

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.branch(x.transpose(0, 1))
        return y


def _rounded(values: Any) -> list[float | None]:
    return [round(float(value), 5) if value == value else None for value in values]
