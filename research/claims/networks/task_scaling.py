"""Claim: the modulation network needs the fewer parameters a task, the more tasks it learns (supplement of the paper).

    python research/claims/networks/task_scaling.py           # adds what is missing to the result, in four hours
    python research/claims/networks/task_scaling.py --quick   # four tasks, small; printed only

Permuted digits in groups of four similar tasks, one chain of 400 tasks a network, scored after 10, 40, 100, 200 and 400
on all tasks learned so far. Methods, rates and strengths are those of the modulation recipe, which were chosen on other
tasks and for 40 of them; nothing is chosen here.

- the hybrid (`hmn`) with 10 % of C neurons open; at test time no task number: from one unlabelled image the task is
  inferred by a Gaussian of each task (`inferred`) or by the nearest gate (`nearest`), or the gate is made from 20
  images without any table (`direct`, at the end of a chain).
- XdG with EWC, which needs the task number, and one ANN or SNN with EWC.
- a network a task of 20 to 200 neurons in each hidden layer, which needs the task number; tasks are drawn alike, so
  the first 40 stand for all.
"""

import time
from collections.abc import Mapping
from dataclasses import replace
from statistics import fmean
from typing import Any, NamedTuple

import torch
from torch import nn

from research.claims.experiment import Results, command_of, load, main, result_file, revision, save, spread
from spikebridge.data.tasks.tasks import TaskSplit
from spikebridge.networks.modulation import recipe as modulation
from spikebridge.networks.modulation.evaluation.inference import InferenceModes
from spikebridge.networks.modulation.model.branch import Branch
from spikebridge.networks.modulation.model.task_inference import GaussianPrototypes
from spikebridge.networks.modulation.training.gates import (
    build_gating,
    task_gates,
    task_prototypes,
    train_gating,
)
from spikebridge.networks.modulation.training.tasks import TaskSequence
from spikebridge.networks.modulation.training.trial import build_branch, run_trial
from spikebridge.training.continual.regularizer import default_logits
from spikebridge.training.continual.task import accuracy

NAME = "task_scaling"
COUNTS = (10, 40, 100, 200, 400)
NUM_DIRECT = 20
SINGLE = (200, 50, 20)


class Chain(NamedTuple):
    """A network on a chain of tasks: `width` is C of a gated network, else the neurons of each hidden layer."""

    method: str
    width: int
    tasks: int
    seed: int

    @property
    def key(self) -> str:
        """Its name in the results."""
        return f"{self.method}, {self.width} wide, {self.tasks} tasks, seed {self.seed}"


RIVALS = (("ann_ewc", 400, 100), ("snn_ewc", 400, 40), ("xdg_ewc", 2000, 100))
SEEDS = range(3)
# cheap chains and those of the goal first: a run that is stopped has whole comparisons
PLAN = [
    *(Chain("single", width, 40, seed) for width in SINGLE for seed in SEEDS),
    *(Chain("hmn", width, 400, seed) for width in (2000, 1000, 500) for seed in SEEDS),
    *(Chain(method, width, tasks, seed) for method, width, tasks in RIVALS for seed in SEEDS),
    Chain("xdg_ewc", 2000, 400, 0),
]


def sequence_of(chain: Chain, config: modulation.Config) -> TaskSequence:
    """The first tasks of the seed's sequence: every chain of a seed begins with the same tasks."""
    return _first(modulation.task_sequence(config, chain.seed, *modulation.recordings(config)), chain.tasks)


def _first(sequence: TaskSequence, number: int) -> TaskSequence:
    prior, seen, unseen = sequence.split
    end = sequence.numbers[number - 1]
    return sequence._replace(split=TaskSplit(prior, seen[seen <= end], unseen[unseen <= end]))


def learn(chain: Chain, config: modulation.Config, counts: tuple[int, ...], keep: Any) -> dict[str, Any]:
    """Trains a chain and scores it after each number of tasks; `keep` gets what is known so far."""
    size = {"num_plain": chain.width, "num_hidden": chain.width}
    if chain.method == "single":
        size["num_hidden"] = round(chain.width / config.network.rho)

    config = replace(config, network=replace(config.network, **size))
    settings = replace(config.trial(chain.method, chain.seed), test_all_after=())
    sequence = sequence_of(chain, config)
    began = time.process_time()
    gating = None

    if settings.method.has_unit:
        gating = build_gating(settings, sequence)
        train_gating(gating, settings, sequence, None, quiet=True)
        gating.eval()

    gates = task_gates(settings, sequence, gating)
    prototypes = None if gating is None else task_prototypes(gating, sequence)
    found: dict[str, Any] = {"chain": chain._asdict(), "by_count": {}, "cpu_s": 0.0, "finished": False}
    found["git_revision"] = revision()

    found["parameters"] = {
        "network": sum(parameter.numel() for parameter in build_branch(settings, sequence).parameters()),
        "backbone": 0 if gating is None else sum(parameter.numel() for parameter in gating.parameters()),
        "table_a_task": 0 if gates is None else sum(layer.shape[1] for layer in gates) / 32,
        "prototype_a_task": 0 if prototypes is None else prototypes.num_values / len(prototypes),
        "while_learning": 2 if settings.method.regularizer == "ewc" else 0,
    }

    def measure(branch: nn.Module, learned: int) -> Mapping[str, float]:
        if learned not in counts:
            return {}

        shown = _first(sequence, learned)
        if gates is None or not isinstance(branch, Branch):
            hits = [accuracy(branch, task.test, forward=_logits) for task in shown.tasks()]
            row = {"given": fmean(hits)}
        else:
            table = (
                None
                if prototypes is None
                else GaussianPrototypes(prototypes.means[:learned], prototypes.covariances[:learned])
            )

            modes = InferenceModes(branch, [layer[:learned] for layer in gates], shown, gating, table)
            row = {"given": modes.given()}
            if table is not None:
                row["inferred"], row["nearest"] = modes.inferred().accuracy, modes.nearest_gate().accuracy

            if table is not None and learned == chain.tasks:
                row["direct"] = modes.direct(NUM_DIRECT)

        found["by_count"][str(learned)] = {name: round(value, 4) for name, value in row.items()}
        found["cpu_s"] = round(time.process_time() - began, 1)
        print(chain.key, learned, row, found["cpu_s"], flush=True)
        keep(found)

        return row

    trial = run_trial(settings, sequence, quiet=True, gating=gating, measure=measure)
    R = trial.result.accuracies
    learnt = R.diagonal(-1)
    if settings.method.one_network_a_task:
        found["by_count"][str(chain.tasks)] = {"given": round(float(learnt.mean()), 4)}

    found["just_learnt"] = [round(float(part.mean()), 4) for part in learnt.split(20)]
    mates = [j for j in range(1, chain.tasks) if sequence.group[j] in sequence.group[:j]]
    found["transfer"] = [round(float(R[j, j]), 4) for j in mates]
    found["seconds_a_task"] = round(fmean(trial.result.seconds), 3)
    found["cpu_s"] = round(time.process_time() - began, 1)
    found["finished"] = True

    return found


def _logits(module: nn.Module, x: torch.Tensor, quantities: Mapping[str, Any]) -> torch.Tensor:
    return default_logits(module, x if x.ndim == 3 else x.unsqueeze(0), quantities)


def stored(parameters: Mapping[str, float], method: str, mode: str, tasks: int) -> float:
    """Numbers that are stored after some tasks; a table of gates counts as words of 32 bits."""
    if method == "single":
        return tasks * parameters["network"]

    fixed = parameters["network"] + parameters["backbone"]
    if mode == "direct":
        return fixed

    table = tasks * parameters["table_a_task"]
    return fixed + table + (tasks * parameters["prototype_a_task"] if mode == "inferred" else 0)


def rows_of(chains: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row a method, width, number of tasks and mode, with the spread over seeds."""
    values: dict[tuple[str, int, int, str], list[float]] = {}
    sizes: dict[tuple[str, int], dict[str, float]] = {}

    for one in chains:
        method = one["chain"]["method"]
        width = one["chain"]["width"]
        sizes[method, width] = one["parameters"]

        for count, scores in one["by_count"].items():
            for mode, value in scores.items():
                values.setdefault((method, width, int(count), mode), []).append(value)

    return [
        {
            "method": method,
            "width": width,
            "tasks": tasks,
            "mode": mode,
            "accuracy": spread(found),
            "stored": round(stored(sizes[method, width], method, mode, tasks)),
        }
        for (method, width, tasks, mode), found in sorted(values.items())
    ]


def summary(chains: list[dict[str, Any]], planned: int) -> Results:
    """The result of the chains that are there; one that was stopped has the numbers of tasks that it reached."""
    return {
        "rows": rows_of(chains),
        "chains": chains,
        "finished": sum(one["finished"] for one in chains),
        "planned": planned,
        "cpu_s_of_all_chains": round(sum(one["cpu_s"] for one in chains)),
        "command": command_of(NAME),
    }


def run(quick: bool) -> Results:
    """All chains; a run that was stopped resumes with the chains that are missing, each from its first task."""
    config = modulation.Config(tasks=modulation.TaskConfig(num_tasks=400))
    plan = PLAN
    counts = COUNTS

    if quick:
        config = replace(
            config,
            data=modulation.DataConfig(num_train=100, num_test=50),
            tasks=modulation.TaskConfig(num_tasks=4, num_prior=8),
            network=modulation.BranchConfig(rho=0.2),
            units=modulation.UnitConfig(num_pairs=16),
            training=modulation.TrainingConfig(epochs=1, num_fisher=20),
        )

        methods = (("hmn", 100), ("xdg_ewc", 100), ("ann_ewc", 30), ("single", 20))
        plan = [Chain(method, width, 4, 0) for method, width in methods]
        counts = (2, 4)

    done: dict[str, dict[str, Any]] = {}
    if not quick and result_file(NAME).exists():
        done = {Chain(**one["chain"]).key: one for one in load(NAME)["chains"]}

    def keep(found: dict[str, Any]) -> None:
        done[Chain(**found["chain"]).key] = found
        if not quick:
            save(NAME, summary(list(done.values()), len(plan)))

    for chain in plan:
        if not done.get(chain.key, {}).get("finished"):
            keep(learn(chain, config, counts, keep))

    return summary(list(done.values()), len(plan))


if __name__ == "__main__":
    main(NAME, __doc__, run)
