"""The hybrid beside its own ANN and its own SNN, on material that took part in choices and on material that did not.

    python research/sensing/cameras/seen_and_unseen.py  # ten minutes of one core
    python research/sensing/cameras/seen_and_unseen.py --only "another camera"  # rows of the others stay as written

Default weights and settings, one seed. A: boxes given at frames, mean distance; the own ANN then has no more to say
than constant velocity. C: the first box alone, AUC; hybrid and own ANN have the same detectors of frames, the own SNN
the correlation filter. All frames, every second and every fourth one. Constants of calibration and confidence were
chosen on the training and validation parts of the recording and on generated validation scenes; nothing was chosen on
the test part and on generated test scenes of four families. Another camera has a third of the events and two fifths of
the contrast: four test scenes of 2.5 s with a target that deforms. Writes results/seen_and_unseen.json.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from research.sensing.baselines.snn_only import EventTracker
from spikebridge.data.io.atomic import write_text
from spikebridge.data.recordings.degradation import Degradation, degraded
from spikebridge.data.recordings.recording import Inputs
from spikebridge.data.simulation.families import SCENE_FAMILIES, family_recording
from spikebridge.data.simulation.render import scene_seeds
from spikebridge.networks.sensing import recipe as sensing
from spikebridge.networks.sensing.baselines.ann_only import FrameTracker
from spikebridge.networks.sensing.baselines.motion import ConstantVelocity
from spikebridge.networks.sensing.data import RecordingPart, generated_parts, recording_parts, subsample_part
from spikebridge.networks.sensing.evaluation.protocols import interframe, one_pass_evaluation
from spikebridge.networks.sensing.evaluation.runner import Tracker, join_results
from spikebridge.networks.sensing.tracker.tracker import SensingTracker
from spikebridge.pretrained import shipped_run
from spikebridge.training.run.environment import describe_environment

_RESULTS = Path(__file__).with_name("results") / "seen_and_unseen.json"
_KEEP_EVERY = (1, 2, 4)
_FAMILIES = SCENE_FAMILIES[::4]
_ANOTHER_CAMERA = Degradation(lose_events=2 / 3, contrast=0.4)
_CAMERA_SECONDS = 2.5
_CAMERA_SCENES = 4


class SpikingTracker(FrameTracker):
    """The SNN of a network between frames, and the correlation filter at frames; no ANN."""

    reads_events = True

    def __init__(self, tracker: SensingTracker) -> None:
        super().__init__(tracker.with_options(detector="filter"))
        self.between = EventTracker(tracker.sensing)

    def _advance(self, inputs: Inputs, state: Any) -> tuple[Float[np.ndarray, "4"], Any]:
        elapsed = inputs["elapsed"]
        box, motion = self.between.step(Inputs(events=inputs["events"], elapsed=elapsed), state.motion)
        return box, state._replace(box=box, motion=motion, age=state.age + elapsed)


def _another_camera(split: str) -> list[RecordingPart]:
    """Long scenes with few events and little contrast, as of a camera with high thresholds in little light."""
    made = (family_recording("deforming", seed, _CAMERA_SECONDS) for seed in scene_seeds(split, _CAMERA_SCENES))
    return [RecordingPart(degraded(one, _ANOTHER_CAMERA), range(1, one.num_frames)) for one in made]


def _material() -> dict[str, tuple[bool, list[RecordingPart]]]:
    """Recordings by name, and whether anything was chosen on them."""
    parts = {part: recording_parts("real", part, 1) for part in ("validation", "test")}
    made = {split: generated_parts(split, len(_FAMILIES), _FAMILIES) for split in ("validation", "test")}

    return {
        "recording, validation part": (True, parts["validation"]),
        "generated scenes, validation": (True, made["validation"]),
        "recording, test part": (False, parts["test"]),
        "generated scenes, test": (False, made["test"]),
        "another camera": (False, _another_camera("test")),
    }


def _trackers(tracker: SensingTracker) -> dict[str, dict[str, Tracker]]:
    """Trackers by protocol and name."""
    plain = tracker.with_options(calibrate=False)
    events = SpikingTracker(plain)
    return {
        "A": {"hybrid": tracker, "own ANN": ConstantVelocity(), "own SNN": events, "not calibrated": plain},
        "C": {"hybrid": tracker, "own ANN": FrameTracker(plain, "constant_velocity"), "own SNN": events},
    }


def _figure(protocol: str, tracker: Tracker, parts: list[RecordingPart]) -> float:
    run = interframe if protocol == "A" else one_pass_evaluation
    scored = join_results([run(one.recording, tracker, one.frames) for one in parts]).score()
    return scored.mean_distance_px if protocol == "A" else scored.auc


def main() -> None:
    """Prints a line for each row and writes all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="a material; rows of the others stay as they were written")
    only = parser.parse_args().only
    torch.set_num_threads(1)
    trackers = _trackers(sensing.tracker(shipped_run("sensing"), "learned", 0).with_options(warns=False))
    material = _material()
    rows = []
    if only is not None:
        material = {only: material[only]}
        rows = [row for row in json.loads(_RESULTS.read_text())["rows"] if row["material"] != only]

    for name, (is_seen, parts) in material.items():
        for keep in _KEEP_EVERY:
            fewer = [subsample_part(one, keep, num_before=1) if keep > 1 else one for one in parts]
            for protocol, by_name in trackers.items():
                figures = {title: _figure(protocol, tracker, fewer) for title, tracker in by_name.items()}
                rows.append(
                    {"material": name, "chosen on": is_seen, "keep_every": keep, "protocol": protocol, **figures}
                )
                print(protocol, name, keep, {title: round(value, 3) for title, value in figures.items()}, flush=True)

    found: dict[str, Any] = {"command": "python research/sensing/cameras/seen_and_unseen.py", "rows": rows}
    found["environment"] = describe_environment(seed=0, threads=1)
    write_text(_RESULTS, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
