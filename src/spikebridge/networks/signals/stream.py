"""Reader of a live stream of a sensor, for a trained network of the signals recipe; it needs no torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

from spikebridge.deploy.streaming.samples import SampleReader
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
