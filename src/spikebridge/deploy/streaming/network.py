"""Networks and bundles with an input of events, stepped by a live stream of bins.

A bin of the stream is a sample of the input of events. Frames are held: at each tick of their clock the network reads
the newest one. If several bins wait, they go through in one call, in order and each at its own ticks, so the result is
that of single steps. If more than `max_together` wait, the older ones are left out and counted.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from spikebridge.deploy.bundle.bundle import Bundle
from spikebridge.deploy.bundle.manifest import ClockRecord, InputRecord
from spikebridge.deploy.chips.bundle import bundle_runner
from spikebridge.deploy.chips.chip import ChipSpec
from spikebridge.deploy.runtime.runner import Runner
from spikebridge.deploy.streaming.samples import Advance
from spikebridge.errors import ConfigError

Values = NDArray[Any]
Wanted: TypeAlias = Callable[[Any], Mapping[str, Any]]  # from a state to flags of each input
# a network in PyTorch computes many ticks in little more time than one; the runner computes them one by one
TOGETHER = 64
_ONE_BY_ONE = 8


@runtime_checkable
class StreamBin(Protocol):
    """A bin of a stream: ON and OFF events `(2, H, W)`, and the frame `(h, w)` from 0 to 1 that came with it, if any.

    `num_bins` is 1, or the number of older bins that this one replaces, without their events, as too many waited.
    """

    @property
    def events(self) -> Values: ...

    @property
    def frame(self) -> Values | None: ...

    @property
    def num_bins(self) -> int: ...


@dataclass(frozen=True)
class _StreamInputSpec:
    """The inputs of a network on a stream of events: the base step [s], and the names of the two inputs.

    `counts` is True if a pixel holds its number of events, False if it holds 1 for any number.
    """

    dt: float
    events: str
    frames: str | None
    inputs: Mapping[str, InputRecord]
    counts: bool

    @property
    def bin(self) -> float:
        return self.inputs[self.events].clock.period * self.dt

    @property
    def sensor(self) -> tuple[int, int]:
        _, height, width = self.inputs[self.events].shape
        return height, width

    @property
    def frame(self) -> tuple[int, int] | None:
        if self.frames is None:
            return None
        *_, height, width = self.inputs[self.frames].shape
        return height, width


def stream_input_spec(inputs: Mapping[str, InputRecord], dt: float, sample: Mapping[str, Values]) -> _StreamInputSpec:
    """Finds the inputs that take events `(2, H, W)` and frames `(1, H, W)` or `(H, W)`; a `ConfigError` for others.

    Pixels count events if the sample of the input holds other values than 0 and 1.
    """
    events = [name for name, record in inputs.items() if len(record.shape) == 3 and record.shape[0] == 2]
    frames = [name for name, record in inputs.items() if len(record.shape) == 2 or record.shape[:-2] == (1,)]
    has_others = len(events) + len(frames) < len(inputs) or any(record.dtype == "bool" for record in inputs.values())

    if len(events) != 1 or len(frames) > 1 or has_others:
        shapes = ", ".join(f"{name} {record.shape}" for name, record in inputs.items())
        raise ConfigError(
            "a live stream brings events (2, H, W) and, where wanted, frames (1, H, W) to one input each, but this "
            f"network takes {shapes}"
        )

    counts = not np.isin(sample[events[0]], (0, 1)).all()
    return _StreamInputSpec(dt, events[0], frames[0] if frames else None, inputs, counts)


class _StreamState(NamedTuple):
    """The next tick, the state of the network or runner, and the newest frame in the shape of its input."""

    tick: int
    inner: Any
    frame: Values | None


@dataclass
class NetworkSteps:
    """The step function of a network for `streaming.Live`: `outputs, state = step(bins, state)`.

    `advance` runs some ticks of the network, and `max_together` bins at most go through in one step; `num_unseen`
    counts the bins that were left out as more of them waited. `wanted` says which inputs the tick after a state needs,
    of a network whose frames are read by parts that may sleep.
    """

    spec: _StreamInputSpec
    advance: Advance
    max_together: int
    wanted: Wanted | None = None
    first_tick: int = 0
    num_unseen: int = field(default=0, init=False)

    def __call__(self, bins: Sequence[StreamBin], state: _StreamState | None) -> tuple[dict[str, Values], _StreamState]:
        """The newest value of each output that fired in these bins, without axes of time and batch."""
        spec = self.spec
        clock = spec.inputs[spec.events].clock
        tick, inner, frame = state or _StreamState(self.first_tick, None, None)
        newest = bins[-self.max_together :]

        for left_out in bins[: -len(newest)]:
            self.num_unseen += left_out.num_bins
            frame = self._newest_frame(left_out, frame)

        # the ticks up to the sample of the last bin
        stop = clock.phase + (clock.count(tick) + len(newest) - 1) * clock.period + 1
        inputs = {spec.events: np.stack([one.events for one in newest])[:, None]}

        if spec.frames is not None:
            frames = []
            for one in newest:
                frame = self._newest_frame(one, frame)
                if frame is None:
                    raise ConfigError("a stream with frames begins with one, but its first bin has none")
                frames.append(frame)

            indices = _bins_of_frames(spec.inputs[spec.frames].clock, clock, tick, stop, len(newest))
            inputs[spec.frames] = np.stack(frames)[indices][:, None]

        outputs, inner = self.advance(inputs, inner, stop - tick)
        return outputs, _StreamState(stop, inner, frame)

    def needs_frame(self, state: _StreamState | None) -> bool:
        """True if the bin after a state needs a frame, or may: a bin of several ticks is not known."""
        spec = self.spec
        if self.wanted is None or spec.frames is None or state is None or spec.inputs[spec.events].clock.period > 1:
            return True

        return bool(self.wanted(state.inner)[spec.frames].any())

    def _newest_frame(self, one: StreamBin, previous: Values | None) -> Values | None:
        """The frame of a bin in the shape of the input, or the previous one if the bin or the network has none."""
        if one.frame is None or self.spec.frames is None:
            return previous
        return one.frame.reshape(self.spec.inputs[self.spec.frames].shape)


def _bins_of_frames(
    frames: ClockRecord, events: ClockRecord, start: int, stop: int, num_bins: int
) -> NDArray[np.int64]:
    """The index of the bin whose newest frame is read at each tick of the frames' clock."""
    ticks = [tick for tick in range(start, stop) if frames.fires(tick)]
    first = events.count(start)
    # a bin covers the ticks up to that of its sample
    return np.array([min(events.count(tick), first + num_bins - 1) - first for tick in ticks], np.int64)


def bundle_steps(bundle: Bundle, *, integers: bool = False, chip: ChipSpec | None = None) -> NetworkSteps:
    """The step function of a bundle, which needs no torch; a `ConfigError` if no stream of events fits its inputs."""
    manifest = bundle.manifest
    sample = bundle.sample_inputs()
    spec = stream_input_spec(manifest.inputs, manifest.dt, sample)

    runner = bundle_runner(bundle, integers, chip)
    wanted = runner.wanted if spec.frames in runner.on_demand else None

    return NetworkSteps(spec, runner_advance(runner), _ONE_BY_ONE, wanted, manifest.first_tick)


def bundle_advance(bundle: Bundle, *, integers: bool = False, chip: ChipSpec | None = None) -> Advance:
    """A function that runs some ticks of a bundle from a state; None is the first state.

    It runs the integer model, or parts in the integers of a chip, where that is asked for.
    """
    return runner_advance(bundle_runner(bundle, integers, chip))


def runner_advance(runner: Runner) -> Advance:
    """A function that runs some ticks of a runner from a state."""
    records = runner.manifest.inputs

    def advance(inputs: dict[str, Values], state: Any, ticks: int) -> tuple[dict[str, Values], Any]:
        state = runner.start(1) if state is None else state
        start = state.tick
        newest: dict[str, Values] = {}

        for tick in range(start, start + ticks):
            firing = {name: record.clock for name, record in records.items() if record.clock.fires(tick)}
            samples = {name: inputs[name][clock.between(start, tick)] for name, clock in firing.items()}
            outputs, state = runner.step(samples, state)
            newest |= {name: y[0] for name, y in outputs.items()}

        return newest, state

    return advance
