"""What the sensing recipe trains on: parts of recordings, scenes for the finder alone, and video clips."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from spikebridge.data.recordings.video_clips import clip_recording, find_clips
from spikebridge.data.simulation.render import render_recording, scene_seeds
from spikebridge.data.simulation.tumbling_objects import TumblingObjects
from spikebridge.errors import DataError
from spikebridge.networks.sensing.evaluation import benchmark as sensing_scores
from spikebridge.networks.sensing.evaluation.benchmark import DT, RecordingPart
from spikebridge.networks.sensing.training import detector_samples as sensing_sightings
from spikebridge.networks.sensing.training.samples import AXES, TrackingSamples, cut_samples, cut_unlabelled_samples
from spikebridge.training.batches import Batches

_LONG = 1.5
_CLIP_RATE = 30.0


class TrainingData(NamedTuple):
    """All that a training needs.

    Args:
        samples: with boxes, for the pathways.
        changes: without any, for the SNN and its unit in label_free; None elsewhere.
        sightings: for the finder; None where it is not trained.
    """

    samples: Batches
    changes: Batches | None
    detector_samples: sensing_sightings.DetectorDataset | None


def training_data(config: Any) -> TrainingData:
    """What a run is trained on. With label_free and clips no box of its recording is read.

    Args:
        config: of the sensing recipe.

    Raises:
        DataError: a recording or the clips are not there, or boxes that are needed.
    """
    asked = config.recording, "train", config.num_scenes, config.thinning
    label_free = config.schedule == "label_free"
    recorded = [] if label_free and config.clips else sensing_scores.parts(*asked)
    samples = batches(config, _followed(config, recorded) or clips())
    changes = None
    if label_free:
        changes = _changes(config, _followed(config, sensing_scores.parts(*asked, needs_boxes=False)))
    finds = config.finding_epochs and not config.finders
    return TrainingData(samples, changes, detector_samples(config, recorded) if finds else None)


def _followed(config: Any, seen: list[RecordingPart]) -> list[RecordingPart]:
    """Those of which the pathways learn; the finder sees all."""
    return seen[: 1 + config.following_scenes] if config.recording == "both" else seen


def batches(config: Any, parts: Sequence[RecordingPart]) -> Batches:
    """What the pathways are trained on.

    Args:
        config: of the sensing recipe.
        parts: with boxes.
    """
    return _joined([cut_samples(seen, frames, config.crop, **_ways(config)) for seen, frames in parts])


def _changes(config: Any, parts: Sequence[RecordingPart]) -> Batches:
    drawn = np.random.default_rng(config.seed)
    return _joined(
        [cut_unlabelled_samples(seen, frames, config.crop, drawn, **_ways(config)) for seen, frames in parts]
    )


def _ways(config: Any) -> dict[str, bool]:
    """How samples are cut for training."""
    return {"both_ways": True, "as_bytes": True, "counts": config.counts}


def _joined(cut: Sequence[TrackingSamples]) -> Batches:
    return Batches({name: torch.cat([getattr(one, name) for one in cut], axis) for name, axis in AXES.items()}, AXES)


def detector_samples(config: Any, parts: Sequence[RecordingPart]) -> sensing_sightings.DetectorDataset:
    """What the finder is trained on: the same parts, scenes of its own, and clips.

    Args:
        config: of the sensing recipe.
        parts: with boxes.
    """
    own = tumbling("train", config.finding_scenes)
    seen = [*parts, *own, *(clips() if config.clips else [])]
    return sensing_sightings.detector_samples(seen, lost=config.finding_lost, seed=config.seed)


def tumbling(split: str, num_scenes: int) -> list[RecordingPart]:
    """Scenes that are hard to hold on to, each of other sizes and speeds, for what reads frames: each third frame.

    They are so long that in most of their frames it has been seen what is behind the target.

    Args:
        split: train, validation or test.
        num_scenes: how many.
    """
    scenes = []
    for seed in scene_seeds(split, num_scenes):
        # settings of their own, so that a scene's picture does not tell them
        generator = np.random.default_rng([seed, 1])
        scene = TumblingObjects(
            seed=seed,
            size=generator.uniform(14, 40),
            speed=generator.uniform(80, 300),
            num_distractors=int(generator.integers(1, 5)),
            num_panels=int(generator.integers(3, 10)),
            light_change=generator.uniform(0, 0.3),
            turning=generator.uniform(0.2, 1.2),
            tumbling=generator.uniform(0.2, 1),
        )
        recording = render_recording(scene, duration=_LONG, dt=DT, image_interval=DT, name=f"tumbling {seed}")
        scenes.append(RecordingPart(recording, range(1, recording.num_frames, 3)))
    return scenes


def clips(data: Path | None = None) -> list[RecordingPart]:
    """Video clips with boxes and without events, for what reads frames.

    Args:
        data: the folder with data sets; that of the environment without it.

    Raises:
        DataError: no clip is there.
    """
    found = find_clips(None if data is None else data / "tracking")
    if not found:
        raise DataError(
            "there are no clips of OTB or VOT in the folder `tracking` of SPIKEBRIDGE_DATA; leave out clips"
        )
    # a bin a frame: there is nothing to put into more of them
    recordings = [clip_recording(folder, dt=1 / _CLIP_RATE, frame_rate=_CLIP_RATE) for folder in found]
    return [RecordingPart(recording, range(recording.num_frames)) for recording in recordings]
