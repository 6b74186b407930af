"""Ctrl-C between two steps instead of inside one, so that what is saved is whole."""

import logging
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

_log = logging.getLogger(__name__)


class Interrupt:
    """Remembers the first Ctrl-C inside the block; the second one stops at once, as it always does.

    Signals can be caught in the main thread alone; elsewhere, or with `active=False`, nothing is changed.

    Example:
        >>> with Interrupt() as interrupt:
        ...     signal.raise_signal(signal.SIGINT)
        ...     interrupt.asked
        True
    """

    def __init__(self, active: bool = True) -> None:
        self.asked = False
        self._active = active and threading.current_thread() is threading.main_thread()
        self._before: Any = None

    def __enter__(self) -> "Interrupt":
        if self._active:
            self._before = signal.signal(signal.SIGINT, self._remember)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._active:
            signal.signal(signal.SIGINT, self._before)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        _log.warning("stopping after this step; Ctrl-C once more stops at once, without a checkpoint")
