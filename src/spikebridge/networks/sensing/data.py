"""The recordings that the sensing network is trained and evaluated on: real, generated, and video clips without events.

| function | recordings |
|---|---|
| `recording_parts` | a split of the real recording, of a folder of your own, or of generated scenes |
| `generated_parts` | scenes of half a second with a textured target, or of families of scenes |
| `tumbling_parts` | scenes that are hard to track, for the target detector only |
| `clip_parts` | video clips of OTB and VOT, for the target detector only |
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from spikebridge.data.catalog import find_files, has_files, refuse_data_folder
from spikebridge.data.recordings.load import load_recording
from spikebridge.data.recordings.recording import Recording, temporal_splits
from spikebridge.data.recordings.video_clips import clip_recording, find_clips
from spikebridge.data.simulation.examples import moving_object
from spikebridge.data.simulation.moving_objects import MovingObjects
from spikebridge.data.simulation.render import render_recording, scene_seeds
from spikebridge.data.simulation.tumbling_objects import TumblingObjects
from spikebridge.errors import ConfigError, DataError

# length of a bin of events [s]
DT = 1 / 240
_RECORDINGS = ("auto", "real", "generated", "both")
_MIN_FRAMES = 3
_SCENE_SECONDS = 0.5
# about that of the real recording [px]
_TARGET_SIZE = 26.0
_IMAGE_INTERVAL = 1 / 480
_TUMBLING_SECONDS = 1.5
_CLIP_RATE = 30.0


class RecordingPart(NamedTuple):
    """A range of frames of a recording."""

    recording: Recording
    frames: range


def recording_parts(
    kind: str,
    split: str,
    num_scenes: int,
    frame_step: int = 1,
    data: Path | None = None,
    scenes: Sequence[str] = (),
) -> list[RecordingPart]:
    """The recordings of a split: train, validation or test.

    `kind` is `real`; `generated`; `auto`, the real one if the folder with data sets has it, else generated scenes;
    `both`, which adds generated scenes for training; or the folder of another recording. Every `frame_step`-th frame is
    kept. `data` is the folder with data sets, that of the environment by default; `scenes` see `generated_parts`.
    """
    if kind == "generated":
        refuse_data_folder(data, "generated scenes")
    elif kind not in _RECORDINGS:
        refuse_data_folder(data, f"the recording {kind}")

    if kind == "generated" or (kind == "auto" and data is None and not has_files("fe240hz")):
        parts = generated_parts(split, num_scenes, scenes)
    else:
        recording = _load(find_files("fe240hz", data)[0].parent if kind in _RECORDINGS else _own_folder(kind))
        part = labelled_part(RecordingPart(recording, temporal_splits(recording.num_frames)[split]), pairs=True)
        check_labelled(part, f"its part {split!r}", pairs=True)
        parts = [part]
        if kind == "both" and split == "train":
            parts += generated_parts(split, num_scenes, scenes)

    if frame_step == 1:
        return parts

    fewer = [
        RecordingPart(
            recording.subsample_frames(frame_step), range(-(-frames.start // frame_step), frames.stop // frame_step)
        )
        for recording, frames in parts
    ]
    if any(len(part.frames) < _MIN_FRAMES for part in fewer):
        raise ConfigError(f"a frame_step of {frame_step} leaves fewer than three frames; use a smaller one")

    return fewer


def labelled_part(part: RecordingPart, pairs: bool) -> RecordingPart:
    """The part from its first frame on that a tracker can start at; without frames if there is none.

    With `pairs` that frame needs a box, and so does the frame before it, as in protocol A.
    """
    recording, frames = part
    has_box = np.isfinite(recording.frame_boxes).all(axis=1)
    if pairs:
        has_box = has_box & np.concatenate([[False], has_box[:-1]])

    startable = np.flatnonzero(has_box[frames.start : frames.stop])
    start = frames.start + int(startable[0]) if len(startable) else frames.stop
    return RecordingPart(recording, range(start, frames.stop))


def check_labelled(part: RecordingPart, name: str, pairs: bool) -> None:
    """Refuses a part of `labelled_part` without a start, or of a recording without boxes to compare with."""
    if not len(part.frames) or not np.isfinite(part.recording.boxes).all(axis=1).any():
        needs = "two neighbouring frames with boxes" if pairs else "a frame with a box"
        raise DataError(
            f"{part.recording.name}: expected {needs}, and boxes to compare with, but {name} has none; "
            "add them to boxes.csv"
        )


def run_parts(config: Any, split: str, data: Path | None = None) -> list[RecordingPart]:
    """A split of the recordings of a run of the sensing recipe."""
    num_scenes = config.num_scenes if split == "train" else max(1, config.num_scenes // 3)
    return recording_parts(config.recording, split, num_scenes, config.frame_step, data, config.scenes)


# training and evaluation use two parts of the same recording
@lru_cache(maxsize=1)
def _load(folder: Path) -> Recording:
    return load_recording(folder, dt=DT)


def _own_folder(path: str) -> Path:
    folder = Path(path).expanduser()
    if not folder.exists():
        raise ConfigError(
            f"recording {path!r} is neither the folder of a recording nor one of {', '.join(_RECORDINGS)}."
        )

    return folder


def subsample_part(part: RecordingPart, keep_every: int, num_before: int = 0) -> RecordingPart:
    """A part with every N-th frame of the recording; it needs `num_before` frames before its first one."""
    first, stop = (-(-frame // keep_every) for frame in (part.frames.start, part.frames.stop))
    return RecordingPart(part.recording.subsample_frames(keep_every), range(max(num_before, first), stop))


def generated_parts(split: str, num_scenes: int, scenes: Sequence[str] = ()) -> list[RecordingPart]:
    """Scenes of half a second, each with its own seed: a textured target, or families of `family_recording` in turn."""
    parts = []
    for i, seed in enumerate(scene_seeds(split, num_scenes)):
        recording = _generated_scene(scenes[i % len(scenes)] if scenes else None, seed)
        parts.append(RecordingPart(recording, range(1, recording.num_frames)))

    return parts


def _generated_scene(family: str | None, seed: int) -> Recording:
    if family is not None:
        return moving_object(_SCENE_SECONDS, seed, family)

    scene = MovingObjects(seed=seed, size=_TARGET_SIZE)
    return render_recording(scene, _SCENE_SECONDS, DT, image_interval=_IMAGE_INTERVAL, name=f"scene {seed}")


def tumbling_parts(split: str, num_scenes: int) -> list[RecordingPart]:
    """Scenes that are hard to track, with random sizes and speeds, for detectors: every third frame.

    They are long enough that the background behind the target is known in most frames.
    """
    parts = []
    for seed in scene_seeds(split, num_scenes):
        # a generator of its own, so that the picture of a scene does not reveal its settings
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

        recording = render_recording(scene, _TUMBLING_SECONDS, DT, image_interval=DT, name=f"tumbling {seed}")
        parts.append(RecordingPart(recording, range(1, recording.num_frames, 3)))

    return parts


def clip_parts() -> list[RecordingPart]:
    """Video clips of the folder with data sets: boxes in frames, no events."""
    folders = find_clips()
    if not folders:
        raise DataError(
            "there are no clips of OTB or VOT in the folder `tracking` of SPIKEBRIDGE_DATA; leave out clips"
        )

    # a bin a frame, since there are no events
    recordings = [clip_recording(folder, dt=1 / _CLIP_RATE, frame_rate=_CLIP_RATE) for folder in folders]
    return [RecordingPart(recording, range(recording.num_frames)) for recording in recordings]
