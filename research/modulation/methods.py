"""The table of the modulation recipe: methods and seeds, each cell on its own, results merged after every cell.

    python research/modulation/methods.py [--dataset digits] [--methods hmn xdg_ewc] [--seeds 0 1] [--rescore]

Digits: 40 tasks in 10 groups, every method, four seeds. MNIST, as many tasks: the methods that decide whether learned
gates are worth it, HMN with and without shared gates beside what is known to be strong: the fixed projection (no
training), with and without them too, the oracle, given the group (most transfer), XdG (given the task), both
ungated networks with EWC (no gates), and the ceiling. Open20: digits with C = 1000, 20 % open, so that as many neurons
are open as in the first table. Small, digits, 12 tasks, C = 600: the two that train the whole branch for every picture
and take many times as long at C = 2000, beside those they are held against.
A method with a seed is a cell of a sweep in --folder, which resumes; results are written after each, with the number of
seeds of each row.
`--rescore` finds the tasks of trained networks again, where the ways to find them have changed. Rates and strengths
were chosen on tasks of their own (modulation_tuning.py). Writes research/modulation/results/methods.json.
"""

import argparse
import json
from collections.abc import Iterator, Sized
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from spikebridge.data.io.atomic import write_text
from spikebridge.networks.modulation import recipe as modulation
from spikebridge.networks.modulation.evaluation.evaluate import load_networks
from spikebridge.networks.modulation.evaluation.inference import InferenceModes
from spikebridge.networks.modulation.evaluation.scores import relative_slope, score_inference, score_reshuffled
from spikebridge.networks.modulation.report import compare
from spikebridge.networks.modulation.training.gates import build_gating, task_prototypes
from spikebridge.networks.modulation.training.methods import METHODS
from spikebridge.networks.modulation.training.tasks import LabelledInputs
from spikebridge.networks.modulation.training.trial import build_branch
from spikebridge.recipes import train_all
from spikebridge.recipes.messages import status
from spikebridge.training import Run
from spikebridge.training.run.config_io import to_plain
from spikebridge.training.run.environment import describe_environment

RESULTS = Path(__file__).parent / "results" / "methods.json"
SIX = ("hmn_shared", "projection", "group_ewc", "xdg_ewc", "ann_ewc", "snn_ewc")
OURS = ("hmn", "hmn_shared")
CONFIGS = {
    "digits": modulation.PRESETS["table"],
    "mnist": replace(
        modulation.PRESETS["mnist"],
        methods=(*SIX, "hmn", "projection_shared", "single"),
        num_seeds=4,
        tasks=modulation.TaskConfig(num_tasks=40),
    ),
    "open20": replace(
        modulation.PRESETS["table"],
        methods=("hmn", "hmn_shared", "projection", "xdg_ewc", "group_ewc", "single"),
        network=modulation.BranchConfig(num_hidden=1000, rho=0.2),
    ),
    "small": modulation.Config(
        methods=("hmn", "per_sample", "snn_ewc", "wide_ewc", "single"),
        num_seeds=4,
        tasks=modulation.TaskConfig(num_tasks=12),
        network=modulation.BranchConfig(num_hidden=600),
    ),
}
# those that decide come first, the slow ones last
FIRST = ("hmn", "hmn_shared", "projection", "projection_shared", "single", "xdg_ewc", "group_ewc", "ann_ewc", "snn_ewc")
LAST = ("wide_ewc", "per_sample")
LARGE = ("matrix", "representation", "seen", "unseen")
OF_ONE_SEED = ("confusions", "task confusions", "cost", "reshuffled")


def trials(config: modulation.Config) -> Iterator[tuple[str, int]]:
    """Methods and seeds in the order of their turn."""
    seeds = range(config.seed, config.seed + config.num_seeds)
    others = [name for name in config.methods if name not in (*FIRST, *LAST)]
    for names in (FIRST, others, LAST):
        yield from ((name, seed) for seed in seeds for name in names if name in config.methods)


def cell_name(name: str, seed: int) -> str:
    """The name of a method with a seed among the cells."""
    return f"{name}-seed-{seed}"


def finished(folder: Path, config: modulation.Config) -> dict[str, list[Run]]:
    """What is trained of each method, by seed."""
    found: dict[str, list[Run]] = {}
    for name, seed in sorted(trials(config), key=lambda trial: (list(METHODS).index(trial[0]), trial[1])):
        cell = folder / "cells" / cell_name(name, seed)
        if (cell / "results.json").is_file():
            found.setdefault(name, []).append(Run.open(cell).first_child(name))

    return found


def targets(name: str, scores: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The targets that the table decides, with what was measured of a method over the seeds that both sides have."""
    if name not in scores:
        return []

    def both(rival: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        theirs = {trial["seed"]: trial for trial in scores.get(rival, ())}
        return [(ours, theirs[ours["seed"]]) for ours in scores[name] if ours["seed"] in theirs]

    rows: list[dict[str, Any]] = []
    if pairs := both("single"):
        gap = 100 * fmean(their["acc"] - our["modes"]["inferred"]["1"]["accuracy"] for our, their in pairs)
        rows.append(_target("points below the ceiling, task from one picture", gap, 1.0, gap <= 1.0, pairs))

    if pairs := both("xdg_ewc"):
        ratio = fmean(our["transfer"] for our, _ in pairs) / fmean(their["transfer"] for _, their in pairs)
        rows.append(_target("transfer, times that of XdG at equal opening", ratio, 2.0, ratio >= 2, pairs))

    for rival in ("projection", "projection_shared", "group_ewc", "ann_ewc"):
        if pairs := both(rival):
            gap = fmean(our["acc"] + our["transfer"] - their["acc"] - their["transfer"] for our, their in pairs)
            rows.append(_target(f"ACC + transfer, above {rival}", gap, 0.0, gap >= 0, pairs))

    trials = scores[name]
    slope = 100 * fmean(relative_slope(trial["seconds"]) for trial in trials)
    rows.append(_target("growth of seconds a task [%]", slope, 1.0, abs(slope) < 1, trials))
    drop = 100 * fmean(trial["just_learnt_first"] - trial["just_learnt_last"] for trial in trials)
    rows.append(_target("just learnt, first four above last four [points]", drop, 2.0, drop <= 2, trials))

    return rows


def _target(figure: str, measured: float, target: float, met: bool, of: Sized) -> dict[str, Any]:
    return {"figure": figure, "measured": round(measured, 4), "target": target, "met": met, "seeds": len(of)}


def rescore(config: modulation.Config, name: str, child: Run, shown: tuple[LabelledInputs, LabelledInputs]) -> None:
    """Finds the tasks of a trained network again; everything else of its results stays."""
    results = child.results()
    settings = config.trial(name, results["seed"])
    tasks = modulation.task_sequence(config, settings.seed, *shown)
    gating = build_gating(settings, tasks) if settings.method.has_unit else None
    branch = build_branch(settings, tasks)
    weights = load_networks(child, branch, gating)
    gates = [weights[f"gates.{n}"].bool() for n in (0, 1)]
    prototypes = None if gating is None else task_prototypes(gating.eval(), tasks)
    modes = InferenceModes(branch, gates, tasks, gating, prototypes)
    results["modes"] = {"given": results["modes"]["given"], **score_inference(modes, settings.method, settings.seed)}

    if prototypes is not None:
        results["memory"]["numbers a task"] = prototypes.num_values // len(prototypes)

    if "reshuffled" in results:
        results["reshuffled"] = score_reshuffled(modes, settings.method)

    child.save_results(results)


def kept(trial: dict[str, Any], first_seed: int) -> dict[str, Any]:
    """The figures of a trial that are committed."""
    left_out = LARGE if trial["seed"] == first_seed else LARGE + OF_ONE_SEED
    return {key: value for key, value in trial.items() if key not in left_out}


def write(dataset: str, folder: Path) -> None:
    """Puts what is there into the results file, beside the other data sets."""
    config = CONFIGS[dataset]
    scores = {name: [run.results() for run in runs] for name, runs in finished(folder, config).items()}
    content = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    planned = config.num_seeds * len(config.methods)

    content[dataset] = {
        "cells done": sum(map(len, scores.values())),
        "cells planned": planned,
        "targets": {name: targets(name, scores) for name in OURS},
        **compare(scores),
        "cells": {name: [kept(trial, config.seed) for trial in seeds] for name, seeds in scores.items()},
        "config": to_plain(config),
        "environment": describe_environment(),
    }

    write_text(RESULTS, json.dumps(content, indent=1) + "\n")


def main() -> None:
    """Runs what is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", choices=tuple(CONFIGS), default="digits")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--methods", nargs="+")
    parser.add_argument("--seeds", nargs="+", type=int)
    parser.add_argument("--rescore", action="store_true")
    words = parser.parse_args()
    config = CONFIGS[words.dataset]
    folder = words.folder or Path(f"runs/modulation-{words.dataset}")

    if words.rescore:
        torch.set_num_threads(1)
        shown = modulation.recordings(config)
        for name, runs in finished(folder, config).items():
            if METHODS[name].is_gated and not METHODS[name].per_sample and name in (words.methods or METHODS):
                for run in runs:
                    rescore(config, name, run, shown)

        write(words.dataset, folder)
        return

    def told(line: str) -> None:
        status(line)
        write(words.dataset, folder)

    configs = {
        cell_name(name, seed): replace(config, methods=(name,), seed=seed, num_seeds=1)
        for name, seed in trials(config)
        if name in (words.methods or METHODS) and (words.seeds is None or seed in words.seeds)
    }

    train_all("modulation", configs, folder, workers=words.workers, progress=told)


if __name__ == "__main__":
    main()
