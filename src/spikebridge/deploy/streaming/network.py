"""Networks and bundles that take events, stepped by a live stream: which input takes what, at which ticks.

A bin of the stream is a sample of the input of events. Frames are held: at each tick of their clock the network gets
the newest one. Where several bins wait they go through in one call, in order and each in its own ticks, so nothing that
the network would have computed is lost; only where more than `most_together` wait are the older ones passed over, and
counted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from spikebridge.deploy.bundle.bundle import Bundle
from spikebridge.deploy.bundle.manifest import ClockRecord, InputRecord
from spikebridge.deploy.integer.bundle import integer_runner
from spikebridge.deploy.runtime.runner import Runner
from spikebridge.deploy.streaming.samples import Advance
from spikebridge.errors import ConfigError

Values = NDArray[Any]
# a network takes many ticks at once for little more than one; the runner takes them one by one
TOGETHER = 64
ONE_BY_ONE = 8


@runtime_checkable
class StreamBin(Protocol):
    """A bin of a stream: events as ON and OFF images `(2, H, W)`, and a frame `(h, w)` from 0 to 1 if one has come."""

    @property
    def events(self) -> Values:
        """The images."""

    @property
    def frame(self) -> Values | None:
        """The newest frame."""

    @property
    def num_bins(self) -> int:
        """1; more where older bins are given as one, without events, because too many waited."""


@dataclass(frozen=True)
class _StreamInputSpec:
    """What a network takes of a stream.

    Args:
        dt: base step [s].
        events: the name of the input of events.
        frames: that of frames, if there is one.
        inputs: their clocks and shapes.
        counts: whether a pixel holds how many events there were; else whether there was any.
    """

    dt: float
    events: str
    frames: str | None
    inputs: Mapping[str, InputRecord]
    counts: bool

    @property
    def bin(self) -> float:
        """Length of a bin [s]."""
        return self.inputs[self.events].clock.period * self.dt

    @property
    def sensor(self) -> tuple[int, int]:
        """Rows and columns of the events."""
        _, height, width = self.inputs[self.events].shape
        return height, width

    @property
    def frame(self) -> tuple[int, int] | None:
        """Rows and columns of the frames."""
        if self.frames is None:
            return None
        *_, height, width = self.inputs[self.frames].shape
        return height, width


def stream_input_spec(inputs: Mapping[str, InputRecord], dt: float, sample: Mapping[str, Values]) -> _StreamInputSpec:
    """Which inputs take events `(2, H, W)` and which frames `(1, H, W)` or `(H, W)`.

    Args:
        inputs: of a network, by name.
        dt: base step [s].
        sample: of the inputs; where events hold 0 and 1 alone, several of a pixel in one bin count as one.

    Raises:
        ConfigError: no input takes events, or one takes something else.

    Example:
        >>> records = {"x": InputRecord(ClockRecord(2, 0), (2, 8, 6))}
        >>> spec = stream_input_spec(records, 0.001, {"x": np.array([0.0, 3.0])})
        >>> spec.events, spec.bin, spec.sensor, spec.counts
        ('x', 0.002, (8, 6), True)
    """
    events = [name for name, one in inputs.items() if len(one.shape) == 3 and one.shape[0] == 2]
    frames = [
        name for name, one in inputs.items() if len(one.shape) == 2 or (len(one.shape) == 3 and one.shape[0] == 1)
    ]
    others = [name for name in inputs if name not in (*events, *frames)]
    flags = [name for name, one in inputs.items() if one.dtype == "bool"]

    if len(events) != 1 or len(frames) > 1 or others or flags:
        found = ", ".join(f"{name} {one.shape}" for name, one in inputs.items())
        raise ConfigError(
            "a live stream brings events (2, H, W) and, where wanted, frames (1, H, W) to one input each, but this "
            f"network takes {found}"
        )

    counts = not np.isin(sample[events[0]], (0, 1)).all()
    return _StreamInputSpec(dt, events[0], frames[0] if frames else None, inputs, counts)


class _StreamState(NamedTuple):
    """What goes over to the next step.

    Args:
        tick: the next one.
        inner: of the network or runner.
        frame: the newest one, as the network takes it.
    """

    tick: int
    inner: Any
    frame: Values | None


@dataclass
class NetworkSteps:
    """Steps of a network for `streaming.Live`: `outputs, state = step(bins, state)`.

    Args:
        spec: the inputs of the network.
        advance: runs some ticks from a state.
        most_together: bins that go through in one step.

    Attributes:
        num_unseen: bins that were passed over because more than `most_together` waited.
    """

    spec: _StreamInputSpec
    advance: Advance
    most_together: int
    num_unseen: int = field(default=0, init=False)

    def __call__(self, bins: Sequence[StreamBin], state: _StreamState | None) -> tuple[dict[str, Values], _StreamState]:
        """The newest value of each output that fired in these bins, without time and batch."""
        clock = self.spec.inputs[self.spec.events].clock
        tick, inner, frame = state or _StreamState(0, None, None)
        seen = bins[-self.most_together :]
        self.num_unseen += sum(one.num_bins for one in bins[: -len(seen)])
        frame = next((self._frame(one.frame) for one in reversed(bins[: -len(seen)]) if one.frame is not None), frame)

        # the ticks up to the sample of the last bin
        stop = clock.phase + (clock.count(tick) + len(seen) - 1) * clock.period + 1
        inputs = {self.spec.events: np.stack([one.events for one in seen])[:, None]}
        held: list[Values] = []

        for one in seen:
            frame = frame if one.frame is None else self._frame(one.frame)
            held += [] if frame is None else [frame]

        if self.spec.frames is not None:
            if len(held) < len(seen):
                raise ConfigError("a stream with frames begins with one, but its first bin has none")
            which = self._bins_of_frames(self.spec.inputs[self.spec.frames].clock, clock, tick, stop, len(seen))
            inputs[self.spec.frames] = np.stack(held)[which][:, None]

        outputs, inner = self.advance(inputs, inner, stop - tick)
        return outputs, _StreamState(stop, inner, frame)

    def _frame(self, frame: Values) -> Values:
        shape = self.spec.inputs[str(self.spec.frames)].shape if self.spec.frames is not None else frame.shape
        return frame.reshape(shape)

    @staticmethod
    def _bins_of_frames(
        frames: ClockRecord, events: ClockRecord, start: int, stop: int, num_bins: int
    ) -> NDArray[np.int64]:
        """For every tick of the frames' clock the bin, of those taken, whose newest frame is read then."""
        ticks = [tick for tick in range(start, stop) if frames.fires(tick)]
        first = events.count(start)
        # a bin covers the ticks up to that of its sample
        return np.array([min(events.count(tick), first + num_bins - 1) - first for tick in ticks], np.int64)


def bundle_steps(bundle: Bundle, *, integers: bool = False) -> NetworkSteps:
    """Steps of a bundle, which needs no torch.

    Args:
        bundle: an opened one.
        integers: whether what was quantised computes with integers.

    Raises:
        ConfigError: it takes no events, or something that no stream brings.
        DataError: integers are wanted, but it holds no integer model.
    """
    manifest = bundle.manifest
    numbers = bundle.numbers(manifest.sample.file)
    sample = {name: numbers[f"inputs.{name}"] for name in manifest.inputs if f"inputs.{name}" in numbers}
    spec = stream_input_spec(manifest.inputs, manifest.dt, sample)

    return NetworkSteps(spec, bundle_advance(bundle, integers=integers), ONE_BY_ONE)


def bundle_advance(bundle: Bundle, *, integers: bool = False) -> Advance:
    """Runs some ticks of a bundle from a state; None is the state before the first one.

    Args:
        bundle: an opened one.
        integers: whether what was quantised computes with integers.

    Raises:
        DataError: it holds no integer model.
    """
    manifest = bundle.manifest
    runner = integer_runner(bundle) if integers else Runner(bundle)

    def advance(inputs: dict[str, Values], state: Any, ticks: int) -> tuple[dict[str, Values], Any]:
        state = runner.start(1) if state is None else state
        begun = state.tick
        newest: dict[str, Values] = {}

        for tick in range(begun, begun + ticks):
            now = {
                name: inputs[name][one.clock.between(begun, tick)]
                for name, one in manifest.inputs.items()
                if one.clock.fires(tick)
            }

            outputs, state = runner.step(now, state)
            newest |= {name: y[0] for name, y in outputs.items()}

        return newest, state

    return advance
