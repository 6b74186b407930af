"""The layers of a spiking part, and what of them does not fit a chip."""

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from spikebridge.deploy.chips.chip import ChipSpec
from spikebridge.deploy.nir.reader import NirPart
from spikebridge.errors import ExportError
from spikebridge.neurons import LIF, CubaLIF, Sequential
from spikebridge.neurons.stateless import over_time

_WEIGHTS = (nn.Linear, nn.Conv1d, nn.Conv2d)
_IGNORED = (nn.Flatten, nn.Dropout, nn.Identity)


class ChainLayer(NamedTuple):
    """Weights and neurons, with the shapes of one step before and after them."""

    name: str
    weights: Any
    neurons: LIF | CubaLIF
    source_shape: tuple[int, ...]
    shape: tuple[int, ...]

    @property
    def fan_in(self) -> int:
        """Connections to a neuron."""
        return int(self.weights.weight[0].numel())


class Misfit(NamedTuple):
    """A limit of a chip that a layer exceeds, and the nearest thing that fits."""

    layer: str
    limit: str
    nearest: str

    def __str__(self) -> str:
        return f"{self.layer}: {self.limit}; nearest: {self.nearest}"


def refuse(misfits: Sequence[Misfit]) -> None:
    """Raises an `ExportError` in one line for what does not fit, if anything."""
    if misfits:
        raise ExportError(" | ".join(str(one) for one in misfits))


def misfit_of_kind(part: nn.Module, path: str, chip: ChipSpec) -> Misfit | None:
    """The misfit of a part that is no chain of layers."""
    if isinstance(part, Sequential | NirPart):
        return None

    nearest = "a Sequential of Linear or Conv2d and neurons"
    return Misfit(path, f"{type(part).__name__} is no chain of layers, as {chip.name} takes", nearest)


def spiking_layers(part: nn.Module, path: str, x_t: Tensor, chip: ChipSpec) -> tuple[list[ChainLayer], list[Misfit]]:
    """The layers of a chain of weights and neurons, for steps `(B, *N)`, and what of them does not fit."""
    misfit = misfit_of_kind(part, path, chip)
    if misfit is not None:
        return [], [misfit]

    layers = []
    misfits = list(_branches(part, path))
    weights: Any = None
    shape = source_shape = tuple(x_t.shape[1:])
    signal = x_t[:1].unsqueeze(0)

    for name, layer in _named_layers(part):
        where = f"{path}.{name}"
        if isinstance(layer, _WEIGHTS) and weights is None:
            source_shape = tuple(signal.shape[2:])
            weights = layer
        elif isinstance(layer, LIF | CubaLIF) and weights is not None:
            shape = tuple(signal.shape[2:])
            layers.append(ChainLayer(name, weights, layer, source_shape, shape))
            weights = None
        elif not isinstance(layer, _IGNORED):
            nearest = "LIF or CubaLIF after each Linear or Conv2d; other layers stay on the host"
            misfits.append(Misfit(where, f"{type(layer).__name__} has no form on {chip.name}", nearest))
            return layers, misfits

        with torch.no_grad():
            out: Any = layer(signal) if isinstance(layer, LIF | CubaLIF) else (over_time(layer, signal), None)
        signal = out[0].reshape(out[0].shape)

    if weights is not None or not layers:
        misfits.append(
            Misfit(path, f"it does not end with neurons, and {chip.name} sends spikes", "neurons at its end")
        )

    for position, one in enumerate(layers):
        misfits += _misfits_of(one, chip, path, is_first=position == 0, is_last=position == len(layers) - 1)

    return layers, misfits + list(_misfits_of_all(layers, chip, path))


def _named_layers(part: Any) -> list[tuple[str, nn.Module]]:
    if isinstance(part, NirPart):
        return [(node.name, layer) for node, layer in zip(part.graph.nodes, part.layers, strict=True)]
    return list(part.named_children())


def _branches(part: Any, path: str) -> Iterator[Misfit]:
    """The nodes of a NIR graph that do not read the node before them alone."""
    if not isinstance(part, NirPart):
        return

    before = part.graph.input
    for node in part.graph.nodes:
        if node.sources != (before,) or node.delayed:
            limit = f"it reads {', '.join((*node.sources, *node.delayed))}, not {before} alone"
            yield Misfit(f"{path}.{node.name}", limit, "a chain of layers")

        before = node.name


def _misfits_of(layer: ChainLayer, chip: ChipSpec, path: str, *, is_first: bool, is_last: bool) -> Iterator[Misfit]:
    where = f"{path}.{layer.name}"
    neurons = layer.neurons
    kind = type(neurons).__name__
    if chip.needs_synapse and not isinstance(neurons, CubaLIF):
        limit = f"{kind} has no synaptic current, and that of {chip.name} halves in a step at the fastest"
        yield Misfit(where, limit, f"CubaLIF(tau_syn={1.4427 * (neurons.dt or 1.0):.4g}, reset={chip.reset!r})")

    if neurons.reset != chip.reset:
        yield Misfit(where, f"reset {neurons.reset!r}, but {chip.name} has {chip.reset!r}", f"reset={chip.reset!r}")

    for name in ("v_reset", "v_leak"):
        value = float(torch.as_tensor(getattr(neurons, name)).abs().max())
        if value and not (name == "v_reset" and neurons.reset != "zero"):
            yield Misfit(where, f"{name} {value:.4g}, but {chip.name} has 0", f"{name}=0")

    lowest = float(torch.as_tensor(neurons.v_threshold).min())
    if lowest <= 0:
        yield Misfit(where, f"threshold {lowest:.4g}, but {chip.name} has 1 or more", "a threshold above 0")

    if getattr(neurons, "refractory_time", 0):
        limit = f"{neurons.refractory} refractory steps, but {chip.name} is used with none"
        yield Misfit(where, limit, "refractory=0")

    if not isinstance(layer.weights, nn.Linear):
        yield from _misfits_of_convolution(layer, chip, where)
    if chip.fan_in is not None and layer.fan_in > chip.fan_in:
        yield Misfit(
            where, f"{layer.fan_in} connections to a neuron, but {chip.name} has {chip.fan_in}", "fewer inputs"
        )

    number = prod(layer.shape)
    if chip.fan_out is not None and not is_first and not (is_last and chip.read_out) and number > chip.fan_out:
        limit = f"a hidden neuron leads to {number} others, but on {chip.name} to {chip.fan_out}"
        yield Misfit(where, limit, f"a layer of {chip.fan_out} neurons")

    if is_last and chip.outputs is not None and number > chip.outputs:
        nearest = f"a last layer of {chip.outputs} neurons"
        yield Misfit(where, f"{number} neurons are read out, but {chip.name} has {chip.outputs} outputs", nearest)

    finite = bool(torch.isfinite(layer.weights.weight).all())
    if not finite:
        yield Misfit(where, "weights that are not finite", "train it again")


def _misfits_of_convolution(layer: ChainLayer, chip: ChipSpec, where: str) -> Iterator[Misfit]:
    if not chip.convolutions:
        yield Misfit(where, f"a convolution, which {chip.name} does not have", "Linear")
    if layer.weights.groups != 1 or layer.weights.padding_mode != "zeros" or isinstance(layer.weights.padding, str):
        yield Misfit(where, "a convolution in groups, or with another padding than zeros", "groups=1, padding of zeros")
    if any(torch.as_tensor(getattr(layer.neurons, name)).numel() > 1 for name in ("v_threshold", "r")):
        yield Misfit(where, "quantities of each neuron after a convolution, whose weights they share", "one for all")


def _misfits_of_all(layers: Sequence[ChainLayer], chip: ChipSpec, path: str) -> Iterator[Misfit]:
    if chip.read_out and len(layers) == 1:
        yield Misfit(path, f"1 layer, but {chip.name} has hidden and read-out neurons", "2 layers")

    hidden = sum(prod(layer.shape) for layer in (layers[:-1] if chip.read_out else layers))
    if hidden > chip.neurons:
        yield Misfit(path, f"{hidden} neurons, but {chip.name} has {chip.neurons}", f"{chip.neurons} neurons")

    size = sum(prod(layer.shape) * layer.fan_in for layer in layers)
    if chip.memory is not None and size > chip.memory:
        yield Misfit(path, f"{size} bytes of weights, but {chip.name} has {chip.memory}", "smaller layers")
