"""Replay of a recording on one time line: pictures with boxes and events, spikes, traces, and the causes of spikes.

`Replay.html` is an element of a page (`spikebridge.analysis.report`). Everything is drawn before the page opens; its
script only moves a cursor over it, so that a browser without scripts shows the whole recording, too.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup
from numpy.typing import ArrayLike, NDArray

from spikebridge._notebook import notebook_html
from spikebridge.analysis.replay.lanes import MAX_COLUMNS, Lane, Spikes
from spikebridge.analysis.templates import page_template
from spikebridge.errors import ShapeError

MAX_PICTURES = 120
"""Pictures of a film; of a longer one evenly spaced pictures are shown."""
_MAX_EVENT_SETS = 240
_MAX_POINTS = 250
_MAX_STEP_MARKS = 16


@dataclass(frozen=True, eq=False)
class Film:
    """Pictures of a sensor of `width` x `height` pixels, with boxes and events over them."""

    width: int
    height: int
    pictures: Sequence[str]  # `data:` addresses of images
    begins: Sequence[int]  # the step from which each picture is shown, increasing
    boxes: Mapping[str, ArrayLike] = field(default_factory=dict)  # (T, 4) by name: x, y, w, h [px]; NaN without a box
    events: Sequence[ArrayLike] = ()  # sets of points (n, 3): x, y, and 1 for ON, 0 for OFF
    event_begins: Sequence[int] = ()  # the step from which each set is shown, increasing

    def __post_init__(self) -> None:
        for name, shown, begins in (
            ("pictures", self.pictures, self.begins),
            ("sets of events", self.events, self.event_begins),
        ):
            if len(shown) != len(begins):
                raise ShapeError(f"{len(shown)} {name} of a film need as many first steps, but got {len(begins)}")

        for name, boxes in self.boxes.items():
            if np.ndim(boxes) != 2 or np.shape(boxes)[1] != 4:
                raise ShapeError(f"the boxes {name!r} need the shape (T, 4), but got {np.shape(boxes)}")


class Cause(NamedTuple):
    """A spike that another one needed, with the fact that connects them."""

    step: int
    neuron: int
    fact: str = ""


class Reason(NamedTuple):
    """The meaning of a spike, and the earlier spikes that it needed."""

    meaning: str
    causes: Sequence[Cause] = ()


@dataclass(frozen=True, eq=False)
class Replay:
    """A recording to step through: lanes, a film, notes and causes over the same steps."""

    name: str
    lanes: Sequence[Lane] = ()
    dt: float | None = None  # length of a step [s]; None for steps without a length
    film: Film | None = None
    notes: Sequence[str] = ()  # the event of each step, in words
    reasons: Mapping[tuple[int, int], Reason] = field(default_factory=dict)  # by step and neuron of the first lane
    word: str = "step"  # a step in the words of the page
    numbers: Sequence[int] = ()  # of the steps, increasing; 0, 1, 2 ... by default

    def __post_init__(self) -> None:
        if len(set(self._lengths.values())) > 1:
            raise ShapeError(f"the parts of the replay {self.name!r} have different numbers of steps: {self._lengths}")

    @property
    def _lengths(self) -> dict[str, int]:
        lengths = {lane.name: lane.num_steps for lane in self.lanes}
        if self.film is not None:
            lengths |= {name: len(np.asarray(boxes)) for name, boxes in self.film.boxes.items()}

        lengths |= {"notes": len(self.notes)} if self.notes else {}
        return lengths | ({"numbers": len(self.numbers)} if self.numbers else {})

    @property
    def num_steps(self) -> int:
        """The length of the recording; a film without boxes lasts to its last picture."""
        last = self.film.begins[-1] + 1 if self.film is not None and self.film.begins else 0
        return max([last, *self._lengths.values()])

    @property
    def stride(self) -> int:
        """Steps in a column of the time line."""
        return max(1, -(-self.num_steps // MAX_COLUMNS))

    @property
    def num_columns(self) -> int:
        return -(-self.num_steps // self.stride)

    @property
    def summary(self) -> str:
        """The length of the recording, and the share of it that is drawn, in words."""
        if not self.num_steps:
            return "nothing was recorded"

        span = self._number(self.num_steps) - self._number(0)
        words = f"{self.num_steps:,} of " if span > self.num_steps else ""
        words += f"{span:,} {self.word}{'' if span == 1 else 's'}"
        seconds = span * (self.dt or 0)
        words += f", {seconds:{',.0f' if seconds >= 1000 else '.3g'}} s" if self.dt is not None else ""
        if self.stride > 1:
            words += f"; {self.stride} {self.word}s in a column"
        if self.film is not None and len(self.film.pictures) > MAX_PICTURES:
            words += f"; {MAX_PICTURES} of {len(self.film.pictures):,} pictures"

        return words

    def _number(self, step: int) -> int:
        """The number of a step; that of the end is one more than the last."""
        if not self.numbers:
            return step

        return self.numbers[step] if step < len(self.numbers) else self.numbers[-1] + 1

    def _repr_html_(self) -> str | None:
        """The replay, for a notebook."""
        return notebook_html("replay_html", self)

    def html(self) -> Markup:
        """The replay as an element of a page."""
        film = None if self.film is None else self._film(self.film)
        return Markup(
            page_template("replay/replay.html.j2").render(
                replay=self,
                film=film,
                is_spikes=lambda lane: isinstance(lane, Spikes),
                names=max((lane.width_of_names for lane in self.lanes if isinstance(lane, Spikes)), default="no"),
                ticks=self._marks(),
                data=Markup(_json_in_html(self._data(film))),
            )
        )

    def _data(self, film: dict[str, Any] | None) -> dict[str, Any]:
        """The input of the page's script, apart from the drawing."""
        lanes: list[dict[str, Any]] = []
        for lane in self.lanes:
            values = {} if isinstance(lane, Spikes) else {"values": lane.values(self.stride)}
            lanes.append({"names": lane.names, **values})

        return {
            "columns": self.num_columns,
            "stride": self.stride,
            "dt": self.dt,
            "word": self.word,
            "numbers": [self._number(step) for step in range(0, self.num_steps, self.stride)],
            "notes": list(self.notes[:: self.stride]),
            "lanes": lanes,
            "reasons": self._reasons(),
            "film": film,
        }

    def _reasons(self) -> dict[str, Any]:
        """The reasons by column and row of the first lane; neurons that are not drawn have none."""
        lane = self.lanes[0] if self.lanes else None
        row_of = {n: row for row, n in enumerate(lane.shown.tolist())} if isinstance(lane, Spikes) else {}
        reasons = {}

        for (step, neuron), reason in self.reasons.items():
            if neuron in row_of:
                causes = [cause for cause in reason.causes if cause.neuron in row_of]
                rows = [[cause.step // self.stride, row_of[cause.neuron], cause.fact] for cause in causes]
                reasons[f"{step // self.stride} {row_of[neuron]}"] = [reason.meaning, rows]

        return reasons

    def _film(self, film: Film) -> dict[str, Any]:
        pictures = _evenly_spaced(len(film.pictures), MAX_PICTURES)
        sets = _evenly_spaced(len(film.events), _MAX_EVENT_SETS)
        boxes = {name: np.asarray(rows, dtype=float)[:: self.stride] for name, rows in film.boxes.items()}

        return {
            "width": film.width,
            "height": film.height,
            "pictures": [film.pictures[k] for k in pictures],
            "begins": [film.begins[k] // self.stride for k in pictures],
            "names": list(boxes),
            "boxes": [_box_rows(rows) for rows in boxes.values()],
            "events": [_event_paths(np.asarray(film.events[k])) for k in sets],
            "eventBegins": [film.event_begins[k] // self.stride for k in sets],
        }

    def _marks(self) -> list[tuple[float, str]]:
        """Marks below the time line: their positions in percent, and their words."""
        if not self.num_steps:
            return []

        steps = np.linspace(0, self.num_steps, 5)
        if self.dt is None:
            marked = range(self.num_steps) if self.num_steps <= _MAX_STEP_MARKS else [int(s) for s in steps[:-1]]
            return [(100 * (s + 0.5) / self.num_steps, f"{self._number(s)}") for s in marked]

        # milliseconds for a short recording, so that its marks are no fractions
        factor, unit = (1e3, "ms") if self._number(self.num_steps) * self.dt < 2 else (1.0, "s")
        # a quarter may lie inside a step
        numbers = np.interp(steps, range(self.num_steps + 1), [self._number(s) for s in range(self.num_steps + 1)])
        return [(25.0 * k, f"{factor * n * self.dt:.4g} {unit}") for k, n in enumerate(numbers)]


def _evenly_spaced(number: int, limit: int) -> list[int]:
    """The indices of a sequence, or at most `limit` evenly spaced ones."""
    return sorted({round(k) for k in np.linspace(0, number - 1, min(number, limit))}) if number else []


def _box_rows(boxes: NDArray[Any]) -> list[list[float] | None]:
    return [box.round(1).tolist() if np.isfinite(box).all() else None for box in boxes]


def _event_paths(points: NDArray[Any]) -> list[str]:
    """Two paths with a dot for each event, ON and OFF; of many events evenly spaced ones."""
    points = points.reshape(-1, 3)[:: max(1, -(-len(points) // _MAX_POINTS))].astype(int)
    return ["".join(f"M{x} {y}h1" for x, y, on in points.tolist() if on == polarity) for polarity in (1, 0)]


def _json_in_html(value: Any) -> str:
    """JSON that ends no element and begins none, for any text in it."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
