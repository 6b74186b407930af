"""The detector of utterances of a voice: its times are those of the training recordings."""

from collections.abc import Mapping

import numpy as np

from spikebridge.deploy.front_ends.arrays import FAST
from spikebridge.deploy.streaming.activity import ActivityState, VoiceActivity
from spikebridge.networks.signals.data.windows import Windows

_SPOKEN_DIGITS = {"hangover_seconds": 0.18, "shortest_seconds": 0.06}
_EXCEPTIONS = 0.005  # share of the recordings with a longer pause, or a shorter sound


def activity_times(windows: Windows, block_seconds: float, block: int) -> dict[str, float]:
    """Times of `voice_activity` [s]: just above the longest pause of a recording, and half of the shortest sound."""
    # pauses of any length are part of a recording
    detector = VoiceActivity(block_seconds, hangover=windows.samples.shape[1], shortest=1)
    pauses = []
    sounding = []

    for samples, length in zip(windows.samples, windows.lengths.tolist(), strict=True):
        state = ActivityState(False)
        pause = 0
        for start in range(0, length - block + 1, block):
            quiet = state.quiet
            state = detector.advance(samples[start : start + block], state, FAST)
            pause = max(pause, quiet if state.quiet == 0 else 0)

        pauses.append(pause)
        sounding.append(state.sounding)

    hangover = 1 + float(np.ceil(np.quantile(pauses, 1 - _EXCEPTIONS)))
    shortest = max(1.0, float(np.quantile(sounding, _EXCEPTIONS)) // 2)

    return {"hangover_seconds": hangover * block_seconds, "shortest_seconds": shortest * block_seconds}


def voice_activity(times: Mapping[str, float], block_seconds: float) -> VoiceActivity:
    """The detector with these times; the results of an earlier version hold none, and get those of spoken digits."""
    hangover, shortest = (times.get(name, default) / block_seconds for name, default in _SPOKEN_DIGITS.items())
    return VoiceActivity(block_seconds, max(1, round(hangover)), max(1, round(shortest)))
