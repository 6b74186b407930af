"""Settings of the senses recipe: sensors and their parts, looks, network and training."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from spikebridge.errors import ConfigError
from spikebridge.networks.senses.model.network import VARIANTS
from spikebridge.networks.senses.model.parts import GateKind
from spikebridge.networks.senses.training.train import SensesLearning
from spikebridge.training.settings import check_chosen, check_minimum, check_positive


class SenseSetting(NamedTuple):
    """A sensor, its part and its rate, as the user writes it: "wrist=snn@50"."""

    name: str
    part: str
    rate_hz: float


def parse_sense(text: str) -> SenseSetting:
    """A sense of the form NAME=PART@HZ.

    Example:
        >>> parse_sense("wrist=snn@50")
        SenseSetting(name='wrist', part='snn', rate_hz=50.0)
    """
    name, _, rest = text.partition("=")
    part, _, rate = rest.partition("@")
    try:
        rate_hz = float(rate)
    except ValueError:
        rate_hz = 0.0
    if not name.isidentifier() or part not in ("snn", "ann") or not 0 < rate_hz < 1e5:
        raise ConfigError(f"a sense is NAME=snn@HZ or NAME=ann@HZ, such as wrist=snn@50, but got {text!r}")

    return SenseSetting(name, part, rate_hz)


@dataclass(frozen=True)
class LookConfig:
    """Looks of the last sense."""

    gate: GateKind = "rule"
    """The decision to look."""
    threshold: float = 0.4
    """Least motion of a look."""
    every_s: float = 0.5
    """Shortest time between looks."""
    price_uj: float = 0.0
    """Energy of the sensor a look."""

    def __post_init__(self) -> None:
        """Checks the settings."""
        check_positive(self, ("every_s",), "look")
        check_minimum(self, "look", threshold=0.0, price_uj=0.0)


@dataclass(frozen=True)
class Config:
    """Settings of the senses recipe."""

    dataset: Literal["auto", "actions", "falls", "generated"] = "auto"
    """Data set; auto: --data, or actions."""
    data: Path | None = None
    """File, or folder of sensors."""
    senses: tuple[str, ...] = ()
    """NAME=PART@HZ; none: by their shapes."""
    networks: tuple[str, ...] = ("hybrid", "ann")
    """Networks; also link and early."""
    people: tuple[str, ...] = ()
    """People to leave out; none: by folds."""
    num_folds: int | None = 3
    """Folds; None: one for each person."""
    folds: tuple[int, ...] | None = (0,)
    """Folds to train; none: on everybody."""
    seed: int = 0
    """The first seed."""
    num_seeds: int = 1
    """Number of consecutive seeds."""
    hidden: int = 96
    """Neurons of a layer."""
    features: int = 40
    """Features of an eye."""
    quantum: float = 0.1
    """Change that a spike stands for."""
    look: LookConfig = field(default_factory=LookConfig)
    """Looks of the last sense."""
    training: SensesLearning = field(default_factory=SensesLearning)
    """The training of each part."""

    def __post_init__(self) -> None:
        """Checks the settings."""
        check_chosen("network", self.networks, VARIANTS)
        check_minimum(self, seed=0, num_seeds=1, num_folds=2, hidden=2, features=2)
        check_positive(self, ("quantum",))
        names = [parse_sense(sense).name for sense in self.senses]
        if len({*names}) < len(names):
            raise ConfigError(f"expected each sensor once in --senses, but got {', '.join(names)}")


@dataclass(frozen=True)
class GateEvaluation:
    """Options of `eval`."""

    gates: tuple[GateKind, ...] = ()
    """Other decisions to look, a row each."""
