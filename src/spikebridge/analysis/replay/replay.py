"""Replay of a recording on one time line: pictures with boxes and events, spikes, traces, and the causes of spikes.

`Replay.html` is an element for a page (`spikebridge.analysis.report`). Everything is drawn before the page is
opened; its script only moves a cursor over it, so that a browser without scripts shows the whole recording, too.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup
from numpy.typing import ArrayLike, NDArray

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
    """Pictures with boxes and events over them.

    Args:
        width, height: of the sensor [px].
        pictures: `data:` addresses of images.
        begins: the step from which each picture is shown, increasing.
        boxes: `(T, 4)` by name, `x, y, w, h` in pixels; NaN where there is none.
        events: sets of points `(n, 3)`: x, y, and 1 for ON, 0 for OFF.
        event_begins: the step from which each set is shown, increasing.

    Raises:
        ShapeError: the numbers of pictures, steps or events do not fit.
    """

    width: int
    height: int
    pictures: Sequence[str]
    begins: Sequence[int]
    boxes: Mapping[str, ArrayLike] = field(default_factory=dict)
    events: Sequence[ArrayLike] = ()
    event_begins: Sequence[int] = ()

    def __post_init__(self) -> None:
        for what, shown, begins in (
            ("pictures", self.pictures, self.begins),
            ("sets of events", self.events, self.event_begins),
        ):
            if len(shown) != len(begins):
                raise ShapeError(f"{len(shown)} {what} of a film need as many first steps, but got {len(begins)}")

        for name, boxes in self.boxes.items():
            if np.ndim(boxes) != 2 or np.shape(boxes)[1] != 4:
                raise ShapeError(f"the boxes {name!r} need the shape (T, 4), but got {np.shape(boxes)}")


class Cause(NamedTuple):
    """A spike that another one needed, with the fact that connects them."""

    step: int
    neuron: int
    fact: str = ""


class Reason(NamedTuple):
    """What a spike means, and the earlier spikes that it needed."""

    meaning: str
    causes: Sequence[Cause] = ()


@dataclass(frozen=True, eq=False)
class Replay:
    """A recording to step through.

    Args:
        name: for readers who cannot see it.
        lanes: spikes and traces of the same number of steps.
        dt: length of a step [s]; None where a step has no length.
        film: pictures over the same steps.
        notes: what happens at each step, in words.
        reasons: of spikes of the first lane, by step and neuron.
        word: what a step is called.

    Raises:
        ShapeError: parts of different lengths.

    Example:
        >>> replay = Replay("a run", [Spikes("snn", [[0, 1], [1, 0]])], dt=0.001)
        >>> 'class="replay"' in replay.html()
        True
    """

    name: str
    lanes: Sequence[Lane] = ()
    dt: float | None = None
    film: Film | None = None
    notes: Sequence[str] = ()
    reasons: Mapping[tuple[int, int], Reason] = field(default_factory=dict)
    word: str = "step"

    def __post_init__(self) -> None:
        lengths = {lane.name: lane.num_steps for lane in self.lanes}
        lengths |= {} if self.film is None else {name: len(boxes) for name, boxes in self.film.boxes.items()}  # type: ignore[arg-type]
        lengths |= {"notes": len(self.notes)} if self.notes else {}
        if len(set(lengths.values())) > 1:
            raise ShapeError(f"the parts of the replay {self.name!r} have different numbers of steps: {lengths}")

    @property
    def num_steps(self) -> int:
        """Steps of time."""
        parts: list[int] = [lane.num_steps for lane in self.lanes] + ([len(self.notes)] if self.notes else [])
        if self.film is not None:
            parts += [len(boxes) for boxes in self.film.boxes.values()]  # type: ignore[arg-type]
            parts += [self.film.begins[-1] + 1] if self.film.begins else []

        return max(parts, default=0)

    @property
    def stride(self) -> int:
        """Steps in a column."""
        return max(1, -(-self.num_steps // MAX_COLUMNS))

    @property
    def summary(self) -> str:
        """How long it is, and what is left out, in words."""
        words = f"{self.num_steps:,} {self.word}{'' if self.num_steps == 1 else 's'}"
        words += f", {self.num_steps * self.dt:.3g} s" if self.dt is not None else ""
        if self.stride > 1:
            words += f"; {self.stride} {self.word}s in a column"

        if self.film is not None and len(self._pictures) < len(self.film.pictures):
            words += f"; {len(self._pictures)} of {len(self.film.pictures):,} pictures"

        return words if self.num_steps else "nothing was recorded"

    @property
    def num_columns(self) -> int:
        """Columns of the time line."""
        return -(-self.num_steps // self.stride)

    @property
    def _pictures(self) -> list[int]:
        """The pictures that are shown."""
        return [] if self.film is None else _spread(len(self.film.pictures), MAX_PICTURES)

    def html(self) -> Markup:
        """The replay as an element of a page."""
        film = self._film()
        return Markup(
            page_template("replay/replay.html.j2").render(
                replay=self,
                film=film,
                is_spikes=lambda lane: isinstance(lane, Spikes),
                names=max((one.width_of_names for one in self.lanes if isinstance(one, Spikes)), default="no"),
                ticks=self._ticks(),
                data=Markup(_json_in_html(self._data(film))),
            )
        )

    def _data(self, film: dict[str, Any] | None) -> dict[str, Any]:
        """What the script needs beside what is drawn."""
        lanes = [
            {"names": one.names} if isinstance(one, Spikes) else {"names": one.names, "values": one.values(self.stride)}
            for one in self.lanes
        ]

        first = self.lanes[0] if self.lanes else None
        row_of = {n: row for row, n in enumerate(first.shown.tolist())} if isinstance(first, Spikes) else {}
        reasons = {
            f"{step // self.stride} {row_of[neuron]}": [
                reason.meaning,
                [[c.step // self.stride, row_of[c.neuron], c.fact] for c in reason.causes if c.neuron in row_of],
            ]
            for (step, neuron), reason in self.reasons.items()
            if neuron in row_of
        }

        return {
            "columns": self.num_columns,
            "stride": self.stride,
            "dt": self.dt,
            "word": self.word,
            "notes": list(self.notes[:: self.stride]),
            "lanes": lanes,
            "reasons": reasons,
            "film": film,
        }

    def _film(self) -> dict[str, Any] | None:
        if self.film is None:
            return None

        film, chosen, sets = self.film, self._pictures, _spread(len(self.film.events), _MAX_EVENT_SETS)
        boxes = {name: np.asarray(one, dtype=float)[:: self.stride] for name, one in film.boxes.items()}

        return {
            "width": film.width,
            "height": film.height,
            "pictures": [film.pictures[k] for k in chosen],
            "begins": [film.begins[k] // self.stride for k in chosen],
            "names": list(boxes),
            "boxes": [_box_rows(one) for one in boxes.values()],
            "events": [_event_paths(np.asarray(film.events[k])) for k in sets],
            "eventBegins": [film.event_begins[k] // self.stride for k in sets],
        }

    def _ticks(self) -> list[tuple[float, str]]:
        """Marks below the time line: their place in percent, and their words."""
        if not self.num_columns:
            return []

        steps = np.linspace(0, self.num_steps, 5)
        if self.dt is None:
            marked = range(self.num_steps) if self.num_steps <= _MAX_STEP_MARKS else [int(s) for s in steps[:-1]]
            return [(100 * (s + 0.5) / self.num_steps, f"{s}") for s in marked]

        total = self.num_steps * self.dt
        unit, name = (1e3, "ms") if total < 2 else (1.0, "s")

        return [(25.0 * k, f"{unit * s * self.dt:.4g} {name}") for k, s in enumerate(steps)]


def _spread(number: int, most: int) -> list[int]:
    """The indices of a list, or evenly spaced ones where they are too many."""
    return sorted({round(k) for k in np.linspace(0, number - 1, min(number, most))}) if number else []


def _box_rows(boxes: NDArray[Any]) -> list[list[float] | None]:
    return [None if not np.isfinite(one).all() else one.round(1).tolist() for one in boxes]


def _event_paths(points: NDArray[Any]) -> list[str]:
    """Two paths with a dot for each event, ON and OFF; of many events evenly spaced ones."""
    points = points.reshape(-1, 3)[:: max(1, -(-len(points) // _MAX_POINTS))].astype(int)
    return ["".join(f"M{x} {y}h1" for x, y, on in points.tolist() if on == side) for side in (1, 0)]


def _json_in_html(value: Any) -> str:
    """JSON that ends no element and begins none, whatever its texts are."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
