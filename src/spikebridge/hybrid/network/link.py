"""Links of a hybrid network: transmission acts on neuron states, modulation on quantities (R. Zhao et al., 2022).

A user writes `Transmission`, `Modulation`, `Initialisation`, which sets a state, and `Wake`, which decides when a part
runs at all. A `Route` is a link with its name and clocks worked out, a `LinkState` its state between two calls.
"""

from dataclasses import dataclass, field
from typing import ClassVar, Literal, NamedTuple, TypeAlias, cast, get_args

import torch
from torch import Tensor, nn

from spikebridge.errors import ConfigError, in_words, is_number
from spikebridge.hybrid.clock import Clock, Ticks, check_delay
from spikebridge.hybrid.unit.discretizer import Discretizer
from spikebridge.hybrid.unit.kernel import Kernel
from spikebridge.hybrid.unit.unit import HybridUnit, UnitState
from spikebridge.hybrid.unit.window import Since, Window
from spikebridge.neurons.base import Stateful
from spikebridge.neurons.quantity import By

AWAKE = 0.5  # the least flag of a sample that is awake


@dataclass(frozen=True, eq=False)
class Transmission:
    """A signal, through a unit, becomes an input of a part.

    Args:
        source: an input or a part; "part.key" of a part that gives several tensors by name, or "part.layer.v", a
            state of a layer after each step.
        target: a part.
        unit: a hybrid unit, or None between parts of one kind.
        held: read the newest value at any of the target's ticks, instead of one value at each.
        into: name of the target's argument; by position if None.
        delay: time until a value arrives: seconds, `0.004`, or base ticks, `ticks(1)`.
        context: a held signal, the second argument of the unit's nonlinearity.
        initial: value before the first one arrives: a number, or a tensor of the shape `*N`.
        name: name of the link and its unit; "source_to_target" if None.

    Raises:
        ConfigError: an invalid delay, unit, argument or initial value.

    Example:
        >>> from spikebridge.hybrid import ticks
        >>> Transmission("events", "snn", delay=ticks(1)).part, Transmission("events", "snn", delay=0.004).delay
        ('snn', 0.004)
    """

    source: str
    target: str
    unit: HybridUnit | None = None
    held: bool = False
    into: str | None = None
    delay: float | Ticks = 0.0
    context: str | None = None
    initial: float | Tensor = 0.0
    name: str | None = None

    @property
    def part(self) -> str:
        """The target part."""
        return self.target

    def __post_init__(self) -> None:
        _check(self)
        if self.into is not None and not (isinstance(self.into, str) and self.into.isidentifier()):
            raise ConfigError(f"{describe(self)} needs into= as the name of an argument, but got {in_words(self.into)}")

        if not is_number(self.initial) and not isinstance(self.initial, Tensor):
            raise ConfigError(
                f"{describe(self)} needs initial= as a number or a tensor, but got {in_words(self.initial)}; a list "
                "becomes one with torch.tensor"
            )


@dataclass(frozen=True, eq=False)
class Modulation:
    """A signal, through a unit, acts on a quantity of a part. Before its first value there is no modulation.

    A signal `(B, *M)` with fewer axes than the neurons `(B, *N)` acts on the leading ones: `(B, C)` per channel on
    `(B, C, H, W)`. One that fits the trailing axes too, such as 4 values on `(4, 4, 4)`, is a `ShapeError`; with all
    axes, `(B, C, 1, 1)`, it has one meaning: `nn.Unflatten(1, (C, 1, 1))` in the unit makes them.

    Args:
        source: an input or a part; "part.key" of a part that gives several tensors by name.
        target: path of the quantity, "part.layer.quantity".
        unit: a hybrid unit, or None.
        by: "add", "multiply" or "replace".
        held: read the newest value at any of the target's ticks; False asks for equal clocks.
        delay: time until a value arrives: seconds, `0.004`, or base ticks, `ticks(1)`.
        context: a held signal, the second argument of the unit's nonlinearity.
        name: name of the link and its unit; "source_to_part" if None.

    Raises:
        ConfigError: a target that is no path, or an invalid `by`, delay or unit.

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
    delay: float | Ticks = 0.0
    context: str | None = None
    name: str | None = None
    into: ClassVar[None] = None

    @property
    def part(self) -> str:
        """The target part."""
        return self.target.partition(".")[0]

    @property
    def path(self) -> str:
        """The path of the quantity inside the part."""
        return self.target.partition(".")[2]

    def __post_init__(self) -> None:
        _check(self)
        if not self.path:
            raise ConfigError(
                f"a modulation's target is a path to a quantity, for example '{self.target}.lif1.v_threshold', but got "
                f"{self.target!r}"
            )

        if self.by not in get_args(By):
            raise ConfigError(f"a modulation acts by one of {', '.join(get_args(By))}, but got {in_words(self.by)}")


@dataclass(frozen=True, eq=False)
class Initialisation:
    """A signal, through a unit, sets a state of a part, such as the membranes of a layer.

    A value that arrives stands for the state before the part's next step: at the tick of the value, or at the first
    later one of a part with another clock, which takes the newest. A part with a wake takes, for each sample, the
    newest value when that sample wakes. Before the first value the state is the part's own. Gradients pass through.

    Args:
        source: an input or a part; "part.key" of a part that gives several tensors by name, or a state of a layer.
        target: path of the state, "part.layer.field", such as "snn.lif.v" of an `LIFState`.
        unit: a hybrid unit, or None; it gives values of the shape of the state.
        delay: time until a value arrives: seconds, `0.004`, or base ticks, `ticks(1)`.
        context: a held signal, the second argument of the unit's nonlinearity.
        name: name of the link and its unit; "source_sets_target" if None.

    Raises:
        ConfigError: a target that is no path, or an invalid delay or unit.

    Example:
        >>> link = Initialisation("ann", "snn.lif.v")
        >>> link.part, link.path
        ('snn', 'lif.v')
    """

    source: str
    target: str
    unit: HybridUnit | None = None
    delay: float | Ticks = 0.0
    context: str | None = None
    name: str | None = None
    into: ClassVar[None] = None
    held: ClassVar[bool] = True

    @property
    def part(self) -> str:
        """The target part."""
        return self.target.partition(".")[0]

    @property
    def path(self) -> str:
        """The path of the state inside the part."""
        return self.target.partition(".")[2]

    def __post_init__(self) -> None:
        _check(self)
        if not self.path:
            raise ConfigError(
                f"an initialisation's target is a path to a state, for example '{self.target}.lif.v', but got "
                f"{self.target!r}"
            )


@dataclass(frozen=True, eq=False)
class Wake:
    """A signal, through a unit, gives the flags of a part: it runs at its ticks, for the samples, that are awake.

    A flag is true, or a number of at least 1/2; of several values of a sample the largest counts. A part is awake at a
    tick if a flag that arrived in the last `stay` is set, and asleep before the first one. "part.awake", `(T, B, 1)`,
    is 1 where it is awake: a signal that links, outputs and `Since` read as any other.

    | word | meaning |
    |---|---|
    | `asleep="hold"` | the output asleep is the last value; zeros before the first |
    | `asleep="zero"` | the output asleep is 0 |
    | `asleep="none"` | links from the part get no value: held ones keep theirs, sampled ones bring `initial`, windows |
    | | do not count the tick, wakes get a flag of 0; the output itself is as for "hold" |
    | `state="keep"` | the state stands still asleep |
    | `state="leak"` | and decays at waking by the time asleep |
    | `state="reset"` | and is the initial one at waking |
    | `gradient="straight_through"` | in training all samples are computed; a flag has the gradient of awake - asleep |
    | `gradient="expected"` | in training a flag is a probability w: output and state are w awake + (1 - w) asleep |
    | `gradient="none"` | no gradient reaches a flag |

    Values that arrive asleep on sampled links are dropped, held links give the newest at waking, and a link with
    `Since("part.awake")` and a delay of a tick what came since the last waking. The awake samples alone are computed;
    that equals computing all and choosing, which defines it.

    Args:
        source: an input or a part; "part.key" of a part that gives several tensors by name.
        target: a part; it has one wake.
        unit: a hybrid unit, or None.
        asleep: output of the part while it is asleep: "hold", "zero" or "none".
        state: state of a part at waking: "keep", "leak" or "reset".
        gradient: "straight_through", "expected" or "none".
        stay: time for which a flag keeps the part awake: seconds, or `ticks(n)`; None is a period of the part.
        replay: number of last samples, missed while asleep, that a stateful part runs over at waking.
        gather: compute the awake rows alone; None does so on a CPU, since on a GPU it waits for the flags.
        delay: time until a flag arrives: seconds, `0.004`, or base ticks, `ticks(1)`.
        context: a held signal, the second argument of the unit's nonlinearity.
        name: name of the link and its unit; "source_wakes_target" if None.

    Raises:
        ConfigError: an unknown word, or an invalid unit, time or number.

    Example:
        >>> link = Wake("guard", "eye", asleep="zero")
        >>> link.part, link.awake
        ('eye', 'eye.awake')
    """

    source: str
    target: str
    unit: HybridUnit | None = None
    asleep: Literal["hold", "zero", "none"] = "hold"
    state: Literal["keep", "leak", "reset"] = "keep"
    gradient: Literal["straight_through", "expected", "none"] = "straight_through"
    stay: float | Ticks | None = None
    replay: int = 0
    gather: bool | None = None
    delay: float | Ticks = 0.0
    context: str | None = None
    name: str | None = None
    into: ClassVar[None] = None
    held: ClassVar[bool] = True

    @property
    def part(self) -> str:
        """The target part."""
        return self.target

    @property
    def awake(self) -> str:
        """The signal of flags of the target."""
        return f"{self.target}.awake"

    def __post_init__(self) -> None:
        _check(self)
        words = {"asleep": _ASLEEP, "state": _STATES, "gradient": _GRADIENTS, "gather": (None, True, False)}
        for argument, choices in words.items():
            # a tensor compares value by value
            value = getattr(self, argument)
            if not isinstance(value, str | bool | None) or value not in choices:
                known = ", ".join(map(repr, choices))
                raise ConfigError(f"{describe(self)} needs {argument}= as one of {known}, but got {in_words(value)}")

        if isinstance(self.replay, bool) or not isinstance(self.replay, int) or self.replay < 0:
            raise ConfigError(
                f"{describe(self)} needs replay= as an integer of samples, 0 or more, but got {in_words(self.replay)}"
            )

        if self.stay is not None:
            check_delay(self.stay, f"stay= of {describe(self)}")


_ASLEEP = ("hold", "zero", "none")
_STATES = ("keep", "leak", "reset")
_GRADIENTS = ("straight_through", "expected", "none")

Link: TypeAlias = Transmission | Modulation | Initialisation | Wake


def describe(link: Link) -> str:
    """A link in words, for messages."""
    return f"the link {link.source!r} -> {link.target!r}"


def wake_of(route: "Route") -> Wake:
    """The link of a route that wakes its part."""
    return cast(Wake, route.link)


def trigger_of(link: Link) -> str | None:
    """The signal whose samples start the windows of a link's unit, None without one."""
    return link.unit.window.trigger if link.unit is not None and isinstance(link.unit.window, Since) else None


def _check(link: Link) -> None:
    kind = type(link).__name__
    for role, name in (("source", link.source), ("target", link.target)):
        if not isinstance(name, str):
            raise ConfigError(
                f"a {kind} needs its {role} as the name of an input or part, such as 'snn', but got {in_words(name)}"
            )

    if not isinstance(link.held, bool):
        raise ConfigError(f"{describe(link)} needs held=True or False, but got {in_words(link.held)}")

    for word, value in (("name", link.name), ("context", link.context)):
        if value is not None and not isinstance(value, str):
            raise ConfigError(f"{describe(link)} needs {word}= as text, but got {in_words(value)}")

    check_delay(link.delay, describe(link))
    if link.unit is not None and not isinstance(link.unit, HybridUnit):
        raise ConfigError(
            f"{describe(link)} needs a HybridUnit or None, but got {in_words(link.unit)}{_as_a_unit(link.unit)}"
        )

    if link.context is not None and (link.unit is None or link.unit.nonlinearity is None):
        raise ConfigError(f"{describe(link)} has the context {link.context!r}, but no nonlinearity that could take it")


def _as_a_unit(stage: object) -> str:
    """A hint at the unit that a stage in its place may stand for."""
    name = type(stage).__name__
    places = ((Window, ""), (Discretizer, "None, None, None, "), (Kernel, "None, "), (Stateful, None))
    for kind, before in (*places, (nn.Module, "None, None, ")):
        if isinstance(stage, kind):
            return "" if before is None else f"; did you mean HybridUnit({before}{name}(...))?"

    return ""


def sources_of(link: Link) -> tuple[str, ...]:
    """Every signal that a link reads: its source, the context and the trigger of its unit."""
    return tuple(name for name in (link.source, link.context, trigger_of(link)) if name is not None)


@dataclass(frozen=True, eq=False)
class Route:
    """A link with its name and clocks worked out; the clocks are those of signals, delays count base ticks."""

    name: str
    link: Link
    clock: Clock  # of the unit's output, before the delay
    reads: Clock  # of the values that a sampled target gets, after the delay
    source: Clock
    makes: Clock  # of the ticks at which the unit gives a value: when windows close, or at every step of the source
    delay: int = 0
    context: Clock | None = None
    trigger: Clock | None = None  # of the signal whose samples start windows
    acts_on_a_parameter: bool = False  # of a plain module, and not on a quantity of a neuron
    skips: str | None = None  # flags of a source that gives no value where it is asleep
    num_flags: int = 0  # of a wake: the newest flags, of which one that is set keeps its part awake
    in_step: bool = False  # a wake whose flags come at the ticks of its part

    sampled: bool = field(init=False)  # the target reads one new value at each of its ticks
    direct_source: str | None = field(init=False)  # the source, if its values arrive unchanged in the same tick
    has_initial: bool = field(init=False)  # the target may read an initial value
    sources: tuple[str, ...] = field(init=False)  # every signal that the link reads
    into: str | None = field(init=False)  # the argument of the target that the values become, None for one by position
    path: str = field(init=False)  # of the quantity or state that the link acts on, empty for a transmission
    sets: bool = field(init=False)  # the link sets a state
    by: By = field(init=False)  # how a modulation acts

    def __post_init__(self) -> None:
        link = self.link
        path = link.path if isinstance(link, Modulation | Initialisation) else ""
        by = link.by if isinstance(link, Modulation) else "replace"
        sampled = not path and not link.held
        reads_each = sampled or (self.in_step and self.num_flags == 1)
        is_direct = reads_each and link.into is None and link.unit is None and self.delay == 0 and self.skips is None

        read = sources_of(link)
        # behind the source, since the trigger is the last
        sources = read if self.skips is None else (read[0], self.skips, *read[1:])

        # plain attributes, which execution reads in every tick
        vars(self).update(
            sampled=sampled,
            direct_source=link.source if is_direct else None,
            has_initial=isinstance(link, Transmission) and (link.held or self.delay > 0 or self.skips is not None),
            sources=sources,
            into=link.into,
            path=path,
            sets=isinstance(link, Initialisation),
            by=by,
        )


def settings_of(route: Route) -> str:
    """The settings of a link that are not the default, for a `repr`."""
    link = route.link
    words = ["held"] if link.held else ["sampled"] if isinstance(link, Modulation) else []
    words += [f"delay=ticks({route.delay})"] if route.delay else []

    if isinstance(link, Modulation):
        words.append(f"by={link.by!r}")
    elif isinstance(link, Wake):
        words = [word for word in words if word != "held"] + [f"wakes, asleep={link.asleep!r}"]
    elif isinstance(link, Initialisation):
        words = [word for word in words if word != "held"] + ["sets a state"]
    elif isinstance(link.initial, Tensor):
        words.append(f"initial={tuple(link.initial.shape)}")
    elif link.initial != 0:
        words.append(f"initial={link.initial:g}")

    words += [] if link.into is None else [f"into={link.into!r}"]
    words += [] if link.context is None else [f"context={link.context!r}"]

    return "".join(f", {word}" for word in words)


class LinkState(NamedTuple):
    """The state of a link between two calls."""

    unit: UnitState = UnitState()
    queue: Tensor | None = None  # values not yet delivered, oldest first, `(B, Q, *N)`
    # the newest value delivered, `(B, *N)`, or the initial one, None before a modulation; of a wake the newest flags
    held: Tensor | None = None
    context: Tensor | None = None  # the newest value of the context, `(B, *C)`
    triggered: Tensor | None = None  # true where a trigger waits for the next step of the source, `(B,)`


class SignalSpec(NamedTuple):
    """The shape and dtype of the values of a link, or of a part, and of its context, if any."""

    shape: torch.Size
    dtype: torch.dtype  # of floats, integers, or bool for flags
    context: torch.Size | None = None
    context_dtype: torch.dtype | None = None
    masked: bool = False  # the trigger of the unit's windows is a mask

    def empty(self, like: Tensor) -> Tensor:
        """A signal without values, `(0, B, *N)`, for a stream like a tensor with its batch first."""
        return like.new_empty((0, like.shape[0], *self.shape), dtype=self.dtype)
