"""The network as the strategy sees it: one module whose forward does whatever is to be done with the network.

The generators of all processes, in one checkpoint.
"""

import logging
import sys
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from spikebridge.training.rng import derive_seed, get_rng_state, seed_rng, set_rng_state
from spikebridge.training.run.weights import state_tensors

if TYPE_CHECKING:
    from lightning_fabric import Fabric


T = TypeVar("T")


class ModuleHost(nn.Module):
    """Calls a function with the network inside its own forward.

    A strategy for several processes hooks into the forward of the module it wraps. With the objective inside that
    forward, the objective may call any part of the network, in any order, and gradients are still averaged.

    Example:
        >>> import torch
        >>> host = ModuleHost(nn.Linear(1, 1, bias=False))
        >>> host(lambda network, x: network.weight.shape + x.shape, torch.zeros(5))
        torch.Size([1, 1, 5])
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, function: Callable[..., T], *arguments: Any) -> T:
        return function(self.network, *arguments)


def gather_weights(host: nn.Module, network: nn.Module) -> dict[str, Tensor]:
    """The whole weights of a hosted network; all processes must call this, as they may be spread over them."""
    sharded = _sharded(host)
    if sharded is None:
        return state_tensors(network)
    checkpoint, full = _whole()
    weights: dict[str, Any] = checkpoint.get_model_state_dict(sharded, options=full)
    return {name.removeprefix("network."): tensor for name, tensor in weights.items()}


def gather_optimizer_state(host: nn.Module, optimizer: Optimizer) -> dict[str, Any]:
    """The whole state of an optimizer; all processes must call this, as it may be spread over them."""
    sharded = _sharded(host)
    if sharded is None:
        return optimizer.state_dict()
    checkpoint, full = _whole()
    return dict(checkpoint.get_optimizer_state_dict(sharded, optimizer, options=full))


def scatter_optimizer_state(host: nn.Module, optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Gives an optimizer the state that `gather_optimizer_state` took."""
    sharded = _sharded(host)
    if sharded is None:
        optimizer.load_state_dict(state)
    else:
        checkpoint, full = _whole()
        checkpoint.set_optimizer_state_dict(sharded, optimizer, state, options=full)


def _whole() -> tuple[Any, Any]:
    """The functions for states that are spread over processes, and the option to gather them; half a second to load."""
    checkpoint = import_module("torch.distributed.checkpoint.state_dict")
    return checkpoint, checkpoint.StateDictOptions(full_state_dict=True)


def _sharded(host: nn.Module) -> nn.Module | None:
    # where nobody has loaded it no module is of its class
    fsdp = sys.modules.get("torch.distributed.fsdp")
    if fsdp is None:
        return None
    return next((module for module in host.modules() if isinstance(module, fsdp.FullyShardedDataParallel)), None)


_log = logging.getLogger(__name__)


def gather_rng_states(fabric: "Fabric") -> list[dict[str, Tensor]]:
    """The states of the generators of every process, by its number (all of them must call this)."""
    states = get_rng_state()
    if fabric.world_size == 1:
        return [states]
    everybody: list[dict[str, Tensor]] = [{} for _ in range(fabric.world_size)]
    for name, state in states.items():
        own = state.to(fabric.device)
        parts = [torch.empty_like(own) for _ in everybody]
        torch.distributed.all_gather(parts, own)
        for process, part in zip(everybody, parts, strict=True):
            process[name] = part
    return everybody


def scatter_rng_states(fabric: "Fabric", states: list[dict[str, Tensor]], seed: int, step: int) -> None:
    """Gives this process its generators back; with another number of processes new ones, which a warning says."""
    if len(states) == fabric.world_size:
        set_rng_state(states[fabric.global_rank])
        return
    _log.warning(
        "the checkpoint is of %d processes, this training has %d: "
        "what draws from the global generators goes on with other numbers",
        len(states),
        fabric.world_size,
    )
    seed_rng(derive_seed(seed, step), fabric.global_rank)
