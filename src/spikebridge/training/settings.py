"""Where and how a training runs: seed, devices, precision, checkpoints; and Ctrl-C between two steps."""

import atexit
import logging
import os
import signal
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Literal

import torch

from spikebridge.errors import ConfigError
from spikebridge.training.run.environment import is_first_process

if TYPE_CHECKING:
    from lightning_fabric import Fabric


_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """Where and how a training runs; what is trained stands in its phases.

    Args:
        seed: of the order of samples and of all global generators, at least 0.
        batch_size: samples of one step, over all processes together.
        devices: processes on each machine, one a device.
        nodes: machines.
        strategy: `ddp` copies the network to every process; `fsdp` spreads it over GPUs (Fabric has none on a CPU);
            `auto` takes `ddp` where there are several processes. With `ddp` the loss must depend on everything a phase
            trains; `ddp_find_unused_parameters_true` lifts that and costs time.
        precision: of numbers, in Fabric's words.
        accelerator: kind of device.
        checkpoint_every: steps between checkpoints; 0: one at the end of every epoch. The end of an epoch whose steps
            passed the count, the end of a phase and the first Ctrl-C write one too.
        log_every: steps between rows of a step; 0: rows of epochs alone.
        tensorboard: show the rows in TensorBoard too.
        quiet: no progress on the screen.

    Raises:
        ConfigError: a number out of range.

    Example:
        >>> Settings(batch_size=0)
        Traceback (most recent call last):
        spikebridge.errors.ConfigError: batch_size should be at least 1, but is 0
    """

    seed: int = 0
    batch_size: int = 32
    devices: int = 1
    nodes: int = 1
    strategy: Literal["auto", "ddp", "ddp_find_unused_parameters_true", "fsdp"] = "auto"
    precision: Literal["32-true", "64-true", "bf16-true", "16-true", "bf16-mixed", "16-mixed"] = "32-true"
    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"] = "auto"
    checkpoint_every: int = 0
    log_every: int = 0
    tensorboard: bool = False
    quiet: bool = False

    def __post_init__(self) -> None:
        least = {"seed": 0, "batch_size": 1, "devices": 1, "nodes": 1, "checkpoint_every": 0, "log_every": 0}
        for name, minimum in least.items():
            if getattr(self, name) < minimum:
                raise ConfigError(f"{name} should be at least {minimum}, but is {getattr(self, name)}")


def start(settings: Settings) -> "Fabric":
    """Starts Fabric: takes the devices and joins the other processes.

    Under `torchrun` the processes exist already; otherwise Fabric starts the others by running the same command line
    again, so all code before this call runs in each of them.

    Raises:
        ConfigError: devices, strategy or precision that this machine does not have, or a number of processes that is
            not the one that was started.
    """
    # importing Fabric takes longer than importing torch
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
        raise ConfigError(f"this machine cannot train with {settings}: {error}") from error
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


class Interrupt:
    """Remembers the first Ctrl-C inside the block; the second stops at once.

    Only the main thread can catch signals; elsewhere, or with `active=False`, nothing is changed.

    Example:
        >>> with Interrupt() as interrupt:
        ...     signal.raise_signal(signal.SIGINT)
        ...     interrupt.asked
        True
    """

    def __init__(self, active: bool = True) -> None:
        self.asked = False
        self._active = active and threading.current_thread() is threading.main_thread()
        self._before: Any = None

    def __enter__(self) -> "Interrupt":
        if self._active:
            self._before = signal.signal(signal.SIGINT, self._remember)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._active:
            signal.signal(signal.SIGINT, self._before)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        _log.warning("stopping after this step; Ctrl-C once more stops at once, without a checkpoint")
