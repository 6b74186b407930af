"""Counts of events between neighbouring images of a batch of small event cameras."""

import torch
from jaxtyping import Float
from torch import Tensor

from spikebridge.data.simulation._sensor_steps import check_steppable, initial_sensor, sensor_step
from spikebridge.data.simulation.event_camera import EventCamera
from spikebridge.errors import ShapeError


def events_of_images(
    images: Float[Tensor, "S B H W"], camera: EventCamera, dt: float = 1.0, generator: torch.Generator | None = None
) -> Float[Tensor, "T B 2 H W"]:
    """Counts of events between neighbouring images in [0, 1], ON and OFF: S images make T = S - 1 bins of `dt` seconds.

    The camera has neither refractory time nor censoring, which need exact times.

    Example:
        >>> camera = EventCamera(threshold_mean=0.25, threshold_sd=0.0, log_offset=1.0)
        >>> up_and_down = torch.tensor([0.0, 1.0, 0.1]).view(3, 1, 1, 1)
        >>> events_of_images(up_and_down, camera)[..., 0, 0].flatten(1).tolist()  # ON, OFF of both bins
        [[2.0, 0.0], [0.0, 1.0]]
    """
    check_steppable(camera)
    if len(images) < 2:
        raise ShapeError(f"events need at least 2 images along time, but got shape {tuple(images.shape)}.")

    state = initial_sensor(images[0], camera, generator)
    bins = []
    for image in images[1:]:
        counts, state = sensor_step(image, state, camera, dt, generator)
        bins.append(counts)

    return torch.stack(bins)
