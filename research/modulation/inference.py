"""Ways to infer the task from one unlabelled image, compared on tuning tasks.

    python research/modulation/inference.py

Digits, 40 tasks of a seed that is never reported, validation images; no branch is trained. Every way uses the
preactivations of the unit alone, with a table made from training images. Writes
research/modulation/results/inference.json.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from research.modulation.gates import projection_gating
from research.modulation.point import validation_images
from research.modulation.variants import settings_of
from spikebridge.data.io.atomic import write_text
from spikebridge.networks.modulation import GateTable, GaussianPrototypes
from spikebridge.networks.modulation import recipe as modulation
from spikebridge.networks.modulation.model.task_inference import prototype_features
from spikebridge.networks.modulation.training.units import make_gating, task_gates
from spikebridge.training.run.environment import describe_environment

RESULTS = Path(__file__).parent / "results" / "inference.json"
SEED = 1000
UNITS = ("hmn", "projection")
NEURONS = (16, 32, 64, 128)


def nearest_mean(table: list[Tensor], x: Tensor) -> Tensor:
    """The task whose mean preactivation has the highest cosine with that of an image."""
    means = torch.stack([values.mean(0) for values in table])
    return (torch.nn.functional.normalize(x) @ torch.nn.functional.normalize(means).T).argmax(1)


def diagonal(table: list[Tensor], x: Tensor) -> Tensor:
    """The likeliest task by means and variances alone."""
    prototypes = GaussianPrototypes.fit(table)
    variances = torch.stack([covariance.diagonal().diag() for covariance in prototypes.covariances])
    return GaussianPrototypes(prototypes.means, variances).infer_task(x)


def shared(table: list[Tensor], x: Tensor) -> Tensor:
    """The likeliest task by means, with the mean covariance of all tasks."""
    prototypes = GaussianPrototypes.fit(table)
    mean = prototypes.covariances.mean(0, keepdim=True).expand_as(prototypes.covariances)
    return GaussianPrototypes(prototypes.means, mean).infer_task(x)


def whole(table: list[Tensor], x: Tensor) -> Tensor:
    """The likeliest task by means and whole covariances."""
    return GaussianPrototypes.fit(table).infer_task(x)


InferenceMode = Callable[[list[Tensor], Tensor], Tensor]
WAYS: dict[str, InferenceMode] = {"nearest mean": nearest_mean, "variances": diagonal, "one covariance": shared}


def rows_of(name: str) -> Iterator[dict[str, Any]]:
    """One row a way, for the units of a method."""
    config = modulation.Config(seed=SEED, tasks=modulation.TaskConfig(num_tasks=40))
    tasks = modulation.task_sequence(config, SEED, *validation_images("digits"))
    settings = settings_of(config, name)
    gating = projection_gating(settings, tasks) if name == "projection" else make_gating(settings, tasks)[0]
    gates = task_gates(settings, tasks, gating) or []
    truth = torch.arange(len(tasks.numbers)).repeat_interleave(len(tasks.test.labels))
    group = torch.tensor(tasks.group)

    with torch.no_grad():
        everything = [gating.preactivations(tasks.test.permuted(order)) for order in tasks.permutations]
        of_training = [_first(gating.preactivations(tasks.train.permuted(order))) for order in tasks.permutations]

    of_test = [_first(preactivations) for preactivations in everything]

    def row(way: str, neurons: int, task: Tensor) -> dict[str, Any]:
        right_task = (task == truth).float().mean().item()
        right_group = (group[task] == group[truth]).float().mean().item()
        shares = {"task": round(right_task, 4), "group": round(right_group, 4)}
        return {"units": name, "way": way, "neurons": neurons, **shares}

    nearest = [GateTable(gates).infer_task(preactivations) for preactivations in everything]
    yield row("nearest gate", sum(layer.shape[1] for layer in gates), torch.cat(nearest))

    for number in NEURONS:
        table = [prototype_features(preactivations, number) for preactivations in of_training]
        x = torch.cat([prototype_features(preactivations, number) for preactivations in of_test])
        for way, find in (*WAYS.items(), ("whole covariances", whole)):
            if number == 64 or way == "whole covariances":
                yield row(way, number, find(table, x))


def _first(preactivations: list[Tensor]) -> list[Tensor]:
    """The first 64 neurons of each layer: those of all would not fit into memory."""
    return [layer[:, :64].clone() for layer in preactivations]


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
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    main()
