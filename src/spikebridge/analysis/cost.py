"""What a network costs on real inputs: operations per part and per link, counted and never assumed.

| what | counted as |
|---|---|
| a layer fed by real values | multiply-accumulates: every pair of numbers that meet, zeros at borders too |
| a layer fed by spikes | synaptic operations: every spike times the weights that it meets, exact at borders |
| a Fourier transform of n values | `3 n log2 n` multiply-accumulates, half of it where the values are real |
| a bias | one addition for every value that its layer gives |
| a layer of neurons | one update a neuron and step |
| a gain or a gate | one multiply-accumulate a value |
| a unit's kernel | one multiply-accumulate a value and step; one for every tap where all steps are kept |
| a unit's discretizer | one comparison a value, the larger number of those that go in and come out |
| a layer of another kind | what its `counted` says |

Activation functions, pooling, normalisation and additions of signals are not counted: beside products they are few.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor, nn

from spikebridge.analysis.operations import Operations
from spikebridge.analysis.products import Products
from spikebridge.analysis.visits import Visit, evaluating, is_layer, unwrapped, visiting
from spikebridge.errors import ConfigError, ShapeError
from spikebridge.hybrid import Discretizer, Gain, Gate, HybridNetwork, HybridUnit, Kernel
from spikebridge.hybrid.discretizer import Fire
from spikebridge.neurons import Stateful

Inputs: TypeAlias = Tensor | Mapping[str, Tensor]


@runtime_checkable
class Counted(Protocol):
    """A layer that says itself what it does beside products, such as one of whole numbers."""

    def counted(self, output: Any) -> dict[str, float]:
        """Numbers of operations by their kind (`Operations`) in the call that gave this output."""


@dataclass(frozen=True)
class Cost:
    """Operations a sample.

    Attributes:
        parts: by part; a module that is no hybrid network is one part, "network".
        links: by link, for those with a unit.
        layers: by path of the module that did them.
        num_samples: over how many samples the mean was taken.
        seconds: of signal in each sample, None where there is no clock.
    """

    parts: dict[str, Operations]
    links: dict[str, Operations]
    layers: dict[str, Operations]
    num_samples: int
    seconds: float | None

    @property
    def total(self) -> Operations:
        """All parts and links."""
        return sum([*self.parts.values(), *self.links.values()], Operations())

    @property
    def per_second(self) -> Operations:
        """The total a second of signal.

        Raises:
            ConfigError: the clock is not known.
        """
        if not self.seconds:
            raise ConfigError("the time of the signal is not known; give its step, count_cost(..., dt=0.001)")
        return self.total.scaled(1 / self.seconds)

    def rows(self) -> list[dict[str, Any]]:
        """A table a sample: parts, links, and the sum."""
        rows = {**self.parts, **self.links, "total": self.total}
        return [{"of": name, **vars(operations)} for name, operations in rows.items()]


def count_cost(network: nn.Module, inputs: Inputs, dt: float | None = None) -> Cost:
    """Runs a network once, in evaluation mode, and counts.

    Args:
        network: a hybrid network, a stateful layer or any module.
        inputs: by name for a hybrid network, `(T, B, *N)` for a stateful layer, `(B, *N)` for a plain module.
        dt: step of the clock [s], where the network does not know it.

    Raises:
        ConfigError: a module whose products cannot be seen.

    Example:
        >>> cost = count_cost(nn.Linear(4, 3), torch.full((2, 4), 0.5))
        >>> cost.total.macs, cost.total.adds
        (12.0, 3.0)
        >>> cost = count_cost(nn.Linear(4, 3), torch.tensor([[1.0, 0.0, 1.0, 0.0]]))  # two spikes, three weights each
        >>> cost.total.macs, cost.total.synops
        (0.0, 6.0)
    """
    return _counted(network, lambda: _run(network, inputs, dt))


def count_run(network: nn.Module, run: Callable[[], int]) -> Cost:
    """Counts what modules do while a program of your own runs them, and the products that it makes between them.

    Args:
        network: the modules; those of several things together in an `nn.ModuleDict`.
        run: calls them as it likes; it returns the number of samples over which the mean is taken.

    Raises:
        ConfigError: a module whose products cannot be seen.

    Example:
        >>> twice = nn.Linear(4, 3, bias=False)
        >>> cost = count_run(twice, lambda: len(twice(twice.weight.T @ twice(torch.full((4,), 0.5)))))
        >>> cost.total.scaled(3).macs  # 12 in each call, and 12 between them; the mean of three values
        36.0
    """

    def counted() -> tuple[int, None]:
        return run(), None

    return _counted(network, counted, alone=True)


def _counted(network: nn.Module, run: Callable[[], tuple[int, float | None]], alone: bool = False) -> Cost:
    for path, module in network.named_modules():
        if isinstance(module, nn.RNNBase):
            raise ConfigError(f"the products of {type(module).__name__} at {path!r} cannot be counted; use its cell")
    layers: dict[str, Operations] = {}

    def leave(visit: Visit) -> None:
        operations = _operations_of(visit)
        if operations is not None:
            layers[visit.path] = layers.get(visit.path, Operations()) + operations

    with (
        evaluating(network),
        _attention_in_steps(),
        visiting(network, leave) as visits,
        Products(network, visits) as products,
    ):
        if alone:
            visits.stack.append(Visit("", network, empty=False))
        num_samples, seconds = run()
    for (path, _), product in products.counts.items():
        operations = Operations(synops=product.synops) if product.spikes_only else Operations(macs=product.macs)
        layers[path] = layers.get(path, Operations()) + operations
    if num_samples == 0:
        raise ShapeError("a cost is a mean over samples, but the inputs hold none; give at least one")
    layers = {path: operations.scaled(1 / num_samples) for path, operations in layers.items()}
    parts, links = _by_owner(network, layers)
    return Cost(parts, links, layers, num_samples, seconds)


@contextmanager
def _attention_in_steps() -> Iterator[None]:
    """Without the fast path of attention, whose products run in one piece that nothing sees into."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _run(network: nn.Module, inputs: Inputs, dt: float | None) -> tuple[int, float | None]:
    """One run; the number of samples, and the seconds of each."""
    if isinstance(network, HybridNetwork):
        if not isinstance(inputs, Mapping):
            raise ConfigError("a hybrid network needs its inputs by name, {'frames': ...}, but got one tensor")
        _, state = network(inputs)
        return len(state.like), state.ticks * network.dt
    if not isinstance(inputs, Tensor):
        raise ConfigError(f"{type(network).__name__} needs one tensor, but got {type(inputs).__name__}")
    network(inputs)
    if isinstance(network, Stateful | HybridUnit):
        return inputs.shape[1], None if dt is None else len(inputs) * dt
    return len(inputs), dt


def _operations_of(visit: Visit) -> Operations | None:
    """What a module did beside its products."""
    module, output = visit.module, visit.output
    if isinstance(module, Counted):
        return Operations(**module.counted(output))
    y = output[0] if isinstance(output, tuple) and output else output
    if not isinstance(y, Tensor):
        return None
    num_values = unwrapped(y)[0].numel()
    if isinstance(module, HybridUnit):
        return Operations(macs=_kernel_values(module, visit.args[0], y))
    if isinstance(module, Discretizer):
        return None if isinstance(module, Fire) else Operations(compares=max(num_values, visit.args[0].numel()))
    if isinstance(module, Gain | Gate | Kernel):
        return Operations(macs=num_values)
    if isinstance(module, Stateful):
        return Operations(updates=num_values) if is_layer(module) else None
    if isinstance(module, nn.Linear | nn.modules.conv._ConvNd | nn.Bilinear) and module.bias is not None:
        return Operations(adds=num_values)
    return None


def _kernel_values(unit: HybridUnit, x: Tensor, y: Tensor) -> int:
    """Values that a unit's kernel took in: each of a running signal, each of every window of a cut one."""
    if unit.kernel is None:
        return 0
    num_steps = len(x)
    if unit.form == "cut":
        length = unit.window.length if unit.window is not None else 1
        num_steps = len(y) // unit.outputs_per_window * (length or 1)
    taps = getattr(unit.kernel, "num_taps", 1) if unit.kept else 1
    return num_steps * (x.numel() // max(len(x), 1)) * taps


def _by_owner(
    network: nn.Module, layers: Mapping[str, Operations]
) -> tuple[dict[str, Operations], dict[str, Operations]]:
    if not isinstance(network, HybridNetwork):
        return {"network": sum(layers.values(), Operations())}, {}
    parts = dict.fromkeys(network.parts, Operations())
    links = dict.fromkeys(network.units, Operations())
    for path, operations in layers.items():
        first, *rest = path.split(".")
        if first in parts:
            parts[first] += operations
        elif first == "units" and rest:
            links[rest[0]] += operations
    return parts, links
