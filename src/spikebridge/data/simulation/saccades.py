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

from spikebridge.data.simulation.event_camera import EventCamera
from spikebridge.data.simulation.event_camera_torch import check_steppable, initial_sensor, sensor_step
from spikebridge.errors import ConfigError, DataError, ShapeError

# a dark current of a tenth of white: then about 7 % of pixels have an event in a step
_DIGIT_CAMERA = EventCamera(log_offset=0.1)


class HybridRecording(NamedTuple):
    """Frames and events; `frames[k]` shows the scene at the start of event step `k * frame_period`."""

    frames: Float[Tensor, "F B 1 H W"]
    events: UInt8[Tensor, "T B 2 H W"]
    labels: Int64[Tensor, " B"]
    frame_period: int


@dataclass(frozen=True)
class Saccades:
    """Motion and sampling rates of the camera.

    Args:
        sensor: height and width of the sensor in pixels.
        side: length of a side of the triangle in pixels, one side a saccade.
        num_steps: event steps T of the three saccades together.
        frame_period: steps from one frame to the next.
        amplitude_spread: each sample's side is drawn from `side * (1 -+ amplitude_spread)`.
        phase_spread: share of the triangle over which the starting point is drawn; 1 is anywhere, 0 always a corner.
        dt: length of a step [s].
        counts: give counts of events; else 1 where there was any.

    Raises:
        ConfigError: a setting is out of range.

    Example:
        >>> Saccades().num_frames, Saccades(frame_period=24).num_frames
        (4, 1)
    """

    sensor: int = 16
    side: float = 1.5
    num_steps: int = 24
    frame_period: int = 6
    amplitude_spread: float = 0.2
    phase_spread: float = 1.0
    dt: float = 0.0125
    counts: bool = False

    def __post_init__(self) -> None:
        """Refuse settings that are out of range."""
        for name in ("sensor", "num_steps", "frame_period", "side", "dt"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"Saccades needs {name} above 0, but got {getattr(self, name)!r}.")

        for name in ("amplitude_spread", "phase_spread"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"Saccades needs {name} from 0 to 1, but got {getattr(self, name)!r}.")

    @property
    def num_frames(self) -> int:
        """Frames of a recording: one at step 0 and one each `frame_period` steps after."""
        return ceil(self.num_steps / self.frame_period)

    @property
    def border(self) -> int:
        """Pixels left free on each side of the digit, so that it stays on the sensor."""
        return ceil(self.side)


# 28 x 28 images keep their scale, with 3 px around them for the motion, as on the sensor of N-MNIST
MNIST_SACCADES = Saccades(sensor=34, side=3.0)


def triangle_path(
    progress: Float[Tensor, " S"], start: Float[Tensor, " B"], side: Float[Tensor, " B"]
) -> Float[Tensor, "S B 2"]:
    """Position on a triangle around the origin, corner up, clockwise on the screen at constant speed.

    Args:
        progress: share of the whole way gone, 0 to 1.
        start: share of the way at which each sample starts.
        side: length of a side for each sample [px].

    Returns:
        x (to the right) and y (downwards) in pixels.

    Example:
        >>> place = triangle_path(torch.tensor([0.0]), torch.tensor([0.0]), torch.tensor([3.0]))
        >>> place.flatten().tolist()  # the upper corner: a third of sqrt(3) * side above the middle
        [0.0, -1.73...]
    """
    angle = 2 * pi / 3 * torch.arange(4, dtype=progress.dtype)
    corners = torch.stack([angle.sin(), -angle.cos()], dim=-1) / sqrt(3)
    corners[3] = corners[0]
    along = 3 * ((progress[:, None] + start) % 1.0)
    first = along.floor().long().clamp(max=2)
    share = (along - first)[..., None]

    return side[:, None] * torch.lerp(corners[first], corners[first + 1], share)


def shifted_view(
    images: Float[Tensor, "B h w"], shift: Float[Tensor, "B 2"], sensor: int, border: int
) -> Float[Tensor, "B H W"]:
    """Images on a square sensor, fitted inside a border, moved by parts of a pixel (bilinear, black outside).

    Args:
        images: intensities.
        shift: x and y by which each image is moved on the sensor [px].
        sensor: height and width of the sensor [px].
        border: pixels around the image at rest.

    Returns:
        What the sensor sees.

    Example:
        >>> dot = torch.zeros(1, 3, 3)
        >>> dot[0, 1, 1] = 1.0
        >>> shifted_view(dot, torch.tensor([[0.5, 0.0]]), sensor=3, border=0)[0, 1]  # half a pixel to the right
        tensor([0.0000, 0.5000, 0.5000])
    """
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
    camera: EventCamera = _DIGIT_CAMERA,
) -> HybridRecording:
    """Records each image with a moving hybrid camera.

    Args:
        images: intensities in [0, 1].
        labels: the class of each image, passed on.
        generator: draws each sample's path and thresholds; the same seed gives the same recording.
        saccades: motion, sensor and rates.
        camera: settings of the event pixels.

    Returns:
        Clean frames in [0, 1] and events, with 1 for "there was one" unless `saccades.counts`.

    Raises:
        ShapeError: images and labels do not fit each other.
        DataError: intensities outside [0, 1].
        ConfigError: the sensor is smaller than the image.

    Example:
        >>> seen = hybrid_camera(torch.rand(2, 8, 8), torch.tensor([3, 5]), torch.Generator().manual_seed(0))
        >>> seen.frames.shape, seen.events.shape
        (torch.Size([4, 2, 1, 16, 16]), torch.Size([24, 2, 2, 16, 16]))
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
    """Frames with additive Gaussian noise, not clipped.

    Args:
        frames: intensities of any shape.
        sigma: standard deviation of the noise, in units of intensity, 0 or more.
        generator: draws the noise.

    Returns:
        New frames of the same shape.

    Raises:
        ConfigError: `sigma` is negative or not a number.

    Example:
        >>> frames = torch.ones(2, 1, 1, 2, 2)
        >>> add_noise(frames, 0.0, torch.Generator()).equal(frames)
        True
    """
    if not 0 <= sigma < float("inf"):
        raise ConfigError(f"noise needs a finite sigma of 0 or more, but got {sigma!r}.")

    noise = torch.randn(frames.shape, generator=generator, dtype=frames.dtype, device=generator.device)
    return frames + sigma * noise.to(frames.device)


def corrupt_events(
    events: UInt8[Tensor, "*S"], loss: float, spurious: float, generator: torch.Generator
) -> Float[Tensor, "*S"]:
    """Deletes random events and adds spurious ones, as a poor sensor does.

    Args:
        events: 1 where there was an event, else 0, of any shape.
        loss: chance of each event to be lost, 0 to 1.
        spurious: chance of an event in each place and step without a cause, 0 to 1.
        generator: draws both.

    Returns:
        New events of the same shape, as floats.

    Raises:
        ConfigError: a chance outside 0 to 1.

    Example:
        >>> events = torch.tensor([0, 1, 1], dtype=torch.uint8)
        >>> corrupt_events(events, 1.0, 0.0, torch.Generator()).tolist()
        [0.0, 0.0, 0.0]
    """
    for name, chance in (("loss", loss), ("spurious", spurious)):
        if not 0 <= chance <= 1:
            raise ConfigError(f"corrupt_events needs {name} as a chance from 0 to 1, but got {chance!r}.")

    seen = events.float()
    if loss:
        draws = torch.rand(events.shape, generator=generator, device=generator.device).to(events.device)
        seen = seen * (draws >= loss)

    if spurious:
        draws = torch.rand(events.shape, generator=generator, device=generator.device).to(events.device)
        seen = torch.maximum(seen, (draws < spurious).float())

    return seen


def subsample_frames(frames: Float[Tensor, "F *S"], keep_every: int) -> Float[Tensor, "G *S"]:
    """Each `keep_every`-th frame, the first one included; the frame period grows by the same factor.

    Args:
        frames: frames, time first.
        keep_every: 1 keeps all frames, 2 every second one.

    Returns:
        The frames kept.

    Raises:
        ConfigError: `keep_every` is below 1.

    Example:
        >>> subsample_frames(torch.arange(5.0)[:, None], 2).flatten()
        tensor([0., 2., 4.])
    """
    if keep_every < 1:
        raise ConfigError(f"subsample_frames needs keep_every of 1 or more, but got {keep_every}.")

    return frames[::keep_every]


def _check_images(images: Tensor, labels: Tensor, saccades: Saccades) -> None:
    if images.dim() != 3 or not images.is_floating_point() or labels.shape != images.shape[:1]:
        raise ShapeError(
            f"hybrid_camera needs float images (B, H, W) and labels (B,), but got {images.dtype} "
            f"{tuple(images.shape)} and labels {tuple(labels.shape)}. Bytes are divided by 255 first."
        )

    if not bool(((images >= 0) & (images <= 1)).all()):
        raise DataError(
            "hybrid_camera needs intensities in [0, 1], but some are outside or not a number. "
            "Divide by the brightest possible value first, and add noise to the frames afterwards (`add_noise`)."
        )

    if saccades.sensor <= 2 * saccades.border:
        raise ConfigError(
            f"a sensor of {saccades.sensor} px is too small for two borders of {saccades.border} px; "
            "use a larger sensor or a shorter side."
        )
