"""The datasets of a training run of the sensing recipe: samples for the pathways and for the target detector."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from spikebridge.networks.sensing.data import RecordingPart, clip_parts, recording_parts, tumbling_parts
from spikebridge.networks.sensing.training.detector_samples import DetectorDataset, detector_samples
from spikebridge.networks.sensing.training.samples import AXES, TrackingSamples, cut_samples
from spikebridge.training.batches import Batches

# generated scenes for the pathways with the real recording: more of them lowered the accuracy on it (validation frames)
_NUM_PATHWAY_SCENES = 2


class TrainingData(NamedTuple):
    """The samples of the pathways, and those of the detector; None if it is not trained."""

    pathways: Batches
    detector: DetectorDataset | None


def training_data(config: Any) -> TrainingData:
    """The datasets of a run."""
    parts = recording_parts(
        config.recording, "train", config.num_scenes, frame_step=config.frame_step, scenes=config.scenes
    )
    pathways = pathway_data(config, parts)
    trains_detector = config.detector.epochs and not config.detector.weights_from

    return TrainingData(pathways, detector_data(config, parts) if trains_detector else None)


def pathway_data(config: Any, parts: Sequence[RecordingPart]) -> Batches:
    """The samples of the pathways, of the real recording and few generated scenes, or of all parts."""
    used = parts[: 1 + _NUM_PATHWAY_SCENES] if config.recording == "both" else parts
    return join_samples([cut_samples(*part, config.model.crop, both_ways=True, as_bytes=True) for part in used])


def join_samples(samples: Sequence[TrackingSamples]) -> Batches:
    """Samples of several recordings as one dataset."""
    columns = {name: torch.cat([getattr(one, name) for one in samples], axis) for name, axis in AXES.items()}
    return Batches(columns, AXES)


def detector_data(config: Any, parts: Sequence[RecordingPart]) -> DetectorDataset:
    """The samples of the target detector: of the same parts, of scenes of its own, and of clips."""
    own = tumbling_parts("train", config.detector.num_scenes)
    clips = clip_parts() if config.clips else []
    return detector_samples([*parts, *own, *clips], seed=config.seed)
