"""Progress of a training on stderr: bars on a terminal, one line an epoch elsewhere, nothing with `quiet`."""

import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress


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

    def end_phase(self, name: str, reason: str) -> None:
        """A callback has ended a phase early."""


class ProgressLines(Progress):
    """One plain line an epoch."""

    def __init__(self, stream: Any = None) -> None:
        self._stream = stream

    def end_epoch(self, title: str, row: Mapping[str, Any]) -> None:
        print(_format_epoch(title, row), file=self._stream or sys.stderr, flush=True)

    def end_phase(self, name: str, reason: str) -> None:
        print(f"{name} ends: {reason}", file=self._stream or sys.stderr, flush=True)


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

    def end_epoch(self, title: str, row: Mapping[str, Any]) -> None:
        self._bars.console.print(_format_epoch(title, row), highlight=False, markup=False)

    def end_phase(self, name: str, reason: str) -> None:
        self._bars.console.print(f"{name} ends: {reason}", highlight=False, markup=False)


def _format_epoch(title: str, row: Mapping[str, Any]) -> str:
    numbers = {name: value for name, value in row.items() if isinstance(value, float)}
    return "  ".join([title, *(f"{name} {value:.4g}" for name, value in numbers.items())])


def choose_progress(quiet: bool, console: Console | None = None) -> Progress:
    """Bars on a terminal, lines elsewhere, nothing with `quiet`."""
    console = console or Console(stderr=True)
    if quiet:
        return Progress()

    return ProgressBars(console) if console.is_terminal else ProgressLines()
