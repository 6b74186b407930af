"""Networks that classify what a sensor records, stepped by a live stream of samples: a front end, ticks, an answer.

Each block of samples becomes the inputs of the ticks of one answer. The answer is the class of the weighted mean of the
logits so far. After the window of the training, network, front end and mean start again. No torch is needed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Values = NDArray[Any]
# `outputs, state = advance(inputs, state, ticks)`: inputs (K, 1, *N) by name, the newest value of each firing output
Advance = Callable[[dict[str, Values], Any, int], tuple[dict[str, Values], Any]]


@runtime_checkable
class _SampleFrontEnd(Protocol):
    """Turns samples of a sensor into inputs of a network; `block` is the number of samples an answer."""

    @property
    def rate_hz(self) -> float: ...

    @property
    def num_channels(self) -> int: ...

    @property
    def block(self) -> int: ...

    def initial_state(self) -> Any:
        """The state before the first sample."""

    def advance(self, samples: Values, state: Any) -> tuple[Mapping[str, Values], Any]:
        """Samples `(L, C)` to inputs `(T, 1, *N)` by name."""


@dataclass(frozen=True)
class SampleReader:
    """The front end and the answer of a network that reads a sensor.

    Args:
        front_end: turns samples into inputs.
        ticks: base steps of the network a block.
        window: blocks after which everything starts again.
        classes: names of the classes; their indices without.
        recency: the weight of the logits of a block, relative to those of the block before.
        answer: name of the output that holds the logits.
    """

    front_end: _SampleFrontEnd
    ticks: int
    window: int
    classes: Sequence[str] = ()
    recency: float = 1.0
    answer: str = "answer"


class _ReadState(NamedTuple):
    """Blocks of the running window, windows before it, and the states of front end, network and mean.

    `weight` is the sum of the weights in the mean of the logits, relative to that of the newest block.
    """

    blocks: int
    windows: int
    front: Any
    inner: Any
    mean: Values
    weight: float


@dataclass(frozen=True)
class SampleSteps:
    """The step function of a network for `streaming.Live`: `answer, state = step(blocks, state)`.

    `inputs` are the names of the network's inputs; the front end may give more.
    """

    reader: SampleReader
    inputs: frozenset[str]
    advance: Advance

    def __call__(self, blocks: Sequence[Values], state: _ReadState | None) -> tuple[dict[str, Any], _ReadState]:
        """The answer after the newest block, with the probability of its class and the time in its window [s]."""
        reader = self.reader
        if state is None:
            state = self._initial_state(0)

        for block in blocks:
            state = self._next_state(block, state)

        best = int(np.argmax(state.mean))
        exponentials = np.exp(state.mean - state.mean.max())
        share = float(exponentials[best] / exponentials.sum())
        seconds = state.blocks * reader.front_end.block / reader.front_end.rate_hz
        answer = {
            "answer": reader.classes[best] if reader.classes else str(best),
            "share": round(share, 4),
            "window": state.windows,
            "seconds": round(seconds, 4),
        }

        return answer, state

    def _next_state(self, block: Values, state: _ReadState) -> _ReadState:
        reader = self.reader
        if state.blocks == reader.window:
            state = self._initial_state(state.windows + 1)

        signals, front = reader.front_end.advance(block, state.front)
        inputs = {name: x for name, x in signals.items() if name in self.inputs}
        outputs, inner = self.advance(inputs, state.inner, reader.ticks)

        weight = state.weight / reader.recency + 1
        mean = state.mean + (outputs[reader.answer].astype(np.float64) - state.mean) / weight

        return _ReadState(state.blocks + 1, state.windows, front, inner, mean, weight)

    def _initial_state(self, windows: int) -> _ReadState:
        return _ReadState(0, windows, self.reader.front_end.initial_state(), None, np.zeros(()), 0.0)
