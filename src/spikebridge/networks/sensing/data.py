"""The recordings that the sensing network is trained and evaluated on: real, generated, and video clips without events.

| function | recordings |
|---|---|
| `recording_parts` | a split of the real recording, of a folder of your own, or of generated scenes |
| `generated_parts` | scenes of half a second with a textured target, or of families of scenes |
| `tumbling_parts` | scenes that are hard to track, for the target detector only |
| `film_parts` | films of photographs, without events, for what reads frames |
| `clip_parts` | video clips of OTB and VOT, for what reads frames |
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from spikebridge.data.catalog import find_files, refuse_data_folder
from spikebridge.data.images.photographs import photograph_texture
from spikebridge.data.recordings.load import load_recording
from spikebridge.data.recordings.recording import Recording, temporal_splits
from spikebridge.data.recordings.video_clips import clip_recording, find_clips
from spikebridge.data.simulation.event_camera import EventCamera
from spikebridge.data.simulation.examples import moving_object
from spikebridge.data.simulation.families import with_photographs
from spikebridge.data.simulation.moving_objects import MovingObjects
from spikebridge.data.simulation.panned_picture import PannedPicture
from spikebridge.data.simulation.render import FrameCamera, Stimulus, render_recording, scene_seeds, split_of_seed
from spikebridge.data.simulation.tumbling_objects import TumblingObjects
from spikebridge.errors import ConfigError, DataError

DT = 1 / 240
"""Length of a bin of events [s]."""
_RECORDINGS = ("auto", "real", "generated", "both")
_SCENE_SECONDS = 0.5
_TUMBLING_SECONDS = 1.5
_CLIP_RATE = 30.0
_FILM_SECONDS = 2.0
_FILM_SENSOR = (180, 240)
_FILM_SIZES = (16.0, 64.0)  # [px], [sizes a second], [px]
_FILM_SPEEDS = (0.3, 4.0)
_FILM_CAMERA = (2.0, 60.0)


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
    needs_boxes: bool = True,
    scenes: Sequence[str] = (),
) -> list[RecordingPart]:
    """The recordings of a split.

    Args:
        kind: `real`; `generated`; `auto`, the real one if it is found, else generated scenes; `both`, which adds
            generated scenes for training; or the folder of another recording.
        split: train, validation or test.
        num_scenes: number of generated scenes.
        frame_step: every N-th frame is kept.
        data: the folder with data sets; that of the environment by default.
        needs_boxes: whether a part starts at its first boxes; else it is returned as it is.
        scenes: families of the generated scenes, see `generated_parts`.

    Raises:
        DataError: the recording is not found, or its part needs boxes and has none.
        ConfigError: the kind is unknown and no folder, or too few frames are left.
    """
    if kind == "generated":
        refuse_data_folder(data, "generated scenes")
    elif kind not in _RECORDINGS:
        refuse_data_folder(data, f"the recording {kind}")

    if kind == "generated" or (kind == "auto" and data is None and not _is_found(data)):
        found = generated_parts(split, num_scenes, scenes)
    else:
        recording = _loaded(find_files("fe240hz", data)[0].parent if kind in _RECORDINGS else _own_folder(kind))
        part = RecordingPart(recording, temporal_splits(recording.num_frames)[split])
        if needs_boxes:
            part = labelled_part(part, pairs=True)
            remedy = " Without boxes there is --schedule label_free --clips." if split == "train" else ""
            check_labelled(part, f"its part {split!r}", pairs=True, remedy=remedy)

        found = [part]
        if kind == "both" and split == "train":
            found += generated_parts(split, num_scenes, scenes)

    if frame_step == 1:
        return found

    fewer = [
        RecordingPart(
            recording.subsample_frames(frame_step), range(-(-frames.start // frame_step), frames.stop // frame_step)
        )
        for recording, frames in found
    ]
    if any(len(part.frames) < 3 for part in fewer):
        raise ConfigError(f"a frame_step of {frame_step} leaves fewer than three frames; use a smaller one")

    return fewer


def labelled_part(part: RecordingPart, pairs: bool) -> RecordingPart:
    """The part from its first frame on that a tracker can start at; without frames if there is none.

    Args:
        part: of a recording.
        pairs: the first frame needs a box, and so does the frame before it, as in protocol A.
    """
    recording, frames = part
    known = np.isfinite(recording.frame_boxes).all(axis=1)
    if pairs:
        known = known & np.concatenate([[False], known[:-1]])

    inside = np.flatnonzero(known[frames.start : frames.stop])
    return RecordingPart(recording, range(frames.start + int(inside[0]) if len(inside) else frames.stop, frames.stop))


def _is_labelled(part: RecordingPart) -> bool:
    """Whether a part of `labelled_part` has a start, and boxes to compare with."""
    return len(part.frames) > 0 and bool(np.isfinite(part.recording.boxes).all(axis=1).any())


def check_labelled(part: RecordingPart, name: str, pairs: bool, remedy: str = "") -> None:
    """Refuses a part without a start, or of a recording without boxes to compare with.

    Args:
        part: of `labelled_part`.
        name: of the part, for the message.
        pairs: as in `labelled_part`.
        remedy: what to do.

    Raises:
        DataError: the part has no start or no boxes.
    """
    if not _is_labelled(part):
        needs = "two neighbouring frames with boxes" if pairs else "a frame with a box"
        found = f"expected {needs}, and boxes to compare with, but {name} has none."
        raise DataError(f"{part.recording.name}: {found}{remedy}")


def run_parts(config: Any, split: str, data: Path | None = None) -> list[RecordingPart]:
    """A split of the recordings of a run; generated scenes if label_free trains on a recording without boxes.

    Args:
        config: of the sensing recipe.
        split: as in `recording_parts`.
        data: as in `recording_parts`.
    """
    asked = split, config.num_scenes if split == "train" else max(1, config.num_scenes // 3)
    options: dict[str, Any] = {"frame_step": config.frame_step, "data": data, "scenes": config.scenes}

    if config.schedule == "label_free":
        (first, *_) = recording_parts(config.recording, *asked, **options, needs_boxes=False)
        if not _is_labelled(labelled_part(first, pairs=True)):
            note = f"({first.recording.name} has no boxes)"
            made = generated_parts(*asked, config.scenes)
            return [RecordingPart(replace(scene, name=f"{scene.name} {note}"), frames) for scene, frames in made]

    return recording_parts(config.recording, *asked, **options)


@lru_cache(maxsize=1)
def _loaded(folder: Path) -> Recording:
    """Read once: training and evaluation use two parts of the same recording."""
    return load_recording(folder, dt=DT)


def _own_folder(path: str) -> Path:
    folder = Path(path).expanduser()
    if not folder.exists():
        raise ConfigError(
            f"recording {path!r} is neither the folder of a recording nor one of {', '.join(_RECORDINGS)}."
        )

    return folder


def _is_found(data: Path | None) -> bool:
    try:
        find_files("fe240hz", data)
    except DataError:
        return False

    return True


def subsample_part(part: RecordingPart, keep_every: int, num_before: int = 0) -> RecordingPart:
    """A part with fewer frames.

    Args:
        part: of a recording.
        keep_every: 1 keeps all frames, 2 every second one of the recording.
        num_before: number of frames that the part needs before its first one.
    """
    first, stop = (-(-frame // keep_every) for frame in (part.frames.start, part.frames.stop))
    return RecordingPart(part.recording.subsample_frames(keep_every), range(max(num_before, first), stop))


def generated_parts(split: str, num_scenes: int, scenes: Sequence[str] = ()) -> list[RecordingPart]:
    """Scenes of half a second, each with its own seed; a textured target, or families of scenes in turn.

    Args:
        split: train, validation or test.
        num_scenes: number of scenes.
        scenes: names of families, see `family_recording`.

    Raises:
        ConfigError: there is no such family.
    """
    made = (
        _generated(scenes[i % len(scenes)] if scenes else None, seed)
        for i, seed in enumerate(scene_seeds(split, num_scenes))
    )
    return [RecordingPart(recording, range(1, recording.num_frames)) for recording in made]


def _generated(family: str | None, seed: int) -> Recording:
    if family is not None:
        return moving_object(_SCENE_SECONDS, seed, family)
    scene = MovingObjects(seed=seed, size=26.0)
    return render_recording(scene, duration=_SCENE_SECONDS, dt=DT, image_interval=1 / 480, name=f"scene {seed}")


def tumbling_parts(split: str, num_scenes: int) -> list[RecordingPart]:
    """Scenes that are hard to track, with sizes and speeds drawn for each, for what reads frames: every third frame.

    They are long enough that most frames have a known background behind the target.

    Args:
        split: train, validation or test.
        num_scenes: number of scenes.
    """
    scenes = []
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
        scenes.append(RecordingPart(recording, range(1, recording.num_frames, 3)))

    return scenes


def film_parts(split: str, num_films: int) -> list[RecordingPart]:
    """Films of photographs, as ordinary clips: 30 frames a second, no events, two seconds.

    In every second film parts of photographs move over another one; in the others the target is a part of the
    photograph before which the camera moves, turns and zooms.

    Args:
        split: train, validation or test; of the photographs, too.
        num_films: number of films.

    Raises:
        ConfigError: scikit-image is not installed, whose pictures are taken.
    """
    return [
        RecordingPart(film, range(1, film.num_frames))
        for number, seed in enumerate(scene_seeds(split, num_films))
        for film in [_film(seed, is_panned=number % 2 > 0)]
    ]


def _film(seed: int, is_panned: bool) -> Recording:
    generator = np.random.default_rng([seed, 2])
    uniform = generator.uniform
    size, pace, camera = (float(np.exp(uniform(*np.log(of)))) for of in (_FILM_SIZES, _FILM_SPEEDS, _FILM_CAMERA))
    height, width = _FILM_SENSOR

    drawn: dict[str, Any] = {
        "height": height,
        "width": width,
        "seed": seed,
        "size": size,
        "speed": pace * size,
        "scale_change": uniform(1, 2),
        "light_change": uniform(0, 0.3),
        "turning": uniform(0, 1.5),
        "tumbling": uniform(0, 1),
    }

    scene: Stimulus
    if is_panned:
        scene = PannedPicture(photograph_texture(split_of_seed(seed), 2 * height, 2 * width, generator), **drawn)
    else:
        others = int(generator.integers(0, 5))
        scene = with_photographs(TumblingObjects(**drawn, num_distractors=others, camera_motion=camera))

    # thresholds that nothing crosses: no events
    blind = EventCamera(threshold_mean=1e3)
    frames = FrameCamera(_CLIP_RATE, noise=uniform(0, 3))
    dt = 1 / _CLIP_RATE

    return render_recording(scene, _FILM_SECONDS, dt, dt, blind, frames, seed, name=f"film {seed}")


def clip_parts(data: Path | None = None) -> list[RecordingPart]:
    """Video clips with boxes and without events, for what reads frames.

    Args:
        data: the folder with data sets; that of the environment by default.

    Raises:
        DataError: no clip is found.
    """
    found = find_clips(None if data is None else data / "tracking")
    if not found:
        raise DataError(
            "there are no clips of OTB or VOT in the folder `tracking` of SPIKEBRIDGE_DATA; leave out clips"
        )

    # a bin a frame, since there are no events
    recordings = [clip_recording(folder, dt=1 / _CLIP_RATE, frame_rate=_CLIP_RATE) for folder in found]
    return [RecordingPart(recording, range(recording.num_frames)) for recording in recordings]
