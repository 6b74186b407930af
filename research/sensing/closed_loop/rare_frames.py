"""The worth of the Bayes update of restarted event streams, with rare frames (`model/motion_prior.py`).

    python research/sensing/closed_loop/rare_frames.py    # the research weights; writes results/rare_frames.json

Protocol A on every second, fourth and eighth frame of the training and the validation part of the real recording, from
each of the frames that this leaves to start with, as it is and backwards in time: with the rule, and without it, as if
a stream's target were just where it is believed to be. It needs the recording of FE240hz in SPIKEBRIDGE_DATA.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Literal

from research.sensing.closed_loop.closed_loops import backwards, cut
from spikebridge.data.io.atomic import write_text
from spikebridge.data.recordings.recording import Recording
from spikebridge.networks.sensing import data as sensing_parts
from spikebridge.networks.sensing import recipe as sensing
from spikebridge.networks.sensing.baselines.motion import ConstantVelocity
from spikebridge.networks.sensing.evaluation.protocols import interframe
from spikebridge.networks.sensing.evaluation.runner import Tracker, join_results
from spikebridge.networks.sensing.model.motion_prior import MotionPrior, to_numpy
from spikebridge.networks.sensing.model.sensing import Sensing
from spikebridge.networks.sensing.tracker.fused_model import FusedInference, FusedState
from spikebridge.networks.sensing.tracker.inference import InferenceModel
from spikebridge.networks.sensing.tracker.tracker import SensingTracker
from spikebridge.pretrained import shipped_run
from spikebridge.training import Run

RESULTS = Path(__file__).parent / "results" / "rare_frames.json"
KEPT_SECONDS = (2, 4, 8)
PARTS: tuple[Literal["train", "validation"], ...] = ("train", "validation")


class AsIfThere(FusedInference):
    """The network that never doubts where a stream began."""

    def restart_events(self, state: FusedState, start: MotionPrior) -> FusedState:
        """The old rule: how far the place may be off widens the velocity prior."""
        return super().restart_events(state, start)._replace(uncertainty=None, expected=to_numpy(start))


def without_doubt(tracker: SensingTracker) -> SensingTracker:
    """The same tracker with the old rule."""

    def build_inference(network: Sensing, crop: int) -> InferenceModel:
        return InferenceModel(AsIfThere(network, crop), None)

    tracker._inference = build_inference  # type: ignore[assignment]
    return tracker


def recordings(part: Literal["train", "validation"], keep: int) -> list[Recording]:
    """Each thinning of a part, both ways."""
    # every frame is a start once, so that rare frames give as many intervals as all of them
    found = sensing_parts.recording_parts("real", part, 1)[0]
    one_way = cut(found.recording, found.frames)
    both = (one_way, backwards(one_way))
    return [cut(one, range(first, one.num_frames)).subsample_frames(keep) for one in both for first in range(keep)]


def distance(tracker: Tracker, seen: Sequence[Recording]) -> float:
    """Mean distance [px] between frames, over all of them."""
    asked = [interframe(one, tracker, range(1, one.num_frames - 1)) for one in seen]
    return join_results(asked).score().mean_distance_px


def rows(run: Run) -> list[dict[str, Any]]:
    """A part and a rate each."""
    found = []
    for part in PARTS:
        for keep in KEPT_SECONDS:
            seen = recordings(part, keep)
            row: dict[str, Any] = {"part": part, "keep every": keep}
            row["constant velocity"] = round(distance(ConstantVelocity(), seen), 3)

            for name, ruled in (("hybrid", lambda tracker: tracker), ("as if it were there", without_doubt)):
                ours = [distance(ruled(sensing.tracker(run, seed=seed)), seen) for seed in range(3)]
                row[name] = {"distance px": round(fmean(ours), 3), "sd": round(stdev(ours), 3)}

            print(row, flush=True)
            found.append(row)

    return found


def main() -> None:
    """Measures and writes."""
    run = shipped_run("sensing_research")
    if run is None:
        raise SystemExit("no weights are shipped for sensing")
    write_text(RESULTS, json.dumps({"rows": rows(run)}, indent=2) + "\n")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    main()
