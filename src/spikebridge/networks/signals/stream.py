"""How a trained network of the signals recipe reads a live stream of its sensor. No torch is needed."""

from collections.abc import Mapping
from typing import Any

from spikebridge.data.signals.arrays import KNOWN_SETS
from spikebridge.deploy.streaming.samples import SampleReader
from spikebridge.errors import ConfigError
from spikebridge.networks.signals.data.sensor import Sensor, SensorConfig
from spikebridge.training.run.config_io import from_plain


def sample_reader(config: Mapping[str, Any], results: Mapping[str, Any]) -> SampleReader:
    """The reader of a run.

    Args:
        config: of the run, as plain values.
        results: of the trained network, with `classes`; those of an own sensor also with `rate_hz`, `num_channels`.

    Raises:
        ConfigError: the task has no live form, or it is not known what the sensor is.

    Example:
        >>> config = {"dataset": "spoken_digits", "sensor": {"kind": "voice", "seconds": 1.0}}
        >>> sample_reader({**config, "task": "forecast"}, {})
        Traceback (most recent call last):
        ...
        spikebridge.errors.ConfigError: a live stream of samples is for the task 'classify', but this is 'forecast'...
    """
    task = config.get("task", "classify")
    if task != "classify":
        raise ConfigError(
            f"a live stream of samples is for the task 'classify', but this is {task!r}: "
            + (
                "a detector needs the median of the recording"
                if task == "detect"
                else "a forecaster continues a series that has ended"
            )
        )

    known = next((one for one in KNOWN_SETS if one.name == config["dataset"]), None)
    if known is not None:
        rate_hz = float(known.rate_hz)
        num_channels = known.num_channels
    elif {"rate_hz", "num_channels"} <= results.keys():
        rate_hz = float(results["rate_hz"])
        num_channels = int(results["num_channels"])
    else:
        raise ConfigError("the run does not say the rate of its sensor; train it with this version")

    sensor = Sensor(from_plain(SensorConfig, config["sensor"]), rate_hz, num_channels)
    window = max(1, round(sensor.config.seconds * rate_hz / sensor.block))
    ticks = sensor.config.frame_period

    return SampleReader(sensor, ticks, window, tuple(results.get("classes", ())), sensor.config.recency)
