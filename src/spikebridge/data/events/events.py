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
    """Checked events, and how many were dropped or sorted."""

    events: Events
    num_outside: int
    num_negative: int
    num_backward: int


def make_events(t: ArrayLike, x: ArrayLike, y: ArrayLike, p: ArrayLike) -> Events:
    """Events from four columns.

    Args:
        t: times, whole microseconds.
        x: columns of the pixels.
        y: rows of the pixels.
        p: polarity, True or 1 for ON.

    Returns:
        An array of dtype `EVENT`.

    Raises:
        ShapeError: the columns are not vectors of one length.
        DataError: a value is not a whole number, or a pixel or polarity is out of range.

    Example:
        >>> events = make_events(t=[10, 20], x=[3, 4], y=[0, 0], p=[1, 0])
        >>> events["t"].tolist(), events["p"].tolist()
        ([10, 20], [True, False])
    """
    columns: dict[str, NDArray] = {"t": np.asarray(t), "x": np.asarray(x), "y": np.asarray(y), "p": np.asarray(p)}
    shapes = {name: column.shape for name, column in columns.items()}
    if columns["t"].ndim != 1 or len(set(shapes.values())) > 1:
        raise ShapeError(f"events need four vectors of one length, but got shapes {shapes}.")

    events = np.empty(len(columns["t"]), EVENT)
    bounds = {"t": (-(2**63), 2**63 - 1), "x": (0, _PIXEL_LIMIT), "y": (0, _PIXEL_LIMIT), "p": (0, 1)}
    for name, column in columns.items():
        events[name] = _check_whole_numbers(name, column, *bounds[name])

    return events


def check_events(events: Events, height: int, width: int, repair: bool = False) -> CheckedEvents:
    """Make sure that events lie on the sensor, with times that are not negative and never go back.

    Args:
        events: an array of dtype `EVENT`.
        height: rows of the sensor.
        width: columns of the sensor.
        repair: drop events outside the sensor or with a negative time, and sort the rest by time.

    Returns:
        The events, and how many were outside, negative, or earlier than the one before them.

    Raises:
        DataError: something is wrong and `repair` is False; count and first index are named.

    Example:
        >>> late_first = make_events(t=[20, 10], x=[0, 1], y=[0, 0], p=[1, 1])
        >>> checked = check_events(late_first, height=1, width=2, repair=True)
        >>> checked.events["t"].tolist(), checked.num_backward
        ([10, 20], 1)
    """
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
    """Marks impossible events: outside the sensor, before time 0, or earlier than the one before them.

    Args:
        events: an array of dtype `EVENT`.
        height: rows of the sensor.
        width: columns of the sensor.
        before: time of the event before the first one [us].

    Returns:
        Marks by a description of the error, in this order.

    Raises:
        DataError: the array is of another dtype.

    Example:
        >>> marks = event_errors(make_events(t=[20, 10], x=[0, 5], y=[0, 0], p=[1, 1]), height=1, width=2)
        >>> [what for what, wrong in marks.items() if wrong[1]]
        ['outside the sensor of 2 x 1 pixels', 'earlier than the event before']
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
        start: first microsecond inside.
        stop: first microsecond after.

    Returns:
        A view of the events inside, found in log(n) steps.

    Example:
        >>> events = make_events(t=[10, 20, 20, 30], x=[0] * 4, y=[0] * 4, p=[1] * 4)
        >>> slice_time(events, 20, 30)["t"].tolist()
        [20, 20]
    """
    # bisect, not searchsorted: the latter copies a field of a structured array, all of it, at every call
    times = events["t"]
    first = bisect_left(times, start)

    return events[first : max(first, bisect_left(times, stop))]


def _check_whole_numbers(name: str, column: NDArray, lowest: int, highest: int) -> NDArray:
    if column.size == 0 or column.dtype == np.bool_:
        return column

    if column.dtype.kind == "f" and np.isfinite(column).all() and (column == np.trunc(column)).all():
        highest = min(highest, 2**53)
    elif column.dtype.kind not in "iu":
        raise DataError(f"events need whole numbers for {name}, but got values of type {column.dtype} that are not.")

    wrong = (column < lowest) | (column > highest)
    if wrong.any():
        index = int(wrong.argmax())
        raise DataError(
            f"{name} of an event must be from {lowest} to {highest}, but {int(wrong.sum())} are not, "
            f"first {column[index]} at index {index}."
        )

    return column
