"""The one way to write: a file or folder is there in whole or not at all, and never in the place of a device or pipe.

On Linux the new content has no name until it is complete, so that a process killed by SIGKILL leaves nothing behind.
Elsewhere it is a hidden temporary file beside the target, which the next writer of that target removes.
"""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from errno import EDQUOT, EFBIG, ENOSPC
from pathlib import Path
from typing import BinaryIO

from spikebridge.errors import ConfigError

_FULL = (ENOSPC, EDQUOT, EFBIG)
_PERMISSIONS = 0o666  # less the umask


def check_target(path: Path) -> None:
    """Refuses a target that a file must not replace.

    Args:
        path: the file to write.

    Raises:
        ConfigError: it is a folder, a device, a pipe or a socket.

    Example:
        >>> check_target(Path("/dev/null"))
        Traceback (most recent call last):
        ...
        spikebridge.errors.ConfigError: /dev/null: expected the name of a file to write, but this is a device; ...
    """
    if path.exists() and not path.is_file():
        kinds = {"a folder": path.is_dir, "a pipe": path.is_fifo, "a socket": path.is_socket}
        kind = next((kind for kind, holds in kinds.items() if holds()), "a device")
        raise ConfigError(f"{path}: expected the name of a file to write, but this is {kind}; take another name")


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """A new file, open for writing bytes, which replaces `path` if the block ends without an error.

    Args:
        path: the file to write; an old file stays until the new one is on the disk. Where it is a symbolic link, the
            file that the link names is written.

    Raises:
        ConfigError: the path is a folder, a device, a pipe or a socket.
        OSError: the file cannot be written; it is named as `path`.

    Example:
        >>> path = Path(getfixture("tmp_path")) / "a.txt"
        >>> with atomic_write(path) as file:
        ...     _ = file.write(b"whole")
        >>> path.read_text()
        'whole'
    """
    check_target(path)
    target = path.resolve() if path.is_symlink() else path
    temporary = _temporary(target)
    _remove_stale(target)

    try:
        with ExitStack() as stack:
            stack.callback(temporary.unlink, missing_ok=True)
            file, nameless = _open_new(temporary)
            stack.callback(file.close)
            yield file
            file.flush()
            os.fsync(file.fileno())
            check_target(path)

            if nameless:
                # any folder handle makes `link` follow the symbolic link to the open file
                os.link(f"/proc/self/fd/{file.fileno()}", temporary, src_dir_fd=file.fileno(), follow_symlinks=True)

            temporary.replace(target)
    except OSError as error:
        # the error of a full disk names no file, and the temporary name says nothing to a user
        if is_disk_full(error) or error.filename == str(temporary):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file in whole or not at all; see `atomic_write`.

    Args:
        path: the file.
        content: all of its bytes.

    Example:
        >>> path = Path(getfixture("tmp_path")) / "a.bin"
        >>> write_bytes(path, b"abc")
        >>> path.read_bytes()
        b'abc'
    """
    with atomic_write(path) as file:
        file.write(content)


def write_text(path: Path, text: str) -> None:
    """Writes a file of UTF-8 text in whole or not at all; see `atomic_write`.

    Args:
        path: the file.
        text: all of it.

    Example:
        >>> path = Path(getfixture("tmp_path")) / "a.txt"
        >>> write_text(path, "abc")
        >>> path.read_text()
        'abc'
    """
    write_bytes(path, text.encode())


def append_text(path: Path, text: str) -> None:
    """Adds UTF-8 text to the end of a file, which is made if it is not there, and waits until it is on the disk.

    Args:
        path: the file; a process killed meanwhile may leave the last line unfinished.
        text: to add.

    Raises:
        ConfigError: the path is a folder, a device, a pipe or a socket.

    Example:
        >>> path = Path(getfixture("tmp_path")) / "a.txt"
        >>> append_text(path, "abc")
        >>> append_text(path, "def")
        >>> path.read_text()
        'abcdef'
    """
    check_target(path)
    with path.open("ab") as file:
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())


def check_new(path: Path) -> None:
    """Refuses the name of a new folder where there is something already.

    Raises:
        ConfigError: there is something of that name.

    Example:
        >>> check_new(Path("/"))
        Traceback (most recent call last):
        ...
        spikebridge.errors.ConfigError: / is there already; name another folder or remove it first
    """
    if os.path.lexists(path):
        raise ConfigError(f"{path} is there already; name another folder or remove it first")


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A hidden new folder, which takes the name `path` if the block ends without an error.

    Args:
        path: the folder to make; its parents are made, too.

    Raises:
        ConfigError: there is something of that name already.

    Example:
        >>> path = Path(getfixture("tmp_path")) / "folder"
        >>> with atomic_folder(path) as draft:
        ...     write_text(draft / "a.txt", "abc")
        >>> [file.name for file in path.iterdir()]
        ['a.txt']
    """
    check_new(path)
    draft = _temporary(path)
    _remove_stale(path)
    draft.mkdir(parents=True)

    try:
        yield draft
        draft.rename(path)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def is_disk_full(error: OSError) -> bool:
    """Whether a file could not be written because a disk or a quota is used up.

    Example:
        >>> is_disk_full(OSError(ENOSPC, "No space left on device"))
        True
    """
    return error.errno in _FULL


def is_temporary(path: Path) -> bool:
    """Whether a file is the temporary file of a killed process.

    Example:
        >>> (is_temporary(Path("run/.config.json.4711.tmp")), is_temporary(Path("run/config.json")))
        (True, False)
    """
    return path.name.startswith(".") and path.name.endswith(".tmp")


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def _open_new(temporary: Path) -> tuple[BinaryIO, bool]:
    """A new file open for writing, and whether it has no name yet."""
    if hasattr(os, "O_TMPFILE") and Path("/proc/self/fd").is_dir():
        # a file system without nameless files says so, and a missing folder is found below
        with suppress(OSError):
            return os.fdopen(os.open(temporary.parent, os.O_TMPFILE | os.O_RDWR, _PERMISSIONS), "w+b"), True

    return os.fdopen(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, _PERMISSIONS), "w+b"), False


def _remove_stale(path: Path) -> None:
    """Removes what a killed process left of an earlier attempt to write `path`."""
    pattern = re.compile(rf"\.{re.escape(path.name)}\.(\d+)\.tmp")
    for file in path.parent.iterdir() if path.parent.is_dir() else ():
        found = pattern.fullmatch(file.name)
        if found is None or _is_alive(int(found[1])):
            continue
        if file.is_dir() and not file.is_symlink():
            shutil.rmtree(file, ignore_errors=True)
        else:
            file.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    """Whether another process of that number exists; this one has left nothing behind."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True

    return pid != os.getpid()
