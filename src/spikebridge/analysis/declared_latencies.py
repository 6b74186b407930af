"""Latencies that are declared, not measured: what an answer would cost on a machine that is not here.

| name | a bin of events | a bin with a frame | what it is |
|---|---|---|---|
| `none` | 0 | 0 | answers are there at once |
| `tianjic` | 1 / 5952.4 s | 1 / 541 s | the paper's hybrid network on the Tianjic chip |

Source: R. Zhao et al., Nature Communications 13:3427 (2022): 5952.4 answers a second; the ANN alone, which a frame
needs, is about 11 times slower. A tracker that looks at frames alone has nothing to do in a bin of events.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from spikebridge.analysis.tracking_protocols import declared_latency


class DeclaredLatency(NamedTuple):
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
    "none": DeclaredLatency(step=0.0, frame=0.0),
    "tianjic": DeclaredLatency(step=1 / 5952.4, frame=1 / 541),
}
