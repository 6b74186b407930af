"""DVS128 Gesture: events of arm gestures and a table of labels for each recording.

A recording `user01_natural.aedat` (AEDAT 3.1, 128 x 128 pixels) has its labels in `user01_natural_labels.csv`: a header
`class,startTime_usec,endTime_usec`, then one gesture a line, classes 1 to 11.

Source: A. Amir et al., "A low power, fully event-based gesture recognition system", CVPR 2017.
"""

import csv
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from spikebridge.data.events.events import Events
from spikebridge.data.events.files import read_events
from spikebridge.data.io.number_text import parse_integer
from spikebridge.data.io.safe_open import read_text
from spikebridge.data.signals.checks import SeriesFinding
from spikebridge.errors import DataError

SENSOR = 128
GESTURES = (
    "hand clapping",
    "right hand wave",
    "left hand wave",
    "right arm clockwise",
    "right arm counter clockwise",
    "left arm clockwise",
    "left arm counter clockwise",
    "arm roll",
    "air drums",
    "air guitar",
    "other gestures",
)
_COLUMNS = ["class", "startTime_usec", "endTime_usec"]
_MAX_BYTES = 2**22


class GestureLabel(NamedTuple):
    """A labelled stretch of a recording.

    Attributes:
        label: place in `GESTURES`.
        start_us: time of its begin.
        stop_us: time of its end.
    """

    label: int
    start_us: int
    stop_us: int


def read_gesture_labels(path: Path) -> list[GestureLabel]:
    """The table of labels of a recording.

    Args:
        path: the file.

    Raises:
        DataError: the file is missing or damaged, a class is not 1 to 11, or a gesture ends before it begins.

    Example:
        >>> path = Path(getfixture("tmp_path")) / "user01_natural_labels.csv"
        >>> _ = path.write_text("class,startTime_usec,endTime_usec\\n2,100,900\\n")
        >>> read_gesture_labels(path)
        [GestureLabel(label=1, start_us=100, stop_us=900)]
    """
    reader = csv.reader(read_text(path, "a table of gestures", _MAX_BYTES).splitlines())
    header = [name.strip() for name in next(reader, [])]
    if header != _COLUMNS:
        raise DataError(f"{path}, line 1: expected {','.join(_COLUMNS)!r}, but found {','.join(header)!r:.80}.")

    found = []
    try:
        for row in reader:
            if not row:
                continue

            where = f"{path}, line {reader.line_num}"
            if len(row) != len(_COLUMNS):
                raise DataError(f"{where}: expected {len(_COLUMNS)} values, but there are {len(row)}.")

            number, start, stop = (parse_integer(cell.strip()) for cell in row)
            if not 1 <= number <= len(GESTURES) or not 0 <= start < stop < 2**62:
                raise DataError(
                    f"{where}: expected a class from 1 to {len(GESTURES)} and an end after its begin, but found "
                    f"{','.join(row)!r:.80}."
                )

            found.append(GestureLabel(number - 1, start, stop))
    except (ValueError, csv.Error) as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}.") from None

    if not found:
        raise DataError(f"{path}: expected a gesture a line, but there is none.")

    return found


def check_gestures(events: Events, labels: Sequence[GestureLabel]) -> list[SeriesFinding]:
    """Problems of a recording and its table, errors first.

    Args:
        events: of the recording.
        labels: of its table.

    Example:
        >>> from spikebridge.data.events.events import make_events
        >>> one = GestureLabel(0, 500, 900)
        >>> for finding in check_gestures(make_events([100, 600], [0, 0], [0, 0], [1, 1]), [one, one]):
        ...     print(finding.level, finding)
        warning 1 of 2 gestures begin before the one before them ends, first gesture 1; correct the table: events ...
    """
    found = []
    t = events["t"]
    empty = [i for i, one in enumerate(labels) if not np.diff(np.searchsorted(t, (one.start_us, one.stop_us)))[0]]
    if empty:
        found.append(
            SeriesFinding(
                "error",
                f"{len(empty)} of {len(labels)} gestures have no event, first gesture {empty[0]}",
                "check that the table is that of the recording",
            )
        )

    overlapping = [i for i, (one, other) in enumerate(pairwise(labels), 1) if other.start_us < one.stop_us]
    if overlapping:
        found.append(
            SeriesFinding(
                "warning",
                f"{len(overlapping)} of {len(labels)} gestures begin before the one before them ends, first gesture "
                f"{overlapping[0]}",
                "correct the table: events of the overlap are in both",
            )
        )

    return found


def read_gestures(path: Path) -> list[tuple[Events, int]]:
    """The gestures of a recording: events with times from the begin of each, and its place in `GESTURES`.

    Args:
        path: the `.aedat` file; its table lies beside it.

    Raises:
        DataError: a file is missing or damaged, or no event falls into a gesture.
    """
    labels = read_gesture_labels(path.with_name(f"{path.stem}_labels.csv"))
    events = read_events(path, SENSOR, SENSOR).events
    gestures = []

    for one in labels:
        first, last = np.searchsorted(events["t"], (one.start_us, one.stop_us))
        if first == last:
            raise DataError(
                f"{path}: expected events from {one.start_us} to {one.stop_us} us, where the table has "
                f"{GESTURES[one.label]!r}, but there is none."
            )

        taken = events[first:last].copy()
        taken["t"] -= one.start_us
        gestures.append((taken, one.label))

    return gestures
