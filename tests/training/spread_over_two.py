"""Spreads a small network over two processes and gathers it again, as a program that a test starts.

Fabric spreads networks over GPUs alone, torch itself on a CPU too: so what gathers and restores is tested here.
"""

import copy
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FullyShardedDataParallel

from spikebridge.neurons import LIF
from spikebridge.training.distributed import ModuleHost, gather_optimizer_state, gather_weights, scatter_optimizer_state
from spikebridge.training.run.checkpoint import tree_flatten, tree_unflatten


class Small(nn.Module):
    """Two layers, and neurons whose numbers are saved too."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(3, 5)
        self.two = nn.Linear(5, 2)
        self.lif = LIF(tau=0.03, dt=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(self.one(x))


def spread(network: nn.Module) -> tuple[FullyShardedDataParallel, torch.optim.Optimizer]:
    network.one.requires_grad_(False)
    host = FullyShardedDataParallel(ModuleHost(network), device_id=torch.device("cpu"), use_orig_params=True)
    return host, torch.optim.Adam([p for p in host.parameters() if p.requires_grad], lr=0.1)


def step(optimizer: torch.optim.Optimizer, loss: Callable[[], Tensor]) -> None:
    optimizer.zero_grad()
    loss().backward()
    optimizer.step()


def main(rank: int, store: Path) -> None:
    torch.distributed.init_process_group("gloo", f"file://{store}", rank=rank, world_size=2)
    torch.manual_seed(0)
    first = Small()
    plain = copy.deepcopy(first)
    second = copy.deepcopy(first)
    x = torch.ones(4, 3)
    expected = torch.optim.Adam(plain.two.parameters(), lr=0.1)

    host, optimizer = spread(first)
    step(optimizer, lambda: host(lambda network: network(x).square().mean()))
    step(expected, lambda: plain(x).square().mean())
    weights = gather_weights(host, first)
    state = tree_unflatten(*tree_flatten(gather_optimizer_state(host, optimizer)))

    second.load_state_dict(weights)
    host, optimizer = spread(second)
    scatter_optimizer_state(host, optimizer, state)
    step(optimizer, lambda: host(lambda network: network(x).square().mean()))
    step(expected, lambda: plain(x).square().mean())
    torch.testing.assert_close(gather_weights(host, second), dict(plain.state_dict()))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        child = os.fork()
        main(1 if child == 0 else 0, Path(folder) / "store")
        if child == 0:
            os._exit(0)
        if os.waitpid(child, 0)[1] != 0:
            raise SystemExit("the second process failed")
