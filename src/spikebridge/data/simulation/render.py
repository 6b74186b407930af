"""Renders a generated scene as a recording of a hybrid camera: frames, events, and exact boxes.

Coordinates are those of boxes: the pixel in column i and row j covers `[i, i + 1) x [j, j + 1)`.
"""

from dataclasses import dataclass
from math import ceil
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from spikebridge.data.events.binned import bin_sparse
from spikebridge.data.events.binning import bin_edges
from spikebridge.data.recordings.recording import Recording
from spikebridge.data.simulation.event_camera import EventCamera, camera_step, initial_camera, keep_first_per_group
from spikebridge.errors import ConfigError

# seed modulo 3
_SPLITS = {"train": 0, "validation": 1, "test": 2}


@dataclass(frozen=True)
class FrameCamera:
    """Settings of the frames of a simulated hybrid camera.

    Args:
        rate: frames a second, the first at 0 s; it need not fit the bins.
        exposure: seconds before its time over which a frame gathers light. The image is the mean over the exposure; the
            box is that of the frame's time.
        noise: standard deviation of the noise of a pixel [grey levels].
    """

    rate: float = 40.0
    exposure: float = 0.0
    noise: float = 0.0


@runtime_checkable
class Stimulus(Protocol):
    """A scene before a camera: image and target box at any time."""

    @property
    def height(self) -> int:
        """Rows of the image."""

    @property
    def width(self) -> int:
        """Columns of the image."""

    def image(self, t: float) -> Float[np.ndarray, "H W"]:
        """The image at a time [s], intensities in [0, 1]."""

    def box(self, t: float) -> Float[np.ndarray, "4"]:
        """The box of the target at a time [s]."""


_EVENT_CAMERA = EventCamera()
_FRAME_CAMERA = FrameCamera()


def render_recording(
    scene: Stimulus,
    duration: float,
    dt: float = 0.001,
    image_interval: float = 0.001,
    camera: EventCamera = _EVENT_CAMERA,
    frame_camera: FrameCamera = _FRAME_CAMERA,
    seed: int = 0,
    name: str = "scene",
) -> Recording:
    """Records a scene with a simulated hybrid camera.

    Args:
        scene: gives the images and boxes.
        duration: of the recording [s], rounded to whole bins.
        dt: length of an event bin, and time between two boxes [s].
        image_interval: longest time between two images that the event pixels see [s].
        camera: settings of the event pixels.
        frame_camera: rate and exposure of the frames.
        seed: draws thresholds and noise of the event pixels; the scene has a seed of its own.
        name: of the recording.

    Returns:
        Frames of 8 bits, events, and exact boxes at the end of each bin.

    Raises:
        ConfigError: a time or rate is out of range.

    Example:
        >>> from spikebridge.data.simulation.moving_objects import MovingObjects
        >>> recording = render_recording(MovingObjects(height=64, width=64, size=16), duration=0.05, dt=0.005)
        >>> recording.num_bins, recording.frame_bins.tolist(), recording.num_unlabelled
        (10, [0, 5], 0)
    """
    frame_rate = frame_camera.rate
    exposure = frame_camera.exposure
    num_bins = round(duration / dt) if dt > 0 else 0
    noise = frame_camera.noise

    if num_bins < 1 or not frame_rate > 0 or not image_interval > 0 or not (exposure >= 0 and noise >= 0):
        raise ConfigError(
            "a recording needs at least one bin, frame_rate and image_interval above 0, exposure and noise of 0 or "
            f"more, but got {duration=}, {dt=}, {frame_rate=}, {image_interval=}, {exposure=}, {noise=}."
        )

    # rounded first, so that an exact ratio is not one more by noise of floating point
    images_per_bin = max(1, ceil(round(dt / image_interval, 6)))
    times = bin_edges(num_bins * images_per_bin, dt / images_per_bin)
    generator = np.random.default_rng(seed)
    state = initial_camera(scene.image(0.0), 0, camera, generator)
    chunks = []

    for t in times[1:].tolist():
        events, state = camera_step(scene.image(t * 1e-6), t, state, camera, generator)
        chunks.append(events)

    events = np.concatenate(chunks)
    if camera.first_event_per_group is not None:
        events = keep_first_per_group(events, camera.first_event_per_group)

    bins = bin_sparse(events, scene.height, scene.width, dt, num_bins)
    frame_times = np.arange(ceil(round(num_bins * dt * frame_rate, 6))) / frame_rate
    first_after = np.searchsorted(events["t"], np.round(frame_times * 1e6)).astype(np.int64)

    return Recording(
        name=name,
        dt=dt,
        events=bins,
        frames=np.stack([_frame(scene, t, frame_camera, image_interval, generator) for t in frame_times]),
        frame_times=frame_times,
        frame_events=first_after.clip(max=int(bins.edges[-1])),
        frame_boxes=np.stack([scene.box(t) for t in frame_times]),
        boxes=np.stack([scene.box((b + 1) * dt) for b in range(num_bins)]),
    )


def scene_seeds(split: str, num_scenes: int) -> list[int]:
    """Seeds of the train, validation or test scenes; no seed is in two splits."""
    if split not in _SPLITS:
        raise ConfigError(f"scenes are for {', '.join(_SPLITS)}, but got {split!r}.")

    return [_SPLITS[split] + len(_SPLITS) * i for i in range(num_scenes)]


def split_of_seed(seed: int) -> str:
    """The split of a scene, see `scene_seeds`."""
    return next(split for split, first in _SPLITS.items() if first == seed % len(_SPLITS))


def _frame(
    scene: Stimulus, t: float, camera: FrameCamera, image_interval: float, generator: np.random.Generator
) -> np.ndarray:
    num_images = ceil(round(camera.exposure / image_interval, 6)) + 1
    moments = np.linspace(t - camera.exposure, t, num_images)
    frame = 255 * np.asarray(sum(scene.image(moment) for moment in moments)) / num_images
    if camera.noise:
        frame += generator.normal(0, camera.noise, frame.shape)

    return np.round(frame).clip(0, 255).astype(np.uint8)
