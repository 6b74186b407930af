"""Voice activity detection by energy: the utterances in a stream of blocks of samples.

A block is sound where its level is above the noise floor by `margin`, and at most 20 dB below the newest peak. A pause
ends an utterance. The floor is that of the silence between utterances. A stream may begin inside of an utterance, so at
first there is no floor; a sound whose level does not vary by the margin within half a second is noise.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from spikebridge.deploy.front_ends.arrays import EXACT, ExactArrays, Values

_LOWEST_FLOOR = -80.0  # relative to full scale [dB]
_LOWEST_POWER = 1e-10
_FLOOR_RISE = 5.0  # [dB/s]
_RANGE = 20.0  # of the levels of an utterance [dB]
_PEAK_DECAY = 20.0  # [dB/s]
_SILENT = -1e4  # a level below all [dB]
_STEADY_SECONDS = 0.5  # after which a steady sound is noise


class ActivityState(NamedTuple):
    """The state between two blocks.

    Attributes:
        is_open: an utterance runs.
        floor: level of the noise [dB].
        peak: newest loudest level, which decays [dB].
        loudest: loudest level of the utterance [dB].
        lowest: lowest level of the utterance [dB].
        length: blocks of the utterance.
        sounding: blocks of the utterance that are sound.
        quiet: blocks since the last one that is sound.
    """

    is_open: Any
    floor: Any = _LOWEST_FLOOR
    peak: Any = _SILENT
    loudest: Any = _SILENT
    lowest: Any = -_SILENT
    length: Any = 0
    sounding: Any = 0
    quiet: Any = 0

    @property
    def starts(self) -> bool:
        """True if an utterance begins with the newest block."""
        return bool(self.is_open and self.length == 1)


@dataclass(frozen=True)
class VoiceActivity:
    """A detector of utterances.

    Args:
        block_seconds: length of a block [s].
        hangover: quiet blocks that end an utterance; shorter pauses are part of it.
        shortest: sounding blocks below which a sound is a click and no utterance.
        margin: level of sound above the noise floor, and the least variation of an utterance [dB].
    """

    block_seconds: float
    hangover: int
    shortest: int
    margin: float = 10.0

    def advance(self, block: Float[np.ndarray, "L C"], state: ActivityState, a: ExactArrays = EXACT) -> ActivityState:
        """The state after the next block; another arithmetic gives it to rounding."""
        after = self.arrays(a, a.array(block), state)
        kinds = (bool, float, float, float, float, int, int, int)
        return ActivityState(*(kind(value) for kind, value in zip(kinds, after, strict=True)))

    def arrays(self, a: Any, block: Values, state: ActivityState) -> ActivityState:
        """The state after the next block in the arrays of an arithmetic; what is true is 1."""
        level = _level(a, block)
        peak = a.maximum(level, state.peak - _PEAK_DECAY * self.block_seconds)
        is_sound = _at_least(a, level, a.maximum(state.floor + self.margin, peak - _RANGE))
        begun = ActivityState(1.0, state.floor, peak, level, level, 1.0, 1.0)
        floor = a.maximum(a.minimum(level, state.floor + _FLOOR_RISE * self.block_seconds), _LOWEST_FLOOR)
        closed = _chosen(a, is_sound, begun, ActivityState(0.0, floor, peak))

        # a sound on top of noise, with which the stream began
        is_steady = 1.0 - self._varies(a, state)
        is_louder = _at_least(a, level, state.lowest + self.margin)
        begins_again = is_steady * _at_least(a, state.length, float(self.hangover)) * is_louder
        opened = _chosen(
            a, begins_again, begun._replace(floor=state.lowest), self._continued(a, level, is_sound, state)
        )

        return _chosen(a, state.is_open, opened, closed)._replace(peak=peak)

    def _continued(self, a: Any, level: Values, is_sound: Values, state: ActivityState) -> ActivityState:
        """An utterance with one block more, which may end it."""
        length = state.length + 1.0
        quiet = a.where(is_sound > 0.5, 0.0, state.quiet + 1.0)
        loudest = a.maximum(level, state.loudest)
        lowest = a.minimum(level, state.lowest)
        after = ActivityState(1.0, state.floor, state.peak, loudest, lowest, length, state.sounding + is_sound, quiet)

        is_noise = _at_least(a, length, _STEADY_SECONDS / self.block_seconds) * (1.0 - self._varies(a, after))
        has_ended = a.maximum(_at_least(a, quiet, float(self.hangover)), is_noise)
        floor = a.where(has_ended > 0.5, a.maximum(lowest, _LOWEST_FLOOR), state.floor)

        return after._replace(is_open=1.0 - has_ended, floor=floor)

    def is_utterance(self, state: ActivityState) -> bool:
        """True if what began with a sound varies and is long enough."""
        return bool(self.utterance(EXACT, state) > 0)

    def utterance(self, a: Any, state: ActivityState) -> Values:
        """`is_utterance` in the arrays of an arithmetic: 1 or 0."""
        return self._varies(a, state) * _at_least(a, state.sounding, float(self.shortest))

    def counts(self, a: Any, state: ActivityState) -> Values:
        """1 where the block belongs to the answer: logits follow the sound late, but those of silence say nothing."""
        return 1.0 - _at_least(a, state.quiet, self.hangover // 2 + 0.5)

    def _varies(self, a: Any, state: ActivityState) -> Values:
        return _at_least(a, state.loudest - state.lowest, self.margin)


def _at_least(a: Any, value: Values, bound: Values) -> Values:
    return a.where(value < bound, 0.0, 1.0)


def _chosen(a: Any, condition: Values, first: ActivityState, second: ActivityState) -> ActivityState:
    return ActivityState(*(a.where(condition > 0.5, one, other) for one, other in zip(first, second, strict=True)))


def level_of(block: Float[np.ndarray, "L C"]) -> float:
    """The level of a block without its mean, relative to full scale [dB]."""
    return float(_level(EXACT, EXACT.array(block)))


def _level(a: Any, block: Values) -> Values:
    deviation = block - a.mean(block, 0)
    power = a.mean(a.mean(deviation * deviation, 0), 0)
    return a.log(power + _LOWEST_POWER) * (10 / math.log(10))
