"""The settings of a training: seed, devices, precision, checkpoints. Checks of settings for all configurations."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Literal

from spikebridge.errors import ConfigError, did_you_mean, is_number, is_positive


def check_minimum(settings: object, group: str = "", /, **minima: float) -> None:
    """Raises a `ConfigError` where a setting is below its minimum or no number. None is not checked."""
    # a minimum that is an integer, 1 and not 1.0, is that of a count: the setting must be an integer, too
    for name, minimum in minima.items():
        value = getattr(settings, name)
        if value is None:
            continue
        if not is_number(value) or not value >= minimum:
            raise ConfigError(f"{_path(group, name)} should be at least {minimum}, but is {value}")
        if isinstance(minimum, int) and not isinstance(value, Integral):
            raise ConfigError(f"{_path(group, name)} should be an integer, but is {value}")


def check_positive(settings: object, names: Iterable[str], group: str = "") -> None:
    """Raises a `ConfigError` where a setting is not a finite number above 0. None is not checked."""
    for name in names:
        value = getattr(settings, name)
        if value is not None and not is_positive(value):
            raise ConfigError(f"{_path(group, name)} should be a number above 0, but is {value}")


def _path(group: str, name: str) -> str:
    return f"{group}.{name}" if group else name


def check_chosen(what: str, chosen: Sequence[str], choices: Iterable[str]) -> None:
    """Raises a `ConfigError` where nothing, an unknown name or a name twice is chosen; `what` is the kind of name."""
    choices = list(choices)
    if not chosen:
        raise ConfigError(f"choose at least one {what}. Known: {', '.join(choices)}.")

    for index, name in enumerate(chosen):
        if name not in choices:
            raise ConfigError(f"no {what} {name!r}; {did_you_mean(name, choices)}")
        if name in chosen[:index]:
            raise ConfigError(f"the {what} {name!r} is chosen twice")


@dataclass(frozen=True)
class Settings:
    """The place and the way in which a training runs; its phases say what is trained.

    Args:
        seed: seed of the order of samples and of all global generators, at least 0.
        batch_size: samples of one step, over all processes together.
        devices: processes on each machine, one a device.
        nodes: machines.
        strategy: `ddp` copies the network to every process; `fsdp` spreads it over GPUs (Fabric has none on a CPU);
            `auto` takes `ddp` where there are several processes. With `ddp` the loss must depend on everything a phase
            trains; `ddp_find_unused_parameters_true` lifts that and costs time.
        precision: number format, in Fabric's words.
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
        check_minimum(self, seed=0, batch_size=1, devices=1, nodes=1, checkpoint_every=0, log_every=0)
