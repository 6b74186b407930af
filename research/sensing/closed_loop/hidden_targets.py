"""A target that is hidden for a quarter of a second and shown elsewhere: is it found again, and what is the confidence?

    python research/sensing/closed_loop/hidden_targets.py  # a minute of one core; writes results/hidden_targets.json

Generated test scenes with one target, 40 frames a second, the first box alone, default weights. While it is
hidden, frames and events show the background; it moves on unseen. Each detector of the tracker that can search.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
import torch

from spikebridge.data.io.atomic import write_text
from spikebridge.data.recordings.recording import Recording
from spikebridge.data.simulation.moving_objects import MovingObjects
from spikebridge.data.simulation.render import render_recording, scene_seeds
from spikebridge.networks.sensing import recipe as sensing
from spikebridge.networks.sensing.data import DT
from spikebridge.networks.sensing.evaluation.metrics import overlaps
from spikebridge.networks.sensing.track import track_recording
from spikebridge.pretrained import shipped_run
from spikebridge.training.run.environment import describe_environment

_RESULTS = Path(__file__).with_name("results") / "hidden_targets.json"
_NUM_SCENES = 4
_SECONDS = 0.9
_HIDDEN = (0.3, 0.55)
_DETECTORS = ("both", "learned")
_SEED = 0
_STEP = 3  # bins between two values of a curve


@dataclass(frozen=True, eq=False)
class HiddenTarget(MovingObjects):
    """A scene whose target is not drawn for some time; it moves on, and so does its box."""

    # time from which the target is hidden, and at which it is shown again [s]
    begin: float = 0.0
    end: float = 0.0

    def _make_bodies(self) -> Any:
        target, *others = super()._make_bodies()
        return (_HiddenBody(target, self.begin, self.end), *others)


class _HiddenBody(NamedTuple):
    """A body that is not drawn for some time."""

    body: Any
    begin: float
    end: float

    @property
    def motion(self) -> Any:
        return self.body.motion

    def extent(self, t: float) -> Any:
        """The outline relative to the middle, which is the same while hidden."""
        return self.body.extent(t)

    def draw(self, image: Any, place: tuple[float, float], t: float) -> None:
        """Draws the body, or nothing while it is hidden."""
        if not self.begin <= t < self.end:
            self.body.draw(image, place, t)


def hidden_recording(seed: int, seconds: float, begin: float, end: float) -> Recording:
    """A recording of a scene whose target is hidden from `begin` to `end` [s]."""
    scene = HiddenTarget(seed=seed, size=26.0, num_distractors=0, light_change=0.0, begin=begin, end=end)
    return render_recording(scene, seconds, DT, image_interval=DT, name=f"hidden {seed}")


def follow(recording: Recording, tracker: Any) -> dict[str, list[float]]:
    """Overlap, confidence and 1 for a lost target at the end of each bin, from the first box on."""
    found = dict[str, list[float]](overlap=[], confidence=[], lost=[])

    def keep(moment: Any, *_: float) -> None:
        found["overlap"].append(float(overlaps(moment.box[None], recording.boxes[moment.bin][None])[0]))
        found["confidence"].append(moment.confidence)
        found["lost"].append(float(moment.lost))

    track_recording(recording, tracker, on_box=keep)
    return found


def _summary(tracks: list[dict[str, list[float]]]) -> dict[str, Any]:
    begin, end = (round(time / DT) for time in _HIDDEN)
    frame = round(1 / 40 / DT)
    sizes = range(0, round(_SECONDS / DT) - 1, _STEP)
    again = []

    # in frames, the unit in which a detector looks
    for one in tracks:
        right = np.flatnonzero(np.array(one["overlap"][end:]) >= 0.5)
        again.append(int(right[0]) / frame if len(right) else None)

    return {
        "found_again": sum(one["overlap"][-1] >= 0.5 for one in tracks),
        "num_scenes": len(tracks),
        "frames_until_found": again,
        "confidence_before": fmean(fmean(one["confidence"][frame:begin]) for one in tracks),
        "confidence_hidden": fmean(fmean(one["confidence"][begin + 2 * frame : end]) for one in tracks),
        "most_confidence_hidden": max(max(one["confidence"][begin + 2 * frame : end]) for one in tracks),
        "confidence_after": fmean(fmean(one["confidence"][end + 4 * frame :]) for one in tracks),
        "lost_share_hidden": fmean(fmean(one["lost"][begin + 3 * frame : end]) for one in tracks),
        "seconds": [DT * (1 + i) for i in sizes],
        **{name: [[one[name][i] for one in tracks] for i in sizes] for name in ("overlap", "confidence")},
    }


def main() -> None:
    """Follows each scene with each detector, and writes."""
    torch.set_num_threads(1)
    scenes = [hidden_recording(seed, _SECONDS, *_HIDDEN) for seed in scene_seeds("test", _NUM_SCENES)]
    tracker = sensing.tracker(shipped_run("sensing"), "learned", _SEED).with_options(warns=False)
    rows = {}

    for name in _DETECTORS:
        rows[name] = _summary([follow(scene, tracker.with_options(detector=name)) for scene in scenes])
        shown = {key: value for key, value in rows[name].items() if not isinstance(value, list)}
        print(name, shown, rows[name]["frames_until_found"], flush=True)

    found = {
        "command": "python research/sensing/closed_loop/hidden_targets.py",
        "hidden_seconds": _HIDDEN,
        "detectors": rows,
    }

    write_text(
        _RESULTS, json.dumps(found | {"environment": describe_environment(seed=_SEED, threads=1)}, indent=1) + "\n"
    )


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    main()
