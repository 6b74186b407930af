"""From one unlabelled picture, which task is it? Ways to find it, compared on tuning tasks.

    python research/modulation/inference.py

Digits, 40 tasks of a seed that is never reported, validation pictures; no branch is trained. Every way sees the unit's
drives alone, and training pictures alone make its table. Writes research/modulation/results/inference.json.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spikebridge.data.io.atomic import write_text
from spikebridge.networks.modulation import GateTable, GaussianPrototypes
from spikebridge.networks.modulation import recipe as modulation
from spikebridge.networks.modulation.model.task_inference import prototype_features
from spikebridge.networks.modulation.training.gates import build_gating, task_gates, train_gating
from spikebridge.training.run.environment import describe_environment

RESULTS = Path(__file__).parent / "results" / "inference.json"
SEED = 1000
UNITS = ("hmn", "projection")
NEURONS = (16, 32, 64, 128)


def nearest_mean(table: list[Tensor], x: Tensor) -> Tensor:
    """The task whose mean drive points most as a picture's."""
    means = torch.stack([values.mean(0) for values in table])
    return (torch.nn.functional.normalize(x) @ torch.nn.functional.normalize(means).T).argmax(1)


def diagonal(table: list[Tensor], x: Tensor) -> Tensor:
    """The likeliest task by means and variances alone."""
    found = GaussianPrototypes.fit(table)
    alone = torch.stack([covariance.diagonal().diag() for covariance in found.covariances])
    return GaussianPrototypes(found.means, alone).infer_task(x).task


def shared(table: list[Tensor], x: Tensor) -> Tensor:
    """The likeliest task by means, with the mean covariance of all tasks."""
    found = GaussianPrototypes.fit(table)
    whole = found.covariances.mean(0, keepdim=True).expand_as(found.covariances)
    return GaussianPrototypes(found.means, whole).infer_task(x).task


def whole(table: list[Tensor], x: Tensor) -> Tensor:
    """The likeliest task by means and whole covariances."""
    return GaussianPrototypes.fit(table).infer_task(x).task


InferenceMode = Callable[[list[Tensor], Tensor], Tensor]
WAYS: dict[str, InferenceMode] = {"nearest mean": nearest_mean, "variances": diagonal, "one covariance": shared}


def rows_of(name: str) -> Iterator[dict[str, Any]]:
    """One row a way, for the units of a method."""
    config = replace(modulation.PRESETS["table"], seed=SEED, data=modulation.DataConfig(split="validation"))
    tasks = modulation.task_sequence(config, SEED, *modulation.recordings(config))
    settings = config.trial(name)
    gating = build_gating(settings, tasks)
    train_gating(gating, settings, tasks, None, quiet=True)
    gates = task_gates(settings, tasks, gating.eval()) or []
    truth = torch.arange(len(tasks.numbers)).repeat_interleave(len(tasks.test.labels))
    group = torch.tensor(tasks.group)

    with torch.no_grad():
        shown = [
            [[layer[:, :64].clone() for layer in gating.preactivations(inputs.permuted(o))] for o in tasks.permutations]
            for inputs in (tasks.train, tasks.test)
        ]
        everything = [gating.preactivations(tasks.test.permuted(o)) for o in tasks.permutations]

    def row(way: str, neurons: int, task: Tensor) -> dict[str, Any]:
        right = (task == truth).float().mean().item(), (group[task] == group[truth]).float().mean().item()
        return {"units": name, "way": way, "neurons": neurons, "task": round(right[0], 4), "group": round(right[1], 4)}

    nearest = [GateTable(gates).infer_task(preactivations).task for preactivations in everything]
    yield row("nearest gate", sum(layer.shape[1] for layer in gates), torch.cat(nearest))

    for number in NEURONS:
        table = [prototype_features(preactivations, number) for preactivations in shown[0]]
        x = torch.cat([prototype_features(preactivations, number) for preactivations in shown[1]])
        for way, find in (*WAYS.items(), ("whole covariances", whole)):
            if number == 64 or way == "whole covariances":
                yield row(way, number, find(table, x))


def main() -> None:
    """Compares, prints, writes."""
    torch.set_num_threads(1)
    rows = []
    for name in UNITS:
        for row in rows_of(name):
            print(row, flush=True)
            rows.append(row)

    content = {"num_tasks": 40, "seed": SEED, "rows": rows, "environment": describe_environment(seed=SEED)}
    write_text(RESULTS, json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
