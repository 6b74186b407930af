"""Energy of counted operations by a stated model of hardware.

The model: a multiply-accumulate costs `mac`; a synaptic operation, an addition and a comparison cost `ac`; a neuron's
update costs one `mac` (the leak) and one `ac` (the comparison with the threshold). Moving data is not included, so that
the energy is a lower bound, for networks of both kinds. Of a part with a wake the ticks awake are counted; `standby`
adds the energy of a wake and the power asleep.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from spikebridge.analysis.activity import Waking
from spikebridge.analysis.cost import Cost, Operations
from spikebridge.analysis.templates import resource_text
from spikebridge.errors import ConfigError, did_you_mean, is_number


@dataclass(frozen=True)
class HardwareProfile:
    """Energy of single operations [J]."""

    name: str
    title: str
    mac: float
    ac: float
    source: str

    def __post_init__(self) -> None:
        if not self.mac > 0 or not self.ac > 0:
            raise ConfigError(f"the profile {self.name!r} needs prices above 0 J, but got mac={self.mac}, ac={self.ac}")


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
class Energy:
    """Energy a sample [J], per part and per link."""

    parts: dict[str, float]
    links: dict[str, float]
    seconds: float | None
    profile: HardwareProfile

    @property
    def total(self) -> float:
        """All parts and links [J a sample]."""
        return sum(self.parts.values()) + sum(self.links.values())

    @property
    def power(self) -> float | None:
        """The total a second of signal [W]; None without a clock."""
        return self.total / self.seconds if self.seconds else None


def joules(operations: Operations, profile: HardwareProfile) -> float:
    """Adds up the energy of operations [J]."""
    num_macs = operations.macs + operations.updates
    num_acs = operations.synops + operations.adds + operations.compares + operations.updates

    return num_macs * profile.mac + num_acs * profile.ac


def _standby_energy(waking: Waking, standby: Standby) -> float:
    """The energy of a part besides its operations [J a sample]."""
    power = waking.share * standby.awake + (1 - waking.share) * standby.asleep
    return waking.num_wakes * standby.start_up + waking.seconds * power


def energy(cost: Cost, profile: HardwareProfile, standby: Mapping[str, Standby] | None = None) -> Energy:
    """The energy of a counted run.

    Args:
        cost: the operations, from `count_cost`.
        profile: energy of single operations, from `hardware_profile(name)` or your own.
        standby: by part with a wake, its energy of a wake and its power asleep and awake.

    Raises:
        ConfigError: a standby of a part that has no wake.

    Example:
        >>> cost = Cost({"ann": Operations(macs=1000)}, {}, {}, num_samples=1, seconds=0.5)
        >>> round(energy(cost, hardware_profile("45nm")).total * 1e9, 2)  # nJ
        4.6
    """
    parts = {name: joules(operations, profile) for name, operations in cost.parts.items()}
    for name, one in (standby or {}).items():
        if name not in cost.wakes:
            raise ConfigError(f"standby has {name!r}, which has no wake; {did_you_mean(name, cost.wakes)}")
        parts[name] += _standby_energy(cost.wakes[name], one)

    return Energy(
        parts,
        {name: joules(operations, profile) for name, operations in cost.links.items()},
        cost.seconds,
        profile,
    )


def hardware_profile(name: str = "45nm") -> HardwareProfile:
    """A hardware profile of the package.

    Raises:
        ConfigError: no profile has the name.

    Example:
        >>> hardware_profile("45nm").mac, hardware_profile("45nm").ac
        (4.6e-12, 9e-13)
    """
    profiles = {entry["name"]: entry for entry in json.loads(resource_text("hardware.json"))}
    if name not in profiles:
        raise ConfigError(f"there is no hardware profile {name!r}; {did_you_mean(name, profiles)}")

    return HardwareProfile(**profiles[name])
