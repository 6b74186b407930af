"""Live stepping by events: a prepared network computes for active inputs alone.

In a stream most inputs of a layer are zero. A prepared network passes lists of active inputs: a linear layer adds those
rows of its transposed weight, a convolution scatters each event over the outputs that see it, a pool looks at the
windows that hold one. Where a convolution meets many events, above a measured share, it computes every place instead,
from step to step. With the native library a whole step is one call; without it linear layers alone run by events.

State is an argument and a result, and it is that of the network itself: a stream may go over from one to the other at
any step. Numbers are those of the network: equal to the bit where sums are exact, else up to rounding, for a product
adds in another order.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikebridge.errors import ConfigError, ShapeError
from spikebridge.ops.precision import is_autocast
from spikebridge.ops.selection import is_reference, select
from spikebridge.ops.sparse.layers import EventLayer, LayerRow, read_layers
from spikebridge.ops.sparse.native import NativeSteps, functions

_CHANGED = "the network has changed since it was prepared for live stepping; prepare it again"
_HOOKED = "the network has forward hooks, which a prepared network would not call; remove them, or step it itself"
# share of events up to which rows of a linear layer in PyTorch beat the layer, and weights from which they do, measured
# on one core; gathering the taps of a convolution is no faster than the convolution
_MAX_SHARE = 0.2
_MIN_WEIGHTS = 10**5
_SETTINGS = ("dt", "reset", "refractory")  # of neurons, besides their quantities


class EventDriven:
    """A network prepared for live stepping: see `prepare`."""

    def __init__(self, network: nn.Module, native: bool | None = None) -> None:
        if native and not functions():
            raise ConfigError("the native library is not there; install again with a C compiler, or leave out native=")

        self.network: Any = network
        self.layers, self.row = read_layers(network)
        self.functions = {} if native is False else functions()
        self.snapshot = _Snapshot(network)
        self._plain = _TorchSteps(self.layers, self.row)
        self._plans: dict[tuple[torch.Size, torch.dtype], NativeSteps | None] = {}  # None where PyTorch steps

    def initial_state(self, x_t: Float[Tensor, "1 *N"]) -> Any:
        _check_input(x_t)
        return self.network.initial_state(x_t)

    def step(self, x_t: Float[Tensor, "1 *N"], state: Any = None) -> tuple[Float[Tensor, "1 *M"], Any]:
        """One step of one sample, without gradients; the state may be the network's own, and None begins a stream."""
        # the short way of a stream that continues: everything else was checked at its first step
        plan = self._plans.get((x_t.shape, x_t.dtype))
        is_elsewhere = is_reference() or torch.is_autocast_enabled("cpu")
        if plan is None or is_elsewhere or not x_t.is_cpu or state is None or x_t.requires_grad:
            return self._checked_step(x_t, state)

        self.snapshot.check()
        return plan.step(x_t, state)

    def _checked_step(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        """A step that begins a stream, or one for which the native library does not serve."""
        _check_input(x_t)
        self.snapshot.check()
        if state is None:
            state = self.network.initial_state(x_t)

        path = select("live step", x_t)
        # under autocast a layer may give another dtype than it takes
        if path == "reference" or is_autocast(x_t.device):
            with torch.no_grad():
                return self.network.step(x_t, state)

        if path == "torch" or x_t.dtype not in self.functions:
            return self._plain.step(x_t, state)

        key = (x_t.shape, x_t.dtype)
        if key not in self._plans:
            function = self.functions[x_t.dtype]
            start = self.network.initial_state(x_t)
            plan = NativeSteps(function, self.layers, self.row, start, x_t)
            self._plans[key] = plan if plan.fits else None

        return (self._plans[key] or self._plain).step(x_t, state)


def _check_input(x_t: Tensor) -> None:
    if x_t.ndim < 1 or x_t.shape[0] != 1:
        raise ShapeError(f"event-driven stepping takes one sample (1, *N), but got shape {tuple(x_t.shape)}")
    if x_t.requires_grad:
        raise ConfigError("event-driven stepping gives no gradients; step the network itself, or detach the input")


class _Snapshot:
    """The tensors, layers and settings of a network when it was prepared, to notice a change at little cost."""

    # a number written through `.data` leaves no trace and is not noticed

    def __init__(self, network: nn.Module) -> None:
        stores = [s for module in network.modules() for s in (module._parameters, module._buffers)]
        kept = [(s, name, t) for s in stores for name, t in s.items() if t is not None and not t.is_inference()]
        self._tensors = [(s, name, t, t._version) for s, name, t in kept]
        self._rows = [(m._modules, list(m._modules.values())) for m in network.modules() if m._modules]
        self._hooks = [h for m in network.modules() for h in (m._forward_hooks, m._forward_pre_hooks)]
        neurons: list[Any] = [m for m in network.modules() if hasattr(m, "modulable")]
        owned = [(m.__dict__, name) for m in neurons for name in (*m.modulable, *_SETTINGS)]
        self._numbers = [(s, name, s[name]) for s, name in owned if name in s]

    def check(self) -> None:
        """Raises a `ConfigError` where a layer, parameter, buffer or setting is another, or where there is a hook."""
        if any(self._hooks):
            raise ConfigError(_HOOKED)

        for children, kept in self._rows:
            if list(children.values()) != kept:
                raise ConfigError(_CHANGED)

        for store, name, tensor, version in self._tensors:
            if store[name] is not tensor or tensor._version != version:
                raise ConfigError(_CHANGED)

        for store, name, number in self._numbers:
            if store[name] != number:
                raise ConfigError(_CHANGED)


class _LinearRows:
    """A linear layer for one sample, by rows of its transposed weight where events are few."""

    def __init__(self, layer: nn.Linear) -> None:
        self.layer = layer
        self.weight = layer.weight.detach().t().contiguous()
        # a small weight is not worth counting events
        self.is_worthwhile = self.weight.numel() >= _MIN_WEIGHTS

    def __call__(self, x_t: Tensor) -> Tensor:
        if not self.is_worthwhile or x_t.ndim != 2 or int(x_t.count_nonzero()) > _MAX_SHARE * x_t.numel():
            return self.layer(x_t)

        events = x_t[0].nonzero()[:, 0]
        y = x_t[0].index_select(0, events) @ self.weight.index_select(0, events)

        return (y if self.layer.bias is None else y + self.layer.bias).unsqueeze(0)


class _TorchSteps:
    """The step of a network in plain PyTorch."""

    def __init__(self, layers: list[EventLayer], row: LayerRow) -> None:
        self.row = row
        self.stages: list[tuple[EventLayer, Any]] = []
        for layer in layers:
            stage: Any = layer.module
            self.stages.append((layer, _LinearRows(stage) if isinstance(stage, nn.Linear) else stage))

    @torch.no_grad()
    def step(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        states = []
        for layer, stage in self.stages:
            if layer.address is None:
                x_t = stage(x_t)
            else:
                y, new = stage(x_t.unsqueeze(0), layer.find(state))
                x_t = y[0]
                states.append(new)

        return x_t, self.row.states(state, states)
