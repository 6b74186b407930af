"""Maps of the change in the unit of the sensing network: linear, its tanh, and the tanh of it and the features.

    python research/sensing/between_frames/units.py                                 # all, or what is missing
    python research/sensing/between_frames/units.py --out RUNS --cells tanh joined  # some of them

Each cell is a run folder of its own with three seeds, and resumes where it was stopped; what is measured of each is
written to results/units.json. Settings are those of the preset `default` without a detector, which protocol A
does not use. They need the recording of FE240hz in SPIKEBRIDGE_DATA. The results also hold events that were counted
(cells `yes or no` and `counts`, on generated scenes; at most one event of a kind a pixel and bin in the recording).
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from research.sensing.variants import recipe as variants
from spikebridge.data.io.atomic import write_text
from spikebridge.networks.sensing import data as sensing_parts
from spikebridge.networks.sensing import recipe as sensing
from spikebridge.networks.sensing.evaluation import benchmark as sensing_scores
from spikebridge.networks.sensing.evaluation.protocols import interframe
from spikebridge.networks.sensing.evaluation.runner import join_results
from spikebridge.networks.sensing.tracker.tracker import SensingTracker
from spikebridge.recipes import train_all
from spikebridge.training import Run

RESULTS = Path(__file__).parent / "results" / "units.json"
RUNS = Path("runs") / "research" / "sensing_units"
SEEDS = 3
REAL = variants.Config(recording="real", num_seeds=SEEDS, detector=sensing.DetectorTraining(epochs=0))
CELLS = {
    "linear": REAL,
    "tanh": replace(REAL, unit_map="tanh"),
    "joined": replace(REAL, unit_map="joined"),
}
PARTS = ("validation", "test")
FIGURES = {"distance px": "mean_distance_px", "auc": "auc", "shaken 1 px": "shaken_1px"}


def measured(run: Run) -> dict[str, Any]:
    """A training with every seed, on both parts."""
    config = run.config_as(variants.Config)
    trackers = [variants.tracker(run, seed=seed) for seed in config.seeds]
    found: dict[str, Any] = {"options": {"change_map": config.unit_map}}

    for part in PARTS:
        scored = sensing_parts.recording_parts(config.recording, part, config.num_scenes // 3)
        scores = [sensing_scores.score(tracker, scored) for tracker in trackers]
        found[part] = {shown: spread([one[figure] for one in scores]) for shown, figure in FIGURES.items()}
        found[part]["10 Hz px"] = spread([where_frames_are_rare(tracker, scored) for tracker in trackers])

    child = next(iter(run.children().values()))
    return {"recording": config.recording, **found, "config": run.config, "environment": child.environment()}


def spread(values: list[float]) -> dict[str, Any]:
    """Mean and standard deviation over the seeds."""
    return {"mean": round(fmean(values), 3), "sd": round(stdev(values), 3), "seeds": [round(one, 3) for one in values]}


def where_frames_are_rare(tracker: SensingTracker, scored: Sequence[sensing_parts.RecordingPart]) -> float:
    """Mean distance [px] in A with every fourth frame."""
    rare = [sensing_parts.subsample_part(one, 4, num_before=1) for one in scored]
    return join_results([interframe(r, tracker, frames) for r, frames in rare]).score().mean_distance_px


def main() -> None:
    """Trains and measures what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RUNS)
    parser.add_argument("--cells", nargs="+", choices=list(CELLS), default=list(CELLS))
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    configs = {name: CELLS[name] for name in arguments.cells}

    for name, run in train_all(variants.__file__, configs, arguments.out, workers=arguments.workers).items():
        found = measured(run)
        written = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
        write_text(RESULTS, json.dumps({**written, name: found}, indent=2) + "\n")
        print(name, {part: found[part] for part in PARTS}, flush=True)


if __name__ == "__main__":
    main()
