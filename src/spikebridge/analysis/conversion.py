"""Conversion of a trained ANN: its first layers become a spiking network, the others stay, linked by hybrid units.

    x -> [first product] -- Hold(T) --> [IF, product, IF, ...] -- mean of T steps --> [other layers] -> y

The first product reads real numbers, so it is computed once and its result is held as the current of the first spiking
layer. A ReLU becomes neurons that integrate and fire T steps; their rate times their threshold is the activation, with
T + 1 levels. The threshold of a channel has the least squared error of these levels, or is a percentile of the
activations (B. Rueckauer et al., Frontiers in Neuroscience 11:682, 2017). A membrane begins at half of it, which rounds
to the nearest level (S. Deng and S. Gu, ICLR 2021). `hybridise` measures accuracy and energy of every choice of layers.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from spikebridge.analysis.cost import count_cost
from spikebridge.analysis.energy import HardwareProfile, energy, hardware_profile
from spikebridge.errors import ConfigError, in_words, is_integer, is_positive
from spikebridge.hybrid import Hold, HybridNetwork, HybridUnit, Mean, Transmission, Tumbling, every
from spikebridge.neurons import IF, Sequential

_PRODUCTS = (nn.Linear, nn.Conv1d, nn.Conv2d)
_LINEAR = (*_PRODUCTS, nn.AvgPool1d, nn.AvgPool2d, nn.Flatten, nn.Identity)  # of spikes as of their mean
_DT = 0.001  # s


def convert(
    ann: nn.Sequential,
    inputs: Float[Tensor, "B *N"],
    *,
    steps: int = 8,
    layers: int | None = None,
    percentile: float | None = None,
    dt: float = _DT,
) -> HybridNetwork:
    """A hybrid network whose first layers spike, with the weights of a trained ANN.

    Args:
        ann: linear layers, convolutions, average pools, batch norms and ReLUs in a row; after the last layer that
            spikes any module may stand.
        inputs: examples, by which the thresholds are set.
        steps: steps T of the spiking part for one input.
        layers: number of ReLUs, from the first, that become spiking neurons; None takes all.
        percentile: percentile of a channel's positive activations that is its threshold; a larger activation saturates.
            None takes the threshold with the least squared error of the activations.
        dt: length of a step [s].

    Returns:
        A network with the input "x" every `steps * dt`, the parts "encoder", "snn" and "ann", and the output "ann".

    Raises:
        ConfigError: a layer that spikes cannot replace, too many layers, or a number out of range.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> ann = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
        >>> x = torch.rand(32, 8)
        >>> outputs, _ = convert(ann, x, steps=64)({"x": x[None]})
        >>> (outputs["ann"][0] - ann(x)).abs().max().item() < 0.05
        True
    """
    _check_numbers(steps, layers, percentile)
    if not is_positive(dt):
        raise ConfigError(f"convert needs dt > 0 s, but got {in_words(dt)}")

    stack = _stack_of(ann)
    relus = _relus_of(stack, layers)
    return _converted(stack, relus, _thresholds(stack, relus, inputs, steps, percentile), steps, dt)


def _check_numbers(steps: int, layers: int | None, percentile: float | None) -> None:
    for name, value in (("steps", steps), ("layers", layers)):
        if value is not None and (not is_integer(value) or value < 1):
            raise ConfigError(f"convert needs {name} as an integer above 0, but got {in_words(value)}")
    if percentile is not None and not 0 < percentile <= 100:
        raise ConfigError(f"convert needs a percentile above 0 and up to 100, but got {in_words(percentile)}")


def _converted(
    stack: Sequence[nn.Module], relus: Sequence[int], thresholds: Sequence[Tensor], steps: int, dt: float
) -> HybridNetwork:
    """The network in which neurons with some thresholds stand for some ReLUs of a stack of layers."""
    encoder = nn.Sequential(*copy.deepcopy(stack[: relus[0]]))
    spiking = _spiking(stack[relus[0] : relus[-1] + 1], thresholds)
    rest = nn.Sequential(*_scaled(stack[relus[-1] + 1 :], thresholds[-1]))

    return HybridNetwork(
        dt=dt,
        inputs={"x": every(steps * dt)},
        parts={"encoder": encoder, "snn": spiking, "ann": rest},
        links=[
            Transmission("x", "encoder"),
            Transmission("encoder", "snn", HybridUnit(Hold(steps))),
            Transmission("snn", "ann", HybridUnit(Tumbling(steps), Mean())),
        ],
        outputs=["ann"],
    )


@dataclass(frozen=True)
class Conversion:
    """A conversion as it was measured.

    Attributes:
        layers: ReLUs that became spiking neurons; 0 is the ANN.
        steps: steps of the spiking part; 0 is the ANN.
        score: the score of its outputs, higher is better.
        energy: energy of one input [J].
        network: the network.
    """

    layers: int
    steps: int
    score: float
    energy: float
    network: nn.Module


def hybridise(
    ann: nn.Sequential,
    inputs: Float[Tensor, "B *N"],
    score: Callable[[Tensor], float],
    *,
    budget: float | None = None,
    steps: Sequence[int] = (2, 4, 8, 16),
    percentile: float | None = None,
    profile: HardwareProfile | None = None,
) -> list[Conversion]:
    """Measures every conversion of an ANN, and keeps those that no other one beats in score and in energy.

    Args:
        ann: see `convert`; the layers before the first one that cannot spike are tried.
        inputs: examples that set the thresholds and are scored; other examples give an unbiased score of the choice.
        score: a number for the outputs `(B, *M)`, higher is better, such as an accuracy.
        budget: largest energy of one input [J]; None keeps all.
        steps: numbers of steps that are tried.
        percentile: see `convert`.
        profile: energy of single operations; None takes the 45 nm profile.

    Returns:
        The front, from the least energy to the highest score; the last one has the highest score within the budget.

    Raises:
        ConfigError: no layer can spike, or the budget is below the energy of every conversion.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> ann = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
        >>> x = torch.rand(32, 8)
        >>> labels = ann(x).argmax(-1)
        >>> front = hybridise(ann, x, lambda y: (y.argmax(-1) == labels).float().mean().item())
        >>> front[-1].layers, front[-1].score
        (0, 1.0)
    """
    if budget is not None and not is_positive(budget):
        raise ConfigError(f"hybridise needs a budget > 0 J, but got {in_words(budget)}")

    prices = profile or hardware_profile()
    stack = _stack_of(ann)
    relus = _convertible(stack)
    if not relus:
        raise ConfigError(f"no layer of the ANN can spike: {_refusal(stack)}")

    plain = nn.Sequential(*stack)
    tried = [_measured(0, 0, plain, inputs, score, prices)]
    for number in steps:
        _check_numbers(number, None, percentile)
        thresholds = _thresholds(stack, relus, inputs, number, percentile)
        for layers in range(1, len(relus) + 1):
            network = _converted(stack, relus[:layers], thresholds[:layers], number, _DT)
            tried.append(_measured(layers, number, network, inputs, score, prices))

    affordable = [one for one in tried if budget is None or one.energy <= budget]
    if not affordable:
        least = min(one.energy for one in tried)
        raise ConfigError(f"no conversion needs less than {least:.3g} J an input, but the budget is {budget:.3g} J")

    return _front(affordable)


def _front(conversions: Sequence[Conversion]) -> list[Conversion]:
    """Those with a higher score than all that need at most their energy."""
    front: list[Conversion] = []
    for one in sorted(conversions, key=lambda one: (one.energy, -one.score)):
        if not front or one.score > front[-1].score:
            front.append(one)

    return front


def _measured(
    layers: int,
    steps: int,
    network: nn.Module,
    inputs: Tensor,
    score: Callable[[Tensor], float],
    profile: HardwareProfile,
) -> Conversion:
    made: list[Any] = []
    handle = network.register_forward_hook(lambda module, arguments, outputs: made.append(outputs))
    # the run that is counted gives the outputs, too
    with torch.no_grad():
        cost = count_cost(network, {"x": inputs.unsqueeze(0)} if layers else inputs)
        handle.remove()
        y = made[-1][0]["ann"][0] if layers else made[-1]
        value = float(score(y))

    return Conversion(layers, steps, value, energy(cost, profile).total, network)


def _stack_of(ann: nn.Sequential) -> list[nn.Module]:
    """The layers of an ANN in a row, as they are in evaluation: batch norms folded, dropouts left out."""
    if not isinstance(ann, nn.Sequential):
        raise ConfigError(f"a conversion needs an ANN as nn.Sequential(...), but got {in_words(ann)}")

    stack: list[nn.Module] = []
    for layer in _flat(copy.deepcopy(ann).eval()):
        before = stack[-1] if stack else None
        if isinstance(layer, nn.BatchNorm1d) and isinstance(before, nn.Linear):
            stack[-1] = fuse_linear_bn_eval(before, layer)
        elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) and isinstance(before, nn.Conv1d | nn.Conv2d):
            stack[-1] = fuse_conv_bn_eval(before, layer)
        elif not isinstance(layer, nn.Dropout | nn.Dropout1d | nn.Dropout2d):
            stack.append(layer)

    return stack


def _flat(ann: nn.Sequential) -> Iterator[nn.Module]:
    for layer in ann:
        if isinstance(layer, nn.Sequential):
            yield from _flat(layer)
        else:
            yield layer


def _convertible(stack: Sequence[nn.Module]) -> list[int]:
    """The places of the ReLUs, from the first one, that can become spiking neurons."""
    relus: list[int] = []
    for index, layer in enumerate(stack):
        has_product = any(isinstance(other, _PRODUCTS) for other in stack[relus[-1] + 1 if relus else 0 : index])
        if isinstance(layer, nn.ReLU) and has_product:
            relus.append(index)
        elif not isinstance(layer, _LINEAR):
            break

    return relus


def _refusal(stack: Sequence[nn.Module]) -> str:
    """The first layer that spikes cannot replace or pass, in words."""
    for layer in stack:
        if not isinstance(layer, (*_LINEAR, nn.ReLU)):
            return f"{type(layer).__name__} is neither linear nor a ReLU; an average pool may replace a maximum pool"

    return "it needs a ReLU behind a linear layer or a convolution"


def _relus_of(stack: Sequence[nn.Module], layers: int | None) -> list[int]:
    relus = _convertible(stack)
    num_relus = sum(isinstance(layer, nn.ReLU) for layer in stack)
    wanted = num_relus if layers is None else layers
    if wanted > len(relus) or not relus:
        raise ConfigError(
            f"{wanted} of the {num_relus} ReLUs should spike, but {len(relus)} can: {_refusal(stack)}; choose layers="
        )

    return relus[:wanted]


def _thresholds(
    stack: Sequence[nn.Module], relus: Sequence[int], inputs: Tensor, steps: int, percentile: float | None
) -> list[Tensor]:
    """The threshold of each channel, `(C, 1, ...)`, behind each ReLU."""
    thresholds = []
    x = inputs
    with torch.no_grad():
        for index, layer in enumerate(stack[: relus[-1] + 1]):
            x = layer(x)
            if index in relus:
                channels = x.movedim(1, 0).flatten(1)
                values = _best_levels(channels, steps) if percentile is None else _percentiles(channels, percentile)
                # a channel that is silent on the examples may have any threshold
                values = torch.where(values > 0, values, 1.0)
                thresholds.append(values.reshape(-1, *[1] * (x.ndim - 2)))

    return thresholds


def _percentiles(channels: Tensor, percentile: float) -> Tensor:
    """A percentile of the positive values of each channel `(C, M)`, 0 without one."""
    positive = [channel[channel > 0].cpu().numpy() for channel in channels]
    return channels.new_tensor([np.percentile(one, percentile) if len(one) else 0.0 for one in positive])


def _best_levels(channels: Tensor, steps: int) -> Tensor:
    """The largest of `steps` levels that are nearest to the values of each channel `(C, M)`, by their squared error."""
    largest = channels.amax(1, keepdim=True)
    shares = torch.linspace(0.1, 1.0, 37).tolist()
    errors = []
    for share in shares:
        level = (largest * share / steps).clamp(min=torch.finfo(channels.dtype).tiny)
        rounded = (channels / level + 0.5).floor().clamp(max=steps) * level
        errors.append((rounded - channels).square().sum(1))

    best = torch.stack(errors).argmin(0).cpu()
    return largest[:, 0] * channels.new_tensor(shares)[best]


def _spiking(stack: Sequence[nn.Module], thresholds: Sequence[Tensor]) -> Sequential:
    """The layers from the first ReLU that spikes to the last one."""
    layers: list[nn.Module] = []
    pending: list[nn.Module] = []
    remaining = iter(thresholds)
    threshold: Tensor | None = None
    for layer in stack:
        if not isinstance(layer, nn.ReLU):
            pending.append(layer)
            continue

        layers += pending if threshold is None else _scaled(pending, threshold)
        pending = []
        threshold = next(remaining)
        layers.append(IF(v_threshold=threshold, v_leak=threshold / 2, reset="subtract"))

    return Sequential(*layers)


def _scaled(stack: Sequence[nn.Module], threshold: Tensor) -> list[nn.Module]:
    """Layers that read spikes in place of activations: the first product takes the thresholds into its weights."""
    layers = [copy.deepcopy(layer) for layer in stack]
    for index, layer in enumerate(layers):
        if isinstance(layer, _PRODUCTS):
            _scale_inputs(layer, threshold.flatten())
            return layers
        if not isinstance(layer, _LINEAR):
            return [*layers[:index], _Scale(threshold), *layers[index:]]

    return [*layers, _Scale(threshold)]


def _scale_inputs(layer: nn.Linear | nn.Conv1d | nn.Conv2d, factors: Tensor) -> None:
    """Multiplies the weights of each input channel by its factor."""
    weight = layer.weight
    groups = 1 if isinstance(layer, nn.Linear) else layer.groups
    # a flattened picture has several values of each channel side by side
    factors = factors.repeat_interleave(weight.shape[1] * groups // len(factors))
    by_group = factors.reshape(groups, 1, weight.shape[1], *[1] * (weight.ndim - 2))
    with torch.no_grad():
        weight.copy_((weight.unflatten(0, (groups, -1)) * by_group).flatten(0, 1))


class _Scale(nn.Module):
    """A constant factor for each channel."""

    factor: Tensor

    def __init__(self, factor: Tensor) -> None:
        super().__init__()
        self.register_buffer("factor", factor)

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x
