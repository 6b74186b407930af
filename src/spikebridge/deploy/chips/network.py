"""A hybrid network with its spiking part on a chip: which parts fit, and what of the others does not.

pair = to_chip(network, inputs, XYLO)       # the SNN in the chip's integers, unit and ANN in floats
fit(pair.network, phases, data)             # retraining, with the chip's steps in the forward pass (optional)
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, prod
from typing import Any, cast

import torch
from torch import Tensor, nn

from spikebridge.deploy.bundle.additions import add_files, inputs_of_same, signals_file
from spikebridge.deploy.bundle.bundle import Bundle, file_name
from spikebridge.deploy.bundle.manifest import ChipRecord
from spikebridge.deploy.bundle.trace import ReferenceTrace, check_stream, record_trace
from spikebridge.deploy.chips.chip import ChipSpec
from spikebridge.deploy.chips.code import InputCode
from spikebridge.deploy.chips.layers import Misfit, misfit_of_kind, refuse, spiking_layers
from spikebridge.deploy.chips.part import ChipPart
from spikebridge.errors import ConfigError, ExportError, did_you_mean
from spikebridge.hybrid import HybridNetwork, Modulation, SignedDelta, Transmission
from spikebridge.hybrid.network.link import Route
from spikebridge.neurons import Stateful


@dataclass(frozen=True)
class ChipPair:
    """A network whose named parts are `ChipPart`s, and the limits that kept others on the host."""

    network: HybridNetwork
    chip: ChipSpec
    misfits: tuple[Misfit, ...] = ()

    @property
    def parts(self) -> dict[str, ChipPart]:
        """The parts on the chip by name."""
        return {name: part for name, part in self.network.parts.items() if isinstance(part, ChipPart)}

    def float_network(self) -> HybridNetwork:
        """The network in floats, with the weights of the pair."""
        draft = copy.deepcopy(self)
        return _with_parts(draft.network, {name: part.original[0] for name, part in draft.parts.items()})

    def placed_in(self, network: HybridNetwork) -> HybridNetwork:
        """A copy of a network with the same parts, for example quantised, with the parts on the chip in it."""
        return _with_parts(copy.deepcopy(network), self.parts)

    def choices(self) -> list[dict[str, Any]]:
        """Shift, weights, thresholds and decays of each layer on the chip."""
        return [row for name, part in self.parts.items() for row in part.choices(name)]


def _with_parts(network: HybridNetwork, parts: Mapping[str, nn.Module]) -> HybridNetwork:
    for name, part in parts.items():
        network.parts[name] = part

    network.forget_shapes()
    return network


def check_parts(network: HybridNetwork, chip: ChipSpec, parts: Sequence[str] = ()) -> None:
    """Refuses parts that are not there and networks without a chain of layers, before one runs."""
    for name in parts:
        if name not in network.parts:
            raise ConfigError(f"there is no part {name!r}; {did_you_mean(name, network.parts)}")

    names = parts or [name for name, part in network.parts.items() if isinstance(part, Stateful)]
    misfits = [misfit_of_kind(network.parts[name], name, chip) for name in names]
    if None not in misfits:
        refuse([one for one in misfits if one is not None])


def to_chip(
    network: HybridNetwork, inputs: Mapping[str, Tensor], chip: ChipSpec, parts: Sequence[str] = ()
) -> ChipPair:
    """A copy of a network with spiking parts in a chip's integers, scaled on a stream.

    Args:
        network: the trained network, which is left as it is.
        inputs: a stream like those of its use, `(T, B, *N)` each.
        chip: the chip.
        parts: parts that go onto the chip; none takes all spiking parts that fit.

    Raises:
        ConfigError: there is no such part.
        ExportError: a named part, or every spiking part, does not fit; the line names layer, limit and number.
    """
    check_stream(inputs)
    check_parts(network, chip, parts)
    draft = copy.deepcopy(network).eval()
    stream = {name: x.detach() for name, x in inputs.items()}
    with torch.no_grad():
        trace = record_trace(draft, stream)

    misfits: list[Misfit] = []
    placed: list[str] = []
    for name in parts or [name for name, part in draft.parts.items() if isinstance(part, Stateful)]:
        found = list(_misfits_of_links(draft, name, chip))
        if placed and chip.read_out:
            found.append(Misfit(name, f"{chip.name} holds one part, here {placed[0]}", "--parts"))

        x = _signal_into(draft, name, stream, trace)
        if x is None or not x.numel():
            misfits += [*found, Misfit(name, f"it has not one input, as {chip.name} takes", "one transmission to it")]
            continue

        part, found = _placed(draft.parts[name], name, x, chip, _limit_into(draft, name), found)
        misfits += found
        if part is not None:
            draft.parts[name] = part
            placed.append(name)

    if parts or not placed:
        refuse(misfits)
    if not placed:
        raise ExportError(f"the network has no spiking part for {chip.name}; its parts are {', '.join(draft.parts)}")

    draft.forget_shapes()
    return ChipPair(draft, chip, tuple(misfits))


def part_on_chip(part: nn.Module, x: Tensor, chip: ChipSpec, name: str = "network") -> ChipPart:
    """A part alone, for example one of `from_nir`, in a chip's integers.

    Args:
        part: a chain of weights and neurons.
        x: counts of spikes `(T, B, *N)` like those of its use, on which scales are chosen; with T of 1 states are
            guessed to reach 8 thresholds.
        chip: the chip.
        name: of the part in messages.

    Raises:
        ExportError: it does not fit; the line names layer, limit and number.
    """
    placed, misfits = _placed(part, name, x, chip)
    refuse(misfits)
    return cast(ChipPart, placed)


def _placed(
    part: nn.Module, name: str, x: Tensor, chip: ChipSpec, limit: int | None = None, found: Sequence[Misfit] = ()
) -> tuple[ChipPart | None, list[Misfit]]:
    """A part with scales for its input, whose counts may have a limit; None if anything was found or does not fit."""
    layers, misfits = spiking_layers(part, name, x[0], chip)
    code = _code_of(x, chip, limit)
    misfits = [*found, *misfits, *_misfits_of_input(name, x, code, chip)]
    if misfits:
        return None, misfits

    placed = ChipPart(chip, part, layers, code)
    if len(x) > 1:
        placed.calibrate(x)

    misfits = placed.misfits(name)
    return None if misfits else placed, misfits


def _incoming(network: HybridNetwork, name: str) -> list[Route]:
    return [route for route in network.incoming[name] if isinstance(route.link, Transmission)]


def _signal_into(
    network: HybridNetwork, name: str, inputs: Mapping[str, Tensor], trace: ReferenceTrace
) -> Tensor | None:
    """The signal that a part reads, if there is one."""
    routes = _incoming(network, name)
    if len(routes) != 1 or routes[0].link.into is not None:
        return None

    link = routes[0].link
    if link.unit is not None:
        return trace.links[routes[0].name]
    return inputs[link.source] if link.source in inputs else trace.parts[link.source]


def _misfits_of_input(name: str, x: Tensor, code: InputCode, chip: ChipSpec) -> Iterator[Misfit]:
    if not bool((x == x.round()).all()):
        odd = x[x != x.round()][0]
        nearest = "a unit with a discretizer before it, such as SignedDelta"
        yield Misfit(name, f"it reads {odd:.4g}, but {chip.name} takes whole spikes", nearest)
    elif code.channels > chip.inputs:
        limit = f"{code.channels} channels for {prod(code.shape)} inputs, but {chip.name} has {chip.inputs}"
        yield Misfit(name, limit, f"{chip.inputs // code.repeats} inputs")


def _misfits_of_links(network: HybridNetwork, name: str, chip: ChipSpec) -> Iterator[Misfit]:
    for route in network.incoming[name]:
        if isinstance(route.link, Modulation):
            limit = f"modulated by the link {route.name!r}, but {chip.name} has no modulated quantity"
            yield Misfit(route.link.target, limit, "a transmission of spikes to input channels that are free")
        elif route.once:
            limit = f"the link {route.name!r} acts once, but {chip.name} reads its input in every step"
            yield Misfit(name, limit, "a transmission without once=True")

    if name in network.plan.ports:
        yield Misfit(name, f"its state is read or set, but {chip.name} keeps it", "a part whose state is its own")
    if name in network.plan.wakes:
        yield Misfit(name, f"it is woken, but {chip.name} runs every step", "a part without a wake")


def _limit_into(network: HybridNetwork, name: str) -> int | None:
    """The largest count of the signal that a part reads, where the discretizer before it has a limit."""
    unit: Any = network.unit_of(_incoming(network, name)[0])
    discretizer = None if unit is None else unit.discretizer
    return discretizer.limit if isinstance(discretizer, SignedDelta) else None


def _code_of(x: Tensor, chip: ChipSpec, limit: int | None) -> InputCode:
    """The channels for the counts of a signal; one with a limit has both signs."""
    highest = int(x.abs().max()) if limit is None else limit
    copies = max(1, ceil(highest / chip.max_input_spikes))
    signed = limit is not None or bool((x < 0).any())

    return InputCode(tuple(x.shape[2:]), signed, copies, chip.max_input_spikes)


def add_chip(bundle: Bundle, pair: ChipPair) -> Bundle:
    """Writes the parts on a chip into the bundle of the same network in floats, whole or not at all.

    Args:
        bundle: the opened bundle of `pair.float_network()`.
        pair: the network with its parts on the chip.

    Returns:
        The bundle, opened again.

    Raises:
        ExportError: the bundle is of another network or other weights, or has parts on this chip.
    """
    manifest = bundle.manifest
    name = pair.chip.name
    if manifest.start is not None:
        raise ExportError(f"{bundle.path} starts from a state of its own, but {name} starts at rest")
    if any(record.name == name for record in manifest.chips):
        raise ExportError(f"{bundle.path} has parts on {name} already; export the network again for others")

    inputs = inputs_of_same(bundle, pair.float_network())
    contents = {"sample.safetensors": signals_file(pair.network, inputs, manifest.sample.ticks)}
    folder = f"chips/{name}"
    stems = {}
    for key, part in pair.parts.items():
        step = pair.network.dt * pair.network.clock_of(key).period
        stems[key] = f"{folder}/{file_name(key)}"
        contents |= {f"{file_name(key)}.{suffix}": one for suffix, one in part.model(key, step).files().items()}

    record = ChipRecord(name, stems, f"{folder}/sample.safetensors")
    return add_files(bundle, folder, contents, chips=(*manifest.chips, record))
