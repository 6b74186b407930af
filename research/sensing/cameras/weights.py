"""The default weights, trained on generated scenes alone, beside those trained on the real recording and on clips.

    python research/sensing/cameras/weights.py  # a quarter of an hour of one core

`sensing` with default settings: A on the test part of the recording (mean distance), as recorded and as other cameras
would have recorded it, beside constant velocity; C from the first box (AUC) on the test part and on the six clips, with
both detectors and with one of them alone (test part: the trained one, clips: the filter). `without the factor`: where
the detector claims what its training taught it, without the factor of `--detector.fit-spread`. `sensing_research` (seed
0) was trained on the training part of the recording and on frames of the clips, `sensing` on neither. So C is also
measured on that part: from its first frame to its end, and on eleven pieces of 60 frames. One loop is won or lost by
one frame; on the test part it is also started six times from a box that is .5 px off (standard deviation of each side).
One seed; the lost events and these boxes are drawn at random (seeds 0 and 0 to 5). Writes results/weights.json.
"""

import argparse
import json
from copy import copy
from dataclasses import replace
from math import log
from pathlib import Path
from statistics import fmean
from typing import Any, cast

import torch

from research.sensing.cameras.calibration import CASES
from spikebridge.data.io.atomic import write_text
from spikebridge.data.recordings.degradation import Degradation, degraded
from spikebridge.data.recordings.video_clips import clip_recording, find_clips
from spikebridge.networks.sensing import recipe as sensing
from spikebridge.networks.sensing.baselines.motion import ConstantVelocity
from spikebridge.networks.sensing.data import recording_parts
from spikebridge.networks.sensing.evaluation.protocols import at_frames, interframe, one_pass_evaluation
from spikebridge.pretrained import shipped_run
from spikebridge.training.run.environment import describe_environment
from spikebridge.training.run.run import Run

_RESULTS = Path(__file__).with_name("results") / "weights.json"
_PIECE = 60
_APART = 20
_MIN_FRAMES = 40
_BESIDE_PX = 0.5


def _unscaled() -> Any:
    """The tracker without the factor of what the detector claims."""
    run: Any = shipped_run("sensing")
    tracker: Any = sensing.tracker(run).with_options(warns=False)
    fitted = run.first_child("learned").results()
    votes = tracker.sensing.detector.votes

    # the inverse of `fit_spread`
    with torch.no_grad():
        votes.weight[-1] /= fitted["spread_exponent"]
        votes.bias[-1] = (votes.bias[-1] - log(fitted["spread_factor"])) / fitted["spread_exponent"]

    return tracker


def _without_search(tracker: Any) -> Any:
    """The tracker that does not search where its box is in doubt."""
    other = copy(tracker)
    other._detector = lambda model: replace(tracker._detector(model), doubt=0.0)
    return other


def _clip_loops(tracker: Any) -> dict[str, float]:
    """C of each clip."""
    at_once = tracker.with_options(synchronous=True)
    clips = {}
    for folder in find_clips():
        clip = clip_recording(folder)
        clips[folder.name] = at_frames(clip, one_pass_evaluation(clip, at_once)).score().auc

    return clips


def _training_part(trackers: dict[str, Any]) -> dict[str, dict[str, float]]:
    """C of each tracker on the training part: the whole of it, from many starts, and the mean of its pieces."""
    recording, frames = recording_parts("real", "train", 1)[0]
    starts = [range(start, frames.stop) for start in range(frames.start, frames.stop - _MIN_FRAMES, _APART)]
    pieces = [range(start, start + _PIECE) for start in range(frames.start, frames.stop - _PIECE, _APART)]

    def auc(tracker: Any, part: range) -> float:
        return one_pass_evaluation(recording, tracker, part).score().auc

    found = {}
    for name, one in trackers.items():
        to_the_end = [auc(one, start) for start in starts]
        found[name] = {
            "whole": to_the_end[0],
            "starts": fmean(to_the_end),
            "least of them": min(to_the_end),
            "pieces": fmean(auc(one, piece) for piece in pieces),
        }

    return found


def _test_part(trackers: dict[str, Any]) -> dict[str, dict[str, float]]:
    """C of each tracker on the test part: from the box, mean and least from boxes beside it."""
    recording, frames = recording_parts("real", "test", 1)[0]
    found = {}

    for name, one in trackers.items():
        beside = [one_pass_evaluation(recording, one, frames, _BESIDE_PX, seed).score().auc for seed in range(6)]
        found[name] = {
            "from the box": one_pass_evaluation(recording, one, frames).score().auc,
            "boxes beside it": fmean(beside),
            "least of them": min(beside),
        }

    return found


def main() -> None:
    """Prints each figure and writes all of them."""
    torch.set_num_threads(1)
    tracker = sensing.tracker(cast(Run, shipped_run("sensing"))).with_options(warns=False)
    unscaled = _unscaled()
    research = sensing.tracker(cast(Run, shipped_run("sensing_research")), "learned", 0).with_options(warns=False)
    recording, frames = recording_parts("real", "test", 1)[0]
    distances: dict[str, dict[str, float]] = {}
    rivals: dict[str, Any] = {"sensing": tracker, "sensing_research": research, "constant velocity": ConstantVelocity()}

    for case, change in CASES.items():
        changed = degraded(recording, Degradation(**change))
        distances[case] = {
            name: interframe(changed, one, frames).score().mean_distance_px for name, one in rivals.items()
        }
        print(f"A, {case}", distances[case], flush=True)

    both = {"sensing": tracker, "without the factor": unscaled, "sensing_research": research}
    searchless = {
        f"{name}, without the search": _without_search(both[name]) for name in ("sensing", "sensing_research")
    }
    alone = {f"{name}, trained detector alone": one.with_options(detector="learned") for name, one in both.items()}
    test_part = _test_part(both | searchless | alone)
    print("C, test part", test_part, flush=True)
    training_part = _training_part(both | searchless)
    print("C, training part of sensing_research", training_part, flush=True)
    clips = {name: _clip_loops(one) for name, one in both.items()}
    clips |= {
        f"{name}, filter alone": _clip_loops(one.with_options(detector="filter"))
        for name, one in (("sensing", tracker), ("sensing_research", research))
    }

    found = {"command": "python research/sensing/cameras/weights.py", "A": distances, "C, test part": test_part}
    found |= {"C, training part of sensing_research": training_part, "C, clips": clips}
    found["mean of the clips"] = {name: fmean(each.values()) for name, each in clips.items()}
    print(found["mean of the clips"])
    found["environment"] = describe_environment(seed=0, threads=1)
    write_text(_RESULTS, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    main()
