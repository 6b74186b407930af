"""The weights that were trained on generated scenes alone, on the real recording and on video clips.

    python benchmarks/sensing_free.py  # five minutes of one core

`sensing_free` with default settings: A on the test part of the recording (mean distance), as recorded and with events
lost, beside constant velocity; C from the first box (AUC) on the test part and on the six clips, with both detectors
and with one of them alone (test part: the trained one, clips: the filter); and C with both where the detector claims
what its training taught it, without the factor of `--detector.fit-spread`. Neither the recording nor the clips were
trained on, so C is also measured on what `sensing` was trained on: from the first frame of the training part to its
end, and on eleven pieces of 60 frames. One seed, nothing is drawn at random but the lost events (seed 0). Writes
results/sensing_free.json.
"""

import json
from math import log
from pathlib import Path
from statistics import fmean
from typing import Any, cast

import torch

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

_RESULTS = Path(__file__).with_name("results") / "sensing_free.json"
_LOST = (0.0, 0.75)
_PIECE, _APART = 60, 20  # frames


def _unscaled() -> Any:
    """The tracker without the factor of what the detector claims."""
    run: Any = shipped_run("sensing_free")
    tracker: Any = sensing.tracker(run)
    fitted, votes = run.first_child("learned").results(), tracker.sensing.finder.votes
    with torch.no_grad():
        votes.weight[-1] /= fitted["spread_exponent"]
        votes.bias[-1] = (votes.bias[-1] - log(fitted["spread_factor"])) / fitted["spread_exponent"]
    return tracker


def _clip_loops(tracker: Any) -> dict[str, float]:
    """C of each clip."""
    at_once, clips = tracker.with_options(synchronous=True), {}
    for folder in find_clips():
        clip = clip_recording(folder)
        clips[folder.name] = at_frames(clip, one_pass_evaluation(clip, at_once)).score().auc
        print(folder.name, clips[folder.name], flush=True)
    return clips


def _training_part(trackers: dict[str, Any]) -> dict[str, dict[str, float]]:
    """C of each tracker on the training part: the whole of it, and the mean of its pieces."""
    recording, frames = recording_parts("real", "train", 1)[0]
    pieces = [range(start, start + _PIECE) for start in range(frames.start, frames.stop - _PIECE, _APART)]

    def auc(tracker: Any, part: range) -> float:
        return one_pass_evaluation(recording, tracker, part).score().auc

    return {
        name: {"whole": auc(one, frames), "pieces": fmean(auc(one, piece) for piece in pieces)}
        for name, one in trackers.items()
    }


def main() -> None:
    """Prints each figure and writes all of them."""
    torch.set_num_threads(1)
    tracker: Any = sensing.tracker(shipped_run("sensing_free"))
    recording, frames = recording_parts("real", "test", 1)[0]
    distances: dict[str, dict[str, float]] = {}
    for share in _LOST:
        changed = degraded(recording, Degradation(lose_events=share))
        row = {
            name: interframe(changed, one, frames).score().mean_distance_px
            for name, one in (("hybrid", tracker), ("constant velocity", ConstantVelocity()))
        }
        distances[f"{share:.0%} of the events lost"] = row
        print(f"A, {share:.0%} of the events lost", row, flush=True)
    loops = {
        detector: one_pass_evaluation(recording, tracker.with_options(detector=detector), frames).score().auc
        for detector in ("both", "learned")
    }
    print("C, test part", loops, flush=True)
    research, unscaled = sensing.tracker(cast(Run, shipped_run("sensing")), "learned", 0), _unscaled()
    training_part = _training_part(
        {"sensing_free": tracker, "without the factor": unscaled, "sensing, trained on it": research}
    )
    print("C, training part", training_part, flush=True)
    clips, by_filter = _clip_loops(tracker), fmean(_clip_loops(tracker.with_options(detector="filter")).values())
    claims = {
        "C": one_pass_evaluation(recording, unscaled, frames).score().auc,
        "mean of the clips": fmean(_clip_loops(unscaled).values()),
    }
    print("without the factor", claims, flush=True)
    found = {"command": "python benchmarks/sensing_free.py", "A": distances, "C": loops, "clips": clips}
    found["C, training part"] = training_part
    environment = describe_environment(seed=0, threads=1)
    found |= {"mean of the clips": fmean(clips.values()), "filter alone": by_filter, "without the factor": claims}
    found["environment"] = environment
    write_text(_RESULTS, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
