"""Files that are there whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EDQUOT, EFBIG, ENOSPC
from pathlib import Path

from spikebridge.errors import ConfigError

_FULL = (ENOSPC, EDQUOT, EFBIG)


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`; what is written to it takes the place of `path` if the block ends well.

    Args:
        path: the file to write; the one that is there stays until the new one is on the disk.

    Raises:
        ConfigError: what is there is no file but a device or a pipe, whose place a file must not take.
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
        # a full disk names no file, and a temporary name tells nobody anything
        if error.errno in _FULL or error.filename == str(temporary):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def is_temporary(path: Path) -> bool:
    """Whether a file is what a killed process left of one that it was writing.

    Example:
        >>> (is_temporary(Path("run/.config.json.4711.tmp")), is_temporary(Path("run/config.json")))
        (True, False)
    """
    return path.name.startswith(".") and path.name.endswith(".tmp")
