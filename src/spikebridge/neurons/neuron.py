"""The base of all layers of neurons, each defined by a pure step function."""

import inspect
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from spikebridge.axes import Signal, Step
from spikebridge.errors import ConfigError, DataError, ShapeError, did_you_mean
from spikebridge.neurons.base import RowEffects, Stateful, refuse_timeless, unbind_time
from spikebridge.neurons.dt import check_dt, decay_per_step
from spikebridge.neurons.quantity import (
    Modulated,
    Names,
    Quantity,
    Value,
    broadcasts,
    modulate,
    refuse_ambiguous,
    refuse_other_place,
)
from spikebridge.neurons.state import State, check_state, keep_form
from spikebridge.neurons.surrogate import Surrogate
from spikebridge.ops import selection
from spikebridge.ops.checks import check_mode, count_not_finite, number_on_cpu, reads_values
from spikebridge.ops.layers.pooling import max_pool2d, sides_of, windows_of
from spikebridge.ops.precision import HALF, upcast
from spikebridge.ops.selection import has_hooks, select, supports_sequence
from spikebridge.ops.sequence.autograd import run_sequence
from spikebridge.ops.sequence.spec import NeuronParams, NeuronSpec, NeuronState, Size

_KINDS = ("surrogate", "reset", "detach_reset")  # arguments that are no numbers
_OTHER_WORDS = {  # words of other libraries, and the equivalents here
    "beta decay leak": "tau [s] (beta is exp(-dt / tau)): tau = -dt / log({name}){number}",
    "alpha syn_decay": "tau_syn [s] of CubaLIF: tau_syn = -dt / log({name}){number}",
    "threshold v_th vth thresh theta spike_threshold": "v_threshold",
    "tau_mem tau_m tau_membrane": "tau, in seconds",
    "tau_s tau_i tau_syn_inv": "tau_syn of CubaLIF, in seconds",
    "reset_mechanism reset_mode reset_fn": "reset= 'zero', 'subtract' or 'none'",
    "v_rest v_l u_rest": "v_leak",
    "spike_grad surrogate_function surrogate_grad_fn spike_fn": "surrogate=, for example Arctan()",
    "learn_beta learn_alpha learn_tau": "learn=('tau',)",
    "learn_threshold": "learn=('v_threshold',)",
    "init_hidden output store_v_seq": "nothing: the state is an argument and a result, y, state = layer(x, state)",
    "step_mode batch_first time_axis": "nothing: signals are time first, (T, B, *N)",
    "num_neurons num_features size": "nothing: the number of neurons is that of the signal",
}


def _refuse_other_words(kind: type, settings: dict[str, Any]) -> None:
    """Raises if a neuron is built with an argument that it does not have, or with another library's word."""
    arguments = inspect.signature(kind.__init__).parameters  # type: ignore[misc]
    is_open = any(argument.kind is argument.VAR_KEYWORD for argument in arguments.values())
    equivalents = {word: here for words, here in _OTHER_WORDS.items() for word in words.split()}
    quantities = [
        name for parent in kind.__mro__ for name, value in vars(parent).items() if isinstance(value, Quantity)
    ]

    for name, value in settings.items():
        if name in arguments or name in quantities or (is_open and name not in equivalents):
            continue

        number = ""
        dt = settings.get("dt")
        if isinstance(value, float) and 0 < value < 1 and isinstance(dt, float):
            number = f" = {-dt / math.log(value):.3g}"

        names = [one for one in dict.fromkeys((*arguments, *quantities)) if one not in ("self", "settings")]
        hint = did_you_mean(name, names)
        if name in equivalents:
            hint = f"here it is {equivalents[name].format(name=name, number=number)}"

        raise ConfigError(f"{kind.__name__} has no {name!r}; {hint}")


class Neuron(Stateful):
    """A layer of neurons, defined by a pure step function of the input, the state and the arguments of a step.

    Subclasses give `step_function`, `initial_state` and, where the step function takes anything but quantities and
    decays, `arguments`. A state is a NamedTuple of tensors (or None) shaped like a step, the membrane first.
    Half-precision signals are computed in float32, with a state in float32; the output has the dtype of the signal.

    Args:
        dt: the step of the neuron's clock [s]; None where a network or `Sequential` binds it, or nothing depends on it.
        learn: names of the quantities that are trained.
        quantities: a float or a tensor of one value a neuron for each declared quantity.
    """

    state_grows = False
    step_function: ClassVar[Callable[..., tuple[Tensor, State]]]
    follows_spec: ClassVar[bool] = False  # the step function is that of spikebridge.ops.sequence.spec

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "step_function" in vars(cls) and "follows_spec" not in vars(cls):
            cls.follows_spec = False  # the attribute of a parent holds for the parent's step
        if "_loop" in vars(cls) and "advance" not in vars(cls):
            cls.advance = Stateful.advance  # type: ignore[method-assign] # that of a parent is its loop

    def __new__(cls, *_: Any, **settings: Any) -> "Neuron":
        if settings:
            _refuse_other_words(cls, settings)
        return super().__new__(cls)

    def __init__(self, dt: float | None = None, learn: Names = (), **quantities: Value) -> None:
        super().__init__()
        check_dt(type(self).__name__, dt)
        self.dt = dt
        self.store_quantities(learn, quantities)

    @property
    def uses_dt(self) -> bool:
        return any(name.startswith("tau") for name in self.modulable)

    def arguments(self, quantities: dict[str, Any]) -> dict[str, Any]:
        """The arguments of the step function from the physical quantities: time constants `tau_x` [s] as `decay_x`.

        It runs once a sequence at most; arguments that are all numbers are kept until an attribute of the layer is set.
        """
        decays = {name: decay_per_step(self, value) for name, value in quantities.items() if name.startswith("tau")}
        others = {name: value for name, value in quantities.items() if name not in decays}
        return {**others, **{name.replace("tau", "decay", 1): decay for name, decay in decays.items()}}

    def decay_over(self, name: str, num_steps: Tensor, value: Tensor) -> Tensor:
        """The argument `decay` or `decay_x` over steps `(B,)`, as one power, for a value `(B, *N)` of the state."""
        steps = num_steps.reshape(-1, *[1] * (value.ndim - 1)).to(value.dtype)
        arguments = self.arguments({quantity: getattr(self, quantity) for quantity in self.modulable})
        return torch.as_tensor(arguments[name], dtype=value.dtype, device=value.device) ** steps

    def forward(self, x: Signal, state: State = None, **modulation: Modulated) -> tuple[Signal, State]:
        return self.run(x, state, modulation)

    def advance(self, x_t: Step, state: State, effects: RowEffects) -> tuple[Step, State]:
        arguments = self._kept
        if effects:
            arguments = self._row_arguments(effects, x_t.ndim)
        elif arguments is None:
            arguments = self._arguments(x_t.unsqueeze(0), {}, is_first=False)

        return type(self).step_function(x_t, state, **arguments)

    def run(
        self,
        x: Signal,
        state: State = None,
        modulation: Mapping[str, Modulated] = MappingProxyType({}),
        *,
        size: int | Size | None = None,
        donated: bool = False,
    ) -> tuple[Tensor, State]:
        """As `forward`, for a layer whose outputs are pooled at once, or whose signal is not read again.

        Spikes of full size are not even stored before a pooling, for pictures that lie channels last in float32 on a
        CPU, with the native steps. These write what they keep for the backward pass into a donated signal.

        Args:
            x: the signal, `(T, B, C, Y, X)` where it is pooled; the values of a donated one are undefined afterwards.
            state: from an earlier part of the stream, or None.
            modulation: by name.
            size: side of the windows of a non-overlapping max pooling after the neurons, or their height and width.
            donated: the memory of the signal may be used.

        Example:
            >>> from spikebridge.neurons import IF
            >>> y, state = IF(v_threshold=2.0).run(torch.ones(2, 1, 1, 4, 4), size=2)
            >>> y.shape, y.mean((1, 2, 3, 4)).tolist()
            (torch.Size([2, 1, 1, 2, 2]), [0.0, 1.0])
        """
        pool = None if size is None else sides_of(size)
        signal, start, arguments = self._checked(x, state, modulation)

        # x.shape[0], not len(x), which would tie an exported network to one number of steps
        if not x.shape[0]:
            return _pooled(x.new_empty(x.shape), pool), start

        spec = self._spec(signal, start, arguments)
        inside: Size | None = None  # windows in which the steps pool by themselves
        if spec is None:
            y, end = self._loop(signal, start, arguments)
        else:
            donated = donated or signal is not x  # a copy of its own in float32
            inside = pool if pool is not None and select("pooled sequence", signal, spec, pool) == "native" else None
            y, end = self._at_once(spec, signal, start, arguments, inside, donated)

        # a membrane keeps the NaN or infinity of any step before, so that one value a neuron is read, not one a step
        # is_compiling first: a compiler would trace the mode
        is_checked = not torch.compiler.is_compiling() and (state is None or check_mode.get() == "always")
        if is_checked and end and reads_values(end[0], is_first=state is None):
            refuse_not_finite(self, end[0])
        elif spec is not None and _may_be_nan(end[0]):
            # the faster forms only compare, and NaN is never above a threshold
            if end[0].is_cpu and not donated:
                y = self._loop(signal, start, arguments)[0]
                inside = None
            else:
                y = _with_nan(y, end[0], is_pooled=inside is not None)

        y = y if inside is not None else _pooled(y, pool)
        return y if y.dtype == x.dtype else y.to(x.dtype), end

    def _loop(self, x: Tensor, state: State, arguments: dict[str, Any]) -> tuple[Tensor, State]:
        """The definition: one step after another."""
        in_time = [name for name, value in arguments.items() if isinstance(value, Tensor) and value.ndim == x.ndim]
        # unbound once, for the reason given in `scan`
        varying = {name: unbind_time(name, arguments[name], len(x)) for name in in_time}
        constant = {name: value for name, value in arguments.items() if name not in varying}
        step_function = type(self).step_function
        outputs = []

        for t, x_t in enumerate(x.unbind(0)):
            y_t, state = step_function(x_t, state, **constant, **{name: values[t] for name, values in varying.items()})
            outputs.append(y_t)

        return torch.stack(outputs), state

    def _spec(self, x: Tensor, state: State, arguments: dict[str, Any]) -> NeuronSpec | None:
        """The neuron as `run_sequence` takes it, for the same numbers at once; None if only the loop gives them."""
        if not self.follows_spec:
            return None
        # for a compiler the number of steps is a symbol
        if not torch.compiler.is_compiling() and x.shape[0] < min(selection.MIN_STEPS.values()):
            return None
        # the whole forms have neither a refractory time nor a membrane without reset
        if getattr(state, "wait", None) is not None or arguments.get("reset") == "none":
            return None

        spec = NeuronSpec(**{name: arguments[name] for name in _KINDS if name in arguments})
        # a surrogate with its own forward runs in the loop only
        is_plain = spec.surrogate is None or type(spec.surrogate).__call__ is Surrogate.__call__

        return spec if is_plain and supports_sequence(x, spec) else None

    def _at_once(
        self, spec: NeuronSpec, x: Tensor, state: State, arguments: dict[str, Any], pool: Size | None, donated: bool
    ) -> tuple[Tensor, State]:
        """All steps by `run_sequence`."""
        params = NeuronParams(**{name: arguments[name] for name in NeuronParams._fields if name in arguments})
        fields = state._asdict()
        memory = NeuronState(**{name: fields[name] for name in NeuronState._fields if name in fields})
        y, end = run_sequence(spec, x, memory, params, pool, donated)

        return y, state._replace(**{name: value for name, value in end._asdict().items() if value is not None})

    def _checked(
        self, x: Tensor, state: State, modulation: Mapping[str, Modulated]
    ) -> tuple[Tensor, State, dict[str, Any]]:
        """A signal in working precision, the state before it, and the arguments of the step function."""
        # asked here first, so that a right call enters no other file
        if not isinstance(x, Tensor) or x.is_nested or x.ndim < 2:
            refuse_timeless(self, x)
        if not x.is_floating_point():
            raise ShapeError(f"{type(self).__name__} needs a floating signal, but got {x.dtype}; use x.float()")
        if x.dtype in HALF:
            x = upcast(x)

        arguments = self._arguments(x, modulation, is_first=state is None)
        if state is None:
            state = self.initial_state(x.detach()[0] if x.shape[0] else x.new_zeros(x.shape[1:]))
            if not torch.compiler.is_compiling():
                keep_form(self, state, x)
        else:
            check_state(self, state, x)

        return x, state, arguments

    def _arguments(self, x: Tensor, modulation: Mapping[str, Modulated], is_first: bool) -> dict[str, Any]:
        """The arguments of the step function for a signal, whose quantities are checked against it."""
        # is_compiling first: a compiler would guard what it reads, and trace what is written
        is_compiling = torch.compiler.is_compiling()
        if not is_compiling and not modulation and self._kept is not None:
            return self._kept

        for name in self.modulable:
            what = f"{name} of {type(self).__name__}"
            refuse_ambiguous(what, getattr(self, name), x.shape[2:])
            refuse_ambiguous(what, modulation.get(name), x.shape[2:])

        quantities = self.quantities(x.ndim, modulation, is_first)
        for name, value in quantities.items():
            if isinstance(value, Tensor):
                self._check_fit(name, value, x, is_modulated=modulation.get(name) is not None)

        arguments = self.arguments(quantities)
        if not modulation:
            self.keep_numbers(arguments)

        return arguments

    def _row_arguments(self, effects: RowEffects, ndim: int) -> dict[str, Any]:
        """The arguments of the step function under effects on one step, whose signal has `ndim` axes."""
        modulated: dict[str, Any] = {}
        for name, acts in effects.items():
            for row, by in acts:
                # axes line up from the left
                signal = row.reshape(*row.shape, *[1] * (ndim - row.ndim)) if row.ndim < ndim else row
                if by != "replace":
                    signal = modulate(modulated[name] if name in modulated else getattr(self, name), signal, by)
                modulated[name] = signal

        # most effects change the argument of their own name alone, as a threshold does; the others are kept
        expected = None if self._kept is None else {**self._kept, **modulated}
        acts_alone = self._alone.get(tuple(effects))
        if expected is not None and acts_alone:
            return expected

        arguments = self.arguments({n: modulated[n] if n in modulated else getattr(self, n) for n in self.modulable})
        if expected is not None and acts_alone is None:
            pairs = [(value, expected.get(name)) for name, value in arguments.items()]
            acts_alone = all(a is b or (type(a) is type(b) is float and a == b) for a, b in pairs)
            self.__dict__["_alone"] = {**self._alone, tuple(effects): acts_alone}

        return arguments

    def _check_fit(self, name: str, value: Tensor, x: Tensor, is_modulated: bool) -> None:
        """Raises if a quantity has another dtype or device than a signal, or does not broadcast against it."""
        who = type(self).__name__
        refuse_other_place(f"{who} has {name} in", value, ", but its input is", x)

        # a layer keeps a value a neuron: time and batch may come from a modulation only
        shape, axes = (x.shape, "(T, B, *N)") if is_modulated else (x.shape[2:], "(*N)")
        if not broadcasts(value.shape, shape):
            hint = "; an Effect lines its axes up from the left, one value a channel too" if is_modulated else ""
            raise ShapeError(
                f"{who} has {name} of shape {tuple(value.shape)}, which does not broadcast against {tuple(shape)}, the "
                f"{axes} of its input{hint}"
            )

    def extra_repr(self) -> str:
        texts = []
        for name in self.modulable:
            value = torch.as_tensor(getattr(self, name)).detach()
            texts.append(f"{name}={tuple(value.shape)}" if value.ndim else f"{name}={float(value):g}")

        return ", ".join(texts + ([f"dt={self.dt:g}"] if self.dt is not None else []))


def _pooled(y: Tensor, size: Size | None) -> Tensor:
    return y if size is None else max_pool2d(y.flatten(0, 1), size).unflatten(0, y.shape[:2])


def _may_be_nan(v: Tensor) -> bool:
    """True if a membrane may be NaN; a CPU tells exactly, where reading one number waits for nothing."""
    # is_compiling first: what stands after it is never traced
    if torch.compiler.is_compiling() or type(v) is not Tensor or torch._C._are_functorch_transforms_active():
        return False  # a tracer has no values
    if v.is_meta or v.numel() == 0:
        return False
    if not v.is_cpu:
        return True

    return math.isnan(number_on_cpu(v.detach().sum()))


def _with_nan(y: Tensor, v: Tensor, is_pooled: bool) -> Tensor:
    """Outputs with NaN in the whole call of a neuron whose last membrane is NaN: its signal is on a device or gone."""
    mask = v.isnan()
    if is_pooled:
        mask = mask.flatten(1).any(1).reshape(-1, *[1] * (y.ndim - 2))

    return y.masked_fill(mask, math.nan)


def refuse_not_finite(layer: nn.Module, v: Tensor) -> None:
    """Raises if a membrane is NaN, which never fires, or infinite, which always fires, both without an error."""
    number = count_not_finite(v)
    if number:
        raise DataError(
            f"{type(layer).__name__} met NaN or infinity in its input or parameters ({number} of {v.numel()} "
            "membranes); check the data and, in training, the learning rate"
        )


def fusable_pool_size(layer: nn.Module, after: nn.Module) -> Size | None:
    """The windows of a non-overlapping max pooling after a layer, if no hook needs the output in between."""
    size = windows_of(after) if is_plain_neuron(layer) else None
    return None if size is None or has_hooks(after) else size


def is_plain_neuron(layer: nn.Module) -> bool:
    """True if a layer runs as `Neuron` does and has no hooks, so that a fused path may replace it."""
    return isinstance(layer, Neuron) and type(layer).forward is Neuron.forward and not has_hooks(layer)
