"""A network that names what a sensor records, stepped by a stream of samples: a front end, ticks, a running answer.

Each block of samples becomes the inputs of the ticks of one answer. The answer is the weighted mean of the logits so
far; after the length of a training's window network, front end and mean start anew. No torch is needed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Values = NDArray[Any]
# inputs (K, 1, *N) of so many ticks from a state on: the newest value of each output that fired, and the state
Advance = Callable[[dict[str, Values], Any, int], tuple[dict[str, Values], Any]]


@runtime_checkable
class _SampleFrontEnd(Protocol):
    """Turns samples into inputs of a network."""

    @property
    def rate_hz(self) -> float:
        """Samples a second."""

    @property
    def num_channels(self) -> int:
        """Channels of the sensor."""

    @property
    def block(self) -> int:
        """Samples from one answer to the next."""

    def initial_state(self) -> Any:
        """The state before the first sample."""

    def advance(self, samples: Values, state: Any) -> tuple[Mapping[str, Values], Any]:
        """Samples `(L, C)` to inputs `(T, 1, *N)` by name."""


@dataclass(frozen=True)
class SampleReader:
    """How a trained network reads a sensor.

    Args:
        front_end: from samples to inputs.
        ticks: base steps of the network in a block.
        window: blocks after which everything starts anew.
        classes: names of the answers; places without.
        recency: how much more an answer counts than the one before.
        answer: the name of the output with the logits.
    """

    front_end: _SampleFrontEnd
    ticks: int
    window: int
    classes: Sequence[str] = ()
    recency: float = 1.0
    answer: str = "answer"


class _ReadState(NamedTuple):
    """What goes over to the next block.

    Args:
        blocks: of the running window.
        windows: that are over.
        front: of the front end.
        inner: of the network or runner.
        mean: of the logits so far.
        weight: of that mean, beside the newest answer.
    """

    blocks: int
    windows: int
    front: Any
    inner: Any
    mean: Values
    weight: float


@dataclass(frozen=True)
class SampleSteps:
    """Steps of a network for `streaming.Live`: `answer, state = step(blocks, state)`.

    Args:
        reader: how it reads the sensor.
        inputs: names of the network's inputs; others of the front end are left out.
        advance: runs some ticks of the network from a state.
    """

    reader: SampleReader
    inputs: frozenset[str]
    advance: Advance

    def __call__(self, blocks: Sequence[Values], state: _ReadState | None) -> tuple[dict[str, Any], _ReadState]:
        """The answer after the newest of these blocks, with the share of its class and the time in its window [s]."""
        reader = self.reader
        if state is None:
            state = self._start(0)

        for block in blocks:
            if state.blocks == reader.window:
                state = self._start(state.windows + 1)
            given, front = reader.front_end.advance(block, state.front)
            named = {name: x for name, x in given.items() if name in self.inputs}
            outputs, inner = self.advance(named, state.inner, reader.ticks)
            weight = state.weight / reader.recency + 1
            mean = state.mean + (outputs[reader.answer].astype(np.float64) - state.mean) / weight
            state = _ReadState(state.blocks + 1, state.windows, front, inner, mean, weight)

        best = int(np.argmax(state.mean))
        shares = np.exp(state.mean - state.mean.max())
        seconds = state.blocks * reader.front_end.block / reader.front_end.rate_hz
        name = reader.classes[best] if reader.classes else str(best)
        share = round(float(shares[best] / shares.sum()), 4)

        return {"answer": name, "share": share, "window": state.windows, "seconds": round(seconds, 4)}, state

    def _start(self, windows: int) -> _ReadState:
        return _ReadState(0, windows, self.reader.front_end.initial_state(), None, np.zeros(()), 0.0)
