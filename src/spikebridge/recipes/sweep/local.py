"""Processes of this machine for the cells of a sweep.

On Linux they are forked from a server that has loaded PyTorch once and has no threads: a program with threads cannot be
forked safely. Neither can one with the system libraries of other platforms, where each process loads PyTorch itself.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from multiprocessing import forkserver, resource_tracker
from typing import Any, TypeVar

from spikebridge.recipes.load import RECIPES

T = TypeVar("T")
_METHOD = "forkserver" if sys.platform == "linux" else "spawn"
_PRELOADED = ("lightning_fabric", "spikebridge.recipes.sweep.cell", "spikebridge.training.loop")
# no module comes from the working directory, and the linear algebra of NumPy starts no threads
_SERVER_VARIABLES = {"PYTHONSAFEPATH": "1", "OPENBLAS_NUM_THREADS": "1"}


def start_server(recipe: str) -> None:
    """Starts the server that loads PyTorch and a recipe of the package, while this process continues."""
    if _METHOD != "forkserver":
        return

    own = [f"spikebridge.networks.{recipe}.recipe"] if recipe in RECIPES else []
    forkserver.set_forkserver_preload([*_PRELOADED, *own])
    before = dict(os.environ)
    # started here, since the server would start it with Ctrl-C let through
    resource_tracker.ensure_running()
    os.environ |= _SERVER_VARIABLES

    try:
        with delayed_interrupt():
            forkserver.ensure_running()
    finally:
        _set_variables(before)


@contextlib.contextmanager
def delayed_interrupt() -> Iterator[None]:
    """Ctrl-C takes effect at the end of the block; a process that is started inside does not get it."""
    if _METHOD != "forkserver" or threading.current_thread() is not threading.main_thread():
        yield
        return

    caught: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, frame: caught.append(number))
    # processes inherit the block; other threads of this one get the signal
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})

    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        signal.signal(signal.SIGINT, handler)
        if caught:
            signal.raise_signal(signal.SIGINT)


class LocalExecutor(Executor):
    """Processes that each run one call at a time, and last for many.

    A `ProcessPoolExecutor` of several processes ends all of them where one is killed, so each is a pool of its own.
    """

    def __init__(self) -> None:
        self._free: list[ProcessPoolExecutor] = []
        self._all: set[ProcessPoolExecutor] = set()

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> "Future[T]":
        """Runs a call in a free process, or in a new one where there is none."""
        pool = self._free.pop() if self._free else _new_process()
        self._all.add(pool)
        # a process that Ctrl-C reaches while it starts would print a traceback
        with delayed_interrupt():
            future = pool.submit(fn, *args, **kwargs)

        def release(done: "Future[T]") -> None:
            if not done.cancelled() and isinstance(done.exception(), BrokenExecutor):
                # it ends itself and holds its lock meanwhile: a shutdown from here would wait forever (Python 3.12)
                self._all.discard(pool)
            else:
                self._free.append(pool)

        future.add_done_callback(release)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Ends the processes; with `cancel_futures` at once."""
        for pool in list(self._all):
            if cancel_futures:
                for process in list((pool._processes or {}).values()):
                    process.terminate()
            pool.shutdown(wait=wait, cancel_futures=cancel_futures)


def num_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _new_process() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, multiprocessing.get_context(_METHOD), _become_worker, (dict(os.environ),))


def _become_worker(variables: dict[str, str]) -> None:
    """Gives a process the variables of the sweep in place of the server's, and lets Ctrl-C through again."""
    _set_variables(variables)
    if _METHOD == "forkserver":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _set_variables(variables: dict[str, str]) -> None:
    for name in os.environ.keys() - variables.keys():
        del os.environ[name]
    os.environ |= variables
