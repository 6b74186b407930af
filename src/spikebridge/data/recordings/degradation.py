"""Degraded recordings, as of a worse camera: events lost and added, contrast changed, frames blurred.

They measure how far a recording may be from those that a network was trained on.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import UInt8
from scipy.ndimage import gaussian_filter

from spikebridge.data.events.binned import EventBins
from spikebridge.data.recordings.recording import Recording
from spikebridge.errors import ConfigError


@dataclass(frozen=True)
class Degradation:
    """Settings of the worse camera."""

    lose_events: float = 0.0  # share of the events that are removed
    add_events: float = 0.0  # rate of noise events on the whole sensor [events/s]
    contrast: float = 1.0  # factor of the grey levels around the mean of each frame
    blur: float = 0.0  # standard deviation of a Gaussian blur of the frames [px]
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.lose_events <= 1:
            raise ConfigError(f"lose_events needs to be a share from 0 to 1, but got {self.lose_events}")

        for name, unit in (("add_events", " events/s"), ("contrast", ""), ("blur", " px")):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ConfigError(f"{name} needs to be 0{unit} or more, but got {getattr(self, name)}")


def degraded(recording: Recording, degradation: Degradation) -> Recording:
    """A recording as the worse camera would have made it."""
    frames = recording.frames
    if degradation.contrast != 1 or degradation.blur:
        frames = _DegradedFrames(frames, degradation.contrast, degradation.blur)

    if not (degradation.lose_events or degradation.add_events):
        return replace(recording, frames=frames)

    events, frame_events = _thinned(recording, degradation)
    events, frame_events = _with_noise(events, frame_events, recording.dt, degradation)

    return replace(recording, frames=frames, events=events, frame_events=frame_events)


def _thinned(recording: Recording, degradation: Degradation) -> tuple[EventBins, np.ndarray]:
    """The remaining events, and the index of the first one of each frame."""
    bins = recording.events
    keep = np.random.default_rng([7, degradation.seed]).random(len(bins.x)) >= degradation.lose_events
    num_before = np.concatenate([[0], np.cumsum(keep)])
    x, y, on = (np.asarray(column[0 : len(bins.x)])[keep] for column in (bins.x, bins.y, bins.on))
    remaining = EventBins(x, y, on, num_before[bins.edges], bins.height, bins.width)

    return remaining, num_before[recording.frame_events]


def _with_noise(
    bins: EventBins, frame_events: np.ndarray, dt: float, degradation: Degradation
) -> tuple[EventBins, np.ndarray]:
    """The events with noise, uniform in time and place, at random positions among the events of their bin."""
    generator = np.random.default_rng([8, degradation.seed])
    number = generator.poisson(degradation.add_events * dt, bins.num_bins)
    total = int(number.sum())
    if not total:
        return bins, frame_events

    first = np.repeat(bins.edges[:-1], number)
    stop = np.repeat(bins.edges[1:], number)
    at = np.sort(first + (generator.random(total) * (stop - first + 1)).astype(np.int64))

    # a bin keeps no times, so that its own events and the added ones may be in any order
    of_bin = np.repeat(np.arange(bins.num_bins), number)
    at = np.clip(at, bins.edges[of_bin], bins.edges[of_bin + 1])
    drawn = (
        generator.integers(bins.width, size=total).astype(np.uint16),
        generator.integers(bins.height, size=total).astype(np.uint16),
        generator.random(total) < 0.5,
    )

    columns = zip((bins.x, bins.y, bins.on), drawn, strict=True)
    x, y, on = (np.insert(np.asarray(column), at, noise) for column, noise in columns)
    edges = bins.edges + np.concatenate([[0], np.cumsum(number)])

    return EventBins(x, y, on, edges, bins.height, bins.width), frame_events + np.searchsorted(at, frame_events)


class _DegradedFrames(Sequence[Any]):
    """Frames that are changed on access."""

    def __init__(self, frames: Any, contrast: float, blur: float) -> None:
        self._frames = frames
        self._contrast = contrast
        self._blur = blur

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return _DegradedFrames(self._frames[index], self._contrast, self._blur)
        return _changed(np.asarray(self._frames[index]), self._contrast, self._blur)


def _changed(frame: UInt8[np.ndarray, "H W"], contrast: float, blur: float) -> UInt8[np.ndarray, "H W"]:
    grey = frame.astype(np.float64)
    if blur:
        grey = gaussian_filter(grey, blur, mode="nearest")

    mean = grey.mean()
    return (mean + contrast * (grey - mean)).round().clip(0, 255).astype(np.uint8)
