"""Events of an event camera: one structured numpy array, sorted by time.

| field | type | meaning |
|---|---|---|
| `t` | int64 | time in microseconds |
| `x`, `y` | uint16 | pixel, from the upper left corner |
| `p` | bool | True is ON (brighter), False is OFF (darker) |
"""

from bisect import bisect_left
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Bool, Shaped
from numpy.typing import ArrayLike, NDArray

from spikebridge.data.io.row_errors import RowErrors
from spikebridge.errors import DataError, ShapeError

EVENT = np.dtype([("t", np.int64), ("x", np.uint16), ("y", np.uint16), ("p", np.bool_)])
# any number of them; the dtype is EVENT, which shape types cannot say
Events: TypeAlias = Shaped[np.ndarray, " _"]
REPAIR = "repair=True (--repair) drops events outside and before time 0, and sorts the rest."
_PIXEL_LIMIT = np.iinfo(np.uint16).max


class CheckedEvents(NamedTuple):
    """Checked events, and the number of events that were dropped or sorted."""

    events: Events
    num_outside: int
    num_negative: int
    num_backward: int


def make_events(t: ArrayLike, x: ArrayLike, y: ArrayLike, p: ArrayLike) -> Events:
    """Events from four columns.

    Args:
        t: times [us], integers.
        x: columns of the pixels.
        y: rows of the pixels.
        p: polarity, True or 1 for ON.

    Returns:
        An array of dtype `EVENT`.

    Raises:
        ShapeError: the columns are not vectors of one length.
        DataError: a value is not an integer, or a pixel or polarity is out of range.

    Example:
        >>> events = make_events(t=[10, 20], x=[3, 4], y=[0, 0], p=[1, 0])
        >>> events["t"].tolist(), events["p"].tolist()
        ([10, 20], [True, False])
    """
    columns: dict[str, NDArray] = {"t": np.asarray(t), "x": np.asarray(x), "y": np.asarray(y), "p": np.asarray(p)}
    shapes = {name: column.shape for name, column in columns.items()}
    if columns["t"].ndim != 1 or len(set(shapes.values())) > 1:
        raise ShapeError(f"events need four vectors of one length, but got shapes {shapes}.")

    # an assignment would wrap values that a field cannot hold
    events = np.empty(len(columns["t"]), EVENT)
    bounds = {"t": (-(2**63), 2**63 - 1), "x": (0, _PIXEL_LIMIT), "y": (0, _PIXEL_LIMIT), "p": (0, 1)}
    for name, column in columns.items():
        events[name] = _check_integers(name, column, *bounds[name])

    return events


def check_events(events: Events, height: int, width: int, repair: bool = False) -> CheckedEvents:
    """Refuses events outside the sensor, before time 0 or out of order; `repair` drops or sorts them instead."""
    marks = event_errors(events, height, width)
    errors = RowErrors().with_rows(marks)
    if errors and not repair:
        raise DataError(f"{errors}. {REPAIR}")

    if errors:
        outside, negative, _ = marks.values()
        events = events[~(outside | negative)]
        events = events[np.argsort(events["t"], kind="stable")]

    return CheckedEvents(events, *errors.counts.values())


def event_errors(events: Events, height: int, width: int, before: int = -(2**63)) -> dict[str, Bool[np.ndarray, " N"]]:
    """Marks impossible events by kind: outside the sensor, before time 0, earlier than the one before them.

    `before` is the time of the event before the first one [us].
    """
    if events.dtype != EVENT:
        raise DataError(f"events need dtype {EVENT}, but got {events.dtype}; build them with make_events().")

    times = np.concatenate([[before], events["t"]])
    return {
        f"outside the sensor of {width} x {height} pixels": (events["x"] >= width) | (events["y"] >= height),
        "with a negative time": events["t"] < 0,
        "earlier than the event before": times[1:] < times[:-1],
    }


def slice_time(events: Events, start: int, stop: int) -> Events:
    """The events with `start <= t < stop`, as a view.

    Args:
        events: sorted by time.
        start: first microsecond.
        stop: the microsecond after the last one.

    Returns:
        A view of the events inside, found in log(n) steps.

    Example:
        >>> events = make_events(t=[10, 20, 20, 30], x=[0] * 4, y=[0] * 4, p=[1] * 4)
        >>> slice_time(events, 20, 30)["t"].tolist()
        [20, 20]
    """
    # bisect, not searchsorted, which would copy the field of the structured array at every call
    times = events["t"]
    first = bisect_left(times, start)

    return events[first : max(first, bisect_left(times, stop))]


def _check_integers(name: str, column: NDArray, lowest: int, highest: int) -> NDArray:
    if column.size == 0 or column.dtype == np.bool_:
        return column

    if column.dtype.kind == "f" and np.isfinite(column).all() and (column == np.trunc(column)).all():
        # beyond 2^53 floats are no longer exact
        highest = min(highest, 2**53)
    elif column.dtype.kind not in "iu":
        raise DataError(f"events need integers for {name}, but got values of type {column.dtype} that are not.")

    wrong = (column < lowest) | (column > highest)
    if wrong.any():
        index = int(wrong.argmax())
        raise DataError(
            f"{name} of an event must be from {lowest} to {highest}, but {int(wrong.sum())} are not, "
            f"first {column[index]} at index {index}."
        )

    return column
