"""Live streams of several sensors, each with times of its own, for a trained network; it needs no torch.

A bin is a period of the slowest sensor. At each tick a sensor gives its newest sample; a picture is read if the network
wants one, and one that is stale is none. Times are taken as they are: clocks are not aligned.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from spikebridge.data.recordings.folder import read_frames
from spikebridge.data.signals.files import read_series
from spikebridge.data.streams.replay import PlaybackClock, check_speed
from spikebridge.deploy.streaming.samples import class_shares
from spikebridge.errors import ConfigError, DataError, did_you_mean
from spikebridge.networks.senses.data.trials import DRIFT, read_sensor, refuse_other_units, stale_s

Values = NDArray[Any]
_MAX_ANSWERS = 100  # that are kept
_NUM_CHECKED = 500  # samples whose unit is checked
_MIN_ALIKE = 10  # samples that repeat one before a sensor is dead, since one that is alive has noise
_MAX_STEPS = 2**26  # of all recordings: more come from a damaged time


class SensorInput(NamedTuple):
    """An input: base ticks from one sample to the next, and its shape, `(C,)`, `(block, C)` or `(1, H, W)`."""

    period: int
    shape: tuple[int, ...]

    @property
    def block(self) -> int:
        """Samples of the sensor that the network reads at once."""
        return self.shape[0] if len(self.shape) == 2 else 1

    @property
    def value(self) -> tuple[int, ...]:
        """The shape of one sample."""
        return self.shape[len(self.shape) == 2 :]

    @property
    def is_picture(self) -> bool:
        """True if a sample is a picture."""
        return len(self.shape) == 3


@dataclass(frozen=True)
class _Sensor:
    """A sensor of a stream: the times of its samples in each recording [s], and a function that reads one."""

    times: Sequence[Float[np.ndarray, " N"]]
    read: Callable[[int, int], Values]

    @cached_property
    def stale_s(self) -> float:
        return stale_s(np.concatenate(self.times))

    def is_alike(self, recording: int, place: int) -> bool:
        """True for a sample that repeats those of half a second before it."""
        first, _ = self.newest(recording, self.times[recording][place] - self.stale_s)
        value = self.read(recording, place)
        before = (self.read(recording, one) for one in range(max(first, 0), place))
        return place - first > _MIN_ALIKE and all(np.array_equal(value, one) for one in before)

    def newest(self, recording: int, time: float) -> tuple[int, float]:
        """The place of the newest sample at a time, and its age; before the first one -1, and infinitely old."""
        times = self.times[recording]
        place = int(np.searchsorted(times, time + 1e-6, side="right")) - 1
        return place, time - float(times[place]) if place >= 0 else np.inf


class Bin(NamedTuple):
    """A bin of a stream: its recording and its place in it."""

    recording: int
    place: int


class SensesSource:
    """Bins of recordings of several sensors by name, one recording after the other, in real time."""

    def __init__(
        self, sensors: Mapping[str, _Sensor], inputs: Mapping[str, SensorInput], dt: float, speed: float = 1.0
    ) -> None:
        check_speed("file", speed)
        numbers = {name: len(sensor.times) for name, sensor in sensors.items()}
        if len({*numbers.values()}) > 1:
            raise DataError(f"expected as many recordings of each sensor, but got {numbers}")

        self.period = max(one.period for one in inputs.values())
        self.seconds = self.period * dt
        self.dt = self.seconds / speed
        ends = {name: [float(t[-1]) if len(t) else 0.0 for t in sensor.times] for name, sensor in sensors.items()}
        steps = np.floor(np.max([*ends.values()], 0) / dt + 1e-6) + 1
        if steps.sum() > _MAX_STEPS:
            raise DataError(f"the times of the sensors reach {steps.max() * dt:g} s; they begin at 0 in each recording")

        self.stops = np.cumsum(np.ceil(steps / self.period)).astype(np.int64)
        apart = max(np.ptp([*ends.values()], axis=0))
        allowed = max(sensor.stale_s for sensor in sensors.values())
        self.warning = f"the sensors end {apart:.1f} s apart: {DRIFT}" if apart > allowed else ""
        self._clock = PlaybackClock(self.dt)
        self.ready_at = self._clock.ready_at

    def wait(self, done: int) -> int | None:
        """Sleeps until a bin is complete; the number of complete bins, None after the end."""
        number = int(self.stops[-1])
        return None if done >= number else min(number, self._clock.wait(done))

    def newest_restart(self, first: int, stop: int) -> None:
        """No bin: the steps begin again with each recording themselves, so that none is left out."""

    def inputs(self, first: int, stop: int) -> list[Bin]:
        """These bins."""
        recordings = np.searchsorted(self.stops, np.arange(first, stop), side="right").tolist()
        starts = [0, *self.stops.tolist()]
        return [Bin(one, number - starts[one]) for number, one in enumerate(recordings, start=first)]


@dataclass
class SensesSteps:
    """The step function of a network for `streaming.Live`: `answer, state = step(bins, state)`.

    `inputs` are base ticks of a sample and its shape; `demand` says which of them the tick after a state needs.
    """

    inputs: Mapping[str, Any]
    dt: float
    advance: Callable[[dict[str, Values], Any, int], tuple[dict[str, Values], Any]]
    demand: Callable[[Any], Mapping[str, Any]]
    classes: Sequence[str]
    num_axes: ClassVar[int | None] = None  # of acceleration [g], the first values of each sensor
    sensors: Mapping[str, _Sensor] = field(default_factory=dict, init=False)
    answers: list[dict[str, Any]] = field(default_factory=list, init=False)
    num_asked: int = field(default=0, init=False)
    num_frames: int = field(default=0, init=False)
    num_lost: int = field(default=0, init=False)
    num_bins: int = field(default=0, init=False)
    _last: dict[str, Any] | None = field(default=None, init=False)
    _blank: dict[str, bool] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.inputs = {name: SensorInput(period, tuple(shape)) for name, (period, shape) in self.inputs.items()}

    @property
    def frames_asked_share(self) -> float:
        """The share of bins whose picture was asked for."""
        return round(self.num_asked / max(self.num_bins, 1), 4)

    def __call__(self, bins: Sequence[Bin], state: Any) -> tuple[dict[str, Any], Any]:
        """The answer after the newest bin, its probability, and the sensors that are missing."""
        for one in bins:
            if one.place == 0:
                self._keep()
                state = None
            state = self._step(one, state)

        return dict(self._last or {}), state

    def finish(self) -> list[dict[str, Any]]:
        """Ends the stream; the last answer of each recording."""
        self._keep()
        return self.answers

    def _keep(self) -> None:
        if self._last is not None:
            self.answers = [*self.answers, self._last][-_MAX_ANSWERS:]
        self._last = None
        self._blank = {}

    def _step(self, one: Bin, state: Any) -> Any:
        period = max(each.period for each in self.inputs.values())
        last = (one.place + 1) * period - 1
        outputs: dict[str, Values] = {}
        self.num_bins += 1

        # what is wanted is known of the next tick alone
        for ticks in (range(last - period + 1, last), range(last, last + 1)):
            if len(ticks):
                wanted = self.demand(state) if state is not None and len(ticks) == 1 else {}
                found, state = self.advance(self._samples(one.recording, ticks, wanted), state, len(ticks))
                outputs |= found

        self._last = self._answer(outputs, one, last * self.dt)
        return state

    def _samples(self, recording: int, ticks: range, wanted: Mapping[str, Any]) -> dict[str, Values]:
        """The samples of each input with a tick, `(K, 1, *N)`: zeros of what is not there or not wanted."""
        values = {}
        for name, one in self.inputs.items():
            own = [tick for tick in ticks if (tick + 1) % one.period == 0]
            is_wanted = bool(np.asarray(wanted.get(name, True)).any())
            x = np.zeros((len(own), one.block, *one.value), np.float32)
            for row, tick in enumerate(own if is_wanted and name in self.sensors else ()):
                for place in range(one.block):
                    before = (one.block - 1 - place) * one.period // one.block
                    x[row, place] = self._sample(name, recording, (tick - before) * self.dt)

            if own and one.is_picture and is_wanted:
                self.num_asked += len(own)
                self._blank[name] = not x.any()
            values[name] = x[:, None] if one.block > 1 else x

        return values

    def _sample(self, name: str, recording: int, time: float) -> Values | float:
        sensor = self.sensors[name]
        is_picture = self.inputs[name].is_picture
        place, age = sensor.newest(recording, time)
        if place < 0 or (is_picture and age > sensor.stale_s):
            return 0.0

        try:
            value = sensor.read(recording, place)
        except DataError:
            # the answer is then that of the others
            self.num_lost += 1
            return 0.0

        self.num_frames += is_picture
        return value

    def _is_missing(self, name: str, recording: int, time: float) -> bool:
        """True for a sensor that has stopped or repeats one value, or whose last look showed nothing."""
        if name not in self.sensors or self._blank.get(name, False):
            return True
        sensor = self.sensors[name]
        place, age = sensor.newest(recording, time)
        return age > sensor.stale_s or (not self.inputs[name].is_picture and sensor.is_alike(recording, place))

    def _answer(self, outputs: Mapping[str, Values], one: Bin, time: float) -> dict[str, Any]:
        shares = class_shares(outputs["answer"].astype(np.float64))
        best = int(shares.argmax())
        confidence = float(shares[best])
        missing = [name for name in self.inputs if self._is_missing(name, one.recording, time)]
        if missing:
            # half of it rests on the senses that are left
            keys = [f"{name}_evidence" for name in self.inputs if name not in missing]
            rest = np.sum([0 * shares, *(outputs[key] for key in keys if key in outputs)], 0)
            confidence = min(confidence, (confidence + float(class_shares(rest)[best])) / 2)

        return {
            "answer": self.classes[best] if self.classes else str(best),
            "share": round(float(shares[best]), 4),
            "confidence": round(confidence, 4),
            "ready": bool(np.any(outputs.get("gate.ready", 0))),
            "missing": missing,
            "recording": one.recording,
            "seconds": round(time, 4),
        }


@dataclass
class _FallSteps(SensesSteps):
    """The step function of a fall detector: alarms, and the stage that is awake."""

    num_axes: ClassVar[int | None] = 3

    def __call__(self, bins: Sequence[Bin], state: Any) -> tuple[dict[str, Any], Any]:
        # an alarm is shown, though newer bins wait
        answers = []
        for one in bins:
            answer, state = super().__call__([one], state)
            answers.append(answer)

        return next((one for one in answers if one["alarm"]), answers[-1]), state

    def _answer(self, outputs: Mapping[str, Values], one: Bin, time: float) -> dict[str, Any]:
        awake = [name.removesuffix(".awake") for name in outputs if name.endswith(".awake") and outputs[name].any()]
        is_alarm = bool(outputs["big"].any())
        before = self._last["alarms"] if self._last is not None else []
        alarms = before + is_alarm * [round(time, 4)]

        return {
            "answer": "fall" if alarms else "no fall",
            "alarm": is_alarm,
            "awake": awake[-1] if awake else "threshold",
            "alarms": alarms[-_MAX_ANSWERS:],
            "missing": [name for name in self.inputs if self._is_missing(name, one.recording, time)],
            "recording": one.recording,
            "seconds": round(time, 4),
        }


def sensor_steps(outputs: Collection[str], *parts: Any) -> SensesSteps | None:
    """The step function of a network of these outputs, from the parts of `SensesSteps`; None if it gives no answer."""
    if "big.awake" in outputs:
        return _FallSteps(*parts)
    return SensesSteps(*parts) if "answer" in outputs else None


def open_sensors(sources: Mapping[str, Path], steps: SensesSteps, speed: float = 1.0) -> SensesSource:
    """The stream of the sensors of a step function, from files of samples with times and folders of pictures."""
    for name in sources:
        if name not in steps.inputs:
            raise ConfigError(f"the network has no sensor {name!r}; {did_you_mean(name, steps.inputs)}")

    steps.sensors = {
        name: _open_sensor(name, path, steps.inputs[name], steps.num_axes) for name, path in sources.items()
    }
    return SensesSource(steps.sensors, steps.inputs, steps.dt, speed)


def _open_sensor(name: str, path: Path, one: SensorInput, num_axes: int | None = None) -> _Sensor:
    """The sensor of a file of samples with times, or of a folder of pictures with `frames.csv`."""
    if path.is_dir():
        images, times_us = read_frames(path, path)
        sensor = _Sensor([times_us / 1e6], lambda recording, place: images[place].astype(np.float32)[None] / 255)
        shape: tuple[int, ...] = (1, *images[0].shape)
    elif path.suffix.lower() == ".npz":
        found = read_sensor(path, name)
        parts = [found.of(number) for number in range(len(found.starts) - 1)]
        shape = (1, *found.shape) if len(found.shape) == 2 else found.shape
        sensor = _Sensor([times for _, times in parts], lambda recording, place: parts[recording][0][place][:num_axes])
    else:
        series = read_series(path)
        sensor = _Sensor(
            [np.arange(len(series[number])) / series.rate_hz for number in range(len(series))],
            lambda recording, place: series[recording][place][:num_axes],
        )
        shape = (series.num_channels,)

    is_read = shape == one.value or (num_axes is not None and shape > one.value)
    if not is_read:
        raise DataError(f"{path}: {name} has values of shape {shape}, but the network reads {one.value}")
    if num_axes is not None:
        number = min(_NUM_CHECKED, len(sensor.times[0]))
        refuse_other_units(np.reshape([sensor.read(0, place) for place in range(number)], (number, num_axes)))

    return sensor
