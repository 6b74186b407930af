"""What is said on stderr: one line for a failure of any kind, one for each warning, and the time of a slow command."""

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

from spikebridge.cli.recipes import place_in_own_recipe
from spikebridge.errors import SpikebridgeError, printable

_LONGEST_LINE = 1000


def status(line: str) -> None:
    """Prints one line to stderr. A long one, such as with a value of a damaged file, is cut."""
    shown = printable(line)
    shown = shown if len(shown) <= _LONGEST_LINE else f"{shown[: _LONGEST_LINE - 3]}..."
    print(shown, file=sys.stderr, flush=True)


FIRST_LINE = 2.0
"""Seconds after which a command says that it is at work."""


@contextlib.contextmanager
def elapsed_time(task: str, active: bool = True) -> Iterator[None]:
    """Shows what a block does and how long it has taken, after two seconds: on a terminal in one line, else ever more
    rarely.

    What it does is the last message of level INFO in the package's log.

    Args:
        task: a name for the line.
        active: False shows nothing, for what shows a progress of its own.
    """
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

            if sys.stderr.isatty():
                pause = 1.0
                print(f"\r\x1b[K{printable(line)}", end="", file=sys.stderr, flush=True)
            else:
                pause = min(2 * pause, 60.0)
                status(line)

        if pause == 1.0:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    if not active:
        yield
        return

    thread = threading.Thread(target=show, name="elapsed time", daemon=True)
    thread.start()

    try:
        with _log_shown_by(keep, logging.INFO):
            yield
    finally:
        done.set()
        thread.join()


_LOADED = ("torch", "numpy")
_NEXT_TRY = 0.05  # seconds


@contextlib.contextmanager
def interrupt_after_loading() -> Iterator[None]:
    """Ctrl-C stops the block, but one that comes while PyTorch is loading only when that is done.

    PyTorch drops an exception that is raised while it loads numpy, and the command went on, or failed with half of it.
    """
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
    """Whether a frame is inside of the body of a module of a library that must be loaded in whole."""
    while frame is not None:
        package = str(frame.f_globals.get("__name__")).partition(".")[0]
        if frame.f_code.co_name == "<module>" and package in _LOADED:
            return True
        frame = frame.f_back

    return False


def explain(failure: BaseException) -> tuple[str, int]:
    """The line and the exit code of a failure.

    A recipe file of the user's own is data of the program: an exception in it is a mistake there, not in the program.

    Example:
        >>> explain(MemoryError())
        ('error: there is not enough memory for this input', 2)
        >>> explain(KeyError("v"))
        ("unexpected KeyError: 'v' (--debug shows where)", 1)
    """
    text = str(failure)
    if isinstance(failure, KeyboardInterrupt):
        return text or "stopped", 130
    if isinstance(failure, SpikebridgeError):
        return f"error: {text}", 2
    if isinstance(failure, OSError) and failure.strerror:
        return f"error: {failure.filename or 'file'}: {failure.strerror}", 2

    place = place_in_own_recipe(failure)
    if place is not None:
        return f"error: {place}: {type(failure).__name__}{text and ': '}{text} (--debug shows the traceback)", 2
    if isinstance(failure, MemoryError) or "can't allocate memory" in text:  # the second is PyTorch's RuntimeError
        return f"error: there is not enough memory for this input{text and ': '}{text}", 2
    if isinstance(failure, RecursionError):
        return "error: the input is nested too deep", 2

    return f"unexpected {type(failure).__name__}: {text} (--debug shows where)", 1


@contextlib.contextmanager
def warnings_in_one_line(at_once: bool = False) -> Iterator[None]:
    """Prints warnings as one line each, of Python's `warnings` and of the package's log.

    Args:
        at_once: print each when it comes, as a command that takes hours must. Else they are held until the end of the
            block, and those of a block that fails are dropped.
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

    with _log_shown_by(show, logging.WARNING), warnings.catch_warnings():
        warnings.showwarning = show_warning
        yield

    for line in held:
        status(line)


@contextlib.contextmanager
def _log_shown_by(show: Callable[[str], None], level: int) -> Iterator[None]:
    """Gives messages of the package's log to a function, from a level on; those of INFO alone where it is INFO."""
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
    """Gives messages of the log to a function: warnings and errors, or what is below them."""

    def __init__(self, show: Callable[[str], None], level: int) -> None:
        super().__init__(level)
        self._show = show

    def emit(self, record: logging.LogRecord) -> None:
        """Shows the message of a record."""
        if (record.levelno >= logging.WARNING) == (self.level >= logging.WARNING):
            self._show(record.getMessage())
