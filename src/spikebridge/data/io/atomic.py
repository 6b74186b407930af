"""The one way to write: a file or folder is complete or absent, and never replaces a device or a pipe.

On Linux the new content has no name until it is complete, so that a process killed by SIGKILL leaves nothing behind.
Elsewhere it is a hidden temporary file in the folder of the target, which the next writer of that target removes.
"""

import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from errno import EDQUOT, EFBIG, ENOSPC
from pathlib import Path
from typing import BinaryIO

from spikebridge.errors import ConfigError, SpikebridgeError

_DISK_FULL = (ENOSPC, EDQUOT, EFBIG)
_PERMISSIONS = 0o666  # before the umask
_log = logging.getLogger(__name__)


def check_target(path: Path) -> None:
    """Refuses a target that a file must not replace: a folder, a device, a pipe or a socket."""
    if path.exists() and not path.is_file():
        kinds = {"a folder": path.is_dir, "a pipe": path.is_fifo, "a socket": path.is_socket}
        kind = next((kind for kind, holds in kinds.items() if holds()), "a device")
        raise ConfigError(f"{path}: expected the name of a file to write, but this is {kind}; take another name")


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """A new file, open for writing bytes, which replaces `path` if the block ends without an error.

    The old file stays until the new one is on the disk. Of a symbolic link, the file that it names is replaced.
    """
    check_target(path)
    target = path.resolve() if path.is_symlink() else path
    temporary = _temporary(target)
    _remove_stale(target)

    with naming(path, temporary), ExitStack() as stack:
        stack.callback(temporary.unlink, missing_ok=True)
        file, nameless = _open_new(temporary)
        stack.callback(file.close)
        yield file
        file.flush()
        os.fsync(file.fileno())
        # something else may have taken the name in the meantime
        check_target(path)

        if nameless:
            # any folder handle makes `link` follow the symbolic link to the open file
            os.link(f"/proc/self/fd/{file.fileno()}", temporary, src_dir_fd=file.fileno(), follow_symlinks=True)

        temporary.replace(target)


@contextmanager
def naming(path: Path, temporary: Path) -> Iterator[None]:
    """A block that writes a file, in whose errors `path` stands.

    The error of a full disk names no file, and the temporary name says nothing to a user.
    """
    try:
        yield
    except OSError as error:
        if is_disk_full(error) or error.filename == str(temporary):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a complete file or none; see `atomic_write`."""
    with atomic_write(path) as file:
        file.write(content)


def write_text(path: Path, text: str) -> None:
    """Writes a complete file of UTF-8 text or none; see `atomic_write`."""
    write_bytes(path, text.encode())


def append_text(path: Path, text: str) -> None:
    """Appends UTF-8 text to a file, new or old, and waits for the disk; a killed process may cut the last line."""
    check_target(path)
    with naming(path, path), path.open("ab") as file:
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())


def make_parents(path: Path) -> None:
    """Makes the folder of a file or folder that a user named, and says so, since the name may be misspelt."""
    if not path.parent.exists():
        path.parent.mkdir(parents=True)
        _log.warning("made the folder %s", path.parent)


def check_new(path: Path, error: type[SpikebridgeError] = ConfigError) -> None:
    """Refuses the name of a new folder where something exists already."""
    if os.path.lexists(path):
        raise error(f"{path} is there already; name another folder or remove it first")


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A hidden new folder, which takes the name `path` if the block ends without an error; parents are made."""
    check_new(path)
    make_parents(path)
    draft = _temporary(path)
    _remove_stale(path)
    draft.mkdir()

    try:
        yield draft
        draft.rename(path)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def is_disk_full(error: OSError) -> bool:
    """True if a file could not be written because a disk or a quota is full."""
    return error.errno in _DISK_FULL


def is_temporary(path: Path) -> bool:
    """True if a file is the temporary file of a killed process."""
    return path.name.startswith(".") and path.name.endswith(".tmp")


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def _open_new(temporary: Path) -> tuple[BinaryIO, bool]:
    """A new file open for writing, and True if it has no name yet."""
    if hasattr(os, "O_TMPFILE") and Path("/proc/self/fd").is_dir():
        # some file systems have no nameless files; a missing folder is an error of the second attempt
        with suppress(OSError):
            return os.fdopen(os.open(temporary.parent, os.O_TMPFILE | os.O_RDWR, _PERMISSIONS), "w+b"), True

    return os.fdopen(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, _PERMISSIONS), "w+b"), False


def _remove_stale(path: Path) -> None:
    """Removes the temporary files that killed writers of `path` left."""
    pattern = re.compile(rf"\.{re.escape(path.name)}\.(\d+)\.tmp")
    for file in path.parent.iterdir() if path.parent.is_dir() else ():
        name = pattern.fullmatch(file.name)
        if name is None or _is_alive(int(name[1])):
            continue
        if file.is_dir() and not file.is_symlink():
            shutil.rmtree(file, ignore_errors=True)
        else:
            file.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    """True if another process has this number."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True

    # this process has no temporary file of this target, so one with its number is of an earlier process
    return pid != os.getpid()
