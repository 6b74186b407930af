"""Trials on the clocks of a network: at each tick of a sensor's clock its newest value."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from spikebridge.errors import DataError
from spikebridge.networks.senses.data.trials import SensorRecording, Trials, stale_s

_MAX_VALUES = 2**22  # on a clock, or
_MAX_FILL = 50  # times as many as were recorded: more come from times in another unit


@dataclass(frozen=True)
class Sampled:
    """Trials on clocks: signals `(T, B, *N)` by sensor, the number of ticks of each trial, class and person."""

    signals: dict[str, Tensor]
    lengths: dict[str, Tensor]
    label: Tensor
    person: Int64[np.ndarray, " B"]

    def select(self, places: Tensor | Int64[np.ndarray, " K"]) -> "Sampled":
        """Some of the trials."""
        places = torch.as_tensor(places)
        return Sampled(
            {name: x[:, places] for name, x in self.signals.items()},
            {name: length[places] for name, length in self.lengths.items()},
            self.label[places],
            self.person[places.numpy()],
        )

    def of_people(self, people: Int64[np.ndarray, " P"], inside: bool = True) -> "Sampled":
        """The trials of some people, or of all others."""
        return self.select(np.flatnonzero(np.isin(self.person, people) == inside))


def sample_trials(trials: Trials, periods: Mapping[str, int], dt: float) -> Sampled:
    """Every sensor at the ticks of its clock, whose period counts steps of `dt`; a clock ticks at the end of a period.

    A value at a tick is the newest sample by then; it is 0 before the first one, and of a picture that is stale.
    """
    slowest = max(periods.values())
    steps = np.floor(trials.seconds() / dt + 1e-6) + 1
    blocks = np.ceil(steps / slowest).astype(np.int64)
    signals = {}
    lengths = {}

    for name, period in periods.items():
        count = blocks * (slowest // period)
        _check_size(trials, name, int(count.max()))
        x = on_clock(trials.sensors[name], int(count.max()), period, dt)
        signals[name] = x.reshape(*x.shape[:2], *input_shape(x.shape[2:]))
        lengths[name] = torch.from_numpy(count)

    return Sampled(signals, lengths, torch.from_numpy(trials.label), trials.person)


def _check_size(trials: Trials, name: str, num_ticks: int) -> None:
    recording = trials.sensors[name]
    number = num_ticks * len(trials) * prod(recording.shape)
    if number > max(_MAX_VALUES, _MAX_FILL * recording.samples.size):
        latest = max(trials.sensors, key=lambda one: trials.sensors[one].times.max(initial=0))
        raise DataError(
            f"{latest} reaches {trials.seconds().max():g} s, for which {name} would need {number} values of its "
            f"{recording.samples.size}; times are in seconds, and begin at 0 in each trial"
        )


def input_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a value as a network reads it: pictures have a channel."""
    return (1, *shape) if len(shape) == 2 else tuple(shape)


def on_clock(recording: SensorRecording, num_ticks: int, period: int, dt: float) -> Tensor:
    """The newest sample of a sensor at each tick of a clock, `(T, B, *N)`."""
    number = len(recording.starts) - 1
    oldest = stale_s(recording.times)
    at = (np.arange(num_ticks) * period + period - 1) * dt + 1e-6
    result = np.zeros((num_ticks, number, *recording.shape), np.float32)

    for trial in range(number):
        values, times = recording.of(trial)
        if not len(values):
            continue
        newest = np.searchsorted(times, at, side="right") - 1
        known = newest >= 0
        if len(recording.shape) > 1:
            known &= at - times[np.maximum(newest, 0)] <= oldest
        result[known, trial] = values[newest[known]]

    return torch.from_numpy(result)
