"""Voice activity detection by energy: the utterances in a stream of blocks of samples.

A block is sound where its level is above the noise floor by `margin`, and at most 20 dB below the newest peak. A pause
ends an utterance. The floor is that of the silence between utterances. A stream may begin inside of an utterance, so at
first there is no floor; a sound whose level does not vary by the margin within half a second is noise.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

_LOWEST_FLOOR = -80.0  # relative to full scale [dB]
_LOWEST_POWER = 1e-10
_FLOOR_RISE = 5.0  # [dB/s]
_RANGE = 20.0  # of the levels of an utterance [dB]
_PEAK_DECAY = 20.0  # [dB/s]
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

    is_open: bool
    floor: float = _LOWEST_FLOOR
    peak: float = -np.inf
    loudest: float = -np.inf
    lowest: float = np.inf
    length: int = 0
    sounding: int = 0
    quiet: int = 0

    @property
    def starts(self) -> bool:
        """True if an utterance begins with the newest block."""
        return self.is_open and self.length == 1


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

    def advance(self, block: Float[np.ndarray, "L C"], state: ActivityState) -> ActivityState:
        """The state after the next block."""
        level = level_of(block)
        peak = max(level, state.peak - _PEAK_DECAY * self.block_seconds)
        is_sound = level >= max(state.floor + self.margin, peak - _RANGE)

        if not state.is_open and is_sound:
            return ActivityState(True, state.floor, peak, level, level, 1, 1)
        if not state.is_open:
            floor = max(min(level, state.floor + _FLOOR_RISE * self.block_seconds), _LOWEST_FLOOR)
            return ActivityState(False, floor, peak)

        # a sound on top of noise, with which the stream began
        is_steady = not self._varies(state)
        if is_steady and state.length >= self.hangover and level >= state.lowest + self.margin:
            return ActivityState(True, state.lowest, peak, level, level, 1, 1)

        state = ActivityState(
            True,
            state.floor,
            peak,
            max(level, state.loudest),
            min(level, state.lowest),
            state.length + 1,
            state.sounding + is_sound,
            0 if is_sound else state.quiet + 1,
        )
        is_noise = state.length >= _STEADY_SECONDS / self.block_seconds and not self._varies(state)
        has_ended = state.quiet >= self.hangover or is_noise

        return state._replace(is_open=False, floor=max(state.lowest, _LOWEST_FLOOR)) if has_ended else state

    def is_utterance(self, state: ActivityState) -> bool:
        """True if what began with a sound varies and is long enough."""
        return self._varies(state) and state.sounding >= self.shortest

    def _varies(self, state: ActivityState) -> bool:
        return state.loudest - state.lowest >= self.margin


def level_of(block: Float[np.ndarray, "L C"]) -> float:
    """The level of a block without its mean, relative to full scale [dB]."""
    return float(10 * np.log10(block.var(0).mean() + _LOWEST_POWER))
