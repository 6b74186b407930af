"""Training without a label of the recording (`variants/label_free.py`) and training as usual, on the real recording.

    python research/sensing/between_frames/label_free.py  # three seeds each, or what is missing
    python research/sensing/between_frames/label_free.py --out RUNS

As usual everything learns from the boxes of the training part, at every bin. Without labels the SNN and its unit learn
from frames and events alone; the ANN and the head from clips of OTB and VOT, so that no box of the training
part is ever read, or from its boxes at frames. Settings are those of the preset `default`, without a detector, which A
does not use. It needs the recording of FE240hz and the clips in SPIKEBRIDGE_DATA.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Literal

from research.sensing.variants import label_free
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
LABEL_FREE = label_free.Config(**vars(USUAL))
TRAININGS = {"boxes at frames": LABEL_FREE, "no box": replace(LABEL_FREE, clips=True)}
PARTS: tuple[Literal["validation", "test"], ...] = ("validation", "test")


def rows(name: str, run: Run, recipe: Any) -> list[dict[str, Any]]:
    """Protocol A on each part, over the seeds, with the baselines."""
    found = []
    for part in PARTS:
        asked = Evaluation(recording=RECORDING, split=part)
        seeds = [recipe.evaluate(run, options=replace(asked, weights_seed=seed)) for seed in range(USUAL.num_seeds)]
        distances, aucs = ([one[figure] for one in seeds] for figure in ("mean_distance_px", "auc"))
        row: dict[str, Any] = {"training": name, "part": part, "distance px": round(fmean(distances), 3)}
        row |= {"sd": round(stdev(distances), 3), "auc": round(fmean(aucs), 3)}
        baselines = seeds[0]["baselines"].items()
        row |= {other.replace("_", " "): round(one["mean_distance_px"], 3) for other, one in baselines}
        found.append(row | {"seeds": [round(distance, 3) for distance in distances]})

    return found


def main() -> None:
    """Trains what is missing, measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RUNS)
    parser.add_argument("--workers", type=int, default=1)
    words = parser.parse_args()
    usual = train_all("sensing", {"boxes at every bin, as usual": USUAL}, words.out / "usual", workers=words.workers)
    free = train_all(label_free.__file__, TRAININGS, words.out / "label_free", workers=words.workers)
    found = [row for name, run in usual.items() for row in rows(name, run, sensing)]
    found += [row for name, run in free.items() for row in rows(name, run, label_free)]
    write_text(RESULTS, json.dumps({"rows": found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
