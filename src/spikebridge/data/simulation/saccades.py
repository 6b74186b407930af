"""Digits in front of a hybrid camera: frames at a low rate, events of three micro-saccades at a high rate.

The camera moves along a triangle, so the image moves on the sensor, as in the recordings of N-MNIST
(G. Orchard et al., Frontiers in Neuroscience 9:437, 2015): three saccades of 100 ms each.
"""

from dataclasses import dataclass
from math import ceil, pi, sqrt
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from spikebridge.data.simulation._sensor_steps import check_steppable, initial_sensor, sensor_step
from spikebridge.data.simulation.event_camera import EventCamera
from spikebridge.errors import ConfigError, DataError, ShapeError

# a dark current of a tenth of white: then about 7 % of pixels have an event in a step
DIGIT_CAMERA = EventCamera(log_offset=0.1)


class HybridRecording(NamedTuple):
    """Frames and events; `frames[k]` shows the scene at the start of event step `k * frame_period`."""

    frames: Float[Tensor, "F B 1 H W"]
    events: UInt8[Tensor, "T B 2 H W"]
    labels: Int64[Tensor, " B"]
    frame_period: int


@dataclass(frozen=True)
class Saccades:
    """Motion and sampling rates of the camera."""

    sensor: int = 16  # rows and columns
    side: float = 1.5  # length of a side of the triangle, one side a saccade [px]
    num_steps: int = 24  # event steps T of the three saccades together
    frame_period: int = 6  # steps from one frame to the next
    amplitude_spread: float = 0.2  # each sample's side is drawn from `side * (1 -+ amplitude_spread)`
    phase_spread: float = 1.0  # share of the triangle over which the starting point is drawn; 0 is always a corner
    dt: float = 0.0125  # length of a step [s]
    counts: bool = False  # give counts of events; else 1 after any event

    def __post_init__(self) -> None:
        for name in ("sensor", "num_steps", "frame_period", "side", "dt"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"Saccades needs {name} above 0, but got {getattr(self, name)!r}.")

        for name in ("amplitude_spread", "phase_spread"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"Saccades needs {name} from 0 to 1, but got {getattr(self, name)!r}.")

    @property
    def num_frames(self) -> int:
        """Number of frames of a recording, the first at step 0."""
        return ceil(self.num_steps / self.frame_period)

    @property
    def border(self) -> int:
        """Pixels left free on each side of the digit, so that it stays on the sensor."""
        return ceil(self.side)


def triangle_path(
    progress: Float[Tensor, " S"], start: Float[Tensor, " B"], side: Float[Tensor, " B"]
) -> Float[Tensor, "S B 2"]:
    """Position x, y on a triangle around the origin, corner up, clockwise on the screen at constant speed [px].

    `progress` is the covered share of the path, `start` the share at which each sample starts, `side` the length of a
    side.
    """
    angle = 2 * pi / 3 * torch.arange(4, dtype=progress.dtype)
    corners = torch.stack([angle.sin(), -angle.cos()], dim=-1) / sqrt(3)
    # exactly closed, in spite of rounding
    corners[3] = corners[0]
    along = 3 * ((progress[:, None] + start) % 1.0)
    first = along.floor().long().clamp(max=2)
    share = (along - first)[..., None]

    return side[:, None] * torch.lerp(corners[first], corners[first + 1], share)


def shifted_view(
    images: Float[Tensor, "B h w"], shift: Float[Tensor, "B 2"], sensor: int, border: int
) -> Float[Tensor, "B H W"]:
    """Images on a square sensor, fitted inside a border, shifted by parts of a pixel (bilinear, black outside)."""
    height, width = images.shape[1:]
    scale = (sensor - 2 * border) / max(height, width)
    theta = images.new_zeros(len(images), 2, 3)

    # grid_sample counts from -1 to 1 over the source, whatever its size
    for axis, size in enumerate((width, height)):
        theta[:, axis, axis] = sensor / (scale * size)
        theta[:, axis, 2] = -2 * shift[:, axis] / (scale * size)

    grid = F.affine_grid(theta, [len(images), 1, sensor, sensor], align_corners=False)
    return F.grid_sample(images[:, None], grid, mode="bilinear", padding_mode="zeros", align_corners=False)[:, 0]


def hybrid_camera(
    images: Float[Tensor, "B h w"],
    labels: Int64[Tensor, " B"],
    generator: torch.Generator,
    saccades: Saccades = Saccades(),
    camera: EventCamera = DIGIT_CAMERA,
) -> HybridRecording:
    """Records each image in [0, 1] with a moving hybrid camera; one generator state gives one recording.

    The frames are clean, and the events are 1 in a pixel and step with any event unless `saccades.counts`.
    """
    check_steppable(camera)
    _check_images(images, labels, saccades)
    images = images.float()
    side = 1 + saccades.amplitude_spread * (2 * torch.rand(len(images), generator=generator) - 1)
    start = saccades.phase_spread * torch.rand(len(images), generator=generator)
    path = triangle_path(torch.linspace(0, 1, saccades.num_steps + 1), start, saccades.side * side)
    view = shifted_view(images, path[0], saccades.sensor, saccades.border)
    state = initial_sensor(view, camera, generator)
    frames = []
    events = []

    for step in range(saccades.num_steps):
        if step % saccades.frame_period == 0:
            frames.append(view[:, None])
        view = shifted_view(images, path[step + 1], saccades.sensor, saccades.border)
        counts, state = sensor_step(view, state, camera, saccades.dt, generator)
        events.append(counts.clamp(max=255 if saccades.counts else 1).byte())

    return HybridRecording(torch.stack(frames), torch.stack(events), labels, saccades.frame_period)


def add_noise(frames: Float[Tensor, "*S"], sigma: float, generator: torch.Generator) -> Float[Tensor, "*S"]:
    """Frames with additive Gaussian noise of a standard deviation `sigma`, not clipped."""
    if not 0 <= sigma < float("inf"):
        raise ConfigError(f"noise needs a finite sigma of 0 or more, but got {sigma!r}.")

    noise = torch.randn(frames.shape, generator=generator, dtype=frames.dtype, device=generator.device)
    return frames + sigma * noise.to(frames.device)


def corrupt_events(
    events: UInt8[Tensor, "*S"], loss: float, spurious: float, generator: torch.Generator
) -> Float[Tensor, "*S"]:
    """Events of which a share `loss` is deleted, with spurious ones at a chance for each place and step."""
    for name, chance in (("loss", loss), ("spurious", spurious)):
        if not 0 <= chance <= 1:
            raise ConfigError(f"corrupt_events needs {name} as a chance from 0 to 1, but got {chance!r}.")

    corrupted = events.float()
    if loss:
        draws = torch.rand(events.shape, generator=generator, device=generator.device).to(events.device)
        corrupted = corrupted * (draws >= loss)

    if spurious:
        draws = torch.rand(events.shape, generator=generator, device=generator.device).to(events.device)
        corrupted = torch.maximum(corrupted, (draws < spurious).float())

    return corrupted


def subsample_frames(frames: Float[Tensor, "F *S"], keep_every: int) -> Float[Tensor, "G *S"]:
    """Every `keep_every`-th frame, the first one included; the frame period grows by the same factor."""
    if keep_every < 1:
        raise ConfigError(f"subsample_frames needs keep_every of 1 or more, but got {keep_every}.")

    return frames[::keep_every]


def _check_images(images: Tensor, labels: Tensor, saccades: Saccades) -> None:
    if images.dim() != 3 or not images.is_floating_point() or labels.shape != images.shape[:1]:
        shapes = f"{images.dtype} {tuple(images.shape)} and labels {tuple(labels.shape)}"
        raise ShapeError(f"hybrid_camera needs float images (B, H, W) in [0, 1] and labels (B,), but got {shapes}.")

    if not bool(((images >= 0) & (images <= 1)).all()):
        remedy = "Divide by the brightest value, and add noise to the frames afterwards (`add_noise`)."
        raise DataError(f"hybrid_camera needs intensities in [0, 1], but some are outside or not a number. {remedy}")

    if saccades.sensor <= 2 * saccades.border:
        borders = f"two borders of {saccades.border} px; use a larger sensor or a shorter side"
        raise ConfigError(f"a sensor of {saccades.sensor} px is too small for {borders}.")
