"""Networks that classify what a sensor records, stepped by a live stream of samples: a front end, ticks, an answer.

Each block of samples becomes the inputs of the ticks of one answer. The answer is the class of the weighted mean of the
logits so far. After the window of the training, network, front end and mean start again. With a detector of voice
activity they start with each utterance. No torch is needed.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from spikebridge.deploy.front_ends.arrays import EXACT
from spikebridge.deploy.streaming.activity import ActivityState, VoiceActivity

Values = NDArray[Any]
# `outputs, state = advance(inputs, state, ticks)`: inputs (K, 1, *N) by name, the newest value of each firing output
Advance = Callable[[dict[str, Values], Any, int], tuple[dict[str, Values], Any]]
_MAX_ANSWERS = 100  # that are kept
PRE_ROLL = 2  # blocks before the first sound of an utterance, which begins softly


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
        activity: detector of the utterances to answer; None answers every window.
    """

    front_end: _SampleFrontEnd
    ticks: int
    window: int
    classes: Sequence[str] = ()
    recency: float = 1.0
    answer: str = "answer"
    activity: VoiceActivity | None = None


class AnswerMean(NamedTuple):
    """A weighted mean of logits, and the sum of the weights in it, relative to that of the newest ones."""

    mean: Values
    weight: Any


def no_answer(size: int) -> AnswerMean:
    """The mean before the first logits."""
    return AnswerMean(np.zeros(size), np.zeros(()))


def answer_mean(logits: Any, state: AnswerMean, recency: float) -> AnswerMean:
    """The mean with the next logits, in arrays of numpy or of C."""
    weight = state.weight / recency + 1.0
    return AnswerMean(state.mean + (logits - state.mean) / weight, weight)


def class_shares(logits: Values) -> Values:
    """The probabilities of classes; their sum is 1."""
    exponentials = np.exp(logits - logits.max())
    return np.asarray(exponentials / exponentials.sum())


class _ReadState(NamedTuple):
    """Blocks of the running window, windows before it, and the states of front end, network and mean.

    `newest` are the blocks that the next utterance may begin with.
    """

    blocks: int
    windows: int
    front: Any
    inner: Any
    answer: AnswerMean
    activity: ActivityState = ActivityState(False)
    newest: tuple[Values, ...] = ()


@dataclass
class SampleSteps:
    """The step function of a network for `streaming.Live`: `answer, state = step(blocks, state)`.

    `inputs` are the names of the network's inputs; the front end may give more. `answers` are the newest final ones: of
    whole windows, or of utterances.
    """

    reader: SampleReader
    inputs: frozenset[str]
    advance: Advance
    answers: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=_MAX_ANSWERS), init=False)
    _last: _ReadState | None = field(default=None, init=False)

    def __call__(self, blocks: Sequence[Values], state: _ReadState | None) -> tuple[dict[str, Any], _ReadState]:
        """The answer after the newest block, with the probability of its class and the time in its window [s].

        Between utterances the answer is None.
        """
        if state is None:
            self.finish()
            state = self._initial_state(0)

        next_state = self._next_in_windows if self.reader.activity is None else self._next_in_utterances
        for block in blocks:
            state = next_state(block, state)

        self._last = state
        if self.reader.activity is not None and not state.activity.is_open:
            return {"answer": None, "share": None, "window": state.windows, "seconds": 0.0}, state

        return self._answer(state), state

    def warm_up(self) -> None:
        """Advances a network by a block of silence, so that libraries are loaded before a stream begins."""
        front = self.reader.front_end
        self._advanced(np.zeros((front.block, front.num_channels), np.float32), self._initial_state(0))

    def finish(self) -> list[dict[str, Any]]:
        """Ends a stream; all final answers. A stream that ends in its first window or in an utterance has one more."""
        state = self._last
        self._last = None
        if state is not None and self._ends_with_answer(state):
            self.answers.append(self._answer(state))

        return list(self.answers)

    def _ends_with_answer(self, state: _ReadState) -> bool:
        reader = self.reader
        if reader.activity is None:
            return state.windows == 0 and state.blocks < reader.window

        # a recording may be cut to its one utterance, so tightly that its level does not vary
        is_only = state.windows == 0
        return state.activity.is_open and (is_only or reader.activity.is_utterance(state.activity))

    def _answer(self, state: _ReadState) -> dict[str, Any]:
        reader = self.reader
        logits = state.answer.mean
        best = int(np.argmax(logits))
        share = float(class_shares(logits)[best])
        seconds = state.blocks * reader.front_end.block / reader.front_end.rate_hz

        return {
            "answer": reader.classes[best] if reader.classes else str(best),
            "share": round(share, 4),
            "window": state.windows,
            "seconds": round(seconds, 4),
        }

    def _next_in_windows(self, block: Values, state: _ReadState) -> _ReadState:
        if state.blocks == self.reader.window:
            state = self._initial_state(state.windows + 1)

        state = self._advanced(block, state)
        if state.blocks == self.reader.window:
            self.answers.append(self._answer(state))

        return state

    def _next_in_utterances(self, block: Values, state: _ReadState) -> _ReadState:
        detector: Any = self.reader.activity
        activity = detector.advance(block, state.activity)
        newest = state.newest

        if activity.starts:
            state = self._initial_state(state.windows + (state.blocks > 0))
            for one in newest:
                state = self._advanced(one, state)
        elif state.activity.is_open and not activity.is_open and detector.is_utterance(activity):
            self.answers.append(self._answer(state))

        # after its window an utterance keeps its answer
        if activity.is_open and state.blocks < self.reader.window:
            before = state
            state = self._advanced(block, state)
            if not detector.counts(EXACT, activity):
                state = state._replace(answer=before.answer)

        return state._replace(activity=activity, newest=(*newest, block)[-PRE_ROLL:])

    def _advanced(self, block: Values, state: _ReadState) -> _ReadState:
        reader = self.reader
        signals, front = reader.front_end.advance(block, state.front)
        inputs = {name: x for name, x in signals.items() if name in self.inputs}
        outputs, inner = self.advance(inputs, state.inner, reader.ticks)
        answer = answer_mean(outputs[reader.answer].astype(np.float64), state.answer, reader.recency)

        return state._replace(blocks=state.blocks + 1, front=front, inner=inner, answer=answer)

    def _initial_state(self, windows: int) -> _ReadState:
        return _ReadState(0, windows, self.reader.front_end.initial_state(), None, no_answer(1))
