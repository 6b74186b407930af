"""The operations of a network on real inputs, per part and per link: counted while it runs, never assumed.

| element | counted as |
|---|---|
| a layer with real inputs | multiply-accumulates: every pair of numbers that is multiplied, padding included |
| a layer with spike inputs | synaptic operations: every spike times the weights that it meets, exact at borders |
| a product of complex numbers | four products of real ones |
| a Fourier transform of n values | `3 n log2 n` multiply-accumulates (radix two), half of it for real values |
| a bias | one addition for every output value |
| a layer of neurons | one update a neuron and step |
| a gain or a gate | one multiply-accumulate a value |
| a unit's kernel | one multiply-accumulate a value and step; one for every tap if all steps are kept |
| a unit's discretizer | one comparison a value, the larger number of inputs and outputs |
| a layer of another kind | the return value of its method `counted` |

Activation functions, pooling, normalisation and additions of signals are not counted: they are few in comparison with
products. Products are counted where they happen, below `torch.vmap` and below `nn` modules, so functional calls and
modulated weights are included. A signal counts as spikes if it holds only small integers over the whole run.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import Any, Protocol, TypeAlias, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from spikebridge.analysis.activity import Waking, wakes_of, with_flags
from spikebridge.analysis.hooks import Call, CallStack, Inputs, check_inputs, is_layer, trace_calls, unwrap_vmap
from spikebridge.errors import ConfigError, ShapeError
from spikebridge.hybrid import Discretizer, Gain, Gate, HybridNetwork, HybridUnit, Kernel
from spikebridge.hybrid.unit.discretizer import SpikingLayer
from spikebridge.neurons import Stateful
from spikebridge.neurons.dt import check_dt, dt_of, temporary_dt
from spikebridge.ops.modes import evaluating

# several spikes may share a step: events in one bin, signed spikes; an image of larger integers is no spike train
_MAX_SPIKES = 8

_aten: Any = torch.ops.aten
# matrix products, and the argument at which their two matrices begin
_MATRIX = {
    **dict.fromkeys((_aten.mm, _aten.bmm, _aten.mv, _aten.dot), 0),
    **dict.fromkeys((_aten.addmm, _aten.baddbmm, _aten.addbmm, _aten.addmv), 1),
}
_TRANSFORMS = {_aten._fft_r2c, _aten._fft_c2r, _aten._fft_c2c}
_ATTENTION = {
    _aten._scaled_dot_product_flash_attention_for_cpu,
    _aten._scaled_dot_product_flash_attention,
    _aten._scaled_dot_product_efficient_attention,
    _aten._scaled_dot_product_cudnn_attention,
}


@dataclass
class _ProductCount:
    """One product of a network over a run: its multiply-accumulates, and its additions if its input is spikes."""

    macs: int = 0
    synops: int = 0
    spikes_only: bool = True


class _ProductCounter(TorchDispatchMode):
    """Counts all products inside the block. Parameters and buffers of the network are weights, never spikes."""

    def __init__(self, network: nn.Module, calls: CallStack) -> None:
        super().__init__()
        self.calls = calls
        self.counts: dict[tuple[str, int], _ProductCount] = {}
        self._weights = _storages([*network.parameters(), *network.buffers()])

    def __torch_dispatch__(
        self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        # without gradients composite operators are not split into their parts
        with self:
            result = func.decompose(*args, **(kwargs or {}))

        if result is NotImplemented:
            result = func(*args, **(kwargs or {}))
            # a kernel is counted by its steps, even if it runs as a product
            is_kernel = self.calls.stack and isinstance(self.calls.stack[-1].module, HybridUnit | Kernel)
            if self.calls.stack and not is_kernel and not self.calls.shows_shapes:
                self._count(func.overloadpacket, args, result)

        return result

    def _count(self, kind: Any, args: tuple[Any, ...], result: Any) -> None:
        """Adds the operations of a product; any other operator adds none."""
        if kind in _MATRIX:
            self._add(*self._matrix(*args[_MATRIX[kind] :][:2]))
        elif kind is _aten.convolution:
            self._add(*_convolution(args, result))
        elif kind in _TRANSFORMS:
            self._add(_transform(args, result), None)
        elif kind is _aten.mul and all(isinstance(x, Tensor) and x.is_complex() and x.ndim for x in args[:2]):
            self._add(4 * result.numel(), None)
        elif kind in _ATTENTION:
            query, key, value = args[:3]
            self._add(query[..., 0].numel() * key.shape[-2] * (query.shape[-1] + value.shape[-1]), None)

    def _matrix(self, a: Tensor, b: Tensor) -> tuple[int, int | None]:
        """Products of (m, k) with (k, n): a value of the first has n products, a value of the second m."""
        num_rows = a.shape[-2] if a.ndim > 1 else 1
        num_columns = b.shape[-1] if b.ndim > 1 else 1
        signal, fan_out = (b, num_rows) if _storages([a]) & self._weights else (a, num_columns)
        num_spikes = _count_spikes(signal)
        num_products = 4 if signal.is_complex() else 1

        return signal.numel() * fan_out * num_products, None if num_spikes is None else num_spikes * fan_out

    def _add(self, macs: int, synops: int | None) -> None:
        call = self.calls.stack[-1]
        count = self.counts.setdefault((call.path, call.num_products), _ProductCount())
        call.num_products += 1
        count.macs += macs
        count.synops += synops or 0
        count.spikes_only = count.spikes_only and synops is not None


def _count_spikes(x: Tensor) -> int | None:
    """The spikes in a signal, or None if it is no spike train: it holds values that are no small integers."""
    if not x.numel():
        return 0
    if x.is_complex():
        return None

    sizes = x.abs()
    if float(sizes.max()) > _MAX_SPIKES or not bool((x == x.round()).all()):
        return None

    return int(sizes.sum(dtype=torch.float64))


def _convolution(args: tuple[Any, ...], result: Tensor) -> tuple[int, int | None]:
    x, weight, _, stride, padding, dilation, transposed, output_padding, groups = args
    values = x if transposed else result
    macs = values.numel() * math.prod(weight.shape[1:])
    if _count_spikes(x) is None:
        return macs, None

    spikes = x.abs().sum(1, keepdim=True, dtype=torch.float64)
    ones = spikes.new_ones((1, 1, *weight.shape[2:]))

    # a convolution with ones: the output positions that each spike reaches, borders and strides included
    if transposed:
        convolve = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[x.ndim - 3]
        positions = convolve(spikes, ones, None, stride, padding, output_padding, 1, dilation)
        fan_out = weight.shape[1]
    else:
        positions = (F.conv1d, F.conv2d, F.conv3d)[x.ndim - 3](spikes, ones, None, stride, padding, dilation)
        fan_out = weight.shape[0] // groups

    return macs, round(float(positions.sum())) * fan_out


def _transform(args: tuple[Any, ...], result: Tensor) -> int:
    x, dims = args[:2]
    # of real values one side has only half of the frequencies
    larger = x if x.numel() >= result.numel() else result
    num_points = math.prod(larger.shape[d] for d in dims)
    factor = 3.0 if x.is_complex() and result.is_complex() else 1.5
    return round(factor * larger.numel() * math.log2(max(num_points, 1)))


def _storages(tensors: Iterable[Tensor]) -> set[int]:
    """The storages of tensors; a transposed weight shares the storage of the weight."""
    return {tensor.untyped_storage().data_ptr() for tensor in tensors} - {0}


@dataclass(frozen=True)
class Operations:
    """Numbers of operations by kind.

    Args:
        macs: multiply-accumulates of real values with weights (or with each other), and of kernels and gains.
        synops: synaptic operations: one addition for every spike and every weight that it meets.
        adds: additions of biases.
        updates: updates of a neuron, one a neuron and step.
        compares: comparisons of discretizers, one a value.

    Example:
        >>> (Operations(macs=2) + Operations(macs=1, synops=4)).scaled(0.5)
        Operations(macs=1.5, synops=2.0, adds=0.0, updates=0.0, compares=0.0)
    """

    macs: float = 0
    synops: float = 0
    adds: float = 0
    updates: float = 0
    compares: float = 0

    def __add__(self, other: "Operations") -> "Operations":
        return Operations(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def scaled(self, factor: float) -> "Operations":
        """Every count times a factor."""
        return Operations(*(getattr(self, f.name) * factor for f in fields(self)))

    @property
    def num_operations(self) -> float:
        """All operations of all kinds."""
        return float(sum(getattr(self, f.name) for f in fields(self)))


@runtime_checkable
class _Counted(Protocol):
    """A layer that counts its own operations apart from products, such as an integer layer."""

    def counted(self, output: Any) -> dict[str, float]:
        """Numbers of operations by kind (`Operations`) in the call that gave this output."""


@dataclass(frozen=True)
class Cost:
    """Operations a sample.

    Attributes:
        parts: operations by part; a module that is no hybrid network is one part, "network".
        links: operations by link, for those with a unit.
        layers: operations by path of the module that did them.
        num_samples: number of samples of the mean.
        seconds: length of the signal of each sample [s]; None without a clock.
        wakes: wakes by part, of parts that are not always awake; their operations are those of the ticks awake.
    """

    parts: dict[str, Operations]
    links: dict[str, Operations]
    layers: dict[str, Operations]
    num_samples: int
    seconds: float | None
    wakes: Mapping[str, Waking] = field(default_factory=dict)

    @property
    def total(self) -> Operations:
        """All parts and links."""
        return sum([*self.parts.values(), *self.links.values()], Operations())

    def rows(self) -> list[dict[str, Any]]:
        """A table a sample: parts, links, and the sum."""
        rows = {**self.parts, **self.links, "total": self.total}
        return [{"of": name, **vars(operations)} for name, operations in rows.items()]


# the number of samples, the seconds of each, and the wakes by part
_Counts: TypeAlias = tuple[int, float | None, dict[str, Waking]]


def count_cost(network: nn.Module, inputs: Inputs, dt: float | None = None) -> Cost:
    """Runs a network once, in evaluation mode, and counts.

    Args:
        network: a hybrid network, a stateful layer or any module.
        inputs: by name for a hybrid network, `(T, B, *N)` for a stateful layer, `(B, *N)` for a plain module.
        dt: step of the clock [s], if the layers of the module have none.

    Raises:
        ConfigError: a module whose products cannot be counted, or a step that is not above 0.

    Example:
        >>> cost = count_cost(nn.Linear(4, 3), torch.full((2, 4), 0.5))
        >>> cost.total.macs, cost.total.adds
        (12.0, 3.0)
        >>> cost = count_cost(nn.Linear(4, 3), torch.tensor([[1.0, 0.0, 1.0, 0.0]]))  # two spikes, three weights each
        >>> cost.total.macs, cost.total.synops
        (0.0, 6.0)
    """
    check_dt("count_cost", dt)
    return _counted(network, lambda: _run(network, inputs, dt))


def count_run(network: nn.Module, run: Callable[[], int]) -> Cost:
    """The cost of modules and the products between them while `run` calls them; `run` returns the number of samples."""

    def counted() -> tuple[int, None, dict[str, Waking]]:
        return run(), None, {}

    return _counted(network, counted, alone=True)


def _counted(network: nn.Module, run: Callable[[], _Counts], alone: bool = False) -> Cost:
    for path, module in network.named_modules():
        if isinstance(module, nn.RNNBase):
            raise ConfigError(f"the products of {type(module).__name__} at {path!r} cannot be counted; use its cell")

    layers: defaultdict[str, Operations] = defaultdict(Operations)

    def count(call: Call) -> None:
        operations = _operations_of(call)
        if operations is not None:
            layers[call.path] += operations

    with (
        evaluating(network),
        _attention_in_steps(),
        trace_calls(network, count) as calls,
        _ProductCounter(network, calls) as products,
    ):
        # products between the modules belong to the network itself
        if alone:
            calls.stack.append(Call("", network, empty=False))
        num_samples, seconds, wakes = run()

    # only now it is known which signals were spikes over the whole run
    for (path, _), product in products.counts.items():
        # zeros alone are a silent spike train only where something spikes
        are_spikes = product.spikes_only and (product.synops > 0 or _gets_spikes(network, path))
        layers[path] += Operations(synops=product.synops) if are_spikes else Operations(macs=product.macs)

    if num_samples == 0:
        raise ShapeError("a cost is a mean over samples, but the inputs hold none; give at least one")

    means = {path: operations.scaled(1 / num_samples) for path, operations in layers.items()}
    parts, links = _by_owner(network, means)

    return Cost(parts, links, means, num_samples, seconds, wakes)


def _gets_spikes(network: nn.Module, path: str) -> bool:
    """True if the owner of a module, a part or a unit of a hybrid network or the whole module, or its source spikes."""
    if not isinstance(network, HybridNetwork):
        return _spikes(network)

    owner = next((name for name in path.split(".") if name in network.parts or name in network.units), "")
    routes = [route for route in network.routes if owner in (route.name, route.link.part)]
    units = [unit for route in routes if (unit := network.unit_of(route)) is not None]
    sources = {source.partition(".")[0] for route in routes for source in route.sources}
    parts = [part for name, part in network.parts.items() if name == owner or name in sources]

    return any(_spikes(module) for module in (*parts, *units))


def _spikes(module: nn.Module) -> bool:
    layers = (layer for layer in module.modules() if is_layer(layer) and not isinstance(layer, Kernel))
    return any(isinstance(layer, Stateful | Discretizer) for layer in layers)


@contextmanager
def _attention_in_steps() -> Iterator[None]:
    """Turns off the fast path of attention, whose products cannot be observed."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _run(network: nn.Module, inputs: Any, dt: float | None) -> _Counts:
    """Runs the network."""
    check_inputs(network, inputs)
    if isinstance(network, HybridNetwork):
        outputs, state = with_flags(network)(inputs)
        seconds = state.ticks * network.dt
        return len(state.like), seconds, wakes_of(network, outputs, seconds)

    with temporary_dt(network, dt):
        network(inputs)
        dt = dt_of(network) or dt

    if isinstance(network, Stateful | HybridUnit):
        return inputs.shape[1], None if dt is None else len(inputs) * dt, {}

    return len(inputs), dt, {}


def _operations_of(call: Call) -> Operations | None:
    """The operations of a module apart from its products."""
    module = call.module
    if isinstance(module, _Counted):
        return Operations(**module.counted(call.output))

    y = call.signals.get("")
    if y is None:
        return None

    num_values = unwrap_vmap(y)[0].numel()
    # a layer of the user's own, whose connections only itself knows
    count: Any = getattr(module, "synaptic_operations", None)
    if count is not None:
        (x,) = call.args
        sums = float(count(x))
        return Operations(macs=sums) if _count_spikes(x) is None else Operations(synops=sums)

    if isinstance(module, HybridUnit):
        return Operations(macs=_kernel_values(module, call.args[0], y))
    if isinstance(module, Discretizer):
        # the layer inside counts its updates itself
        return None if isinstance(module, SpikingLayer) else Operations(compares=max(num_values, call.args[0].numel()))
    if isinstance(module, Gain | Gate | Kernel):
        return Operations(macs=num_values)
    if isinstance(module, Stateful):
        return Operations(updates=num_values) if is_layer(module) else None
    if isinstance(module, nn.Linear | nn.modules.conv._ConvNd | nn.Bilinear) and module.bias is not None:
        return Operations(adds=num_values)

    return None


def _kernel_values(unit: HybridUnit, x: Tensor, y: Tensor) -> int:
    """The number of values that entered a unit's kernel: those of a running signal, or of all windows."""
    if unit.kernel is None:
        return 0

    num_steps = len(x)
    if unit.form == "framed":
        num_steps = len(y) // unit.outputs_per_window * unit.window_length

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
