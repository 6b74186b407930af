"""Claim: the modulation network needs fewer parameters a task, the more tasks it learns (supplement of the paper).

    python research/claims/networks/task_scaling.py           # adds the missing chains to the results, in four hours
    python research/claims/networks/task_scaling.py --quick   # four tasks, small; printed only

Permuted digits in groups of four similar tasks, one chain of 400 tasks a network, scored after 10, 40, 100, 200 and 400
on all tasks learned so far. Methods, rates and strengths are those of the modulation recipe, which were chosen on other
tasks and for 40 of them; nothing is chosen here.

- the hybrid (`hmn`) with 10 % of C neurons open. In tests it has no task number: from one unlabelled image the task is
  inferred by a Gaussian of each task (`inferred`) or by the nearest gate (`nearest`), or the gate is made from 20
  images without any table (`direct`, at the end of a chain).
- XdG with EWC, which needs the task number, and one ANN or SNN with EWC.
- a network for each task, of 20 to 200 neurons in each hidden layer, which needs the task number. Tasks are drawn
  from one distribution, so the first 40 stand for all.
"""

import time
from collections.abc import Mapping
from dataclasses import replace
from statistics import fmean
from typing import Any, NamedTuple

from torch import Tensor, nn

from research.claims.experiment import Results, command_of, load, main, result_file, revision, save, spread
from research.modulation.variants import VARIANTS, learn_tasks, settings_of
from spikebridge.data.tasks.tasks import TaskSplit
from spikebridge.networks.modulation import recipe as modulation
from spikebridge.networks.modulation.evaluation.inference import GivenTasks, InferredTasks
from spikebridge.networks.modulation.model.branch import Branch
from spikebridge.networks.modulation.model.gating import Gating
from spikebridge.networks.modulation.model.task_inference import GaussianPrototypes
from spikebridge.networks.modulation.training.tasks import TaskSequence
from spikebridge.networks.modulation.training.trial import build_branch
from spikebridge.networks.modulation.training.units import make_gating, task_gates, task_prototypes
from spikebridge.training.continual.regularizer import default_logits
from spikebridge.training.continual.task import accuracy

NAME = "task_scaling"
COUNTS = (10, 40, 100, 200, 400)
NUM_DIRECT = 20
SINGLE = (200, 50, 20)


class Chain(NamedTuple):
    """A network on a chain of tasks; `width` is C of a gated network, else the neurons of each hidden layer."""

    method: str
    width: int
    tasks: int
    seed: int

    @property
    def key(self) -> str:
        """The name of the chain in the results."""
        return f"{self.method}, {self.width} wide, {self.tasks} tasks, seed {self.seed}"


RIVALS = (("ann_ewc", 400, 100), ("snn_ewc", 400, 40), ("xdg_ewc", 2000, 100))
SEEDS = range(3)
# cheap chains and those of the goal come first, so that a stopped run has whole comparisons
PLAN = [
    *(Chain("single", width, 40, seed) for width in SINGLE for seed in SEEDS),
    *(Chain("hmn", width, 400, seed) for width in (2000, 1000, 500) for seed in SEEDS),
    *(Chain(method, width, tasks, seed) for method, width, tasks in RIVALS for seed in SEEDS),
    Chain("xdg_ewc", 2000, 400, 0),
]


def sequence_of(chain: Chain, config: modulation.Config) -> TaskSequence:
    """The first tasks of the seed's sequence, with which every chain of the seed begins."""
    return _first(modulation.task_sequence(config, chain.seed, *modulation.recordings(config)), chain.tasks)


def _first(sequence: TaskSequence, number: int) -> TaskSequence:
    prior, seen, unseen = sequence.split
    end = sequence.numbers[number - 1]
    return sequence._replace(split=TaskSplit(prior, seen[seen <= end], unseen[unseen <= end]))


def learn(chain: Chain, config: modulation.Config, counts: tuple[int, ...], keep: Any) -> dict[str, Any]:
    """Trains a chain and scores it after each number of tasks; `keep` gets each intermediate result."""
    size = {"num_plain": chain.width, "num_hidden": chain.width}
    if chain.method == "single":
        size["num_hidden"] = round(chain.width / config.network.rho)

    config = replace(config, network=replace(config.network, **size))
    settings = settings_of(config, chain.method, chain.seed)
    sequence = sequence_of(chain, config)
    start = time.process_time()
    gating = make_gating(settings, sequence)[0] if settings.method.has_unit else None
    gates = None if chain.method == "single" else task_gates(settings, sequence, gating)
    prototypes = None if gating is None else task_prototypes(gating, sequence)

    result: dict[str, Any] = {
        "chain": chain._asdict(),
        "by_count": {},
        "cpu_s": 0.0,
        "finished": False,
        "git_revision": revision(),
        "parameters": {
            "network": sum(parameter.numel() for parameter in build_branch(settings).parameters()),
            "backbone": 0 if gating is None else sum(parameter.numel() for parameter in gating.parameters()),
            "table_a_task": 0 if gates is None else sum(layer.shape[1] for layer in gates) / 32,
            "prototype_a_task": 0 if prototypes is None else prototypes.num_values / len(prototypes),
            "while_learning": 2 if settings.method.has_ewc else 0,
        },
    }

    def measure(branch: nn.Module, learned: int) -> Mapping[str, float]:
        if learned not in counts:
            return {}

        row = scores(branch, _first(sequence, learned), gates, gating, prototypes, learned == chain.tasks)
        result["by_count"][str(learned)] = {name: round(value, 4) for name, value in row.items()}
        result["cpu_s"] = round(time.process_time() - start, 1)
        print(chain.key, learned, row, result["cpu_s"], flush=True)
        keep(result)

        return row

    if chain.method == "single":
        trial = VARIANTS["single"].learn(settings, sequence, None)
    else:
        trial = learn_tasks(settings, sequence, gating=gating, gates=gates, test_all_after=(), measure=measure)

    R = trial.result.accuracies
    # accuracy of each task right after it is learned
    learned = R.diagonal(-1)
    if chain.method == "single":
        result["by_count"][str(chain.tasks)] = {"given": round(float(learned.mean()), 4)}

    result["just_learnt"] = [round(float(part.mean()), 4) for part in learned.split(20)]
    # accuracy of each task right before it is learned, where a task of its group is learned
    similar = [j for j in range(1, chain.tasks) if sequence.group[j] in sequence.group[:j]]
    result["transfer"] = [round(float(R[j, j]), 4) for j in similar]
    result["seconds_a_task"] = round(fmean(trial.result.seconds), 3)
    result["cpu_s"] = round(time.process_time() - start, 1)
    result["finished"] = True

    return result


def scores(
    branch: nn.Module,
    sequence: TaskSequence,
    gates: list[Tensor] | None,
    gating: Gating | None,
    prototypes: GaussianPrototypes | None,
    is_last: bool,
) -> dict[str, float]:
    """Accuracy on all tasks so far in each mode; gates are made from images only at the end of a chain."""
    number = len(sequence.numbers)
    if gates is None or not isinstance(branch, Branch):
        return {"given": fmean(accuracy(branch, task.test, forward=_logits) for task in sequence.tasks())}

    learned = [layer[:number] for layer in gates]
    if gating is None or prototypes is None:
        return {"given": GivenTasks(branch, learned, sequence).given()}

    table = GaussianPrototypes(prototypes.means[:number], prototypes.covariances[:number])
    modes = InferredTasks(branch, learned, sequence, gating, table)
    row = {"given": modes.given(), "inferred": modes.inferred().accuracy, "nearest": modes.nearest_gate().accuracy}

    return row | {"direct": modes.direct(NUM_DIRECT)} if is_last else row


def _logits(module: nn.Module, x: Tensor, quantities: Mapping[str, Any]) -> Tensor:
    return default_logits(module, x.unsqueeze(0), quantities)


def stored(parameters: Mapping[str, float], method: str, mode: str, tasks: int) -> float:
    """Stored numbers after some tasks; a table of gates counts as words of 32 bits."""
    if method == "single":
        return tasks * parameters["network"]

    fixed = parameters["network"] + parameters["backbone"]
    if mode == "direct":
        return fixed

    table = tasks * parameters["table_a_task"]
    return fixed + table + (tasks * parameters["prototype_a_task"] if mode == "inferred" else 0)


def rows_of(chains: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each method, width, number of tasks and mode, with the spread over seeds."""
    values: dict[tuple[str, int, int, str], list[float]] = {}
    sizes: dict[tuple[str, int], dict[str, float]] = {}

    for result in chains:
        method = result["chain"]["method"]
        width = result["chain"]["width"]
        sizes[method, width] = result["parameters"]

        for count, scores in result["by_count"].items():
            for mode, value in scores.items():
                values.setdefault((method, width, int(count), mode), []).append(value)

    return [
        {
            "method": method,
            "width": width,
            "tasks": tasks,
            "mode": mode,
            "accuracy": spread(accuracies),
            "stored": round(stored(sizes[method, width], method, mode, tasks)),
        }
        for (method, width, tasks, mode), accuracies in sorted(values.items())
    ]


def summary(chains: list[dict[str, Any]], planned: int) -> Results:
    """The results of all chains so far; a stopped chain has scores up to where it was stopped."""
    return {
        "rows": rows_of(chains),
        "chains": chains,
        "finished": sum(chain["finished"] for chain in chains),
        "planned": planned,
        "cpu_s_of_all_chains": round(sum(chain["cpu_s"] for chain in chains)),
        "command": command_of(NAME),
    }


def run(quick: bool) -> Results:
    """The results of all chains; a stopped run resumes with the missing chains, each from its first task."""
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

    results: dict[str, dict[str, Any]] = {}
    if not quick and result_file(NAME).exists():
        results = {Chain(**result["chain"]).key: result for result in load(NAME)["chains"]}

    def keep(result: dict[str, Any]) -> None:
        results[Chain(**result["chain"]).key] = result
        if not quick:
            save(NAME, summary(list(results.values()), len(plan)))

    for chain in plan:
        if not results.get(chain.key, {}).get("finished"):
            keep(learn(chain, config, counts, keep))

    return summary(list(results.values()), len(plan))


if __name__ == "__main__":
    main(NAME, __doc__, run)
