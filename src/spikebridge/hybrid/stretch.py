"""A stretch of a stream: groups of parts run in order over all its ticks, loops in spans."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from spikebridge.hybrid.firing import fire
from spikebridge.hybrid.order import Group
from spikebridge.hybrid.route import LinkState
from spikebridge.hybrid.transit import Transit, split_by
from spikebridge.neurons.state import State

if TYPE_CHECKING:
    from spikebridge.hybrid.network import HybridNetwork


@dataclass(slots=True, eq=False)
class Stretch:
    """One run over the ticks from `start` to before `stop`.

    Attributes:
        network: what runs.
        signals: what inputs and parts have given so far, `(K, B, *N)`, None where that is nothing.
        parts: the states of the parts.
        transits: the links by the part that they lead to, in order.
    """

    network: "HybridNetwork"
    start: int
    stop: int
    signals: dict[str, Tensor | None]
    parts: dict[str, State]
    transits: dict[str, list[Transit]]

    @classmethod
    def begin(
        cls,
        network: "HybridNetwork",
        inputs: Mapping[str, Tensor],
        parts: Mapping[str, State],
        links: Mapping[str, LinkState],
        start: int,
        stop: int,
    ) -> "Stretch":
        """A stretch from the states of parts and links."""
        signals = {name: x if (x := inputs.get(name)) is not None and x.shape[0] else None for name in network.inputs}
        transits = {
            part: [Transit.begin(route, network.unit_of(route), links[route.name]) for route in routes]
            for part, routes in network.incoming.items()
        }
        return cls(network, start, stop, signals, dict(parts), transits)

    def run(self) -> None:
        """Runs every group once."""
        for group in self.network.plan.groups:
            spans = group.spans(self.start, self.stop)
            if len(spans) == 1:
                self._run_span(group)
            else:
                self._run_spans(group, spans)

    def links(self) -> dict[str, LinkState]:
        """What the links remember."""
        return {transit.route.name: transit.end() for transits in self.transits.values() for transit in transits}

    def _fire(self, part: str, arrivals: list[Tensor | None], start: int, stop: int) -> Tensor | None:
        network = self.network
        y, self.parts[part] = fire(
            network.parts[part],
            network.plan.clocks[part],
            self.transits[part],
            arrivals,
            self.parts[part],
            start,
            stop,
        )
        return y

    def _run_span(self, group: Group) -> None:
        """Runs a group over all ticks at once."""
        for part in group.parts:
            arrivals = []
            for transit in self.transits[part]:
                if transit.route not in group.late:
                    transit.take_in(self.signals, self.start, self.stop)
                arrivals.append(transit.deliver(self.start, self.stop))
            self.signals[part] = self._fire(part, arrivals, self.start, self.stop)
        for transit in self._late(group):
            transit.take_in(self.signals, self.start, self.stop)

    def _run_spans(self, group: Group, spans: list[tuple[int, int]]) -> None:
        """Runs a loop in spans that end where a delayed link next delivers something made inside the span."""
        clocks = self.network.plan.clocks
        # what comes from outside is taken in whole and cut once
        beside = {
            name: split_by(self.signals[name], [clocks[name].between(a, b) for a, b in spans]) for name in group.beside
        }
        outside: dict[str, list[Tensor | None]] = {}
        for transit in (transit for part in group.parts for transit in self.transits[part]):
            if transit.route not in group.internal:
                transit.take_in(self.signals, self.start, self.stop)
                outside[transit.route.name] = transit.deliver_by(spans)
        late = self._late(group)
        pieces: dict[str, list[Tensor]] = {part: [] for part in group.parts}
        for index, (a, b) in enumerate(spans):
            now = {name: values[index] for name, values in beside.items()}
            for part in group.parts:
                arrivals = []
                for transit in self.transits[part]:
                    if transit.route.name in outside:
                        arrivals.append(outside[transit.route.name][index])
                        continue
                    if transit.route not in group.late:
                        transit.take_in(now, a, b)
                    arrivals.append(transit.deliver(a, b))
                now[part] = y = self._fire(part, arrivals, a, b)
                if y is not None:
                    pieces[part].append(y)
            for transit in late:
                transit.take_in(now, a, b)
        for part, values in pieces.items():
            self.signals[part] = torch.cat(values) if values else None

    def _late(self, group: Group) -> list[Transit]:
        if not group.late:
            return []
        return [transit for part in group.parts for transit in self.transits[part] if transit.route in group.late]
