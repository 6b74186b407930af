"""One adapter for each library: SpikingJelly, snnTorch, Norse and sinabs.

- SpikingJelly: every `MemoryModule` keeps its memories by name, with their values after a reset.
- snnTorch: its neurons keep membranes and currents as buffers, `init_hidden` or not.
- Norse: its modules take and return their state, as ours do; None is the state before the first step.
- sinabs: its layers keep their states as buffers, and take the batch before time.
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from spikebridge.deploy.adapters.base import Adapted, StateSlot, over_steps
from spikebridge.errors import ConfigError, ShapeError
from spikebridge.neurons.base import Stateful, refuse_timeless, refuse_unknown
from spikebridge.neurons.quantity import Modulated
from spikebridge.neurons.state import State

_SNNTORCH_STATE = ("spk", "syn", "syn_exc", "syn_inh", "mem")
_NORSE_OVER_TIME = ("SNN", "SNNRecurrent", "Lift")


class _SpikingJelly(Adapted):
    """A module of SpikingJelly whose layers are all in single-step or all in multi-step mode."""

    def __init__(self, module: nn.Module) -> None:
        modes = {child.step_mode for child in module.modules() if hasattr(child, "step_mode")}
        if len(modes) > 1:
            raise ConfigError(
                "some layers are in step mode 's' and some in 'm'; "
                "spikingjelly.activation_based.functional.set_step_mode(module, 'm') sets all of them"
            )

        super().__init__(module)
        self.takes_sequences = modes == {"m"}

    def slots(self) -> list[StateSlot]:
        # the record of a whole sequence (v_seq) is a result, not a state
        return [
            StateSlot(child, name)
            for child in self.module.modules()
            for name in getattr(child, "_memories", {})
            if not name.endswith("_seq")
        ]

    def initial_value(self, slot: StateSlot, like: Tensor) -> Tensor:
        value = self._reset_value(slot)
        return torch.full_like(like, float(value)) if isinstance(value, int | float) else torch.zeros_like(like)

    def clear(self, slot: StateSlot) -> None:
        setattr(slot.owner, slot.name, self._reset_value(slot))

    def run(self, x: Shaped[Tensor, "T B *N"]) -> Tensor:
        y: Tensor = self.module(x) if self.takes_sequences else over_steps(self.module, x)
        return y

    def _reset_value(self, slot: StateSlot) -> Any:
        memories: Any = slot.owner
        return memories._memories_rv[slot.name]


class _SnnTorch(Adapted):
    """A neuron of snnTorch, or a network of neurons with `init_hidden=True` and plain layers: one step a call."""

    def __init__(self, module: nn.Module) -> None:
        for path, child in module.named_modules():
            if path and getattr(child, "init_hidden", True) is False:
                raise ConfigError(
                    f"{type(child).__name__} at {path!r} returns its state; inside a network it has to keep it "
                    "(init_hidden=True), or be a part of its own"
                )

        super().__init__(module)

    def slots(self) -> list[StateSlot]:
        neurons = (child for child in self.module.modules() if hasattr(child, "init_hidden"))
        return [StateSlot(child, name) for child in neurons for name in _SNNTORCH_STATE if name in child._buffers]

    def clear(self, slot: StateSlot) -> None:
        # an empty tensor on the device of the neuron makes snnTorch start from zeros of the right shape
        threshold = next((buffer for name, buffer in slot.owner.named_buffers() if name == "threshold"), None)
        setattr(slot.owner, slot.name, torch.zeros(0, device=None if threshold is None else threshold.device))

    def run(self, x: Shaped[Tensor, "T B *N"]) -> Tensor:
        return over_steps(self.module, x)


class _NorseState(NamedTuple):
    """The state as the module returned it, None before the first step."""

    inner: Any


class _Norse(Stateful):
    """A module of Norse: a cell (`LIFCell`), a layer over time (`LIF`, `Lift`), or a `SequentialState` of either."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        # by the names of classes, so that Norse need not be imported
        kinds = {base.__name__ for child in module.modules() for base in type(child).__mro__}
        self.takes_sequences = not kinds.isdisjoint(_NORSE_OVER_TIME)

    def initial_state(self, x_t: Shaped[Tensor, "B *N"]) -> _NorseState:
        # each cell of Norse starts by itself where it gets None
        return _NorseState(None)

    def step(
        self, x_t: Shaped[Tensor, "B *N"], state: State, **modulation: Modulated
    ) -> tuple[Shaped[Tensor, "B *M"], _NorseState]:
        refuse_unknown(self, modulation)
        x = x_t.unsqueeze(0) if self.takes_sequences else x_t
        y, inner = self._call_module(x, state)
        return (y[0] if self.takes_sequences else y), inner

    def forward(
        self, x: Shaped[Tensor, "T B *N"], state: State = None, **modulation: Modulated
    ) -> tuple[Shaped[Tensor, "T B *M"], _NorseState]:
        refuse_timeless(self, x)
        if not self.takes_sequences or len(x) == 0:
            return super().forward(x, state, **modulation)
        refuse_unknown(self, modulation)
        return self._call_module(x, state if state is not None else _NorseState(None))

    def _call_module(self, x: Tensor, state: _NorseState) -> tuple[Tensor, _NorseState]:
        # SequentialState writes into the list that it is given
        inner = list(state.inner) if isinstance(state.inner, list) else state.inner
        result = self.module(x, inner)
        if not isinstance(result, tuple) or not isinstance(result[0], torch.Tensor):
            raise ShapeError(
                f"{type(self.module).__name__} has to return an output and a state, but returned one value"
            )

        return result[0], _NorseState(result[1])


class _Sinabs(Adapted):
    """A module of sinabs. Its layers take `(B, T, *N)`, or batch and time squeezed into one axis."""

    def __init__(self, module: nn.Module) -> None:
        # a squeezing layer gets the batch at each call, since its own guess is fixed when it is made
        self.squeezing: tuple[Any, ...] = ()
        super().__init__(module)
        self.squeezing = tuple(child for child in module.modules() if hasattr(child, "squeeze_init"))

    def slots(self) -> list[StateSlot]:
        layers = (child for child in self.module.modules() if hasattr(child, "is_state_initialised"))
        return [StateSlot(child, name) for child in layers for name in child._buffers]

    def clear(self, slot: StateSlot) -> None:
        buffer = getattr(slot.owner, slot.name)
        slot.owner.register_buffer(slot.name, torch.zeros(0, device=buffer.device))

    def write(self, slot: StateSlot, value: Tensor) -> None:
        slot.owner.register_buffer(slot.name, value)

    def run(self, x: Shaped[Tensor, "T B *N"]) -> Tensor:
        rows = x.transpose(0, 1)
        if not self.squeezing:
            y: Tensor = self.module(rows)
            return y.transpose(0, 1)

        for layer in self.squeezing:
            # the layer takes rows apart by these numbers
            layer.batch_size, layer.num_timesteps = rows.shape[:2]

        squeezed: Tensor = self.module(rows.flatten(0, 1))
        return squeezed.unflatten(0, rows.shape[:2]).transpose(0, 1)


_ADAPTERS: dict[str, type[Stateful]] = {
    "spikingjelly": _SpikingJelly,
    "snntorch": _SnnTorch,
    "norse": _Norse,
    "sinabs": _Sinabs,
}


def adapt(module: nn.Module) -> Stateful:
    """A module of SpikingJelly, snnTorch, Norse or sinabs as a part: `y, state = part(x, state)`, time first.

    Args:
        module: a layer or a network of one of these libraries, with or without plain PyTorch layers.

    Raises:
        ConfigError: it has layers of none of them, or of more than one.

    Example:
        >>> adapt(nn.Linear(2, 2))
        Traceback (most recent call last):
        ...
        spikebridge.errors.ConfigError: Linear has no layer of spikingjelly, snntorch, norse, sinabs; a plain module ...
    """
    # by name, so that no library has to be installed
    packages = {type(child).__module__.split(".")[0] for child in module.modules()}
    libraries = [name for name in _ADAPTERS if name in packages]
    if not libraries:
        raise ConfigError(
            f"{type(module).__name__} has no layer of {', '.join(_ADAPTERS)}; a plain module is a part as it is, and a "
            "loop over time of your own becomes one as a spikebridge.neurons.Stateful"
        )

    if len(libraries) > 1:
        raise ConfigError(
            f"{type(module).__name__} mixes layers of {' and '.join(libraries)}; make each its own part, or put "
            "adapted layers in a row with spikebridge.neurons.Sequential"
        )

    return _ADAPTERS[libraries[0]](module)
