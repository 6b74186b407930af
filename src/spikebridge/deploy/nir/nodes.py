"""Layers as NIR nodes, with metadata for properties for which NIR has no field."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from spikebridge.deploy.nir.file import nir_library
from spikebridge.deploy.nir.quantities import Array, Integration, floats
from spikebridge.deploy.nir.tracer import Visit
from spikebridge.errors import ExportError
from spikebridge.hybrid import Delay, Gain, Gate
from spikebridge.neurons import IF, LIF, PLIF, CubaLIF, Integrator, Memoryless
from spikebridge.ops.layers.pooling import pair_of


@dataclass(frozen=True)
class LayerNode:
    """The node of a layer."""

    node: Any
    notes: tuple[str, ...] = ()  # metadata for which NIR has no field, as text
    before: Any = None  # a factor on its input, as a node of its own
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Membrane:
    """Membranes with a step of `dt` seconds, in NIR's continuous time."""

    dt: float
    integration: Integration

    def leak(self, tau: Tensor | float, who: str) -> tuple[Array, Array]:
        """NIR's time constant, and the factor by which it amplifies the input."""
        share = -np.expm1(-self.dt / floats(tau))
        if not (share > 0).all():
            raise ExportError(f"{who} has time constants with and without end; NIR's LIF leaks, its IF does not")

        return floats(tau if self.integration == "exact" else self.dt / share), floats(1 / share)


class SumPool2d(nn.Module):
    """The sum over each window of an image, as some chips pool."""

    def __init__(
        self, kernel_size: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int] = (0, 0)
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = stride
        self.padding = padding

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H2 W2"]:
        return F.avg_pool2d(x, self.kernel_size, self.stride, self.padding, divisor_override=1)


def node_of(visit: Visit, membrane: Membrane) -> LayerNode:
    """The node of a layer; raises an `ExportError` that names the layer if NIR has none."""
    make = _NODES.get(type(visit.module))
    if make is None:
        raise ExportError(f"{visit.name!r} is a {type(visit.module).__name__}, for which NIR has no node")

    layer = make(visit, membrane)
    quantity = _factor_name(visit.module)
    # NIR has one node for gains and gates
    layer.node.metadata = {"quantity": quantity, **layer.metadata} if quantity else layer.metadata

    return layer


def fold_norm(visit: Visit, node: Any) -> Any:
    """The node before a batch normalisation in eval mode, with the normalisation in its weights."""
    norm: Any = visit.module
    nir = nir_library()
    if not isinstance(node, nir.Conv1d | nir.Conv2d | nir.Affine | nir.Linear):
        raise ExportError(f"the batch norm {visit.name!r} follows no convolution or linear layer to fold it into")
    if norm.running_mean is None:
        raise ExportError(f"the batch norm {visit.name!r} keeps no statistics, so each batch is normed by itself")

    # in float64, so that the weights are rounded once
    factor = 1 / (norm.running_var.double() + norm.eps).sqrt() * (1 if norm.weight is None else norm.weight.double())
    offset = (0 if norm.bias is None else norm.bias.double()) - norm.running_mean.double() * factor
    scale = factor.detach().numpy().reshape(-1, *[1] * (node.weight.ndim - 1))
    node.weight = (node.weight.astype(np.float64) * scale).astype(np.float32)
    bias = node.bias.astype(np.float64) * factor.detach().numpy() + offset.detach().numpy()
    node.bias = bias.astype(np.float32)

    return node


_Make: TypeAlias = Callable[[Any, Membrane], LayerNode]


def _affine(visit: Visit, membrane: Membrane) -> LayerNode:
    linear: Any = visit.module
    if len(visit.input_shape) != 1:
        raise ExportError(
            f"{visit.name!r} maps the last axis of samples {visit.input_shape}; NIR's Affine takes one axis"
        )
    bias = torch.zeros(linear.out_features) if linear.bias is None else linear.bias
    return LayerNode(nir_library().Affine(weight=_array(linear.weight), bias=_array(bias)))


def _conv(visit: Visit, membrane: Membrane) -> LayerNode:
    conv: Any = visit.module
    if conv.padding_mode != "zeros":
        raise ExportError(f"{visit.name!r} pads with {conv.padding_mode!r}; NIR's convolution pads with zeros")

    sizes = {name: getattr(conv, name) for name in ("stride", "padding", "dilation")}
    shape: Any = visit.input_shape[1:]
    kind = nir_library().Conv2d
    if isinstance(conv, nn.Conv1d):
        kind = nir_library().Conv1d
        shape = visit.input_shape[1]
        sizes = {name: size if isinstance(size, str) else size[0] for name, size in sizes.items()}

    bias = torch.zeros(conv.out_channels) if conv.bias is None else conv.bias
    return LayerNode(
        kind(input_shape=shape, weight=_array(conv.weight), bias=_array(bias), groups=conv.groups, **sizes)
    )


def _pool(visit: Visit, membrane: Membrane) -> LayerNode:
    pool: Any = visit.module
    nir = nir_library()
    sizes = {name: np.array(pair_of(getattr(pool, name))) for name in ("kernel_size", "stride", "padding")}
    if isinstance(pool, SumPool2d):
        return LayerNode(nir.SumPool2d(**sizes))

    if pool.ceil_mode or pool.divisor_override is not None or (sizes["padding"].any() and not pool.count_include_pad):
        raise ExportError(
            f"{visit.name!r} pools with ceil_mode, a divisor, or without its padding; NIR has none of these"
        )

    return LayerNode(nir.AvgPool2d(**sizes))


def _flatten(visit: Visit, membrane: Membrane) -> LayerNode:
    flat: Any = visit.module
    if flat.start_dim < 1:
        raise ExportError(f"{visit.name!r} flattens the batch, too (start_dim={flat.start_dim}); use start_dim=1")

    # NIR counts axes without the batch
    start = flat.start_dim - 1
    end = flat.end_dim - 1 if flat.end_dim > 0 else flat.end_dim
    return LayerNode(nir_library().Flatten({"input": np.array(visit.input_shape)}, start_dim=start, end_dim=end))


def _lif(visit: Visit, membrane: Membrane) -> LayerNode:
    lif: Any = visit.module
    nir = nir_library()
    numbers = {name: _quantity(lif, name, visit) for name in ("v_threshold", "v_reset", "r", "v_leak")}
    metadata, notes = _firing_metadata(visit, lif)

    if _is_endless(lif.tau):
        # NIR's IF has no rest, and integrates its current over seconds
        leak = numbers.pop("v_leak")
        numbers["r"] = numbers["r"] / membrane.dt
        initial, more = _initial_metadata(visit, leak)
        return LayerNode(nir.IF(**numbers), (*notes, *more), metadata={**metadata, **initial})

    tau, gain = membrane.leak(lif.tau, f"{visit.name!r}")
    numbers |= {"tau": _one_a_neuron(tau, visit), "r": numbers["r"] * _one_a_neuron(gain, visit)}

    return LayerNode(nir.LIF(**numbers), notes, metadata=metadata)


def _cuba(visit: Visit, membrane: Membrane) -> LayerNode:
    cuba: Any = visit.module
    numbers = {name: _quantity(cuba, name, visit) for name in ("v_threshold", "v_reset", "r", "v_leak")}
    tau, gain = membrane.leak(cuba.tau, f"{visit.name!r}")
    tau_syn, gain_syn = membrane.leak(cuba.tau_syn, f"the synapses of {visit.name!r}")
    numbers |= {"tau_mem": _one_a_neuron(tau, visit), "tau_syn": _one_a_neuron(tau_syn, visit)}
    numbers |= {"r": numbers["r"] * _one_a_neuron(gain, visit), "w_in": _one_a_neuron(gain_syn, visit)}
    metadata, notes = _firing_metadata(visit, cuba)

    return LayerNode(nir_library().CubaLIF(**numbers), notes, metadata=metadata)


def _integrator(visit: Visit, membrane: Membrane) -> LayerNode:
    layer: Any = visit.module
    nir = nir_library()
    r = _quantity(layer, "r", visit)
    leak = _quantity(layer, "v_leak", visit)

    if _is_endless(layer.tau):
        metadata, notes = _initial_metadata(visit, leak)
        return LayerNode(nir.I(r=r / membrane.dt), notes, metadata=metadata)

    tau, gain = membrane.leak(layer.tau, f"{visit.name!r}")
    return LayerNode(nir.LI(tau=_one_a_neuron(tau, visit), r=r * _one_a_neuron(gain, visit), v_leak=leak))


def _memoryless(visit: Visit, membrane: Membrane) -> LayerNode:
    r = _quantity(visit.module, "r", visit)
    # NIR's Threshold has no resistance
    nir = nir_library()
    node = nir.Threshold(threshold=_quantity(visit.module, "v_threshold", visit))
    return LayerNode(node, before=None if (r == 1).all() else nir.Scale(scale=r))


def _delay(visit: Visit, membrane: Membrane) -> LayerNode:
    layer: Any = visit.module
    seconds = np.asarray(floats(layer.ticks) * membrane.dt)
    return LayerNode(nir_library().Delay(delay=_one_a_neuron(seconds, visit)))


def _scale(visit: Visit, membrane: Membrane) -> LayerNode:
    return LayerNode(nir_library().Scale(scale=_quantity(visit.module, _factor_name(visit.module), visit)))


def _factor_name(module: nn.Module) -> str:
    return "gain" if type(module) is Gain else "gate" if type(module) is Gate else ""


def _is_endless(tau: Tensor | float) -> bool:
    return bool(torch.isinf(torch.as_tensor(tau)).all())


def _firing_metadata(visit: Visit, layer: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Kind of reset and refractory time: metadata, and the same as text."""
    metadata: dict[str, Any] = {}
    notes = []
    if layer.reset != "zero":
        metadata["reset"] = layer.reset
        how = "by subtraction of the threshold" if layer.reset == "subtract" else "left out"
        notes.append(f"{visit.name}: reset is {how}; NIR has no field for it")

    steps = getattr(layer, "refractory", 0)
    if steps:
        metadata["refractory_steps"] = steps
        notes.append(f"{visit.name}: refractory for {steps} steps; NIR has no field for it")

    return metadata, tuple(notes)


def _initial_metadata(visit: Visit, leak: Array) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The initial membrane of a neuron without leak: metadata, and the same as text."""
    if not leak.any():
        return {}, ()
    return {"v_initial": leak}, (f"{visit.name}: membranes do not start at 0; NIR has no field for it",)


def _quantity(layer: Any, name: str, visit: Visit) -> Array:
    return _one_a_neuron(floats(getattr(layer, name)), visit)


def _one_a_neuron(values: Array, visit: Visit) -> Array:
    return np.ascontiguousarray(np.broadcast_to(values, visit.input_shape))


def _array(tensor: Tensor) -> Array:
    # a copy, since folding writes into it
    return tensor.detach().numpy().copy()


NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
_NODES: dict[type, _Make] = {
    nn.Linear: _affine,
    nn.Conv1d: _conv,
    nn.Conv2d: _conv,
    nn.AvgPool2d: _pool,
    SumPool2d: _pool,
    nn.Flatten: _flatten,
    LIF: _lif,
    PLIF: _lif,
    IF: _lif,
    CubaLIF: _cuba,
    Integrator: _integrator,
    Memoryless: _memoryless,
    Delay: _delay,
    Gain: _scale,
    Gate: _scale,
}
