"""The trust in labels: boxes of two detectors that learned from different halves of a recording, and the labels.

    python research/sensing/closed_loop/detectors_at_rest.py  # trains what is missing

A detector is applied to a frame again and again, each time around the box that it found, with the same error in the
frame before, as in a closed loop. Where it comes to rest is what it takes for the target. What two detectors that
share no frame of the recording both say against the labels is hardly a thing that either has wrongly learned; they do
share clips, generated scenes and their form.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from research.sensing.between_frames.errors_left import FramePair, detect_multiscale, pairs
from research.sensing.closed_loop.closed_loop_halves import CONFIG, HALVES, RUNS, real_recording, trained
from spikebridge.data.io.atomic import write_text
from spikebridge.data.recordings.recording import Recording
from spikebridge.networks.sensing.evaluation.metrics import score
from spikebridge.networks.sensing.model.detector import TargetDetector
from spikebridge.networks.sensing.tracker.tracker import SensingTracker
from spikebridge.networks.sensing.training.augmentation import box_centers
from spikebridge.training import Run

RESULTS = Path(__file__).parent / "results" / "detectors_at_rest.json"
SEED = 0
LOOKS = 8


def at_rest(tracker: SensingTracker, recording: Recording, frames: range) -> tuple[np.ndarray, np.ndarray]:
    """The box at which a detector comes to rest in each of some frames, beginning at the label; and the labels."""
    detector = tracker.sensing.detector
    if detector is None:
        raise SystemExit("the network has no detector")

    generator = np.random.default_rng(0)
    with torch.inference_mode():
        every = [
            (_settled(detector, pair, tracker.options.template_rate), pair.here)
            for pair in pairs(detector, recording, frames, generator)
        ]

    boxes, labels = (torch.cat(column).double().numpy() for column in zip(*every, strict=True))
    return boxes, labels


def _settled(detector: TargetDetector, pair: FramePair, template_rate: float) -> Tensor:
    box = pair.here
    # the frame before is off by as much as this one, as in a loop that has come to rest
    for _ in range(LOOKS):
        newest = detector.template(pair.before, _as_wrong(pair.there, box, pair.here))
        pictures = (pair.now, pair.before, pair.events, pair.behind)
        box = detect_multiscale(detector, pictures, box, pair.first, newest, template_rate).boxes

    return box


def _as_wrong(true: Tensor, box: Tensor, label: Tensor) -> Tensor:
    """A box that is off by as much, in parts of its size, as another is off its label."""
    size, other = (one[:, 2:].prod().sqrt() for one in (true, label))
    sizes = true[:, 2:] * box[:, 2:] / label[:, 2:]
    return torch.cat([box_centers(true) + (box_centers(box) - box_centers(label)) / other * size - sizes / 2, sizes], 1)


def compared(found: dict[str, np.ndarray], labels: np.ndarray) -> dict[str, Any]:
    """Overlaps and distances of the boxes of two detectors, and of those of each and the labels."""

    def distance(one: np.ndarray, other: np.ndarray) -> float:
        return float(np.hypot(*(_middles(one) - _middles(other)).T).mean())

    first, second = found.values()
    off = [
        ((_middles(boxes) - _middles(labels)) / np.sqrt(labels[:, 2:].prod(1))[:, None]).ravel()
        for boxes in found.values()
    ]

    return {
        "frames": len(labels),
        "with labels": {name: round(score(boxes, labels).auc, 3) for name, boxes in found.items()},
        "with each other": round(score(first, second).auc, 3),
        "px from labels": {name: round(distance(boxes, labels), 2) for name, boxes in found.items()},
        "px from each other": round(distance(first, second), 2),
        "correlation of what they are off": round(float(np.corrcoef(*off)[0, 1]), 2),
    }


def _middles(boxes: np.ndarray) -> np.ndarray:
    return boxes[:, :2] + boxes[:, 2:] / 2


def main() -> None:
    """Trains what is missing, and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RUNS)
    out = parser.parse_args().out
    recording = real_recording()
    paths = {half: out / f"as-shipped-{half}-{SEED}" for half in HALVES}
    trackers = {half: trained(CONFIG, half, SEED, path) for half, path in paths.items()}
    rows = {}

    for name, frames in HALVES.items():
        found = {}
        labels = np.empty((0, 4))
        for half, tracker in trackers.items():
            found[half], labels = at_rest(tracker, recording, frames)
        rows[name] = compared(found, labels)
        print(f"frames of the {name} half: {rows[name]}", flush=True)

    revisions = {
        half: Run.open(path).children()[f"learned/seed-{SEED}"].environment()["git_revision"]
        for half, path in paths.items()
    }

    content = {"seed": SEED, "looks": LOOKS, "rows": rows, "revisions": revisions}
    write_text(RESULTS, json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
