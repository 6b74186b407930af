"""An ANN that is given a frame at every bin, 240 a second, beside the hybrid, which gets one in six and the events.

python research/sensing/between_frames/ann_at_event_rate.py

No camera here gives 240 frames a second together with events, so the scenes are generated, with seeds that no training
has seen. From the first box alone (C), the research weights. The ANN may choose how far it goes towards what it finds.
"""

import argparse
import json
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from spikebridge.data.io.atomic import write_text
from spikebridge.data.recordings.recording import Recording
from spikebridge.data.simulation.moving_objects import MovingObjects
from spikebridge.data.simulation.render import FrameCamera, render_recording, scene_seeds
from spikebridge.networks.sensing import recipe as sensing
from spikebridge.networks.sensing.baselines.ann_only import FrameTracker
from spikebridge.networks.sensing.evaluation.protocols import one_pass_evaluation
from spikebridge.networks.sensing.evaluation.runner import Tracker, join_results
from spikebridge.pretrained import shipped_run

RESULTS = Path(__file__).parent / "results" / "ann_at_event_rate.json"
DT = 1 / 240
SECONDS = 0.5
NUM_SCENES = 24
BINS = 6
RECALLS = (0.5, 1.0)  # the hybrid's own, and all of the way


def scenes() -> list[Recording]:
    """With a frame at every bin."""
    return [
        render_recording(
            MovingObjects(seed=seed, size=26.0),
            SECONDS,
            DT,
            image_interval=DT,
            frame_camera=FrameCamera(rate=240.0),
            name=f"scene {seed}",
        )
        for seed in scene_seeds("test", NUM_SCENES)
    ]


def figures(recordings: list[Recording], tracker: Tracker) -> dict[str, float]:
    """The scores of all scenes together."""
    found = join_results([one_pass_evaluation(recording, tracker) for recording in recordings]).score()
    return {"distance px": found.mean_distance_px, "auc": found.auc, "lost share": found.lost_share}


def methods(seed: int, often: list[Recording]) -> dict[str, dict[str, float]]:
    """Figures of one network, and of its ANN alone."""
    run = shipped_run("sensing_research")
    if run is None:
        raise SystemExit("no weights are shipped")

    seldom = [recording.subsample_frames(BINS) for recording in often]
    hybrid = sensing.tracker(run, "learned", seed)
    # the better gain counts, which favours the ANN
    alone = [hybrid.with_options(detector_gain=gain) for gain in RECALLS]

    def best(recordings: list[Recording], between: Any) -> dict[str, float]:
        return max((figures(recordings, FrameTracker(one, between)) for one in alone), key=lambda found: found["auc"])

    return {
        "hybrid, 40 frames a second": figures(seldom, sensing.tracker(run, "learned", seed)),
        "its ANN, 40 frames a second, held": best(seldom, "hold"),
        "its ANN, 40 frames a second, constant velocity": best(seldom, "constant_velocity"),
        "its ANN, 240 frames a second": best(often, "hold"),
    }


def main() -> None:
    """Measures and writes."""
    often = scenes()
    seeds = []
    for seed in range(3):
        seeds.append(methods(seed, often))
        print(seed, seeds[-1], flush=True)

    rows = [
        {"method": name}
        | {
            key: {"mean": fmean(one[name][key] for one in seeds), "sd": stdev(one[name][key] for one in seeds)}
            for key in seeds[0][name]
        }
        for name in seeds[0]
    ]

    content = {"scenes": NUM_SCENES, "seconds": SECONDS, "rows": rows, "seeds": seeds}
    write_text(RESULTS, json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    main()
