"""Networks on families of generated scenes that they were not trained on, with corrupted events and frames.

    python research/sensing/cameras/families.py              # half an hour of one core; resumes
    python research/sensing/cameras/families.py --out RUNS   # networks and rows that are there are not made again
    python research/sensing/cameras/families.py --between    # A alone, three minutes; C stays as it was written

The fourteen families are halved, every second one in a half. A small network is trained on each half, on generated
scenes alone, with events lost and other contrast at random, and measured on the test scenes of the other half: every
family was left out by the network that is measured on it. A: mean distance with boxes given at frames (40, 20 and 10
Hz), beside constant velocity. C: AUC from the first box. The network's own ANN with constant velocity is measured with
its trained detector and with the detectors of the tracker, a correlation filter among them: the whole answer is taken,
or half of it as the tracker does; whichever is ahead counts. KCF and CSRT are OpenCV's (extra `opencv`). One training a
half, seed 0; errors are over families. Writes results/families.json.
"""

import argparse
import json
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch

from research.sensing.baselines.opencv import OpenCVTracker
from spikebridge.data.io.atomic import write_text
from spikebridge.data.recordings.degradation import Degradation, degraded
from spikebridge.data.simulation.families import SCENE_FAMILIES
from spikebridge.networks.sensing import recipe as sensing
from spikebridge.networks.sensing.baselines.ann_only import FrameTracker
from spikebridge.networks.sensing.baselines.motion import ConstantVelocity
from spikebridge.networks.sensing.data import RecordingPart, generated_parts, subsample_part
from spikebridge.networks.sensing.evaluation.protocols import interframe, one_pass_evaluation
from spikebridge.networks.sensing.evaluation.runner import Tracker, join_results
from spikebridge.networks.sensing.training.phases import DetectorTraining, PathwayTraining
from spikebridge.recipes import train_all
from spikebridge.training.run.environment import describe_environment

_RESULTS = Path(__file__).with_name("results") / "families.json"
_RUNS = Path("runs") / "research" / "sensing_families"
_CASES: dict[str, dict[str, Any]] = {
    "as made": {},
    "50 % of the events lost": {"lose_events": 0.5},
    "75 % of the events lost": {"lose_events": 0.75},
    "90 % of the events lost": {"lose_events": 0.9},
    "contrast x 0.4": {"contrast": 0.4},
    "blur of 2 px": {"blur": 2.0},
    "100,000 noise events a second": {"add_events": 1e5},
}
_SAME_FRAMES = ("lose_events", "add_events")  # trackers of frames answer as they do without it
_OTHER_RATES = {"20 Hz": 2, "10 Hz": 4}  # every second or fourth frame
_NUM_SCENES = 2
_HALVES = {"half_a": SCENE_FAMILIES[0::2], "half_b": SCENE_FAMILIES[1::2]}
_CONFIG = sensing.Config(
    recording="generated",
    num_scenes=14,
    pathways=PathwayTraining(lose_events=0.75, contrast=0.7),
    detector=DetectorTraining(epochs=7, num_scenes=0, box_noise=1.2),
)
_OWN_ANN = ("own ANN", "own ANN with the filter", "own ANN with the filter, half")


def _distance(parts: list[RecordingPart], tracker: Tracker) -> float:
    return join_results([interframe(p.recording, tracker, p.frames) for p in parts]).score().mean_distance_px


def _auc(parts: list[RecordingPart], tracker: Tracker) -> float:
    return join_results([one_pass_evaluation(p.recording, tracker, p.frames) for p in parts]).score().auc


def _of_frames(tracker: Any) -> dict[str, Tracker]:
    """Trackers that see no events: their answers do not change with them."""
    half = tracker.with_options(calibrate=False)
    whole = half.with_options(detector_gain=1.0)
    learned = whole.with_options(detector="learned")
    own = (FrameTracker(one, "constant_velocity") for one in (learned, whole, half))

    return {**dict(zip(_OWN_ANN, own, strict=True)), "KCF": OpenCVTracker("kcf"), "CSRT": OpenCVTracker("csrt")}


def _cases(family: str) -> dict[str, list[RecordingPart]]:
    """The test scenes of a family by change of events and frames."""
    made = generated_parts("test", _NUM_SCENES, [family])
    return {
        case: [p._replace(recording=degraded(p.recording, Degradation(**change))) for p in made]
        for case, change in _CASES.items()
    }


def _between(family: str, tracker: Any) -> dict[str, dict[str, float]]:
    """Figures of A by case, at each frame rate."""
    trackers = {
        "A": tracker,
        "A without calibration": tracker.with_options(calibrate=False),
        "A constant velocity": ConstantVelocity(),
    }
    rows: dict[str, dict[str, float]] = {}

    for case, parts in _cases(family).items():
        row = rows[case] = {name: _distance(parts, one) for name, one in trackers.items()}
        for rate, keep in _OTHER_RATES.items():
            fewer = [subsample_part(part, keep, num_before=1) for part in parts]
            row |= {f"{name}, {rate}": _distance(fewer, trackers[name]) for name in ("A", "A constant velocity")}

    return rows


def _loops(family: str, tracker: Any) -> dict[str, dict[str, float]]:
    """Figures of C by case."""
    rows: dict[str, dict[str, float]] = {}

    for case, parts in _cases(family).items():
        row = {"C": _auc(parts, tracker), "C learned detector": _auc(parts, tracker.with_options(detector="learned"))}
        # their frames are the same, so the answers are those of the scenes as made
        if set(_CASES[case]) & set(_SAME_FRAMES):
            row |= {f"C {name}": rows["as made"][f"C {name}"] for name in _of_frames(tracker)}
        else:
            row |= {f"C {name}": _auc(parts, other) for name, other in _of_frames(tracker).items()}
        rows[case] = row

    return rows


def _kept(file: Path, figures: Any, family: str, tracker: Any) -> dict[str, dict[str, float]]:
    """Figures of a family, from its file if that is there."""
    if not file.exists():
        write_text(file, json.dumps(figures(family, tracker)))
        print(file.stem, file.read_text(), flush=True)

    return json.loads(file.read_text())


def _summary(rows: dict[str, dict[str, dict[str, float]]]) -> dict[str, Any]:
    """Ratios of A to constant velocity, and the lead of C over the own ANN in pairs of one family."""
    summary: dict[str, Any] = {}

    for rate in ("", *(f", {name}" for name in _OTHER_RATES)):
        ratios = {
            (family, case): row[f"A{rate}"] / row[f"A constant velocity{rate}"]
            for family, by in rows.items()
            for case, row in by.items()
        }
        worst = max(ratios, key=ratios.__getitem__)
        summary |= {
            f"A{rate}, largest ratio": {"family": worst[0], "case": worst[1], "ratio": ratios[worst]},
            f"A{rate}, above 1.03": [[*where, ratio] for where, ratio in ratios.items() if ratio > 1.03],
            f"A{rate}, mean ratio": fmean(ratios.values()),
        }

    for name in (*_OWN_ANN, "the better own ANN", "KCF", "CSRT"):
        leads = [fmean(_lead(row, name) for row in by.values()) for by in rows.values()]
        summary[f"C, ahead of {name}"] = _mean_and_error(leads)
        summary[f"C, ahead of {name}, by case"] = {
            case: _mean_and_error([_lead(by[case], name) for by in rows.values()]) for case in _CASES
        }

    return summary


def _lead(row: dict[str, float], name: str) -> float:
    """The lead of the hybrid's AUC."""
    others = _OWN_ANN if name == "the better own ANN" else (name,)
    return row["C"] - max(row[f"C {other}"] for other in others)


def _mean_and_error(values: list[float]) -> dict[str, float]:
    return {"mean": fmean(values), "standard error": stdev(values) / len(values) ** 0.5}


def main() -> None:
    """Prints a line for each family and case, and writes all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=_RUNS, help="folder of the trained networks and finished rows")
    parser.add_argument("--workers", type=int, default=1, help="trainings at a time")
    parser.add_argument("--between", action="store_true", help="A alone; figures of C stay those of the results")
    words = parser.parse_args()
    out = words.out
    torch.set_num_threads(1)
    opencv = version("opencv-contrib-python-headless")  # where it is missing, before the training
    written = json.loads(_RESULTS.read_text())["rows"] if words.between else None
    rows: dict[str, dict[str, dict[str, float]]] = {}
    trained = {}
    configs = {half: replace(_CONFIG, scenes=families) for half, families in _HALVES.items()}
    runs = train_all("sensing", configs, out / "trainings", workers=words.workers)

    for half, families in _HALVES.items():
        run = runs[half]
        other = next(name for name in _HALVES if name != half)
        child = next(iter(run.children().values()))
        trained[half] = {"trained on": families, "config": run.config, "environment": child.environment()}

        for family in _HALVES[other]:
            tracker = sensing.tracker(run)
            between = _kept(out / f"{family}-between.json", _between, family, tracker)
            loops = written[family] if written else _kept(out / f"{family}-loops.json", _loops, family, tracker)
            rows[family] = {case: loops[case] | between[case] for case in _CASES}

    rows = {family: rows[family] for family in SCENE_FAMILIES}
    summary = _summary(rows)
    print(json.dumps(summary, indent=1))
    environment = describe_environment(seed=0, threads=1, opencv=opencv)
    found = {"command": "python research/sensing/cameras/families.py", "trained": trained, "rows": rows}
    write_text(_RESULTS, json.dumps({**found, "summary": summary, "environment": environment}, indent=1) + "\n")


if __name__ == "__main__":
    main()
