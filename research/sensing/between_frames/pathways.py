"""The sensing network on the real recording: every protocol beside the baselines, ablation, cost, and the targets.

    python research/sensing/between_frames/pathways.py  # every cell, or what is missing of them
    python research/sensing/between_frames/pathways.py --out RUNS --cells main cost     # some of them
    python research/sensing/between_frames/pathways.py --out RUNS --detector-from RUN  # detectors of another run
    python research/sensing/between_frames/pathways.py --out RUNS --pathways-from RUN  # all else of another run

Trainings are the cells of a sweep in the folder `trainings` and resume where they were stopped; after each cell,
results/sensing.json is written from all that is finished. It needs the recording of FE240hz (and clips of OTB and VOT)
in SPIKEBRIDGE_DATA. Settings were chosen on the validation frames.

| cell | what it trains | seeds |
|---|---|---|
| main | the networks that are shipped, on the real recording, generated scenes and clips | 3 |
| generated | on generated scenes alone; measured on the real recording | 1 |
| left_out | on the real recording alone; measured on generated scenes | 1 |
| ablation | unit, form, prior, memory (`variants/recipe.py`); some at 10 frames a second too | 3 |
| ten_hertz | nothing: A on every fourth frame, of the networks of `main` | |
| closed_loop | nothing: C, of the networks of `main` | |
| late | nothing: E at the rates of the paper's chip, of the networks of `main`, beside their own ANN alone | |
| slow_loops | nothing: C with fewer frames, of the networks of `main`, beside their own ANN alone | |
| unseen | nothing: A on recordings made of the test part, mirrored and turned, of the networks of `main` | |
| protocols | nothing: B, D and E, and a Kalman filter, of the first network of `main` | |
| cost | nothing: operations, energy, time and memory of that network | |
| training | `quick`, `default`, and `shipped` for an epoch, in processes of their own: time and memory | 1 |
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from research.sensing.baselines.evaluate import evaluate
from research.sensing.between_frames import cost as sensing_cost
from research.sensing.between_frames import memory as sensing_memory
from research.sensing.between_frames import training as sensing_training
from research.sensing.between_frames.targets import ALONE, beside_targets
from research.sensing.between_frames.unseen_recording import PIECES, write
from research.sensing.variants import recipe as variants
from spikebridge.data.catalog import find_files
from spikebridge.data.io.atomic import write_text
from spikebridge.networks.sensing import data as sensing_parts
from spikebridge.networks.sensing import recipe as sensing
from spikebridge.networks.sensing.evaluation import benchmark as sensing_scores
from spikebridge.networks.sensing.recipe import Config, Evaluation
from spikebridge.networks.sensing.training.phases import DetectorTraining, PathwayTraining
from spikebridge.recipes import train_all
from spikebridge.training import Run

RESULTS = Path(__file__).parent / "results" / "pathways.json"
RUNS = Path("runs") / "research" / "sensing"
BASELINES = "hold,constant_velocity,kalman"
CONFIGS = {
    "main": replace(sensing.PRESETS["shipped"], num_seeds=3),
    "generated": Config(
        recording="generated", num_scenes=24, pathways=PathwayTraining(epochs=4), detector=DetectorTraining(epochs=0)
    ),
    "left_out": Config(recording="real", detector=DetectorTraining(epochs=0)),
    "ablation": variants.PRESETS["ablation of the real recording"],
}
AT_TEN_HERTZ = ("learned", "fixed", "none", "memoryless")  # of the networks of `ablation`
FIGURES = ("mean_distance_px", "auc", "precision_3px", "precision_5px", "precision_20px", "miou", "lost_share")


def asked(run: Run, data: Path | None = None, baselines: str = BASELINES, **options: Any) -> dict[str, Any]:
    """An evaluation with the baselines, on the test part of the real recording or on all of another one."""
    where: dict[str, Any] = {} if data else {"split": "test", "recording": "FE240hz_star_motion_0"}
    recipe = sensing if run.recipe == "sensing" else variants
    found = evaluate(run, data, Evaluation(baselines=baselines, **where, **options), recipe.tracker)
    more = ("by_every", "by_frame_rate", "by_speed")

    def figures(one: dict[str, Any]) -> dict[str, Any]:
        distances = [bin_["mean_distance_px"] for bin_ in one["per_bin"]]
        return {name: one[name] for name in (*FIGURES, *more) if name in one} | {"distance by bin": distances}

    return {
        "options": options,
        "offsets": found["offsets"],
        **figures(found),
        "baselines": {name: figures(one) for name, one in found["baselines"].items()},
    }


def protocols(out: Path) -> dict[str, Any]:
    """A beside a filter too, B, D and E."""
    run = main_run(out)
    return {
        "A": asked(run, protocol="A"),
        "A shaken 1 px": asked(run, protocol="A", box_noise=1.0),
        "B": asked(run, protocol="B"),
        "D": asked(run, protocol="D"),
        "E measured": asked(run, protocol="E"),
        "E tianjic": asked(run, protocol="E", latency="tianjic"),
    }


def of_seeds(out: Path, **options: Any) -> dict[str, Any]:
    """A question put to each network of `main`, and the mean of the answers."""
    run = main_run(out)
    found = [asked(run, **options, weights_seed=seed) for seed in seeds(run.config_as(Config))]
    distances, shares = ([one[name] for one in found] for name in ("mean_distance_px", "auc"))
    row: dict[str, Any] = {"tracker": "learned", "distance px": round(fmean(distances), 3)}
    row |= {"sd": round(stdev(distances), 3), "auc": round(fmean(shares), 3), "sd of auc": round(stdev(shares), 3)}

    return {"trackers": [row], "seeds": found}


def ten_hertz(out: Path) -> dict[str, Any]:
    """A on every fourth frame."""
    return of_seeds(out, protocol="A", keep_every=4)


def closed_loop(out: Path) -> dict[str, Any]:
    """C."""
    return of_seeds(out, protocol="C")


def late(out: Path) -> dict[str, Any]:
    """E at the rates of the paper's chip, beside each network's own ANN in frames alone."""
    return beside_the_ann(out, protocol="E", latency="tianjic")


def slow_loops(out: Path) -> dict[str, Any]:
    """C with every frame, and each second, fourth and eighth, beside each network's own ANN in frames alone."""
    return {str(keep): beside_the_ann(out, protocol="C", keep_every=keep) for keep in (1, 2, 4, 8)}


def beside_the_ann(out: Path, **options: Any) -> dict[str, Any]:
    """A question put to each network of `main` and to its ANN, and the mean of the answers."""
    run = main_run(out)
    options["baselines"] = ",".join(ALONE)
    found = [asked(run, **options, weights_seed=seed) for seed in seeds(run.config_as(Config))]
    everyone = {"learned": found, **{name: [one["baselines"][name] for one in found] for name in ALONE}}
    rows = [
        {"tracker": name, "auc": round(fmean(aucs), 3), "sd of auc": round(stdev(aucs), 3)}
        for name, aucs in ((name, [one["auc"] for one in rows]) for name, rows in everyone.items())
    ]

    return {"trackers": rows, "seeds": found}


def unseen(out: Path) -> dict[str, Any]:
    """A on every frame of recordings made of the test part, whose offsets `eval` has to find."""
    run = main_run(out)
    source = find_files("fe240hz")[0].parent
    found = []

    with tempfile.TemporaryDirectory() as made:
        for name, piece in PIECES.items():
            write(source, Path(made) / name, piece)
            found += [
                {"piece": name, **asked(run, Path(made) / name, protocol="A", weights_seed=seed)}
                for seed in seeds(run.config_as(Config))
            ]

    everyone = {"learned": found, **{name: [one["baselines"][name] for one in found] for name in found[0]["baselines"]}}
    rows = [
        {"tracker": name, "distance px": round(fmean(one["mean_distance_px"] for one in rows), 3)}
        for name, rows in everyone.items()
    ]

    return {"trackers": rows, "seeds": found}


def on_real(run: Run, config: Config) -> dict[str, Any]:
    """A on a recording of a kind that no training has seen."""
    return {"A": asked(run, protocol="A")}


def on_generated(run: Run, config: Config) -> dict[str, Any]:
    """A on generated scenes that no training has seen."""
    scored = sensing_parts.generated_parts("test", 4)
    scores = [sensing_scores.score(sensing.tracker(run, seed=seed), scored) for seed in seeds(config)]
    return {"trackers": sensing_scores.compare({"learned": scores}, scored)["trackers"]}


def where_frames_are_rare(run: Run, config: Config) -> dict[str, Any]:
    """A on every fourth frame: what the unit is worth where no frame helps for long."""
    rows = []
    for name in AT_TEN_HERTZ:
        asks = [asked(run, protocol="A", keep_every=4, network=name, weights_seed=seed) for seed in seeds(config)]
        distances = [one["mean_distance_px"] for one in asks]
        rows.append({"tracker": name, "distance px": round(fmean(distances), 3), "sd": round(stdev(distances), 3)})

    return {"at 10 Hz": rows}


def nothing_more(run: Run, config: Config) -> dict[str, Any]:
    """Nothing but the results of the training."""
    return {}


MORE: dict[str, Callable[[Run, Config], dict[str, Any]]] = {
    "main": nothing_more,
    "generated": on_real,
    "left_out": on_generated,
    "ablation": where_frames_are_rare,
}


def seeds(config: Config) -> range:
    """The seeds of a training."""
    return range(config.seed, config.seed + config.num_seeds)


def main_run(out: Path) -> Run:
    """The training of the networks that are shipped."""
    return Run.open(out / "trainings" / "cells" / "main")


def trainings(names: Sequence[str], detector: str, pathways: str) -> dict[str, Config]:
    """Settings of the cells that train; the detector, or all but the detector, may come from another run."""
    found = {}
    for name in names:
        config = CONFIGS[name]
        # a cell without a detector has none to load
        if config.detector.epochs:
            config = replace(
                config,
                detector=replace(config.detector, weights_from=detector),
                pathways=replace(config.pathways, weights_from=pathways),
            )

        found[name] = config

    return found


def measured(name: str, run: Run) -> dict[str, Any]:
    """The figures of a training, measured now or before."""
    # kept in the run's folder: some of these take longer than the training
    kept = run.path / "more.json"
    results = run.results()
    if not kept.exists():
        found = MORE[name](run, run.config_as(type(CONFIGS[name])))
        write_text(kept, json.dumps(found))

    child = next(iter(run.children().values()))
    made = {"config": run.config, "environment": child.environment()}

    return {**made, **results, **json.loads(kept.read_text())}


def apart(program: str) -> dict[str, Any]:
    """The output of a small process: the system counts the memory of this one as that of all that it starts."""
    printed = subprocess.run([sys.executable, program], check=True, stdout=subprocess.PIPE).stdout
    found: dict[str, Any] = json.loads(printed)
    return found


MEASURED: dict[str, Callable[[Path], dict[str, Any]]] = {
    "protocols": protocols,
    "ten_hertz": ten_hertz,
    "closed_loop": closed_loop,
    "late": late,
    "slow_loops": slow_loops,
    "unseen": unseen,
    "cost": lambda out: sensing_cost.cost(main_run(out)),
    "training": lambda out: apart(sensing_training.__file__),
    "memory": lambda out: apart(sensing_memory.__file__),
}


def main() -> None:
    """Trains and measures what is missing, and writes the figures after each cell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RUNS)
    everything = [*CONFIGS, *MEASURED]
    parser.add_argument("--cells", nargs="+", choices=everything, default=everything)
    parser.add_argument("--detector-from", default="")
    parser.add_argument("--pathways-from", default="")
    parser.add_argument("--workers", type=int, default=1, help="trainings at a time")
    arguments = parser.parse_args()
    names = [name for name in arguments.cells if name in CONFIGS]
    configs = trainings(names, arguments.detector_from, arguments.pathways_from)
    ablation = {name: config for name, config in configs.items() if isinstance(config, variants.Config)}
    usual = {name: config for name, config in configs.items() if name not in ablation}
    runs = train_all("sensing", usual, arguments.out / "trainings", workers=arguments.workers)
    runs |= train_all(variants.__file__, ablation, arguments.out / "ablation", workers=arguments.workers)

    for name in arguments.cells:
        written = json.loads(RESULTS.read_text())["cells"] if RESULTS.exists() else {}
        found = measured(name, runs[name]) if name in runs else MEASURED[name](arguments.out)
        cells = {**written, name: found}
        content = {"targets": beside_targets(cells), "cells": cells}
        write_text(RESULTS, json.dumps(content, indent=2, ensure_ascii=False) + "\n")

    for row in json.loads(RESULTS.read_text())["targets"]:
        print(row)


if __name__ == "__main__":
    main()
