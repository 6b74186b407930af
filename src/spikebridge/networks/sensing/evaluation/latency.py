"""Streaming accuracy: each truth is compared with the newest output that was available at its time.

An output is available only after the network has processed its data. Scoring it as if it were available at once favours
slow networks (M. Li, Y.-X. Wang, D. Ramanan, "Towards streaming perception", ECCV 2020). Latencies are measured, or
declared for hardware that is not here:

| name | a bin of events | a bin with a frame | what it is |
|---|---|---|---|
| `none` | 0 | 0 | outputs are available at once |
| `tianjic` | 1 / 5952.4 s | 1 / 541 s | the paper's hybrid network on the Tianjic chip |

Source: R. Zhao et al., Nature Communications 13:3427 (2022): 5952.4 outputs a second; the ANN alone, which a frame
needs, is about 11 times slower. A tracker of frames has nothing to do in a bin of events.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from spikebridge.errors import ShapeError

_Times: TypeAlias = Sequence[float] | NDArray[Any]


def newest_available(truth_times: _Times, output_times: _Times, latencies: _Times | float = 0.0) -> NDArray[np.int64]:
    """For each truth the index of the newest output that was there, -1 where there was none.

    Args:
        truth_times: when each truth holds [s].
        output_times: of the data that each output was made from [s], in any order.
        latencies: from those data until the output is there [s]: measured ones, or one declared for all.

    Example:
        >>> newest_available([0.0, 1.0, 2.0], output_times=[0.0, 1.0], latencies=0.5).tolist()
        [-1, 0, 1]
    """
    truths = np.asarray(truth_times, dtype=float)
    outputs = np.asarray(output_times, dtype=float)
    waits = np.asarray(latencies, dtype=float)
    if truths.ndim != 1 or outputs.ndim != 1 or waits.shape not in ((), outputs.shape):
        raise ShapeError(
            f"times are lists of numbers, latencies one number or one for each output, but got shapes {truths.shape}, "
            f"{outputs.shape} and {waits.shape}"
        )

    if not (np.isfinite(truths).all() and np.isfinite(outputs).all()) or np.isnan(waits).any() or (waits < 0).any():
        raise ShapeError("times must be finite and latencies 0 s or more; correct them first")
    if not len(outputs):
        return np.full(len(truths), -1)

    order = np.argsort(outputs + waits, kind="stable")
    there = (outputs + waits)[order]
    # the newest by its data among those that are there: a late straggler never replaces a newer one
    newest = order.copy()

    for i in range(1, len(order)):
        if outputs[newest[i - 1]] > outputs[order[i]]:
            newest[i] = newest[i - 1]

    place = np.searchsorted(there, truths, side="right") - 1
    return np.where(place < 0, -1, newest[place])


def streaming_score(
    truth_times: _Times,
    truths: Sequence[Any] | NDArray[Any],
    output_times: _Times,
    outputs: Sequence[Any] | NDArray[Any],
    latencies: _Times | float,
    score: Callable[[Any, Any], float],
    missing: float = 0.0,
) -> float:
    """The mean score of all truths, each against the newest output that was there.

    Args:
        truth_times: when each truth holds [s].
        truths: one for each time.
        output_times: of the data that each output was made from [s].
        outputs: one for each time.
        latencies: from those data until the output is there [s].
        score: of an output and a truth.
        missing: the score of a truth before the first output.

    Example:
        >>> equal = lambda output, truth: float(output == truth)
        >>> streaming_score([0, 1, 2], "aab", [0, 1, 2], "aab", latencies=0.5, score=equal)  # none, "a", "a"
        0.3333333333333333
    """
    if len(truths) != len(truth_times) or len(outputs) != len(output_times) or not len(truths):
        raise ShapeError(
            f"each truth and each output needs its time, and there is at least one truth, but got {len(truths)} truths "
            f"at {len(truth_times)} times and {len(outputs)} outputs at {len(output_times)}"
        )

    newest = newest_available(truth_times, output_times, latencies)
    scores = [missing if i < 0 else score(outputs[i], truth) for i, truth in zip(newest, truths, strict=True)]

    return float(np.mean(scores))


def declared_latency(step: float, frame: float) -> Callable[[Any], float]:
    """Latencies from a table: of a step with events alone, and of one in which a frame has come.

    Args:
        step: seconds.
        frame: seconds.

    Example:
        >>> latency = declared_latency(step=0.001, frame=0.004)
        >>> latency({"events": None}), latency({"events": None, "frame": None})
        (0.001, 0.004)
    """
    return lambda inputs: frame if "frame" in inputs else step


class _DeclaredLatency(NamedTuple):
    """Seconds of work for a bin of events, and for a bin in which a frame has come."""

    step: float
    frame: float

    def of(self, sees_events: bool = True) -> Callable[[Any], float]:
        """The latency of some inputs, for `streaming`.

        Args:
            sees_events: whether the tracker works on events at all.

        Example:
            >>> DECLARED["tianjic"].of(sees_events=False)({"events": None})
            0.0
        """
        return declared_latency(self.step if sees_events else 0.0, self.frame)


DECLARED = {
    "none": _DeclaredLatency(step=0.0, frame=0.0),
    "tianjic": _DeclaredLatency(step=1 / 5952.4, frame=1 / 541),
}
