"""The datasets of a training run of the sensing recipe: samples for the pathways and for the target detector."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from spikebridge.networks.sensing.data import RecordingPart, clip_parts, film_parts, recording_parts, tumbling_parts
from spikebridge.networks.sensing.training.detector_samples import DetectorDataset, detector_samples
from spikebridge.networks.sensing.training.samples import AXES, TrackingSamples, cut_samples, cut_unlabelled_samples
from spikebridge.training.batches import Batches


class TrainingData(NamedTuple):
    """All datasets of a training run.

    Args:
        labelled: with boxes, for the pathways.
        unlabelled: without boxes, for the SNN and its unit in label_free; None for other schedules.
        detector: for the target detector; None if it is not trained.
    """

    labelled: Batches
    unlabelled: Batches | None
    detector: DetectorDataset | None


def training_data(config: Any) -> TrainingData:
    """The datasets of a run. With label_free and clips no box of its recording is read.

    Args:
        config: of the sensing recipe.

    Raises:
        DataError: a recording, the clips, or boxes that are needed are missing.
    """
    asked = config.recording, "train", config.num_scenes, config.frame_step
    label_free = config.schedule == "label_free"
    recorded = [] if label_free and config.clips else recording_parts(*asked, scenes=config.scenes)
    cut = {"both_ways": True, "as_bytes": True, "counts": config.model.counts}
    parts = _pathway_parts(config, recorded) or clip_parts()
    labelled = _joined([cut_samples(*part, config.model.crop, **cut) for part in parts])
    unlabelled = None

    if label_free:
        generator = np.random.default_rng(config.seed)
        parts = _pathway_parts(config, recording_parts(*asked, needs_boxes=False, scenes=config.scenes))
        unlabelled = _joined([cut_unlabelled_samples(*part, config.model.crop, generator, **cut) for part in parts])

    trains_detector = config.detector.epochs and not config.detector.weights_from
    return TrainingData(labelled, unlabelled, detector_data(config, recorded) if trains_detector else None)


def _pathway_parts(config: Any, parts: list[RecordingPart]) -> list[RecordingPart]:
    """Those that the pathways are trained on; the detector is trained on all."""
    return parts[: 1 + config.pathways.num_scenes] if config.recording == "both" else parts


def _joined(cut: Sequence[TrackingSamples]) -> Batches:
    return Batches({name: torch.cat([getattr(one, name) for one in cut], axis) for name, axis in AXES.items()}, AXES)


def detector_data(config: Any, parts: Sequence[RecordingPart]) -> DetectorDataset:
    """The dataset of the target detector: the same parts, scenes and films of its own, and clips.

    Args:
        config: of the sensing recipe.
        parts: with boxes.
    """
    own = tumbling_parts("train", config.detector.num_scenes) + film_parts("train", config.detector.num_films)
    clips = clip_parts() if config.clips else []

    return detector_samples([*parts, *own, *clips], lost=config.detector.absent_share, seed=config.seed)
