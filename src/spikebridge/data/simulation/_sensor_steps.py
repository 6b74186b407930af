"""A batch of small event cameras in torch, one step at a time, with events already in bins.

Times inside a step are not kept. The counts are those of `event_camera` with one bin between two images.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from spikebridge.data.simulation.event_camera import EventCamera, event_counts
from spikebridge.errors import ConfigError


class _SensorState(NamedTuple):
    """State of each pixel."""

    reference: Float[Tensor, "B H W"]
    threshold: Float[Tensor, "B 2 H W"]


def check_steppable(camera: EventCamera) -> None:
    """Refuses settings that need the exact time of each event: refractory time and censoring."""
    for name in ("refractory", "first_event_per_group"):
        if getattr(camera, name):
            setting = f"{name}={getattr(camera, name)} needs the exact times of events"
            raise ConfigError(
                f"{setting}, which cameras in steps do not keep; leave it out, or bin those of simulate()."
            )


def initial_sensor(
    image: Float[Tensor, "B H W"], camera: EventCamera, generator: torch.Generator | None = None
) -> _SensorState:
    """State of a sensor at rest before one image; every sample has its own thresholds."""
    batch, height, width = image.shape
    threshold = image.new_full((batch, 2, height, width), camera.threshold_mean)

    if camera.threshold_sd > 0:
        spread = torch.randn(
            threshold.shape, generator=_require_generator(generator, "threshold_sd"), dtype=image.dtype
        )
        threshold = threshold + camera.threshold_sd * spread

    return _SensorState((image + camera.log_offset).log(), threshold.clamp(min=camera.threshold_floor))


def sensor_step(
    image: Float[Tensor, "B H W"],
    state: _SensorState,
    camera: EventCamera,
    dt: float = 1.0,
    generator: torch.Generator | None = None,
) -> tuple[Float[Tensor, "B 2 H W"], _SensorState]:
    """Counts of events between the last image and this one, in channels ON and OFF, and the new state.

    Only leak and shot noise depend on `dt`, the length of the step [s].
    """
    threshold_on, threshold_off = state.threshold.unbind(1)
    # a leak lowers the reference, so that ON events appear by themselves
    reference = state.reference - camera.leak * dt * threshold_on
    change = (image + camera.log_offset).log() - reference
    num_on, num_off = event_counts(change, threshold_on, threshold_off)
    reference = reference + num_on * threshold_on - num_off * threshold_off
    counts = torch.stack([num_on, num_off], dim=1)

    if camera.shot_noise > 0:
        rate = torch.full_like(counts, camera.shot_noise * dt / 2)
        counts = counts + torch.poisson(rate, generator=_require_generator(generator, "shot_noise"))

    return counts, state._replace(reference=reference)


def _require_generator(generator: torch.Generator | None, setting: str) -> torch.Generator:
    if generator is None:
        raise ConfigError(f"a camera with {setting} above 0 draws random numbers: give a torch.Generator.")
    return generator
