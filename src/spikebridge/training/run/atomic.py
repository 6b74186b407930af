"""Atomic file writes: a file is complete or not there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EDQUOT, EFBIG, ENOSPC
from pathlib import Path

from spikebridge.errors import ConfigError

_FULL = (ENOSPC, EDQUOT, EFBIG)


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary file beside `path`, which replaces `path` if the block ends without an error.

    Args:
        path: the file to write; an old file stays until the new one is on the disk.

    Raises:
        ConfigError: the path is a device or a pipe, which a file must not replace.
        OSError: the file cannot be written; it is named as `path`.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     with atomic_write(Path(folder) / "a.txt") as temporary:
        ...         _ = temporary.write_text("whole")
        ...     (Path(folder) / "a.txt").read_text()
        'whole'
    """
    if path.exists() and not path.is_file():
        raise ConfigError(f"{path}: expected the name of a file to write, but this is none; take another name")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        # the error of a full disk names no file, and the temporary name says nothing to a user
        if error.errno in _FULL or error.filename == str(temporary):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def is_temporary(path: Path) -> bool:
    """Whether a file is the temporary file of a killed process.

    Example:
        >>> (is_temporary(Path("run/.config.json.4711.tmp")), is_temporary(Path("run/config.json")))
        (True, False)
    """
    return path.name.startswith(".") and path.name.endswith(".tmp")
