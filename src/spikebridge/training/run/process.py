"""Which of several processes this one is, read from the environment before anything else is started."""

import os
from collections.abc import Mapping

# torchrun sets RANK and GROUP_RANK, Fabric's own launcher LOCAL_RANK and NODE_RANK, Slurm SLURM_PROCID
_NUMBERS = ("RANK", "LOCAL_RANK", "GROUP_RANK", "NODE_RANK", "SLURM_PROCID")


def is_first_process(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this is the process that writes files and talks.

    Example:
        >>> is_first_process({})
        True
        >>> is_first_process({"RANK": "2", "LOCAL_RANK": "0", "GROUP_RANK": "1"})
        False
    """
    return all(environment.get(name, "0") == "0" for name in _NUMBERS)
