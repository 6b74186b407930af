"""The lock of a run folder: one process at a time trains in it.

The file `run.lock` names the process that trains: its process identifier, its host, its start. It is removed at the
end; a process that was killed leaves it behind, and the next one recognises that:

- on the same host the process is gone, or its identifier belongs to a process that started at another time;
- of a process on another host, or in another container, only the lock's time of change is visible, which it renews
  every 10 seconds: after two minutes without, it counts as killed.
"""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from spikebridge.data.io.atomic import naming
from spikebridge.data.io.closed_folder import inside
from spikebridge.data.io.json_text import read_json
from spikebridge.data.io.safe_open import read_text
from spikebridge.errors import ConfigError

_MAX_BYTES = 4096
LOCK_NAME = "run.lock"
_RENEW_EVERY = 10.0  # [s]
_STALE_AFTER = 120.0
_held: dict[tuple[int, Path], int] = {}  # how often this process has locked a folder


class FolderInUseError(ConfigError):
    """Another process trains in a folder."""


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Locks a folder for this process as long as the block runs; it may be locked again inside."""
    key = (os.getpid(), folder.resolve())
    _held[key] = _held.get(key, 0) + 1

    try:
        if _held[key] > 1:
            yield
        else:
            with _locked(inside(folder, LOCK_NAME)):
                yield
    finally:
        _held[key] -= 1


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    text = json.dumps(_this_process())
    _acquire(file, text)
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(_RENEW_EVERY):
            with suppress(OSError):
                os.utime(file)

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()

    try:
        yield
    finally:
        ended.set()
        thread.join()
        if _read(file) == text:
            file.unlink(missing_ok=True)


def _acquire(file: Path, text: str) -> None:
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        with naming(file, temporary):
            temporary.write_text(text, encoding="utf-8")

        now = temporary.stat().st_mtime  # by the clock of the file system, which the lock's time is of, too
        if _is_new(file, temporary, text):
            return
        if (holder := _holder(file, now)) is not None:
            raise FolderInUseError(f"{file.parent} is in use: {holder}")

        temporary.replace(file)
        time.sleep(0.05)
        if _read(file) != text:  # another process has recognised the stale lock in the same moment
            raise FolderInUseError(f"{file.parent} is in use: another process has just begun to train in it")
    finally:
        temporary.unlink(missing_ok=True)


def _is_new(file: Path, temporary: Path, text: str) -> bool:
    """True if there was no lock, so that it could be made."""
    try:
        os.link(temporary, file)  # at once with its content
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links
        try:
            with file.open("x", encoding="utf-8") as new:
                new.write(text)
        except FileExistsError:
            return False

    return True


def _holder(file: Path, now: float) -> str | None:
    """The process that holds a lock and how long to wait, in words; None for a stale lock."""
    pid: int | None
    try:
        age = now - file.stat().st_mtime
        lock: Any = read_json(file, "the lock of a run", _MAX_BYTES)
        pid = int(lock["pid"])
        who = f"process {pid} on {lock['host']}, begun {lock.get('begun')},"
        place = lock["place"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        if not file.exists():
            return None
        lock = {}
        pid = None
        who = "an unknown process"
        place = None

    # only processes that see each other can look each other up
    if place == _place() and pid is not None and os.name == "posix":
        is_alive = _is_alive(pid) and lock.get("started") == _start_of(pid)
        advice = "wait for its end, stop it, or take another folder (--out)"
        return f"{who} trains in it; {advice}" if is_alive else None

    if age >= _STALE_AFTER:
        return None

    return f"{who} trains in it; if it was killed, try again in {max(1, round(_STALE_AFTER - age))} s"


def _this_process() -> dict[str, Any]:
    pid = os.getpid()
    begun = time.strftime("%Y-%m-%d %H:%M:%S")
    return {"pid": pid, "started": _start_of(pid), "host": socket.gethostname(), "place": _place(), "begun": begun}


def _place() -> list[str]:
    """Host, start of the machine, name space of processes: the same for processes that see each other."""
    place = [socket.gethostname()]
    with suppress(OSError):
        place.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
        place.append(str(Path("/proc/self/ns/pid").readlink()))

    return place


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True

    return True


def _start_of(pid: int) -> str | None:
    """The start of a process in ticks of the system; None where it is unknown. A zombie has none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None

    return None if fields[0] == "Z" else fields[19]


def _read(file: Path) -> str | None:
    try:
        return read_text(file, "the lock of a run", _MAX_BYTES)
    except OSError:
        return None
