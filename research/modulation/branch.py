"""Parts of the branch that keep it learning: each row differs from `default` in one part.

    python research/modulation/branch.py [--rows default original]

Digits, 20 tasks in 5 groups, two seeds, HMN's gates with EWC, at the rate and strength of `default`. Read "just learnt"
first: a network that stops learning looks like one that forgets. The last four tasks should be learnt within 2 points
of the first four. `original` is the branch of the released code with its rate and lambda, at the steps of the others. A
stopped run resumes. Writes research/modulation/results/branch.json.
"""

import argparse
import json
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from statistics import fmean
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from research.modulation.variants import learn_tasks
from spikebridge.data.io.atomic import write_text
from spikebridge.networks.modulation import Branch, BranchSettings, Gating
from spikebridge.networks.modulation import recipe as modulation
from spikebridge.networks.modulation.config import TrialSettings
from spikebridge.networks.modulation.evaluation.accuracy_matrix import continual_metrics
from spikebridge.networks.modulation.model.branch import DT
from spikebridge.networks.modulation.training.trial import build_branch, initialise_branch
from spikebridge.networks.modulation.training.units import make_gating, task_gates
from spikebridge.neurons import LIF, Rectangle
from spikebridge.training.run.environment import describe_environment

RESULTS = Path(__file__).parent / "results" / "branch.json"
CONFIG = modulation.Config(methods=("hmn",))
SEEDS = (0, 1)
POINTS = 2.0
RELEASED = modulation.TrainingConfig(lr=0.05, strength=5000.0)  # rate and lambda of the released code


@dataclass(frozen=True)
class VariantSettings(BranchSettings):
    """Settings of a branch whose parts may differ from the default."""

    bias: bool = True
    readout: Literal["integrator", "mean", "rate"] = "integrator"  # last or mean membrane, or firing rate
    surrogate_width: float = 1.0
    learn_threshold: bool = False  # one for each hidden neuron


# the released code: no leak, no bias, spiking outputs, rates as logits
ORIGINAL = VariantSettings(num_steps=10, leak=1.0, bias=False, readout="rate")
ROWS: dict[str, dict[str, Any]] = {
    "default": {},
    "no leak": {"leak": 1.0},
    "no bias": {"bias": False},
    "read-out: mean membrane": {"readout": "mean"},
    "read-out: rate": {"readout": "rate", "logit_scale": 1.0},
    "read-out: rate x 10": {"readout": "rate", "logit_scale": 10.0},
    "surrogate half as wide": {"surrogate_width": 0.5},
    "surrogate twice as wide": {"surrogate_width": 2.0},
    "learned thresholds": {"learn_threshold": True},
    "weights scaled by all neurons": {},
    "original": asdict(ORIGINAL),
}


class VariantBranch(Branch):
    """A branch with other parts."""

    GATED_AXES: ClassVar[dict[str, tuple[int, ...]]] = {
        **Branch.GATED_AXES,
        "body.layer1.v_threshold": (1,),
        "body.layer2.v_threshold": (2,),
    }

    settings: VariantSettings

    def __init__(
        self, num_inputs: int, num_hidden: tuple[int, int], num_classes: int, settings: BranchSettings
    ) -> None:
        super().__init__(num_inputs, num_hidden, num_classes, settings)
        if not self.settings.bias:
            for layer in (self.inlet, self.body.fc2, self.body.fc3):
                layer.bias = None

    def neurons(self, num_neurons: int) -> nn.Module:
        settings = self.settings
        learned = settings.learn_threshold and num_neurons > 1
        threshold = torch.full((num_neurons,), settings.v_threshold) if learned else settings.v_threshold

        return LIF(
            settings.tau,
            dt=DT,
            v_threshold=threshold,
            surrogate=Rectangle(settings.surrogate_width),
            learn=("v_threshold",) if learned else (),
        )

    def readout(self) -> nn.Module:
        return self.neurons(1) if self.settings.readout == "rate" else super().readout()

    def read(self, y: Tensor) -> Tensor:
        return super().read(y) if self.settings.readout == "integrator" else self.settings.logit_scale * y.mean(0)


def settings_of(row: str, seed: int) -> TrialSettings:
    """The settings of `default`, with the rate and lambda of the released code for `original`."""
    config = replace(CONFIG, training=RELEASED) if row == "original" else CONFIG
    return config.trial("hmn", seed)


def branch_of(row: str, settings: TrialSettings, gates: list[Tensor]) -> Branch:
    """The branch of `default` with the changes of a row, initialised."""
    plain = build_branch(settings)
    changed = replace(VariantSettings(**asdict(plain.settings)), **ROWS[row])
    branch = VariantBranch(plain.sizes[0], plain.num_hidden, plain.sizes[3], changed)
    all_neurons = row in ("original", "weights scaled by all neurons")

    return initialise_branch(branch, settings, None if all_neurons else gates)


@lru_cache(maxsize=1)
def units_of(seed: int) -> Gating:
    """The trained units of a seed, once for all rows."""
    tasks = modulation.task_sequence(CONFIG, seed, *modulation.recordings(CONFIG))
    return make_gating(CONFIG.trial("hmn", seed), tasks)[0]


def score(row: str, seed: int) -> dict[str, Any]:
    """One training."""
    tasks = modulation.task_sequence(CONFIG, seed, *modulation.recordings(CONFIG))
    settings = settings_of(row, seed)
    gating = units_of(seed)
    gates = task_gates(settings, tasks, gating) or []
    trial = learn_tasks(settings, tasks, branch=branch_of(row, settings, gates), gating=gating, gates=gates)
    metrics = continual_metrics(trial.result.accuracies, tasks.group)
    names = ("acc", "just_learnt", "just_learnt_first", "just_learnt_last", "forgetting", "transfer")
    seconds = fmean(trial.result.seconds)

    return {"seed": seed, **{key: round(getattr(metrics, key), 5) for key in names}, "s a task": round(seconds, 3)}


def table(trials: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Means over seeds, and whether new tasks are still learned."""
    rows = []
    for name, seeds in trials.items():
        mean = {key: round(fmean(seed[key] for seed in seeds), 4) for key in seeds[0] if key != "seed"}
        drop = round(100 * (mean["just_learnt_first"] - mean["just_learnt_last"]), 2)
        rows.append({"row": name, "seeds": len(seeds), **mean, "falls by": drop, "within 2": drop <= POINTS})

    return rows


def main() -> None:
    """Trains the missing rows, and writes after every training."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=tuple(ROWS), default=list(ROWS))
    rows = parser.parse_args().rows
    torch.set_num_threads(1)
    trials = json.loads(RESULTS.read_text())["cells"] if RESULTS.exists() else {}

    for seed in SEEDS:
        for row in rows:
            if seed in (trial["seed"] for trial in trials.setdefault(row, [])):
                continue

            trials[row].append(score(row, seed))
            print(row, trials[row][-1], flush=True)
            done = {name: some for name, some in trials.items() if some}
            content = {"num_tasks": CONFIG.tasks.num_tasks, "rows": table(done), "cells": done}
            write_text(RESULTS, json.dumps({**content, "environment": describe_environment()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
