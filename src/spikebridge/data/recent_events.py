"""The newest events of a live stream, in bounded memory: what a frame is given with that arrives late."""

from collections import deque
from math import inf

import numpy as np

from spikebridge.data.events import EVENT, Events

KEPT = 0.5  # seconds; exposure, readout and the way here take less, and a tracker gains nothing from older frames
MOST_KEPT = 5_000_000  # events, 65 MB; of more than 10 million a second less than half a second is kept


class RecentEvents:
    """Pieces of a stream; the last one is always there, those before it are kept for a while.

    Attributes:
        reach: no event since this time is missing [us].

    Example:
        >>> from spikebridge.data.events import make_events
        >>> recent = RecentEvents()
        >>> for time in (1000, 2000, 502_000, 503_000):
        ...     recent.add(make_events(t=[time], x=[0], y=[0], p=[1]), end=time + 500)
        >>> recent.reach, recent.since(2000)["t"].tolist()
        (1500, [2000, 502000, 503000])
    """

    def __init__(self) -> None:
        self.reach: float = -inf
        self._pieces: deque[tuple[int, Events]] = deque()
        self._number = 0

    def add(self, events: Events, end: int) -> None:
        """Takes the next piece; of those before it, the oldest go.

        Args:
            events: that came after the last piece.
            end: a time after them [us].
        """
        begin = self._pieces[-1][0] if self._pieces else end
        while self._pieces and (self._number > MOST_KEPT or self._pieces[0][0] < begin - KEPT * 1e6):
            self.reach = min(self._drop(), end)  # a damaged time says nothing about what follows
        self._pieces.append((end, events))
        self._number += len(events)

    def since(self, time: int) -> Events:
        """All events since a time; earlier ones are not asked for again.

        Args:
            time: not before `reach` [us].
        """
        while self._pieces and self._pieces[0][0] <= time:
            self._drop()
        events: Events = np.concatenate([np.empty(0, EVENT), *(piece for _, piece in self._pieces)])
        return events[events["t"] >= time]

    def _drop(self) -> int:
        """Where the oldest piece ended."""
        end, events = self._pieces.popleft()
        self._number -= len(events)
        return end
