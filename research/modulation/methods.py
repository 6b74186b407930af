"""The table of the modulation network: methods and seeds, each cell on its own, results merged after every cell.

    python research/modulation/methods.py [--dataset digits] [--methods hmn xdg_ewc] [--seeds 0 1] [--rescore]

Digits: 40 tasks in 10 groups, every method, four seeds. MNIST, as many tasks: the methods that decide whether learned
gates pay off. These are HMN and the fixed projection (no training), both with and without shared gates, the oracle
(given the group; most transfer), XdG (given the task), both ungated networks with EWC, and the ceiling. Open20: digits
with C = 1000, 20 % open, so that as many neurons are open as in the first table. Small: digits, 12 tasks, C = 600, with
the two methods that train the whole branch for every image and would take many times as long at C = 2000.

A method with a seed is a cell of a sweep in --folder, which resumes; results are written after each, with the number of
seeds of each row. `--rescore` infers the tasks of trained networks again, after a change of the inference. Rates and
strengths were chosen on tasks of their own (tuning.py). Writes research/modulation/results/methods.json.
"""

import argparse
import json
from collections.abc import Iterator, Sequence, Sized
from dataclasses import replace
from pathlib import Path
from statistics import fmean, median
from typing import Any

import torch

from research.modulation.similarity import reshuffled_accuracies
from research.modulation.variants import PRESETS, VARIANTS, settings_of
from spikebridge.data.io.atomic import write_text
from spikebridge.networks.modulation import recipe as modulation
from spikebridge.networks.modulation.evaluation.evaluate import load_networks
from spikebridge.networks.modulation.evaluation.inference import GivenTasks, InferredTasks
from spikebridge.networks.modulation.evaluation.scores import score_inference
from spikebridge.networks.modulation.report import compare
from spikebridge.networks.modulation.training.tasks import LabelledInputs
from spikebridge.networks.modulation.training.trial import build_branch
from spikebridge.networks.modulation.training.units import build_gating, task_prototypes
from spikebridge.recipes import train_all
from spikebridge.recipes.messages import status
from spikebridge.training import Run
from spikebridge.training.run.config_io import to_plain
from spikebridge.training.run.environment import describe_environment

RESULTS = Path(__file__).parent / "results" / "methods.json"
RECIPE = Path(__file__).with_name("variants.py")
SIX = ("hmn_shared", "projection", "group_ewc", "xdg_ewc", "ann_ewc", "snn_ewc")
HYBRIDS = ("hmn", "hmn_shared")
CONFIGS = {
    "digits": PRESETS["table"],
    "mnist": replace(
        modulation.PRESETS["mnist"],
        methods=(*SIX, "hmn", "projection_shared", "single"),
        num_seeds=4,
        tasks=modulation.TaskConfig(num_tasks=40),
    ),
    "open20": replace(
        PRESETS["table"],
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
# decisive ones first, slow ones last
FIRST = ("hmn", "hmn_shared", "projection", "projection_shared", "single", "xdg_ewc", "group_ewc", "ann_ewc", "snn_ewc")
LAST = ("wide_ewc", "per_sample")
LARGE = ("unseen",)
OF_ONE_SEED = ("confusions", "task confusions", "reshuffled")
# gates of the package's own units, or of none
RESCORED = ("hmn", "hmn_shared", "projection", "projection_shared", "xdg", "xdg_ewc", "xdg_si", "group", "group_ewc")


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
    """The finished runs of each method, by seed."""
    runs: dict[str, list[Run]] = {}
    for name, seed in sorted(trials(config), key=lambda trial: (list(VARIANTS).index(trial[0]), trial[1])):
        cell = folder / "cells" / cell_name(name, seed)
        if (cell / "results.json").is_file():
            runs.setdefault(name, []).append(Run.open(cell).first_child(name))

    return runs


def targets(name: str, scores: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The targets that the table decides, with the figures of a method over the seeds that both sides have."""
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


def relative_slope(values: Sequence[float]) -> float:
    """The growth of a quantity with each task, as a share of its median: the median slope of all pairs (Theil-Sen).

    A busy machine slows down some tasks, which would move a least-squares line.
    """
    slopes = [(values[j] - values[i]) / (j - i) for i in range(len(values)) for j in range(i + 1, len(values))]
    return median(slopes) / median(values)


def _target(figure: str, measured: float, target: float, met: bool, of: Sized) -> dict[str, Any]:
    return {"figure": figure, "measured": round(measured, 4), "target": target, "met": met, "seeds": len(of)}


def rescore(config: modulation.Config, name: str, child: Run, inputs: tuple[LabelledInputs, LabelledInputs]) -> None:
    """Infers the tasks of a trained network again; its other results stay."""
    results = child.results()
    settings = settings_of(config, name, results["seed"])
    tasks = modulation.task_sequence(config, settings.seed, *inputs)
    gating = build_gating(config.network, tasks.train.inputs.shape[-1]) if settings.method.has_unit else None
    branch = build_branch(settings)
    weights = load_networks(child, branch, gating)
    gates = [weights[f"gates.{n}"].bool() for n in (0, 1)]
    modes = GivenTasks(branch, gates, tasks)

    if gating is not None:
        prototypes = task_prototypes(gating.eval(), tasks)
        modes = InferredTasks(branch, gates, tasks, gating, prototypes)
        results["memory"]["numbers a task"] = prototypes.num_values // len(prototypes)

    results["modes"] = {"given": results["modes"]["given"], **score_inference(modes, settings.seed)}
    if "reshuffled" in results:
        results["reshuffled"] = reshuffled_accuracies(modes)

    child.save_results(results)


def kept(trial: dict[str, Any], first_seed: int) -> dict[str, Any]:
    """Figures of a trial that are committed."""
    left_out = LARGE if trial["seed"] == first_seed else LARGE + OF_ONE_SEED
    return {key: value for key, value in trial.items() if key not in left_out}


def write(dataset: str, folder: Path) -> None:
    """Puts the finished cells into the results file, with the other data sets."""
    config = CONFIGS[dataset]
    scores = {name: [run.results() for run in runs] for name, runs in finished(folder, config).items()}
    content = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    planned = config.num_seeds * len(config.methods)

    content[dataset] = {
        "cells done": sum(map(len, scores.values())),
        "cells planned": planned,
        "targets": {name: targets(name, scores) for name in HYBRIDS},
        **compare(scores, {name: variant.method for name, variant in VARIANTS.items()}),
        "cells": {name: [kept(trial, config.seed) for trial in seeds] for name, seeds in scores.items()},
        "config": to_plain(config),
        "environment": describe_environment(),
    }

    write_text(RESULTS, json.dumps(content, indent=1) + "\n")


def main() -> None:
    """Runs the missing cells."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", choices=tuple(CONFIGS), default="digits")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--methods", nargs="+")
    parser.add_argument("--seeds", nargs="+", type=int)
    parser.add_argument("--rescore", action="store_true")
    options = parser.parse_args()
    config = CONFIGS[options.dataset]
    folder = options.folder or Path(f"runs/modulation-{options.dataset}")

    if options.rescore:
        torch.set_num_threads(1)
        inputs = modulation.recordings(config)
        for name, runs in finished(folder, config).items():
            if name not in RESCORED or name not in (options.methods or VARIANTS):
                continue
            for run in runs:
                rescore(config, name, run, inputs)

        write(options.dataset, folder)
        return

    def tell(line: str) -> None:
        status(line)
        write(options.dataset, folder)

    configs = {
        cell_name(name, seed): replace(config, methods=(name,), seed=seed, num_seeds=1)
        for name, seed in trials(config)
        if name in (options.methods or VARIANTS) and (options.seeds is None or seed in options.seeds)
    }

    train_all(str(RECIPE), configs, folder, workers=options.workers, progress=tell)


if __name__ == "__main__":
    main()
