"""Live stepping by events: a prepared network computes for active inputs alone.

In a stream most inputs of a layer are zero. A prepared network passes lists of what is not: a linear layer adds those
rows of its transposed weight, a convolution scatters each event over the outputs that see it, a pool looks at the
windows that hold one. Where a convolution meets many events, a share that was measured, it works out every place
instead, from step to step. With the native library a whole step is one call; without it the products run in PyTorch.

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
from spikebridge.ops.sparse.layers import read_layers
from spikebridge.ops.sparse.native import NativeSteps, functions
from spikebridge.ops.sparse.torch import TorchSteps

_CHANGED = "the network has changed since it was prepared for live stepping; prepare it again"
_HOOKED = "the network has forward hooks, which a prepared network would not call; remove them, or step it itself"
SETTINGS = ("dt", "reset", "refractory")  # of neurons, beside their quantities


class EventDriven:
    """A network prepared for live stepping: see `prepare`.

    Args:
        network: a `spikebridge.neurons.Sequential`.
        native: whether to use the native library; None where it is there.
        dense_above: share of events above which a layer works out every place; None chooses as measured.
    """

    def __init__(self, network: nn.Module, native: bool | None = None, dense_above: float | None = None) -> None:
        if native and not functions():
            raise ConfigError("the native library is not there; install again with a C compiler, or leave out native=")
        if dense_above is not None and not (isinstance(dense_above, int | float) and 0 <= dense_above <= 1):
            raise ConfigError(f"dense_above is a share of events, from 0 to 1, or None, but got {dense_above!r}")

        self.network: Any = network
        self.dense_above = dense_above
        self.layers, self.row = read_layers(network)
        self.functions = {} if native is False else functions()
        self.weights = _Snapshot(network)
        self._plain = TorchSteps(self.layers, self.row, dense_above)
        self._plans: dict[tuple[torch.Size, torch.dtype], NativeSteps | None] = {}  # None where PyTorch steps

    def initial_state(self, x_t: Float[Tensor, "1 *N"]) -> Any:
        """The state before the first step, that of the network."""
        self._admit(x_t)
        return self.network.initial_state(x_t)

    def step(self, x_t: Float[Tensor, "1 *N"], state: Any = None) -> tuple[Float[Tensor, "1 *M"], Any]:
        """One step of one sample.

        Args:
            x_t: the input of this step.
            state: after the step before, from here or from the network itself; None begins a stream.

        Returns:
            The output and the next state, without gradients, in memory of their own.

        Raises:
            ShapeError: more than one sample, or a state of another stream.
            ConfigError: the network has changed or got hooks since it was prepared, or a gradient is required.
            DataError: a membrane is not finite.
        """
        plan = self._plans.get((x_t.shape, x_t.dtype))
        other = is_reference() or torch.is_autocast_enabled("cpu")
        if plan is None or other or not x_t.is_cpu or state is None or x_t.requires_grad:
            return self._first_step(x_t, state)

        self.weights.check()
        return plan.step(x_t, state)

    def _first_step(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        """A step that begins a stream, or one for which the native library does not serve."""
        self._admit(x_t)
        self.weights.check()
        if state is None:
            state = self.network.initial_state(x_t)

        path = select("live step", x_t)
        # under autocast a layer may give another dtype than it takes
        if path == "reference" or is_autocast(x_t.device):
            with torch.no_grad():
                return self.network.step(x_t, state)

        if path == "torch" or x_t.dtype not in self.functions:
            return self._plain.step(x_t, state)

        key = x_t.shape, x_t.dtype
        if key not in self._plans:
            begin = self.network.initial_state(x_t)
            function = self.functions[x_t.dtype]
            plan = NativeSteps(function, self.layers, self.row, begin, x_t, self.dense_above)
            self._plans[key] = plan if plan.fits else None

        return (self._plans[key] or self._plain).step(x_t, state)

    def _admit(self, x_t: Tensor) -> None:
        if x_t.ndim < 1 or x_t.shape[0] != 1:
            raise ShapeError(f"event-driven stepping takes one sample (1, *N), but got shape {tuple(x_t.shape)}")
        if x_t.requires_grad:
            raise ConfigError("event-driven stepping gives no gradients; step the network itself, or detach the input")


def prepare(network: nn.Module, native: bool | None = None, dense_above: float | None = None) -> EventDriven:
    """Prepares a network for live stepping, one sample and one step at a time; weights are transposed once.

    Args:
        network: a `spikebridge.neurons.Sequential` of neurons, `Conv2d`, `Linear`, `MaxPool2d`, `AvgPool2d` and
            `Flatten`. Its weights are copied: after a change, which `step` notices, prepare it again.
        native: whether to use the native library; None where it is there.
        dense_above: share of events above which a layer works out every place; None chooses as measured.

    Returns:
        A network whose `step(x_t, state)` gives the numbers of the one given.

    Raises:
        ConfigError: a layer that cannot be stepped by events, with its path and the reason.

    Example:
        >>> from spikebridge.neurons import IF, Sequential
        >>> fc = nn.Linear(3, 2, bias=False)
        >>> _ = nn.init.ones_(fc.weight)
        >>> live = prepare(Sequential(fc=fc, fire=IF(v_threshold=2.0)))
        >>> y, state = live.step(torch.tensor([[0.0, 1.0, 0.0]]))
        >>> y, state = live.step(torch.tensor([[1.0, 0.0, 0.0]]), state)
        >>> y.tolist()
        [[1.0, 1.0]]
    """
    return EventDriven(network, native, dense_above)


class _Snapshot:
    """What a network held when it was prepared, to notice a change at little cost.

    A number written through `.data` leaves no trace and is not noticed.
    """

    def __init__(self, network: nn.Module) -> None:
        stores = [s for module in network.modules() for s in (module._parameters, module._buffers)]
        kept = [(s, name, t) for s in stores for name, t in s.items() if t is not None and not t.is_inference()]
        self._tensors = [(s, name, t, t._version) for s, name, t in kept]
        self._rows = [(m._modules, list(m._modules.values())) for m in network.modules() if m._modules]
        self._hooks = [h for m in network.modules() for h in (m._forward_hooks, m._forward_pre_hooks)]
        neurons: list[Any] = [m for m in network.modules() if hasattr(m, "modulable")]
        owned = [(m.__dict__, name) for m in neurons for name in (*m.modulable, *SETTINGS)]
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
