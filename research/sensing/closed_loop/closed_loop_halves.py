"""Detectors in closed loops: trained on one half of the recording before its test part, evaluated on the other half.

    python research/sensing/closed_loop/closed_loop_halves.py  # what is missing; 50 minutes of one core

The validation part is short, and looks like the frames before it that are trained on; half a recording away the target
has turned and the light is another. Loops begin at every 21st frame of the half that was not seen and go to its end,
forwards and backwards in time. All but the detector is shipped. It needs the recording of FE240hz and the clips of OTB
and VOT in SPIKEBRIDGE_DATA.

A loop holds if errors shrink. So of a predicted box that is a quarter too large, or a quarter of its size beside the
target, as it was in the frame before already, it is also measured how much one look leaves: at 1 the detector returns
the box that it was given, and errors accumulate.
"""

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch

from research.sensing.between_frames.errors_left import errors_left
from research.sensing.closed_loop.closed_loops import backwards, cut, loops
from spikebridge.data.io.atomic import write_text
from spikebridge.data.recordings.recording import Recording
from spikebridge.networks.sensing import data as sensing_parts
from spikebridge.networks.sensing import recipe as sensing
from spikebridge.networks.sensing.evaluation.runner import join_results
from spikebridge.networks.sensing.training.datasets import detector_data
from spikebridge.networks.sensing.training.phases import BATCH_SIZE, load_part
from spikebridge.pretrained import shipped_run
from spikebridge.training import Run, Settings, fit

RESULTS = Path(__file__).parent / "results" / "closed_loop_halves.json"
RUNS = Path("runs") / "research" / "closed_loop_halves"
HALVES = {"first": range(12, 150), "second": range(180, 330)}
UNSEEN = {"first": range(160, 330), "second": range(12, 170)}
APART = 21  # frames from one start to the next, and from the last start to the end
MIN_FRAMES = 40  # of a loop
SEEDS = (0, 1)
CONFIG = sensing.PRESETS["shipped"]
TRAININGS = {"as shipped": CONFIG}


def real_recording() -> Recording:
    """The real recording, train, validation and test part."""
    return sensing_parts.recording_parts("real", "train", 1)[0].recording


def trained(config: sensing.Config, half: str, seed: int, path: Path) -> sensing.SensingTracker:
    """A tracker whose detector has seen one half, trained now or before."""
    run = Run.create(path, "sensing", replace(config, seed=seed), resume=True)
    torch.manual_seed(seed)
    network = sensing.build(config)["learned"]
    child = run.child(f"learned/seed-{seed}")

    if not child.finished:
        # generated scenes are in both trainings, so that only the half of the recording differs
        seen = [
            sensing_parts.RecordingPart(real_recording(), HALVES[half]),
            *sensing_parts.generated_parts("train", config.num_scenes),
        ]

        pairs = detector_data(replace(config, seed=seed), seen)
        shipped = shipped_run("sensing_research")
        if shipped is None:
            raise SystemExit("no weights are shipped, so there is no network for the detector")

        # the pathways were trained on the recording; only the detector must not have seen the other half
        taken = load_part(network, "pathways", shipped.path, child)
        detector_only = replace(config, pathways=replace(config.pathways, weights_from=str(shipped.path)))
        (finding,) = sensing.phases(detector_only, network, "finder", pairs)
        settings = Settings(seed=seed, batch_size=BATCH_SIZE, accelerator="cpu", quiet=True)
        fit(network, [finding], pairs, settings=settings, run=child)
        child.save_weights(network)
        child.save_results(taken)

    child.load_weights(network)
    return sensing.tracker_of(config, network)


def followed(tracker: sensing.SensingTracker, half: str) -> dict[str, Any]:
    """AUC of all loops through the half that was not seen, and how many of them lost the target."""
    plain = cut(real_recording(), UNSEEN[half])
    found = [loop for way in (plain, backwards(plain)) for loop in loops(way, tracker, APART, MIN_FRAMES)]
    whole = join_results(found).score()
    lost = sum(loop.score().lost_share > 0 for loop in found)

    return {"auc": round(whole.auc, 3), "lost share": round(whole.lost_share, 3), "loops": len(found), "lost": lost}


def main() -> None:
    """Trains and follows what is missing, and writes the figures after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RUNS)
    out = parser.parse_args().out
    cells: list[dict[str, Any]] = []

    for seed in SEEDS:
        for name, config in TRAININGS.items():
            for half in HALVES:
                path = out / f"{name.replace(' ', '-')}-{half}-{seed}"
                tracker = trained(config, half, seed, path)
                figures = followed(tracker, half) | errors_left(tracker, real_recording(), UNSEEN[half])
                revision = Run.open(path).children()[f"learned/seed-{seed}"].environment()["git_revision"]
                cells.append({"training": name, "half": half, "seed": seed, **figures, "revision": revision})
                print(cells[-1], flush=True)
                content = {"config": asdict(CONFIG), "rows": rows(cells), "cells": cells}
                write_text(RESULTS, json.dumps(content, indent=2) + "\n")


def rows(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a way of training: the mean over halves and seeds, and the spread of seeds."""
    found = []
    for name in TRAININGS:
        mine = [cell for cell in cells if cell["training"] == name]
        if mine:
            # the spread is that of seeds: halves differ by what they show
            by_seed = [fmean(one["auc"] for one in mine if one["seed"] == seed) for seed in {c["seed"] for c in mine}]
            row: dict[str, Any] = {"training": name, "auc": round(fmean(by_seed), 3)}
            row["sd"] = round(stdev(by_seed), 3) if len(by_seed) > 1 else None
            row |= {key: sum(one[key] for one in mine) for key in ("loops", "lost")}
            found.append(row | {key: round(fmean(one[key] for one in mine), 2) for key in ("size left", "place left")})

    return found


if __name__ == "__main__":
    main()
