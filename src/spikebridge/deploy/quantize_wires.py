"""Which grid a signal has on its way: that of what made it, carried along every link to what reads it."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from spikebridge.deploy.bundle_recording import Recording
from spikebridge.deploy.quantize_config import Quantization, Region
from spikebridge.deploy.quantize_grid import Grid, Quantizer
from spikebridge.deploy.quantize_parts import QuantizedModule, QuantizedPart
from spikebridge.deploy.quantize_program import Program
from spikebridge.deploy.quantize_units import QuantizedUnit
from spikebridge.errors import ExportError
from spikebridge.hybrid import HybridNetwork, Modulation
from spikebridge.hybrid.route import Route


def program_of(part: object) -> Program | None:
    """The program of a quantised part, None of another."""
    return part.program if isinstance(part, QuantizedModule | QuantizedPart) else None


def argument_of(network: HybridNetwork, route: Route) -> str:
    """The input of the target's program that a transmission leads to."""
    if route.into is not None:
        return route.into
    unnamed = [r for r in network.incoming[route.link.part] if not isinstance(r.link, Modulation) and r.into is None]
    return f"#{unnamed.index(route)}"


class Wires:
    """The signals of a network, recorded before it was quantised.

    Args:
        network: whose parts and units are being replaced.
        inputs: the stream.
        recorded: what parts and units gave on it.
        config: regions.
    """

    def __init__(
        self, network: HybridNetwork, inputs: Mapping[str, Tensor], recorded: Recording, config: Quantization
    ) -> None:
        self.network, self.inputs, self.recorded, self.config = network, inputs, recorded, config
        self.outside: dict[str, Grid] = {}  # of inputs, and of what stays real

    def signal(self, name: str) -> Tensor:
        """An input or a part's output, `(K, B, *N)`."""
        x = self.inputs.get(name, self.recorded.parts.get(name))
        if x is None or not len(x):
            raise ExportError(f"{name!r} never comes in the stream to calibrate on; give a longer one")
        return x

    def carried(self, route: Route) -> Tensor:
        """What a link brings, `(K, B, *N)`."""
        if route.link.unit is None:
            return self.signal(route.link.source)
        x = self.recorded.links.get(route.name)
        if x is None or not len(x):
            raise ExportError(
                f"the link {route.name!r} brings nothing in the stream to calibrate on; give a longer one"
            )
        return x

    def arguments(self, part: str) -> tuple[list[Tensor], dict[str, Tensor]]:
        """One step of what a part takes, by position and by name."""
        routes = [route for route in self.network.incoming[part] if not isinstance(route.link, Modulation)]
        return (
            [self.carried(route)[0] for route in routes if route.into is None],
            {route.into: self.carried(route)[0] for route in routes if route.into is not None},
        )

    def check(self) -> None:
        """Refuses modulation that would reach a quantised layer as anything but a grid."""
        for route in self.network.routes:
            if isinstance(route.link, Modulation) and program_of(self.network.parts[route.link.part]) is not None:
                self.carried(route)

    def settle(self) -> None:
        """Every grid is chosen and told to those who read it."""
        network = self.network
        programs = {name: found for name, part in network.parts.items() if (found := program_of(part)) is not None}
        units = {name: unit for name, unit in network.units.items() if isinstance(unit, QuantizedUnit)}
        stages: list[Program | QuantizedUnit] = [*programs.values(), *units.values()]
        for stage in stages:
            stage.settle()
        for route in network.routes:
            program = programs.get(route.link.part)
            if route.name in units:
                context = route.link.context
                region = self._region(f"units.{route.name}")
                second = None if context is None else self._source(context, region)
                units[route.name].begin(self._source(route.link.source, region), second)
            if program is None:
                continue
            if isinstance(route.link, Modulation):
                node, _, quantity = route.link.path.rpartition(".")
                layer = program.layers[program.layer_at(node)]
                quantizer = Quantizer.of(layer.region)
                quantizer.take(self.link_grid(route, layer.region))
                layer.effects.setdefault(quantity, []).append(quantizer)
            else:
                entry = program._entry(argument_of(network, route))
                entry.take(self.link_grid(route, _region_of(entry)))
        for program in programs.values():
            program.begin()

    def link_grid(self, route: Route, region: Region) -> Grid:
        """The grid of what a link brings."""
        unit: Any = self.network.unit_of(route)
        if unit is not None and not isinstance(unit, QuantizedUnit):
            return self._outside(route.name, self.carried(route), region)
        if unit is not None and unit.out is not None:
            out: Quantizer = unit.out
            return out.grid
        return self._source(route.link.source, region)

    def _source(self, name: str, region: Region) -> Grid:
        program = program_of(self.network.parts[name]) if name in self.network.parts else None
        if program is None:
            return self._outside(name, self.signal(name), region)
        entry = program.entry_of(program.out)
        if entry is None:
            return program.out.grid
        routes = [r for r in self.network.incoming[name] if not isinstance(r.link, Modulation)]
        return self.link_grid(next(r for r in routes if argument_of(self.network, r) == entry), region)

    def _outside(self, name: str, x: Tensor, region: Region) -> Grid:
        if name not in self.outside:
            quantizer = Quantizer.of(region)
            quantizer.observe(x.to(torch.float32))
            quantizer.settle()
            self.outside[name] = quantizer.grid
        return self.outside[name]

    def _region(self, path: str) -> Region:
        stages = ("", ".kernel", ".nonlinearity", ".discretizer")
        return next(found for stage in stages if (found := self.config.region(f"{path}{stage}")) is not None)


def _region_of(quantizer: Quantizer) -> Region:
    return Region(activations=quantizer.bits, power_of_two=quantizer.power_of_two)
