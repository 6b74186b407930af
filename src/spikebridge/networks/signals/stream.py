"""Reader of a live stream of a sensor, for a trained network of the signals recipe; it needs no torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from spikebridge.deploy.streaming.samples import SampleReader
from spikebridge.deploy.web.inputs import FrontEnd, WebInputs
from spikebridge.errors import ConfigError
from spikebridge.networks.signals.data.activity import voice_activity
from spikebridge.networks.signals.data.sensor import Sensor, SensorConfig
from spikebridge.networks.signals.data.sets import FORMS
from spikebridge.training.run.config_io import from_plain, read_results


class _Settings(TypedDict):
    dataset: str
    sensor: dict[str, Any]


class _Facts(TypedDict, total=False):
    classes: list[str]
    rate_hz: float
    num_channels: int


def sample_reader(config: Mapping[str, Any], results: Mapping[str, Any]) -> SampleReader:
    """The reader of a stream for the network of a run."""
    config = read_results(_Settings, config, Path("the config of the network"))
    results = read_results(_Facts, results, Path("the results of the network"))
    task = config.get("task", "classify")
    if task != "classify":
        raise ConfigError(
            f"a live stream of samples is for the task 'classify', but this is {task!r}: a detector needs the median "
            "of the recording"
        )

    if config["dataset"] in FORMS:
        rate_hz, num_channels, _ = FORMS[config["dataset"]]
    elif {"rate_hz", "num_channels"} <= results.keys():
        rate_hz = results["rate_hz"]
        num_channels = results["num_channels"]
    else:
        raise ConfigError("the run does not hold the rate of its sensor; train it with this version")

    sensor = Sensor(from_plain(SensorConfig, config["sensor"]), rate_hz, num_channels)
    window = max(1, round(sensor.config.seconds * rate_hz / sensor.block))
    ticks = sensor.config.frame_period

    activity = voice_activity(results, sensor.block / rate_hz) if sensor.config.kind == "voice" else None
    classes = tuple(results.get("classes", ()))

    return SampleReader(sensor, ticks, window, classes, sensor.config.recency, activity=activity)


_KINDS: Mapping[str, Any] = {"voice": "sound", "motion": "motion", "muscle": "motion"}
_ABOUT = {
    "voice": "Speak, or choose a file: an ANN reads a spectrum now and then, an SNN the sound as spikes.",
    "motion": "Move, or choose a file: an ANN reads summaries now and then, an SNN the motion as spikes.",
    "muscle": "Choose a file: an ANN reads summaries now and then, an SNN the signal as spikes.",
}
# a browser gives m/s^2 and degrees/s; the watch has multiples of gravity and rad/s
_PHONE = (*3 * (1 / 9.80665,), *3 * (np.pi / 180,))


def sensor_inputs(config: Mapping[str, Any], results: Mapping[str, Any], about: Mapping[str, str]) -> WebInputs:
    """The inputs of a page for a classifier of a sensor; `about` has a few words about each network."""
    reader = sample_reader(config, results)
    sensor: Any = reader.front_end
    kind = sensor.config.kind
    is_voice = kind == "voice"
    shape = (sensor.block, sensor.num_channels)

    def arrays(a: Any, inputs: dict[str, Any], state: Any) -> tuple[Mapping[str, Any], Any]:
        samples = inputs["samples"][:, 0][None] if is_voice else inputs["samples"][None]
        return sensor.front_end.arrays(a, samples, state)

    return WebInputs(
        kind=_KINDS[kind],
        front_end=FrontEnd(
            arrays, {"samples": shape}, sensor.initial_state, reader.ticks, reader.window, reader.activity
        ),
        title=f"{config['dataset'].replace('_', ' ').capitalize()}: a hybrid network on a {kind} sensor",
        about=_ABOUT[kind],
        rate_hz=sensor.rate_hz,
        channels=[f"channel {number}" for number in range(1, sensor.num_channels + 1)],
        recency=reader.recency,
        answer=reader.answer,
        classes=reader.classes,
        networks=about,
        phone=_PHONE if config["dataset"] == "watch" else (),
    )
