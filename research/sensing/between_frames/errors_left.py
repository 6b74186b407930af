"""The share of a tracker's errors that one detection leaves.

At 1 it returns the given box, and boxes grow and wander at random; a closed loop holds if errors shrink.
"""

from collections.abc import Iterator
from math import cos, exp, pi, sin
from statistics import fmean
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from spikebridge.data.events.binned import crop_events
from spikebridge.data.recordings.recording import Recording
from spikebridge.networks.sensing.model.detector import SCALES, Detection, TargetDetector
from spikebridge.networks.sensing.tracker.tracker import SensingTracker
from spikebridge.networks.sensing.training.augmentation import box_centers
from spikebridge.networks.sensing.training.detector_samples import background_sequence

WRONG = 0.25  # of a size: as its logarithm, and as a way
LOOKS = 80


class FramePair(NamedTuple):
    """Two neighbouring frames, the events between them, what is behind the target, the boxes of both, and a template
    from anywhere.
    """

    now: Tensor
    before: Tensor
    events: Tensor
    behind: Tensor
    here: Tensor
    there: Tensor
    first: Tensor


def errors_left(tracker: SensingTracker, recording: Recording, frames: range) -> dict[str, float]:
    """The share that is left of a wrong size and of a wrong place which the frame before had already, on average."""
    detector = tracker.sensing.detector
    if detector is None:
        raise SystemExit("the network has no detector")

    generator = np.random.default_rng(0)
    sizes = []
    places = []

    with torch.inference_mode():
        for pair in pairs(detector, recording, frames, generator):
            angle = 2 * pi * generator.random()
            way = torch.tensor([[cos(angle), sin(angle)]])
            true, larger, moved = (
                found(detector, pair, tracker.options.template_rate, factor, beside)
                for factor, beside in ((1.0, 0 * way), (exp(WRONG), 0 * way), (1.0, WRONG * way))
            )

            sizes.append(float((larger[:, 2:].prod() / true[:, 2:].prod()).log()) / 2 / WRONG)
            off = (box_centers(moved) - box_centers(true)) / pair.here[:, 2:].prod().sqrt()
            places.append(float((off * way).sum()) / WRONG)

    return {"size left": round(fmean(sizes), 2), "place left": round(fmean(places), 2)}


def pairs(
    detector: TargetDetector, recording: Recording, frames: range, generator: np.random.Generator
) -> Iterator[FramePair]:
    """Spread over the frames, with the template of one that is drawn."""
    whole = (0, 0, recording.events.width, recording.events.height)
    chosen = np.linspace(frames.start + 1, frames.stop - 1, LOOKS).astype(int)

    for k, found in background_sequence(recording, frames, recording.frames.__getitem__, generator, error_factor=0.0):
        # the background needs all frames in their order, but only some are looked at
        if k not in chosen:
            continue

        shown = (k, k - 1, int(generator.choice(frames)))
        now, before, given = (torch.tensor(recording.frames[i][None, None]).float() for i in shown)
        here, there, at_first = (torch.tensor(recording.frame_boxes[i][None]).float() for i in shown)
        between = recording.events.slice_events(*(int(recording.frame_events[i]) for i in (k - 1, k)))
        events = crop_events(between, whole)[None]
        behind = found[1].behind(whole)
        yield FramePair(now, before, events, behind, here, there, detector.template(given, at_first))


def found(detector: TargetDetector, pair: FramePair, template_rate: float, factor: float, beside: Tensor) -> Tensor:
    """The box that is found when the believed one is wrong, as it was in the frame before."""
    here, there = (wrong(box, factor, beside) for box in (pair.here, pair.there))
    newest = detector.template(pair.before, there)

    return detect_multiscale(
        detector, (pair.now, pair.before, pair.events, pair.behind), here, pair.first, newest, template_rate
    ).boxes


def detect_multiscale(
    detector: TargetDetector,
    pictures: tuple[Tensor, Tensor, Tensor, Tensor],
    box: Tensor,
    first: Tensor,
    newest: Tensor,
    template_rate: float,
) -> Detection:
    """The mean over two assumed sizes, as the tracker's `FusedDetector.detect` has it.

    `pictures` are the new frame, the one before, the events between, and the background.
    """
    sizes = torch.tensor(SCALES)[:, None] * box[:, 2:]
    boxes = torch.cat([box[:, :2] + box[:, 2:] / 2 - sizes / 2, sizes], 1)
    repeated = (x.expand(len(boxes), -1, -1, -1) for x in pictures)
    detections = detector(*repeated, boxes, first, newest, template_rate)

    return Detection(*(part.mean(0, keepdim=True) for part in detections))


def wrong(box: Tensor, factor: float, beside: Tensor) -> Tensor:
    """A box that is larger than its target and beside it, by parts of its size."""
    sizes = factor * box[:, 2:]
    return torch.cat([box_centers(box) + beside * box[:, 2:].prod().sqrt() - sizes / 2, sizes], 1)
