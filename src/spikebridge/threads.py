"""The number of threads of a computation, and how threads wait for work.

Small tensors are computed in microseconds. OpenMP's threads wait for each other after every operation, and by default
they wait in a loop that keeps a core busy. Where another program needs that core, the loop delays the thread that is
waited for: training becomes ten times slower. Threads that sleep while they wait cost less there, and one thread does
not wait at all. PyTorch's OpenMP reads its settings once, when it is loaded, so they are set before.
"""

import os
import sys
from typing import Literal

from spikebridge.errors import ConfigError

_MAX_THREADS = 1024
_AUTO = 1  # least CPU time in docs/log.md (Threads)
_NUMBER = "OMP_NUM_THREADS"
_POLICY = "OMP_WAIT_POLICY"


def set_threads(threads: int | Literal["auto"] = "auto") -> int:
    """Sets the number of threads of PyTorch and of the native library in this process and the processes it starts.

    Call it before `import torch`: only then threads sleep while they wait. `import spikebridge` does not load PyTorch.
    Afterwards the number is still set. The commands of `spikebridge` call it first (`--threads`).

    Args:
        threads: the number; "auto" takes OMP_NUM_THREADS where it is set, else one thread, which took the least CPU
            time in the `quick` preset of every recipe (see the page "Log of experiments"). A network with large layers
            may gain from more.

    Returns:
        the number that is set. Loaded later, PyTorch takes at most a thread a core.

    Raises:
        ConfigError: the number is not a whole one of 1 to 1024, and not "auto".

    Example:
        >>> import spikebridge
        >>> before = spikebridge.threads_in_use()
        >>> spikebridge.set_threads(2)
        2
        >>> spikebridge.set_threads(before) == before
        True
    """
    number = _from_environment() if threads == "auto" else _checked(threads)
    os.environ[_NUMBER] = str(number)
    os.environ.setdefault(_POLICY, "PASSIVE")
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(number)

    return number


def threads_in_use() -> int:
    """The number of threads that PyTorch uses, or will use once it is loaded.

    Example:
        >>> threads_in_use() >= 1
        True
    """
    if "torch" in sys.modules:
        import torch

        return torch.get_num_threads()

    return _from_environment(os.cpu_count() or 1)


def parse_threads(word: str) -> int | Literal["auto"]:
    """The number of threads in a word of a command line.

    Raises:
        ConfigError: it is neither an integer from 1 to 1024 nor "auto".

    Example:
        >>> parse_threads("4"), parse_threads("auto")
        (4, 'auto')
    """
    if word == "auto":
        return "auto"

    return _checked(int(word) if word.isascii() and word.isdigit() and len(word) < 9 else word)


def _checked(threads: object) -> int:
    if isinstance(threads, int) and not isinstance(threads, bool) and 1 <= threads <= _MAX_THREADS:
        return threads
    raise ConfigError(f"threads is an integer from 1 to {_MAX_THREADS} or auto, but got {threads!r}")


def _from_environment(default: int = _AUTO) -> int:
    """OMP_NUM_THREADS; its first number, where it lists one for each level of nesting."""
    first = os.environ.get(_NUMBER, "").split(",")[0].strip()
    return int(first) if first.isascii() and first.isdigit() and 1 <= int(first) <= _MAX_THREADS else default
