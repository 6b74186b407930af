"""The C library keeps the memory that a training step frees."""

import torch

# glibc's DEFAULT_MMAP_THRESHOLD_MAX, less the head of a block
_MAX_BYTES = 32 * 2**20 - 2**14


def raise_mmap_threshold() -> None:
    """Lets glibc keep up to 64 MB of freed blocks, instead of giving them back to the system; elsewhere nothing."""
    # fresh memory comes page by page, each filled with zeros: a tenth of the time of a step with tensors of megabytes;
    # glibc takes the limit from the largest block that was ever freed
    torch.empty(_MAX_BYTES, dtype=torch.uint8)
