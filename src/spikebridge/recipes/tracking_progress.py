"""How far a tracker is, live: a bar with rate, confidence and "lost" on a terminal, a line now and then elsewhere."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from spikebridge.recipes.sensing_tracking import Moment

_SECONDS_BETWEEN_LINES = 5.0


@contextmanager
def telling(total: int, quiet: bool = False, console: Console | None = None) -> Iterator[Callable[..., None] | None]:
    """What `track_recording` tells each bin to, on stderr.

    Args:
        total: bins of the recording.
        quiet: tell nothing.
        console: where to; stderr without it.
    """
    console = console or Console(stderr=True)
    if quiet:
        yield None
    elif console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True) as bars:
            task = bars.add_task("tracking", total=total)
            yield lambda moment, done, rate: bars.update(task, completed=done, description=words(moment, rate))
    else:
        last = perf_counter()

        def line(moment: Moment, done: int, rate: float) -> None:
            nonlocal last
            if perf_counter() - last >= _SECONDS_BETWEEN_LINES:
                last = perf_counter()
                print(f"{done} of {total}  {words(moment, rate)}", file=sys.stderr, flush=True)

        yield line


def words(moment: Moment, rate: float) -> str:
    """Rate and confidence of a moment.

    Example:
        >>> words(Moment(0, None, 0.5, True), 240.0)
        '240 boxes/s  confidence 0.50  LOST'
    """
    return f"{rate:.0f} boxes/s  confidence {moment.confidence:.2f}{'  LOST' if moment.lost else ''}"
