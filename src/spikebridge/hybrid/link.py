"""Links of a hybrid network: transmission acts on neuron states, modulation on quantities (R. Zhao et al., 2022)."""

from dataclasses import dataclass
from typing import TypeAlias, get_args

from torch import Tensor

from spikebridge.errors import ConfigError
from spikebridge.hybrid.unit import HybridUnit
from spikebridge.hybrid.window import Since
from spikebridge.neurons.quantity import By


@dataclass(frozen=True, eq=False)
class Transmission:
    """The output of a signal, through a unit, becomes an input of a part.

    Args:
        source: an input or a part.
        target: a part.
        unit: a hybrid unit, or None between like parts.
        held: read the newest value at any of the target's ticks, instead of one value at each.
        into: the target's argument; by position if None.
        delay: base ticks until a value arrives.
        context: a signal that is the second argument of the unit's nonlinearity, held.
        initial: what is read before the first value: a number, or a tensor of the shape `*N`.
        name: of the link and its unit; "source_to_target" if None.

    Raises:
        ConfigError: a delay, unit, argument or initial value that cannot be meant.

    Example:
        >>> Transmission("events", "snn", delay=1).part
        'snn'
    """

    source: str
    target: str
    unit: HybridUnit | None = None
    held: bool = False
    into: str | None = None
    delay: int = 0
    context: str | None = None
    initial: float | Tensor = 0.0
    name: str | None = None

    @property
    def part(self) -> str:
        """The part that is reached."""
        return self.target

    def __post_init__(self) -> None:
        _check(self)
        if self.into is not None and not self.into.isidentifier():
            raise ConfigError(f"{describe(self)} needs into= as the name of an argument, but got {self.into!r}")
        if isinstance(self.initial, bool) or not isinstance(self.initial, float | int | Tensor):
            raise ConfigError(f"{describe(self)} needs initial= as a number or a tensor, but got {self.initial!r}")


@dataclass(frozen=True, eq=False)
class Modulation:
    """The output of a signal, through a unit, acts on a quantity of a part. Before its first value it is absent.

    Args:
        source: an input or a part.
        target: path of the quantity, "part.layer.quantity".
        unit: a hybrid unit, or None.
        by: "add", "multiply" or "replace".
        held: read the newest value at any of the target's ticks; False asks for equal clocks.
        delay: base ticks until a value arrives.
        context: a signal that is the second argument of the unit's nonlinearity, held.
        name: of the link and its unit; "source_to_part" if None.

    Raises:
        ConfigError: a target that is no path, or a way to act, delay or unit that cannot be meant.

    Example:
        >>> link = Modulation("ann", "snn.lif1.v_threshold")
        >>> link.part, link.path
        ('snn', 'lif1.v_threshold')
    """

    source: str
    target: str
    unit: HybridUnit | None = None
    by: By = "multiply"
    held: bool = True
    delay: int = 0
    context: str | None = None
    name: str | None = None

    @property
    def part(self) -> str:
        """The part that is reached."""
        return self.target.partition(".")[0]

    @property
    def path(self) -> str:
        """The quantity inside the part."""
        return self.target.partition(".")[2]

    def __post_init__(self) -> None:
        _check(self)
        if not self.path:
            raise ConfigError(
                f"a modulation's target is a path to a quantity, for example '{self.target}.lif1.v_threshold', but got "
                f"{self.target!r}"
            )
        if self.by not in get_args(By):
            raise ConfigError(f"a modulation acts by one of {', '.join(get_args(By))}, but got {self.by!r}")


Link: TypeAlias = Transmission | Modulation


def describe(link: Link) -> str:
    """A link for people.

    Example:
        >>> describe(Transmission("events", "snn"))
        "the link 'events' -> 'snn'"
    """
    return f"the link {link.source!r} -> {link.target!r}"


def trigger_of(link: Link) -> str | None:
    """The signal at whose samples the windows of a link's unit open, None where there is none.

    Example:
        >>> trigger_of(Transmission("events", "ann", HybridUnit(Since("frames"))))
        'frames'
    """
    return link.unit.window.trigger if link.unit is not None and isinstance(link.unit.window, Since) else None


def _check(link: Link) -> None:
    if isinstance(link.delay, bool) or not isinstance(link.delay, int) or link.delay < 0:
        raise ConfigError(
            f"{describe(link)} needs its delay as a whole number of base ticks, 0 or more, but got {link.delay!r}"
        )
    if link.unit is not None and not isinstance(link.unit, HybridUnit):
        raise ConfigError(f"{describe(link)} needs a HybridUnit or None, but got {type(link.unit).__name__}")
    if link.context is not None and (link.unit is None or link.unit.nonlinearity is None):
        raise ConfigError(f"{describe(link)} has the context {link.context!r}, but no nonlinearity that could take it")
