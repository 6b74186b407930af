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

from spikebridge.data.events.events import Events, slice_time
from spikebridge.data.events.files import read_events
from spikebridge.data.io.number_text import parse_integer
from spikebridge.data.io.safe_open import read_lines
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
    """A labelled stretch of a recording [us]; the label is a place in `GESTURES`."""

    label: int
    start_us: int
    stop_us: int


def read_gesture_labels(path: Path) -> list[GestureLabel]:
    """The table of labels of a recording."""
    reader = csv.reader(read_lines(path, "a table of gestures", _MAX_BYTES))
    labels = []
    try:
        header = [name.strip() for name in next(reader, [])]
        if header != _COLUMNS:
            raise DataError(f"{path}, line 1: expected {','.join(_COLUMNS)!r}, but found {','.join(header)!r:.80}.")

        for row in reader:
            if not row:
                continue

            where = f"{path}, line {reader.line_num}"
            if len(row) != len(_COLUMNS):
                raise DataError(f"{where}: expected {len(_COLUMNS)} values, but there are {len(row)}.")

            number, start, stop = (parse_integer(cell.strip()) for cell in row)
            if not 1 <= number <= len(GESTURES) or not 0 <= start < stop < 2**62:
                expected = f"a class from 1 to {len(GESTURES)} and an end after its start"
                raise DataError(f"{where}: expected {expected}, but found {','.join(row)!r:.80}.")

            labels.append(GestureLabel(number - 1, start, stop))
    except (ValueError, csv.Error) as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}.") from None

    if not labels:
        raise DataError(f"{path}: expected a gesture a line, but there is none.")

    return labels


def check_gestures(events: Events, labels: Sequence[GestureLabel]) -> list[SeriesFinding]:
    """Problems of a recording and its table, errors first."""
    findings = []
    edges = np.searchsorted(events["t"], [(label.start_us, label.stop_us) for label in labels]).reshape(-1, 2)
    empty = np.flatnonzero(edges[:, 0] == edges[:, 1]).tolist()
    if empty:
        problem = f"{len(empty)} of {len(labels)} gestures have no event, first gesture {empty[0]}"
        findings.append(SeriesFinding("error", problem, "check that the table is that of the recording"))

    overlapping = [i for i, (label, later) in enumerate(pairwise(labels), 1) if later.start_us < label.stop_us]
    if overlapping:
        count = f"{len(overlapping)} of {len(labels)}"
        problem = f"{count} gestures begin before the one before them ends, first gesture {overlapping[0]}"
        findings.append(SeriesFinding("warning", problem, "correct the table: events of the overlap are in both"))

    return findings


def read_gestures(path: Path) -> list[tuple[Events, int]]:
    """The gestures of a recording: events with times from the start of each, and its place in `GESTURES`.

    Args:
        path: the `.aedat` file, with its table in the same folder.

    Raises:
        DataError: a file is missing or damaged, or no event falls into a gesture.
    """
    labels = read_gesture_labels(path.with_name(f"{path.stem}_labels.csv"))
    events = read_events(path, SENSOR, SENSOR).events
    gestures = []

    for label, start, stop in labels:
        gesture = slice_time(events, start, stop).copy()
        if not len(gesture):
            raise DataError(
                f"{path}: expected events of {GESTURES[label]!r} from {start} to {stop} us, but found none."
            )

        gesture["t"] -= start
        gestures.append((gesture, label))

    return gestures
