"""Routes: links with their clocks, and what they remember."""

from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

from spikebridge.hybrid.clock import Clock
from spikebridge.hybrid.link import Link, Transmission, trigger_of
from spikebridge.hybrid.unit import UnitState


@dataclass(frozen=True, eq=False)
class Route:
    """A link with its name and clocks worked out.

    Attributes:
        clock: of the unit's output, before the delay.
        reads: of the values that a sampled target gets, after the delay.
        source: of the source.
        makes: of the ticks at which the unit gives something out: when windows close, or at every step of the source.
        context: of the context, None without one.
        trigger: of the signal at whose samples windows open, None without one.
        acts_on_a_parameter: whether it modulates a parameter of a plain module, and not a quantity of a neuron.
        sampled: whether the target reads one value at each of its ticks, an initial one too.
        into: the argument of the target that a transmission becomes, None for one by position.
        prompt: whether the target reads every value as it is, at once.
        begins: whether the target may read an initial value.
    """

    name: str
    link: Link
    clock: Clock
    reads: Clock
    source: Clock
    makes: Clock
    context: Clock | None = None
    trigger: Clock | None = None
    acts_on_a_parameter: bool = False
    sampled: bool = field(init=False)
    into: str | None = field(init=False)
    prompt: bool = field(init=False)
    begins: bool = field(init=False)

    def __post_init__(self) -> None:
        link = self.link
        sampled = isinstance(link, Transmission) and not link.held
        into = link.into if isinstance(link, Transmission) else None
        prompt = sampled and into is None and link.unit is None and link.delay == 0
        begins = isinstance(link, Transmission) and (link.held or link.delay > 0)
        for name, value in (("sampled", sampled), ("into", into), ("prompt", prompt), ("begins", begins)):
            object.__setattr__(self, name, value)

    @property
    def sources(self) -> list[str]:
        """Every signal that must be there before the unit can run."""
        return [n for n in (self.link.source, self.link.context, trigger_of(self.link)) if n is not None]


class LinkState(NamedTuple):
    """What a link remembers.

    Attributes:
        unit: the state of its unit.
        queue: values on the way, oldest first, `(B, Q, *N)`; their stamps follow from the clock.
        held: the newest value that has arrived, `(B, *N)`; the initial one before, None where that means absence.
        context: the newest value of the context, `(B, *C)`.
        triggered: whether a trigger waits for the next step of the source, `(B,)`.
    """

    unit: UnitState = UnitState()
    queue: Tensor | None = None
    held: Tensor | None = None
    context: Tensor | None = None
    triggered: Tensor | None = None
