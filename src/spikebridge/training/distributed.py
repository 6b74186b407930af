"""Processes: started through Fabric, a host module for any function of a network, states gathered for a checkpoint."""

import atexit
import logging
import os
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from spikebridge.errors import ConfigError
from spikebridge.training.rng import derive_seed, get_rng_state, seed_rng, set_rng_state
from spikebridge.training.run.environment import is_first_process
from spikebridge.training.run.weights import state_tensors
from spikebridge.training.settings import Settings

if TYPE_CHECKING:
    from lightning_fabric import Fabric


T = TypeVar("T")
_OF_THE_MACHINE = ("accelerator", "devices", "nodes", "strategy", "precision")
_log = logging.getLogger(__name__)


def start_fabric(settings: Settings) -> "Fabric":
    """Starts Fabric: takes the devices and joins the other processes."""
    # under `torchrun` the processes exist already; otherwise Fabric starts the others by running the same command line
    # again, so all code before this call runs in each of them
    # imported here: it takes longer than importing torch
    from lightning_fabric import Fabric

    _check_environment(settings, os.environ)
    try:
        fabric = Fabric(
            accelerator=settings.accelerator,
            devices=settings.devices,
            num_nodes=settings.nodes,
            strategy=settings.strategy,
            **_precision(settings),
        )

        fabric.launch()
    except (ValueError, RuntimeError, TypeError) as error:
        chosen = ", ".join(f"{name}={getattr(settings, name)!r}" for name in _OF_THE_MACHINE)
        reason = " ".join(str(error).split())
        raise ConfigError(f"this machine cannot train with {chosen}: {reason}") from error

    if fabric.world_size > 1:
        atexit.register(_leave)

    return fabric


def _precision(settings: Settings) -> dict[str, Any]:
    """Arguments of Fabric, which would take bf16-mixed for 16-mixed on a CPU."""
    gpu = settings.accelerator != "cpu" and (torch.cuda.is_available() or torch.backends.mps.is_available())
    if settings.precision != "16-mixed" or gpu:
        return {"precision": settings.precision}

    from lightning_fabric.plugins.precision import MixedPrecision

    return {"plugins": [MixedPrecision("16-mixed", "cpu")]}


def _check_environment(settings: Settings, environment: Mapping[str, str]) -> None:
    num_started = int(environment.get("WORLD_SIZE", "1"))
    if num_started > 1 and num_started != settings.devices * settings.nodes:
        raise ConfigError(
            f"{num_started} processes were started, but devices={settings.devices} and nodes={settings.nodes} were "
            "given; give --devices and --nodes as torchrun has them"
        )

    may_restart = int(environment.get("TORCHELASTIC_MAX_RESTARTS", "0")) > 0
    if may_restart and environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True" and is_first_process(environment):
        # https://github.com/pytorch/pytorch/issues/135712
        _log.warning(
            "torchrun keeps the addresses of dead processes, and a restart may look for them: "
            "start it with TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 in its environment"
        )


def _leave() -> None:
    """Closes the connection to the other processes: its threads would abort the program at exit."""
    from torch import distributed

    if distributed.is_initialized():
        distributed.destroy_process_group()


class ModuleHost(nn.Module):
    """Calls any function of a network inside its own forward."""

    # a distributed strategy hooks into the forward of the module that it wraps: with the objective inside that forward,
    # the objective may call any part of the network, in any order, and gradients are still averaged

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, function: Callable[..., T], *arguments: Any) -> T:
        return function(self.network, *arguments)


def call_objective(fabric: "Fabric", host: Any, objective: Callable[..., Any], batch: Any, *state: Any) -> Any:
    """The result of an objective on a batch (and a state), inside the host, with the loss as the strategy gave it."""
    # a "true" precision casts the batch; under a "mixed" one autocast chooses the dtype of each operation, and targets
    # keep their digits; states and metrics are never cast
    precision = fabric.strategy.precision
    if not str(precision.precision).endswith("mixed"):
        batch = precision.convert_input(batch)

    results: list[Any] = []

    def inside(network: nn.Module) -> Any:
        results.append(objective(network, batch, *state))
        return _loss_of(results[0])

    return _with_loss(results, host(inside))


def _loss_of(result: Any) -> Any:
    return _loss_of(result[0]) if isinstance(result, tuple) and result else result


def _with_loss(results: list[Any], loss: Any) -> Any:
    def put(result: Any) -> Any:
        return (put(result[0]), *result[1:]) if isinstance(result, tuple) and result else loss

    return put(results[0])


def gather_weights(host: nn.Module, network: nn.Module) -> dict[str, Tensor]:
    """The whole weights of a hosted network; all processes must call this, as weights may be sharded."""
    sharded = _sharded(host)
    if sharded is None:
        return state_tensors(network)

    checkpoint, full = _sharded_state()
    weights: dict[str, Any] = checkpoint.get_model_state_dict(sharded, options=full)

    return {name.removeprefix("network."): tensor for name, tensor in weights.items()}


def gather_optimizer_state(host: nn.Module, optimizer: Optimizer) -> dict[str, Any]:
    """The whole state of an optimizer; all processes must call this, as it may be sharded."""
    sharded = _sharded(host)
    if sharded is None:
        return optimizer.state_dict()

    checkpoint, full = _sharded_state()
    return dict(checkpoint.get_optimizer_state_dict(sharded, optimizer, options=full))


def scatter_optimizer_state(host: nn.Module, optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Restores the state of an optimizer that `gather_optimizer_state` gave."""
    sharded = _sharded(host)
    if sharded is None:
        optimizer.load_state_dict(state)
    else:
        checkpoint, full = _sharded_state()
        checkpoint.set_optimizer_state_dict(sharded, optimizer, state, options=full)


def _sharded_state() -> tuple[Any, Any]:
    """torch's functions for sharded states and the option that gathers them; the import takes half a second."""
    checkpoint = import_module("torch.distributed.checkpoint.state_dict")
    return checkpoint, checkpoint.StateDictOptions(full_state_dict=True)


def _sharded(host: nn.Module) -> nn.Module | None:
    # while it is not imported, no module can be of its class
    fsdp = sys.modules.get("torch.distributed.fsdp")
    if fsdp is None:
        return None
    return next((module for module in host.modules() if isinstance(module, fsdp.FullyShardedDataParallel)), None)


def gather_rng_states(fabric: "Fabric") -> list[dict[str, Tensor]]:
    """The generator states of every process, by rank; all processes must call this."""
    states = get_rng_state()
    if fabric.world_size == 1:
        return [states]

    states_by_rank: list[dict[str, Tensor]] = [{} for _ in range(fabric.world_size)]
    for name, state in states.items():
        own = state.to(fabric.device)
        parts = [torch.empty_like(own) for _ in states_by_rank]
        torch.distributed.all_gather(parts, own)

        for process, part in zip(states_by_rank, parts, strict=True):
            process[name] = part

    return states_by_rank


def scatter_rng_states(fabric: "Fabric", states: list[dict[str, Tensor]], seed: int, step: int) -> None:
    """Restores the generators of this process; with another number of processes seeds them again and warns."""
    if len(states) == fabric.world_size:
        set_rng_state(states[fabric.global_rank])
        return

    _log.warning(
        "the checkpoint is of %d processes, this training has %d: "
        "draws from the global generators are not the same from here on",
        len(states),
        fabric.world_size,
    )

    seed_rng(derive_seed(seed, step), fabric.global_rank)
