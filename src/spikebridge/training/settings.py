"""Where and how a training runs: seed, devices, precision, checkpoints."""

from dataclasses import dataclass
from typing import Literal

from spikebridge.errors import ConfigError


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
