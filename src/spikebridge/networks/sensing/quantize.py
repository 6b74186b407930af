"""The sensing network in whole numbers: what runs at every bin, the SNN and its unit; the head stays real."""

from pathlib import Path
from statistics import fmean
from typing import Any

from torch import Tensor

from spikebridge.networks.sensing.data import run_parts
from spikebridge.networks.sensing.evaluation.protocols import interframe
from spikebridge.networks.sensing.model.sensing import Sensing
from spikebridge.networks.sensing.tracker.tracker import SensingTracker, TrackerOptions
from spikebridge.networks.sensing.training.samples import cut_samples

REGIONS = ("where", "units.unit")


def calibration(config: Any, num_samples: int, data: Path | None = None) -> dict[str, Tensor]:
    """Frames of training recordings and the events after them, to choose scales of whole numbers on.

    Args:
        config: of the sensing recipe.
        num_samples: how many frames.
        data: the folder with data sets; that of the environment without it.
    """
    (first, *_) = run_parts(config, "train", data)
    samples = cut_samples(first.recording, first.frames, config.model.crop, counts=config.model.counts)
    # spread over the recording
    chosen = slice(None, None, max(1, len(samples.frames) // num_samples))
    return {
        "frames": samples.frames[chosen][None, :num_samples],
        "boxes": samples.boxes[chosen][None, :num_samples],
        "events": samples.events[:, chosen][:, :num_samples].float(),
    }


def measure(network: Sensing, config: Any, data: Path | None = None) -> dict[str, float]:
    """The figure that quantisation may cost: the mean distance of protocol A, over recordings [px]."""
    scored = run_parts(config, config.split, data)
    options = TrackerOptions(config.model.crop, config.tracker.template_rate, config.tracker.detector_gain)
    tracker = SensingTracker(network.eval(), options)
    distances = [interframe(recording, tracker, frames).score().mean_distance_px for recording, frames in scored]
    return {"mean_distance_px": fmean(distances)}
