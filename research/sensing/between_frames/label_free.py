"""What training without a label of the recording costs: `label_free` beside training as usual, on the real recording.

    python research/sensing/between_frames/label_free.py  # three seeds each, or what is missing
    python research/sensing/between_frames/label_free.py --out RUNS

As usual (`joint`) everything learns from the boxes of the training part, at every bin. In `label_free` the SNN and its
unit learn from frames and events alone; the ANN and the head from clips of OTB and VOT, so that no box of the training
part is ever read, or from its boxes at frames. Settings are those of the preset `default`, without a detector, which A
does not use. It needs the recording of FE240hz and the clips in SPIKEBRIDGE_DATA.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Literal

from spikebridge.data.io.atomic import write_text
from spikebridge.networks.sensing import recipe as sensing
from spikebridge.networks.sensing.recipe import Config, Evaluation
from spikebridge.networks.sensing.training.phases import DetectorTraining
from spikebridge.recipes import train_all
from spikebridge.training import Run

RESULTS = Path(__file__).parent / "results" / "label_free.json"
RUNS = Path("runs") / "research" / "label_free"
RECORDING = "FE240hz_star_motion_0"
USUAL = Config(recording="real", num_seeds=3, detector=DetectorTraining(epochs=0))
TRAININGS = {
    "boxes at every bin, as usual": USUAL,
    "boxes at frames": replace(USUAL, schedule="label_free"),
    "no box": replace(USUAL, schedule="label_free", clips=True),
}
PARTS: tuple[Literal["validation", "test"], ...] = ("validation", "test")


def rows(name: str, run: Run) -> list[dict[str, Any]]:
    """Protocol A on each part, over the seeds, and the baselines beside it."""
    found = []
    for part in PARTS:
        asked = Evaluation(recording=RECORDING, split=part)
        seeds = [sensing.evaluate(run, options=replace(asked, weights_seed=seed)) for seed in range(USUAL.num_seeds)]
        distances, aucs = ([one[figure] for one in seeds] for figure in ("mean_distance_px", "auc"))
        row: dict[str, Any] = {"training": name, "part": part, "distance px": round(fmean(distances), 3)}
        row |= {"sd": round(stdev(distances), 3), "auc": round(fmean(aucs), 3)}
        beside = seeds[0]["baselines"].items()
        row |= {other.replace("_", " "): round(one["mean_distance_px"], 3) for other, one in beside}
        found.append(row | {"seeds": [round(distance, 3) for distance in distances]})

    return found


def main() -> None:
    """Trains what is missing, measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RUNS)
    parser.add_argument("--workers", type=int, default=1)
    words = parser.parse_args()
    runs = train_all("sensing", TRAININGS, words.out, workers=words.workers)
    found = [row for name, run in runs.items() for row in rows(name, run)]
    write_text(RESULTS, json.dumps({"rows": found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
