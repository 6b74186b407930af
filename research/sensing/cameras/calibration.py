"""Calibration while tracking, on the real test part as another camera would have recorded it, and on generated scenes.

    python research/sensing/cameras/calibration.py
    python research/sensing/cameras/calibration.py --choose  # other constants, on validation parts; writes nothing

The research weights (three seeds) with and without calibration, beside hold and constant velocity: protocol A
(distance) as recorded, with events lost and added, with other contrast, with blurred frames and with every second and
fourth frame; protocol C (AUC) as recorded. Constants of `tracker/calibration.py` were chosen on the validation part
(with the default weights, also on the training part) and on generated validation scenes, with 0, 50, 75 and 90 % of the
events lost and at 40, 20 and 10 Hz. Writes results/calibration.json.
"""

import argparse
import json
import statistics
import sys
from functools import partial
from pathlib import Path
from time import thread_time
from typing import Any

import numpy as np
import torch

from spikebridge.data.io.atomic import write_text
from spikebridge.data.recordings.degradation import Degradation, degraded
from spikebridge.networks.sensing import recipe as sensing
from spikebridge.networks.sensing.baselines.motion import ConstantVelocity, StaticBox
from spikebridge.networks.sensing.data import RecordingPart, generated_parts, recording_parts, subsample_part
from spikebridge.networks.sensing.evaluation.protocols import interframe, one_pass_evaluation
from spikebridge.networks.sensing.evaluation.runner import Tracker, join_results
from spikebridge.networks.sensing.tracker import calibration
from spikebridge.pretrained import shipped_run
from spikebridge.training.run.environment import describe_environment

_RESULTS = Path(__file__).with_name("results") / "calibration.json"
CASES: dict[str, dict[str, Any]] = {
    "as recorded": {},
    "50 % of the events lost": {"lose_events": 0.5},
    "75 % of the events lost": {"lose_events": 0.75},
    "90 % of the events lost": {"lose_events": 0.9},
    "100,000 noise events a second": {"add_events": 1e5},
    "contrast x 0.4": {"contrast": 0.4},
    "contrast x 2": {"contrast": 2.0},
    "blur of 2 px": {"blur": 2.0},
}
_SEEDS = (0, 1, 2)
_CHOSEN_ON = ((1, 0.0), (1, 0.5), (1, 0.75), (1, 0.9), (2, 0.0), (2, 0.75), (4, 0.0), (4, 0.75))
_OTHER_CONSTANTS: tuple[dict[str, Any], ...] = (
    {"_FORGETTING": 0.95},
    {"_FORGETTING": 0.98},
    {"_TRAINED_COUNT": 10.0},
    {"_HANDICAP": 0.0},
    {"_HANDICAP": 6.0},
    {"_VELOCITY_HANDICAP": 10.0},
    {"_MIN_ERROR": 3.0},
    {"_EVENT_WEIGHTS": (0.0, 0.01, 0.03, 0.06)},
    {"_WIDTHS": calibration._WIDTHS[:-1]},
)


def _fewer(parts: list[RecordingPart], keep: int) -> list[RecordingPart]:
    return [subsample_part(part, keep, num_before=1) for part in parts] if keep > 1 else parts


def _distance(parts: list[RecordingPart], tracker: Tracker) -> float:
    return join_results([interframe(p.recording, tracker, p.frames) for p in parts]).score().mean_distance_px


def _auc(parts: list[RecordingPart], tracker: Tracker) -> float:
    return join_results([one_pass_evaluation(p.recording, tracker, p.frames) for p in parts]).score().auc


def _row(score: Any, parts: list[RecordingPart], trackers: list[Any]) -> dict[str, Any]:
    both = {}
    for name, calibrate in (("trained", False), ("calibrated", True)):
        values = [score(parts, tracker.with_options(calibrate=calibrate)) for tracker in trackers]
        both[name] = {"mean": statistics.mean(values), "sd": statistics.stdev(values), "values": values}

    both["hold"] = score(parts, StaticBox())
    both["constant velocity"] = score(parts, ConstantVelocity())
    return both


def _bin_ms(part: RecordingPart, tracker: Any, num_bins: int = 360) -> dict[str, float]:
    """Median processor time of a bin without a frame, with the box given at each frame; runs take turns."""
    seconds: dict[str, list[float]] = {"trained": [], "calibrated": []}
    recording = part.recording
    first = int(recording.frame_bins[part.frames.start])

    # in turn, so that a busy moment of the machine meets both
    for name in ("trained", "calibrated") * 3:
        one = tracker.with_options(calibrate=name == "calibrated")
        state = None

        for b in range(first, first + num_bins):
            inputs = recording.inputs(b, b + 1)
            frame = np.flatnonzero(recording.frame_bins == b)
            if len(frame):
                inputs["box"] = recording.frame_boxes[frame[0]]
            started = thread_time()
            _, state = one.step(inputs, state)
            if not len(frame):
                seconds[name].append(thread_time() - started)

    return {name: 1e3 * statistics.median(times) for name, times in seconds.items()}


def choose() -> None:
    """Prints protocol A on validation parts, events lost and frames left out, for several constants; seed 0."""
    tracker = sensing.tracker(shipped_run("sensing_research"), "learned", 0)
    places = {"real": recording_parts("real", "validation", 1), "generated": generated_parts("validation", 4)}
    lost = [
        _fewer([p._replace(recording=degraded(p.recording, Degradation(lose_events=share))) for p in parts], keep)
        for parts in places.values()
        for keep, share in _CHOSEN_ON
    ]

    print(f"{', '.join(places)}, each with (every n-th frame, share of the events lost): {_CHOSEN_ON}")
    for change in ({}, *_OTHER_CONSTANTS):
        # the constants are no options: nothing but this choice changes them
        kept = {name: getattr(calibration, name) for name in change}
        vars(calibration).update(change)
        print(change or "as chosen", [round(_distance(parts, tracker), 3) for parts in lost], flush=True)
        vars(calibration).update(kept)


def main() -> None:
    """Prints a line for each case and writes all of them."""
    torch.set_num_threads(1)
    if "--choose" in sys.argv[1:]:
        choose()
        return

    run = shipped_run("sensing_research")
    trackers = [sensing.tracker(run, "learned", seed) for seed in _SEEDS]
    real = recording_parts("real", "test", 1)
    made = generated_parts("test", 4)
    rows: dict[str, dict[str, Any]] = {}
    cases = {
        name: [p._replace(recording=degraded(p.recording, Degradation(**change))) for p in real]
        for name, change in CASES.items()
    }

    for keep, name in ((2, "every second frame"), (4, "every fourth frame")):
        for lost in ("", ", 75 % of the events lost"):
            cases[f"{name}{lost}"] = _fewer(cases[lost[2:] or "as recorded"], keep)

    cases["generated scenes"] = made
    cases["generated scenes, 75 % of the events lost"] = [
        p._replace(recording=degraded(p.recording, Degradation(lose_events=0.75))) for p in made
    ]
    scores = {f"A [px], {name}": partial(_row, _distance, parts) for name, parts in cases.items()}
    scores |= {f"C [AUC], {name}": partial(_row, _auc, cases[name]) for name in ("as recorded", "generated scenes")}
    scores["C [AUC], 75 % of the events lost"] = partial(_row, _auc, cases["75 % of the events lost"])

    for name, score in scores.items():
        row = rows[name] = score(trackers)
        figures = ", ".join(
            f"{one} {row[one]['mean']:.3f} (s.d. {row[one]['sd']:.3f})" for one in ("trained", "calibrated")
        )
        print(
            f"{name}: {figures}, hold {row['hold']:.3f}, constant velocity {row['constant velocity']:.3f}", flush=True
        )

    bin_ms = _bin_ms(real[0], trackers[0])
    print(f"a bin takes {bin_ms['trained']:.2f} ms as trained, {bin_ms['calibrated']:.2f} ms calibrated")
    found: dict[str, Any] = {"command": "python research/sensing/cameras/calibration.py", "seeds": _SEEDS, "rows": rows}
    found |= {"bin_ms": bin_ms, "environment": describe_environment(threads=1)}
    write_text(_RESULTS, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    main()
