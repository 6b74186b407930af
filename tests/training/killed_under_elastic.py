"""A job of four processes of which one is killed, under the agent that `torchrun` starts.

Usage: killed_under_elastic.py RUN

It loads the network and forks the four processes, so that each attempt begins at once; `torchrun` would load again.
"""

import logging
import sys

import lightning_fabric  # noqa: F401 - loaded once for all processes
from tiny_training import main
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    job = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=4,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=1,
        monitor_interval=0.1,
        start_method="fork",
    )
    elastic_launch(job, main)(sys.argv[1], 4, 0.0, 0.0, 7)
