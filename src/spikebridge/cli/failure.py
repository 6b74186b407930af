"""Lines on stderr while a command runs: its warnings, the time of a slow one, and Ctrl-C while PyTorch is loading."""

import contextlib
import logging
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from spikebridge.errors import printable
from spikebridge.recipes.messages import status

FIRST_LINE = 2.0
"""Seconds after which a command says that it is at work."""
_LONGEST_PAUSE = 60.0  # seconds between two such lines in a file of output
_LOADED_WHOLE = ("torch", "numpy")
_NEXT_TRY = 0.05  # seconds


@contextlib.contextmanager
def elapsed_time(task: str, active: bool = True) -> Iterator[None]:
    """Shows the task of a block, its stage and its time after two seconds: on a terminal in one line, else ever more
    rarely.

    The stage is the last message of level INFO in the package's log. A command that shows its own progress is not
    active.
    """
    if not active:
        yield
        return

    done = threading.Event()
    stage = ""

    def keep(message: str) -> None:
        nonlocal stage
        stage = message

    def show() -> None:
        start = time.monotonic()
        pause = FIRST_LINE
        while not done.wait(pause):
            line = ", ".join(filter(None, (stage, f"{time.monotonic() - start:.0f} s")))
            line = f"{task}: {line}"

            # a file of output is not filled
            if sys.stderr.isatty():
                pause = 1.0
                print(f"\r\x1b[K{printable(line)}", end="", file=sys.stderr, flush=True)
            else:
                pause = min(2 * pause, _LONGEST_PAUSE)
                status(line)

        if pause == 1.0:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    thread = threading.Thread(target=show, name="elapsed time", daemon=True)
    thread.start()

    try:
        with _log_shown_by(keep, logging.INFO):
            yield
    finally:
        done.set()
        thread.join()


@contextlib.contextmanager
def interrupt_after_loading() -> Iterator[None]:
    """Ctrl-C stops the block, but while PyTorch is loading only when that is done.

    PyTorch drops an exception that is raised while it loads numpy; the command would continue, or fail half loaded.
    """
    # a program that runs commands in other threads, or handles Ctrl-C itself, keeps its way
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        if _is_loading(frame):
            later = threading.Timer(_NEXT_TRY, signal.raise_signal, [number])
            later.daemon = True
            later.start()
        else:
            signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _is_loading(frame: FrameType | None) -> bool:
    """True if a frame is inside the body of a module of a library that must be loaded in whole."""
    while frame is not None:
        package = str(frame.f_globals.get("__name__")).partition(".")[0]
        if frame.f_code.co_name == "<module>" and package in _LOADED_WHOLE:
            return True
        frame = frame.f_back

    return False


@contextlib.contextmanager
def warnings_in_one_line(at_once: bool = False) -> Iterator[None]:
    """Prints warnings of Python and of the package's log as one line each.

    A command that takes hours prints them at once. Else they are held until the end of the block, and dropped if it
    fails.
    """
    held: list[str] = []

    def show(message: object) -> None:
        line = f"spikebridge: warning: {' '.join(str(message).split())}"
        if at_once:
            status(line)
        else:
            held.append(line)

    def show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
        show(message)

    # both ways in which the package warns
    with _log_shown_by(show, logging.WARNING), warnings.catch_warnings():
        warnings.showwarning = show_warning
        yield

    for line in held:
        status(line)


@contextlib.contextmanager
def _log_shown_by(show: Callable[[str], None], level: int) -> Iterator[None]:
    """Gives messages of the package's log to a function: those of INFO, or warnings and errors."""
    log = logging.getLogger("spikebridge")
    handler = _Handler(show, level)
    before = log.level
    log.addHandler(handler)
    log.setLevel(min(level, log.getEffectiveLevel()))

    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before)


class _Handler(logging.Handler):
    """Gives messages of the log to a function: warnings and errors, or those below."""

    def __init__(self, show: Callable[[str], None], level: int) -> None:
        super().__init__(level)
        self._show = show

    def emit(self, record: logging.LogRecord) -> None:
        if (record.levelno >= logging.WARNING) == (self.level >= logging.WARNING):
            self._show(record.getMessage())
