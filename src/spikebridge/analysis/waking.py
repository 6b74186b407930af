"""Wakes of the parts of a network over a run: the share of time awake, wakes, and the energy that does not compute."""

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass

from torch import Tensor

from spikebridge.errors import ConfigError, is_number
from spikebridge.hybrid import HybridNetwork, Wake
from spikebridge.hybrid.network.link import wake_of

_AWAKE = 0.5


@dataclass(frozen=True)
class Standby:
    """Energy of a part besides its operations; the values are settings, with their source.

    Args:
        start_up: energy of a wake [J].
        asleep: power asleep [W].
        awake: power awake, without its operations [W].
        source: a data sheet or a measurement.
    """

    start_up: float = 0.0
    asleep: float = 0.0
    awake: float = 0.0
    source: str = ""

    def __post_init__(self) -> None:
        for name in ("start_up", "asleep", "awake"):
            value = getattr(self, name)
            if not is_number(value) or not 0 <= value < float("inf"):
                raise ConfigError(f"Standby needs {name}= of 0 or more, but got {value!r}")


@dataclass(frozen=True)
class Waking:
    """The recorded wakes of a part, as means over the samples of a run.

    Args:
        share: of its ticks awake.
        num_wakes: wakes a sample, counting one at its first tick.
        num_replayed: samples run over again at waking.
        seconds: length of the run [s].
    """

    share: float
    num_wakes: float
    num_replayed: float
    seconds: float

    @property
    def wakes_an_hour(self) -> float:
        """Wakes in an hour of signal."""
        return 3600 * self.num_wakes / self.seconds

    def standby_energy(self, standby: Standby) -> float:
        """The energy of a part besides its operations [J a sample]."""
        power = self.share * standby.awake + (1 - self.share) * standby.asleep
        return self.num_wakes * standby.start_up + self.seconds * power


def with_flags(network: HybridNetwork) -> HybridNetwork:
    """The network, sharing its modules, with "part.awake" of every part that has a wake among its outputs."""
    flags = [wake_of(route).awake for route in network.plan.wakes.values()]
    missing = [name for name in flags if name not in network.outputs]
    if not missing:
        return network

    watched = copy(network)
    watched.outputs = (*network.outputs, *missing)
    return watched


def wakes_of(network: HybridNetwork, outputs: Mapping[str, Tensor], seconds: float) -> dict[str, Waking]:
    """The wakes by part, from the outputs of a run of `with_flags(network)` of some length [s]."""
    wakes = {}
    for part, route in network.plan.wakes.items():
        wake = wake_of(route)
        mask = outputs[wake.awake][:, :, 0] >= _AWAKE
        if mask.numel():
            wakes[part] = _waking(wake, mask, seconds)

    return wakes


def _waking(wake: Wake, mask: Tensor, seconds: float) -> Waking:
    num_wakes = 0
    num_replayed = 0
    for flags in mask.T.tolist():
        asleep = 0
        for tick, awake in enumerate(flags):
            if awake and (asleep or tick == 0):
                num_wakes += 1
                num_replayed += min(wake.replay, tick if wake.state == "reset" else asleep)
            asleep = 0 if awake else asleep + 1

    batch = mask.shape[1]
    return Waking(float(mask.double().mean()), num_wakes / batch, num_replayed / batch, seconds)
