"""Memory that one step frees is there for the next one."""

import torch

# glibc's DEFAULT_MMAP_THRESHOLD_MAX, less what stands around a block
_MOST_BYTES = 32 * 2**20 - 2**14


def keep_freed_memory() -> None:
    """Lets the C library keep up to 64 MB that a step has freed, instead of giving it back to the system.

    Memory that comes anew comes page by page, each of which is filled with zeros first: a tenth of the time of a step
    with tensors of some megabytes. From which size on glibc gives blocks back, it learns from the largest one that was
    ever freed; elsewhere this does nothing.

    Example:
        >>> keep_freed_memory()
    """
    torch.empty(_MOST_BYTES, dtype=torch.uint8)
