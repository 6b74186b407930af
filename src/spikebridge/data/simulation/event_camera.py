"""Event-camera simulator: images with times in, events in microseconds out.

Each pixel stores a reference of log intensity. It sends an event each time the log intensity differs from the reference
by the threshold (ON: brighter, OFF: darker), and the reference moves by that threshold. Log intensity is `log(I +
log_offset)` with I in [0, 1]; the offset models the dark current of the photodiode. Between two images the log
intensity is linear in time, so the time of each event is exact for that line.

Sources: P. Lichtsteiner et al., IEEE J. Solid-State Circuits 43:566 (2008), the pixel; H. Rebecq et al., CoRL 2018, the
linear interpolation between images.
"""

from dataclasses import dataclass
from math import inf, isfinite
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike, NDArray

from spikebridge.data.events.events import EVENT, Events
from spikebridge.errors import ConfigError, DataError, ShapeError


@dataclass(frozen=True)
class EventCamera:
    """Settings of a simulated event camera.

    Args:
        threshold_mean: mean contrast threshold, in units of log intensity.
        threshold_sd: standard deviation of the thresholds over pixels; ON and OFF are drawn apart.
        threshold_floor: smallest threshold.
        log_offset: offset of intensities in [0, 1] before the logarithm.
        refractory: refractory period after an event [s]; the reference is then the current log intensity.
        leak: ON events per pixel and second that appear without any change of light.
        shot_noise: events per pixel and second, ON and OFF alike, that appear by chance.
        first_event_per_group: length of groups of time [s], in each of which a pixel keeps its first event and then
            those that change the polarity (as in recordings that were binned before); None keeps all.

    Raises:
        ConfigError: a setting is out of range.

    Example:
        >>> EventCamera(threshold_mean=0.25, threshold_sd=0.0).threshold_mean
        0.25
    """

    threshold_mean: float = 0.2
    threshold_sd: float = 0.03
    threshold_floor: float = 0.05
    log_offset: float = 8 / 255
    refractory: float = 0.0
    leak: float = 0.0
    shot_noise: float = 0.0
    first_event_per_group: float | None = None

    def __post_init__(self) -> None:
        for name in ("threshold_mean", "threshold_floor", "log_offset"):
            _check_setting(name, getattr(self, name), above=0.0)

        for name in ("threshold_sd", "refractory", "leak", "shot_noise"):
            _check_setting(name, getattr(self, name), at_least=0.0)

        if self.first_event_per_group is not None:
            _check_setting("first_event_per_group", self.first_event_per_group, above=0.0)


class _CameraState(NamedTuple):
    """State of the pixels between two images; times in microseconds."""

    t: int
    log_intensity: Float[np.ndarray, "H W"]
    gap: Float[np.ndarray, "H W"]  # log intensity above the reference; 0 in the refractory period
    refractory_until: Float[np.ndarray, "H W"]
    threshold: Float[np.ndarray, "2 H W"]


class _Crossings(NamedTuple):
    """Events of single pixels on one straight line: first time, period [us] and number."""

    pixel: NDArray[np.int64]
    first: NDArray[np.float64]
    period: NDArray[np.float64]  # between two events of a pixel
    num_events: NDArray[np.int64]


def initial_camera(
    image: Float[np.ndarray, "H W"], t: int, camera: EventCamera, generator: np.random.Generator
) -> _CameraState:
    """State of a camera at rest before one image in [0, 1] at time `t` [us], with random thresholds."""
    threshold = generator.normal(camera.threshold_mean, camera.threshold_sd, size=(2, *image.shape))
    return _CameraState(
        t=int(t),
        log_intensity=np.log(image.astype(np.float64) + camera.log_offset),
        gap=np.zeros(image.shape),
        refractory_until=np.full(image.shape, -inf),
        threshold=threshold.clip(min=camera.threshold_floor),
    )


def camera_step(
    image: Float[np.ndarray, "H W"], t: int, state: _CameraState, camera: EventCamera, generator: np.random.Generator
) -> tuple[Events, _CameraState]:
    """Events between the last image and this one in [0, 1] at time `t` [us], sorted by time, and the new state."""
    if t <= state.t:
        raise DataError(f"images need growing times, but one at {t} us came after one at {state.t} us.")

    log_intensity = np.log(image.astype(np.float64) + camera.log_offset)
    leak = camera.leak * 1e-6 * state.threshold[0]
    slope = (log_intensity - state.log_intensity) / (t - state.t) + leak
    start = np.maximum(state.refractory_until, state.t)
    crossings = _crossings(slope, start, t, state, camera.refractory * 1e6)

    # a pixel with events restarts from its last one, after the refractory period
    gap = state.gap + slope * (t - start).clip(min=0)
    refractory_until = state.refractory_until.copy()
    last = crossings.first + (crossings.num_events - 1) * crossings.period
    refractory_until.flat[crossings.pixel] = last + camera.refractory * 1e6
    gap.flat[crossings.pixel] = slope.flat[crossings.pixel] * (t - refractory_until.flat[crossings.pixel]).clip(min=0)

    signal = _as_events(crossings, slope, state.t, t)
    noise = _shot_noise(image.shape, state.t, t, camera.shot_noise, generator)
    events = np.concatenate([signal, noise])
    events = events[np.argsort(events["t"], kind="stable")]

    return events, _CameraState(int(t), log_intensity, gap, refractory_until, state.threshold)


def simulate(
    images: Float[np.ndarray, "S H W"], t: ArrayLike, camera: EventCamera, generator: np.random.Generator
) -> Events:
    """Events of a camera that is shown these images.

    Args:
        images: intensities in [0, 1], time first.
        t: time of each image [us], growing.
        camera: the settings.
        generator: draws thresholds and noise; the same seed gives the same events.

    Returns:
        Events of dtype `EVENT`, sorted by time.

    Raises:
        ShapeError: fewer than two images, or not one time for each.
        DataError: intensities outside [0, 1], or times that do not grow.

    Example:
        >>> up_and_down = np.array([0.0, 1.0, 0.1]).reshape(3, 1, 1)
        >>> settings = EventCamera(threshold_mean=0.25, threshold_sd=0.0, log_offset=1.0)
        >>> events = simulate(up_and_down, [0, 1000, 2000], settings, np.random.default_rng(0))
        >>> events["p"].tolist()  # 0 to 0.69 passes 0.25 and 0.5; then down to 0.10 passes 0.25
        [True, True, False]
    """
    times = np.asarray(t)
    if images.ndim != 3 or len(images) < 2 or times.shape != (len(images),) or times.dtype.kind not in "iu":
        shapes = f"images {images.shape} and times {times.dtype} {times.shape}"
        raise ShapeError(f"simulate needs at least 2 images (S, H, W) and whole microseconds (S,), but got {shapes}.")

    if not ((images >= 0) & (images <= 1)).all():
        raise DataError("simulate needs intensities in [0, 1], but some are outside or not a number.")

    state = initial_camera(images[0], int(times[0]), camera, generator)
    steps = []
    for image, time in zip(images[1:], times[1:], strict=True):
        events, state = camera_step(image, int(time), state, camera, generator)
        steps.append(events)

    events = np.concatenate(steps)
    if camera.first_event_per_group is not None:
        events = keep_first_per_group(events, camera.first_event_per_group)

    return events


def keep_first_per_group(events: Events, group: float) -> Events:
    """Each pixel's first event in every group of `group` seconds, and then those that change the polarity."""
    # in nanoseconds, since a group need not be a multiple of a microsecond
    group_of = events["t"] * 1000 // max(1, round(group * 1e9))
    order = np.lexsort((events["t"], events["x"], events["y"]))
    columns = np.stack([events["x"], events["y"], group_of, events["p"]])[:, order]
    repeats = np.zeros(len(events), bool)
    repeats[order[1:]] = (columns[:, 1:] == columns[:, :-1]).all(axis=0)

    return events[~repeats]


def _crossings(
    slope: NDArray[np.float64], start: NDArray[np.float64], stop: int, state: _CameraState, refractory: float
) -> _Crossings:
    """The events of pixels whose gap, a straight line from `start`, crosses a threshold."""
    threshold = np.where(slope > 0, state.threshold[0], state.threshold[1])
    missing = threshold - np.sign(slope) * state.gap
    surplus = np.abs(slope) * (stop - start) - missing
    pixel = np.flatnonzero((surplus >= 0) & (slope != 0))
    speed, threshold, missing = (a.flat[pixel] for a in (np.abs(slope), threshold, missing))
    first = start.flat[pixel] + missing.clip(min=0) / speed
    num_events = 1 + np.floor(surplus.flat[pixel] / (threshold + refractory * speed)).astype(np.int64)

    return _Crossings(pixel, first, refractory + threshold / speed, num_events)


def _as_events(crossings: _Crossings, slope: NDArray[np.float64], start: int, stop: int) -> Events:
    total = int(crossings.num_events.sum())
    rank = np.arange(total) - np.repeat(crossings.num_events.cumsum() - crossings.num_events, crossings.num_events)
    pixel = np.repeat(crossings.pixel, crossings.num_events)
    time = np.repeat(crossings.first, crossings.num_events) + rank * np.repeat(crossings.period, crossings.num_events)
    events = np.empty(total, EVENT)

    # rounding errors must not turn a crossing at 250 us into one at 249
    events["t"] = np.floor(np.round(time, 6)).clip(start, stop)
    events["y"], events["x"] = np.unravel_index(pixel, slope.shape)
    events["p"] = slope.flat[pixel] > 0

    return events


def _shot_noise(shape: tuple[int, ...], start: int, stop: int, rate: float, generator: np.random.Generator) -> Events:
    height, width = shape
    total = int(generator.poisson(rate * (stop - start) * 1e-6 * height * width)) if rate > 0 else 0
    events = np.empty(total, EVENT)
    events["t"] = generator.integers(start, stop, total)
    events["x"] = generator.integers(0, width, total)
    events["y"] = generator.integers(0, height, total)
    events["p"] = generator.integers(0, 2, total)

    return events


def event_counts(change: Any, threshold_on: Any, threshold_off: Any) -> tuple[Any, Any]:
    """Numbers of ON and OFF events for a change of log intensity since the reference.

    It is made of operators alone, so that it serves torch, numpy and C.
    """
    return _positive(change / threshold_on // 1.0), _positive(-1.0 * change / threshold_off // 1.0)


def _positive(x: Any) -> Any:
    return (x + abs(x)) / 2.0


def _check_setting(name: str, value: float, above: float = -inf, at_least: float = -inf) -> None:
    if not (isfinite(value) and value > above and value >= at_least):
        bound = f"above {above:g}" if above > -inf else f"{at_least:g} or more"
        raise ConfigError(f"EventCamera needs {name} {bound}, but got {value!r}.")
