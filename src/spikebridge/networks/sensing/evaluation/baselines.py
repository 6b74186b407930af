"""The baselines of the sensing network, by name.

| name | what it is |
|---|---|
| `hold` | the last given box |
| `constant_velocity` | extrapolates the last two given boxes |
| `kalman` | a Kalman filter with constant velocity, its noise fitted on boxes of the same recording |
| `ann_hold`, `ann_constant_velocity` | the network's ANN only, with the detector at frames |
| `events` | the network's SNN only, with a template of its features |
| `decay_0` | the network itself with membranes that are reset in every bin |
| `kcf`, `csrt` | trackers of OpenCV on brightened frames (extra `opencv`) |
| a network of the run | another one of the run, such as `none`, `fixed` or `memoryless` |
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

import torch

from spikebridge.data.recordings.recording import Recording
from spikebridge.errors import ConfigError, did_you_mean
from spikebridge.networks.sensing.baselines.ann_only import FrameTracker
from spikebridge.networks.sensing.baselines.motion import ConstantVelocity, StaticBox, fit_kalman_to
from spikebridge.networks.sensing.baselines.opencv import OpenCVTracker
from spikebridge.networks.sensing.baselines.snn_only import EventTracker
from spikebridge.networks.sensing.evaluation.protocols import add_box_noise
from spikebridge.networks.sensing.evaluation.runner import Tracker
from spikebridge.networks.sensing.tracker.tracker import SensingTracker
from spikebridge.neurons import LIF, Integrator

_BASELINES = (
    "hold",
    "constant_velocity",
    "kalman",
    "ann_hold",
    "ann_constant_velocity",
    "events",
    "decay_0",
    "kcf",
    "csrt",
)


def baseline_names(words: str, networks: Sequence[str]) -> list[str]:
    """Names from a list with commas.

    Args:
        words: such as `hold,constant_velocity`; `none` for none of them.
        networks: of the run; their names count too.

    Raises:
        ConfigError: a name is not known.

    Example:
        >>> baseline_names("hold, kalman", ["learned"])
        ['hold', 'kalman']
    """
    names = [word.strip().replace("-", "_").replace(" ", "_") for word in words.split(",") if word.strip()]
    if names == ["none"] and "none" not in networks:
        return []

    for name in names:
        if name not in _BASELINES and name not in networks:
            raise ConfigError(f"no baseline {name!r}: {did_you_mean(name, [*_BASELINES, *networks])}")

    return list(dict.fromkeys(names))


def baseline(
    name: str,
    network: SensingTracker,
    recordings: Sequence[tuple[Recording, range]],
    noise_px: float,
    seed: int,
    trained: Callable[[str], Tracker],
) -> Tracker:
    """A baseline by its name.

    Args:
        name: a word of `--baselines`, or a network of the run.
        network: the tracker that it is compared with.
        recordings: and frames of each, on which the Kalman filter's noise is fitted: its best case.
        noise_px: standard deviation of the noise of given boxes [px].
        seed: of the noise.
        trained: loads a network of the run.

    Raises:
        ConfigError: an optional package is missing.
        DataError: too few boxes are known to fit a filter.
    """
    # without events the detector's answer alone counts
    network = network.with_options(calibrate=False, detector="learned")
    at_frames = network.with_options(detector_gain=1.0)
    makers: dict[str, Callable[[], Any]] = {
        "hold": StaticBox,
        "constant_velocity": ConstantVelocity,
        "kalman": lambda: _kalman(recordings, noise_px, seed),
        "ann_hold": lambda: FrameTracker(at_frames, "hold"),
        "ann_constant_velocity": lambda: FrameTracker(at_frames, "constant_velocity"),
        "events": lambda: EventTracker(network.sensing, network.options.crop),
        "decay_0": lambda: without_memory(network),
        "kcf": lambda: OpenCVTracker("kcf"),
        "csrt": lambda: OpenCVTracker("csrt"),
    }

    tracker: Tracker = makers[name]() if name in makers else trained(name)
    return tracker


def without_memory(network: SensingTracker) -> SensingTracker:
    """The same tracker with a decay of 0: membranes are reset in every bin.

    Args:
        network: is not changed.
    """
    other = SensingTracker(deepcopy(network.sensing), network.options)
    for module in other.sensing.modules():
        if isinstance(module, LIF | Integrator):
            module.tau = torch.full_like(torch.as_tensor(module.tau), 1e-3 * float(module.dt or 1))

    return other


def _kalman(recordings: Sequence[tuple[Recording, range]], noise_px: float, seed: int) -> Tracker:
    """Fitted on all boxes with their noise."""
    return fit_kalman_to(
        [
            (
                add_box_noise(r.frame_boxes, noise_px, seed)[frames.start : frames.stop],
                r.frame_times[frames.start : frames.stop],
            )
            for r, frames in recordings
        ]
    )
