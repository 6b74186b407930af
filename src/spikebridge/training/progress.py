"""Progress of a training: bars on a terminal and in a notebook, one line an epoch elsewhere, nothing with `quiet`."""

import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from html import escape
from itertools import count
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

_PAUSE = 0.2  # s between two changes of a page
_MAX_LINES = 20


class Progress:
    """Shows nothing; the base class of all displays. The loop calls its methods in this order."""

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def begin_epoch(self, title: str, num_steps: int | None, done: int) -> None:
        """An epoch begins; `done` of its steps are finished (a resumed training); None for an unknown `num_steps`."""

    def step(self, values: Mapping[str, float]) -> None:
        """A step is done: its loss and metrics."""

    def end_epoch(self, title: str, row: Mapping[str, Any]) -> None:
        """The epoch is done: its row."""
        self.say(_format_epoch(title, row))

    def end_phase(self, name: str, reason: str) -> None:
        """A callback has ended a phase early."""
        self.say(f"{name} ends: {reason}")

    def say(self, line: str) -> None:
        """A line that stays, for each epoch."""


class ProgressLines(Progress):
    """One plain line an epoch."""

    def __init__(self, stream: Any = None) -> None:
        self._stream = stream

    def say(self, line: str) -> None:
        print(line, file=self._stream or sys.stderr, flush=True)


class ProgressBars(Progress):
    """A bar for the running epoch and a line for each that is done."""

    def __init__(self, console: Console | None = None) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bars = RichProgress(*columns, TextColumn("{task.fields[loss]}"), console=console, transient=True)
        self._task = self._bars.add_task("", total=None, loss="", visible=False)

    def __enter__(self) -> "Progress":
        self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bars.stop()

    def begin_epoch(self, title: str, num_steps: int | None, done: int) -> None:
        self._bars.reset(self._task, description=title, total=num_steps, completed=done, visible=True, loss="")

    def step(self, values: Mapping[str, float]) -> None:
        self._bars.update(self._task, advance=1, loss=f"loss {values['loss']:.4g}")

    def say(self, line: str) -> None:
        self._bars.console.print(line, highlight=False, markup=False)


class _ProgressInNotebook(Progress):
    """A bar for the running epoch under the cell, with a line for each of the last epochs."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show
        self._lines: deque[str] = deque(maxlen=_MAX_LINES)
        self._next = 0.0  # monotonic time of the next change [s]

    def __exit__(self, *error: object) -> None:
        self._draw("")

    def begin_epoch(self, title: str, num_steps: int | None, done: int) -> None:
        self._epoch = (escape(title), num_steps, count(done + 1))

    def step(self, values: Mapping[str, float]) -> None:
        title, num_steps, steps = self._epoch
        done = next(steps)
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _PAUSE
            bar = f'<progress value="{done}" max="{num_steps or 2 * done}"></progress>'
            self._draw(f"{title} {bar} {done}/{num_steps or '?'}  loss {values['loss']:.4g}")

    def say(self, line: str) -> None:
        self._lines.append(line)

    def _draw(self, bar: str) -> None:
        self._show(f"<pre>{bar}\n{escape(chr(10).join(self._lines))}</pre>")


def _notebook_display() -> Callable[[str], None] | None:
    """A function that shows HTML under the running cell in place of the HTML before; None outside of a notebook."""
    ipython: Any = sys.modules.get("IPython")
    if ipython is None or getattr(ipython.get_ipython(), "kernel", None) is None:
        return None

    page = ipython.display
    handle = page.display(page.HTML(""), display_id=True)
    return lambda html: handle.update(page.HTML(html))


def _format_epoch(title: str, row: Mapping[str, Any]) -> str:
    numbers = {name: value for name, value in row.items() if isinstance(value, float)}
    return "  ".join([title, *(f"{name} {value:.4g}" for name, value in numbers.items())])


def choose_progress(quiet: bool, console: Console | None = None) -> Progress:
    """Bars on a terminal and in a notebook, lines elsewhere, nothing with `quiet`."""
    if quiet:
        return Progress()
    if console is None and (show := _notebook_display()) is not None:
        return _ProgressInNotebook(show)

    console = console or Console(stderr=True)

    return ProgressBars(console) if console.is_terminal else ProgressLines()
