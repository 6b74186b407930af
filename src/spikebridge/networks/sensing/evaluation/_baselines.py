"""The baselines of the sensing network, by name.

| name | tracker |
|---|---|
| `hold` | the last given box |
| `constant_velocity` | extrapolates the last two given boxes |
| `kalman` | a Kalman filter with constant velocity, its noise fitted on boxes of the same recording |
| `ann_hold`, `ann_constant_velocity` | the network's ANN only, with the detector at frames |
| a network of the run | another one of the run, such as `none` or `fixed` |
"""

from collections.abc import Callable, Sequence
from typing import Any

from spikebridge._moved import moved
from spikebridge.data.recordings.recording import Recording
from spikebridge.errors import ConfigError, did_you_mean
from spikebridge.networks.sensing.baselines.ann_only import FrameTracker
from spikebridge.networks.sensing.baselines.motion import ConstantVelocity, StaticBox, fit_kalman
from spikebridge.networks.sensing.evaluation.protocols import add_box_noise
from spikebridge.networks.sensing.evaluation.runner import Tracker
from spikebridge.networks.sensing.tracker.tracker import SensingTracker

_BASELINES = ("hold", "constant_velocity", "kalman", "ann_hold", "ann_constant_velocity")


def baseline_names(words: str, networks: Sequence[str]) -> list[str]:
    """Names from a list with commas, `none` for none of them; names of the run's networks count too."""
    names = [word.strip().replace("-", "_").replace(" ", "_") for word in words.split(",") if word.strip()]
    if names == ["none"] and "none" not in networks:
        return []

    for name in names:
        if name not in _BASELINES and name not in networks:
            if line := moved("choices", f"sensing.baselines.{name}"):
                raise ConfigError(line)
            raise ConfigError(f"no baseline {name!r}: {did_you_mean(name, [*_BASELINES, *networks])}")

    return list(dict.fromkeys(names))


def baseline(
    name: str,
    network: SensingTracker,
    recordings: Sequence[tuple[Recording, range]],
    noise_px: float,
    seed: int,
    load: Callable[[str], Tracker],
) -> Tracker:
    """A baseline by its name; `load` gives another network of the run.

    The noise of the Kalman filter is fitted on frames of recordings, with the noise of given boxes [px]: its best case.
    """
    # without events the detection alone counts
    network = network.with_options(calibrate=False, detector="learned")
    at_frames = network.with_options(detector_gain=1.0)
    makers: dict[str, Callable[[], Any]] = {
        "hold": StaticBox,
        "constant_velocity": ConstantVelocity,
        "kalman": lambda: _fitted_kalman(recordings, noise_px, seed),
        "ann_hold": lambda: FrameTracker(at_frames, "hold"),
        "ann_constant_velocity": lambda: FrameTracker(at_frames, "constant_velocity"),
    }

    tracker: Tracker = makers[name]() if name in makers else load(name)
    return tracker


def _fitted_kalman(recordings: Sequence[tuple[Recording, range]], noise_px: float, seed: int) -> Tracker:
    tracks = []
    for recording, frames in recordings:
        chosen = slice(frames.start, frames.stop)
        boxes = add_box_noise(recording.frame_boxes, noise_px, seed)
        tracks.append((boxes[chosen], recording.frame_times[chosen]))

    return fit_kalman(tracks)
