"""The base of all layers of neurons, each defined by a pure step function."""

import inspect
import math
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikebridge.errors import ConfigError, DataError, ShapeError, did_you_mean
from spikebridge.neurons.base import RowEffects, Stateful, refuse_timeless, unbind_time
from spikebridge.neurons.dt import check_dt
from spikebridge.neurons.quantity import (
    KEPT,
    Modulated,
    Quantity,
    broadcasts,
    modulate,
    refuse_ambiguous,
    refuse_other_place,
)
from spikebridge.neurons.state import State
from spikebridge.neurons.surrogate import Surrogate
from spikebridge.ops.checks import count_not_finite, number_on_cpu, reads_values
from spikebridge.ops.layers.pooling import max_pool2d, sides_of, windows_of
from spikebridge.ops.precision import HALF, upcast
from spikebridge.ops.selection import has_hooks, is_long_enough, select, supports_sequence
from spikebridge.ops.sequence.autograd import run_sequence
from spikebridge.ops.sequence.spec import NeuronMemory, NeuronParams, NeuronSpec, Size

_KINDS = ("surrogate", "reset", "detach_reset")  # arguments that are no numbers
_OTHER_WORDS = {  # of other libraries, and their equivalents here
    **dict.fromkeys(("beta", "decay", "leak"), "tau [s] (beta is exp(-dt / tau)): tau = -dt / log({name}){number}"),
    **dict.fromkeys(("alpha", "syn_decay"), "tau_syn [s] of CubaLIF: tau_syn = -dt / log({name}){number}"),
    **dict.fromkeys(("threshold", "v_th", "vth", "thresh", "theta", "spike_threshold"), "v_threshold"),
    **dict.fromkeys(("tau_mem", "tau_m", "tau_membrane"), "tau, in seconds"),
    **dict.fromkeys(("tau_s", "tau_i", "tau_syn_inv"), "tau_syn of CubaLIF, in seconds"),
    **dict.fromkeys(("reset_mechanism", "reset_mode", "reset_fn"), "reset= 'zero', 'subtract' or 'none'"),
    **dict.fromkeys(("v_rest", "v_l", "u_rest"), "v_leak"),
    **dict.fromkeys(
        ("spike_grad", "surrogate_function", "surrogate_grad_fn", "spike_fn"), "surrogate=, for example Arctan()"
    ),
    **dict.fromkeys(("learn_beta", "learn_alpha", "learn_tau"), "learn=('tau',)"),
    "learn_threshold": "learn=('v_threshold',)",
    **dict.fromkeys(
        ("init_hidden", "output", "store_v_seq"),
        "nothing: the state is an argument and a result, y, state = layer(x, state)",
    ),
    **dict.fromkeys(("step_mode", "batch_first", "time_axis"), "nothing: signals are time first, (T, B, *N)"),
    **dict.fromkeys(("num_neurons", "num_features", "size"), "nothing: the number of neurons is that of the signal"),
}


def _refuse_other_words(kind: type, settings: dict[str, Any]) -> None:
    """Raises if a neuron is built with an argument that it does not have, or with another library's word."""
    arguments = inspect.signature(kind.__init__).parameters  # type: ignore[misc]
    is_open = any(argument.kind is argument.VAR_KEYWORD for argument in arguments.values())
    quantities = [
        name for parent in kind.__mro__ for name, value in vars(parent).items() if isinstance(value, Quantity)
    ]

    for name, value in settings.items():
        if name in arguments or name in quantities or (is_open and name not in _OTHER_WORDS):
            continue

        number = ""
        dt = settings.get("dt")
        if isinstance(value, float) and 0 < value < 1 and isinstance(dt, float):
            number = f" = {-dt / math.log(value):.3g}"

        here = f"here it is {_OTHER_WORDS[name].format(name=name, number=number)}" if name in _OTHER_WORDS else ""
        known = [known for known in dict.fromkeys((*arguments, *quantities)) if known not in ("self", "settings")]
        raise ConfigError(f"{kind.__name__} has no {name!r}; {here or did_you_mean(name, known)}")


class Neuron(Stateful):
    """A layer of neurons, defined by a pure step function of the input, the state and the arguments of a step.

    Subclasses give `step_function`, `initial_state` and `arguments`, which turns physical quantities (seconds) into the
    arguments of the step function (decays). `arguments` runs once a sequence at most; arguments that are all numbers
    are kept until an attribute of the layer is set. A state is a NamedTuple of tensors (or None) shaped like a step,
    the membrane first. Half-precision signals are computed in float32, with a state in float32; the output has the
    dtype of the signal.

    Args:
        dt: the step of the neuron's clock [s]; None where a network or `Sequential` binds it, or nothing depends on it.
        learn: names of the quantities that are trained.
        quantities: a float or a tensor of one value a neuron for each declared quantity.
    """

    state_grows = False
    step_function: ClassVar[Callable[..., tuple[Tensor, State]]]
    follows_spec: ClassVar[bool] = False  # whether the step function is that of spikebridge.ops.sequence.spec

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

    def __init__(self, dt: float | None = None, learn: str | Iterable[str] = (), **quantities: Tensor | float) -> None:
        super().__init__()
        check_dt(type(self).__name__, dt)
        self.dt = dt
        self.store_quantities(learn, quantities)

    @property
    def uses_dt(self) -> bool:
        return any(name.startswith("tau") for name in self.modulable)

    def arguments(self, quantities: dict[str, Any]) -> dict[str, Any]:
        """The arguments of the step function from the physical quantities."""
        raise NotImplementedError

    def forward(
        self, x: Float[Tensor, "T B *N"], state: State = None, **modulation: Modulated
    ) -> tuple[Float[Tensor, "T B *N"], State]:
        return self._sequence(x, state, modulation)

    def step(
        self, x_t: Float[Tensor, "B *N"], state: State, **modulation: Modulated
    ) -> tuple[Float[Tensor, "B *N"], State]:
        y, state = self(x_t.unsqueeze(0), state, **modulation)
        return y[0], state

    def advance(self, x_t: Float[Tensor, "B *N"], state: State, effects: RowEffects) -> tuple[Tensor, State]:
        arguments = self._kept
        if effects:
            arguments = self.arguments(self._modulated_by_rows(effects, x_t.ndim))
        elif arguments is None:
            arguments = self._own_arguments()

        return type(self).step_function(x_t, state, **arguments)

    def pooled(
        self, x: Float[Tensor, "T B C Y X"], state: State = None, *, size: int | Size, **modulation: Modulated
    ) -> tuple[Float[Tensor, "T B C y x"], State]:
        """The outputs behind max pooling with windows of `size` side by side.

        They are those of `max_pool2d` behind `forward`. Spikes of full size are not even stored, which is faster, for
        pictures that lie channels last in float32 on a CPU, with the native steps.

        Args:
            x: pictures over time.
            state: from an earlier part of the stream, or None.
            size: of a window, or its height and width.
            modulation: as in `forward`.

        Example:
            >>> from spikebridge.neurons import IF
            >>> y, state = IF(v_threshold=2.0).pooled(torch.ones(2, 1, 1, 4, 4), size=2)
            >>> y.shape, y.mean((1, 2, 3, 4)).tolist()
            (torch.Size([2, 1, 1, 2, 2]), [0.0, 1.0])
        """
        return self._sequence(x, state, modulation, sides_of(size))

    def forward_donated(
        self,
        x: Float[Tensor, "T B *N"],
        state: State = None,
        *,
        size: int | Size | None = None,
        **modulation: Modulated,
    ) -> tuple[Float[Tensor, "T B *M"], State]:
        """As `forward`, or as `pooled` where a size is given, of a signal that is not read again.

        The native steps write what they keep for the backward pass into its memory.

        Args:
            x: the signal; its values afterwards are undefined.
            state: from an earlier part of the stream, or None.
            size: of a window, or its height and width.
            modulation: as in `forward`.

        Example:
            >>> from spikebridge.neurons import IF
            >>> IF(v_threshold=2.0).forward_donated(torch.ones(2, 1, 1))[0].flatten().tolist()
            [0.0, 1.0]
        """
        return self._sequence(x, state, modulation, None if size is None else sides_of(size), donated=True)

    def _sequence(
        self,
        x: Tensor,
        state: State,
        modulation: dict[str, Modulated],
        pool: Size | None = None,
        donated: bool = False,
    ) -> tuple[Tensor, State]:
        """All steps: the loop over `step_function`, or a faster form with its numbers; then the pooling, if any."""
        signal, start, arguments = self._checked(x, state, modulation)

        # x.shape[0], not len(x), which would tie an exported network to one number of steps
        if not x.shape[0]:
            y = x.new_empty(x.shape)
            return y if pool is None else _pool_steps(y, pool), start

        spec = self._spec(signal, start, arguments)
        if spec is None:
            y, end = self._loop(signal, start, arguments)
            is_pooled = False
        else:
            donated = donated or signal is not x  # a copy of its own in float32
            is_pooled = pool is not None and select("pooled sequence", signal, spec, pool) == "native"
            y, end = self._at_once(spec, signal, start, arguments, pool if is_pooled else None, donated)

        if end and reads_values(end[0], is_first=state is None):
            refuse_not_finite(self, end[0])
        elif spec is not None and _may_be_nan(end[0]):
            # the fast forms only compare, and NaN is never above a threshold
            if end[0].is_cpu and not donated:
                y = self._loop(signal, start, arguments)[0]
                is_pooled = False
            else:
                y = _with_nan(y, end[0], is_pooled)

        if pool is not None and not is_pooled:
            y = _pool_steps(y, pool)

        return y if y.dtype == x.dtype else y.to(x.dtype), end

    def _loop(self, x: Tensor, state: State, arguments: dict[str, Any]) -> tuple[Tensor, State]:
        """The definition: one step after another."""
        varying = {
            name: unbind_time(name, value, len(x))
            for name, value in arguments.items()
            if isinstance(value, Tensor) and value.ndim == x.ndim
        }

        constant = {name: value for name, value in arguments.items() if name not in varying}
        step_function = type(self).step_function
        outputs = []

        for t, x_t in enumerate(x.unbind(0)):
            y_t, state = step_function(x_t, state, **constant, **{name: values[t] for name, values in varying.items()})
            outputs.append(y_t)

        return torch.stack(outputs), state

    def _spec(self, x: Tensor, state: State, arguments: dict[str, Any]) -> NeuronSpec | None:
        """The neuron as `run_sequence` knows it, for the same numbers at once; None if only the loop gives them."""
        if not (self.follows_spec and is_long_enough(x)):
            return None
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
        memory = NeuronMemory(**{name: fields[name] for name in NeuronMemory._fields if name in fields})
        y, end = run_sequence(spec, x, memory, params, pool, donated)

        return y, state._replace(**{name: value for name, value in end._asdict().items() if value is not None})

    def _checked(
        self, x: Tensor, state: State, modulation: dict[str, Modulated]
    ) -> tuple[Tensor, State, dict[str, Any]]:
        """A signal in working precision, the state before it, and the arguments of the step function."""
        if not isinstance(x, Tensor) or x.ndim < 2:
            refuse_timeless(self, x)
        if not x.is_floating_point():
            raise ShapeError(f"{type(self).__name__} needs a floating signal, but got {x.dtype}; use x.float()")
        if x.dtype in HALF:
            x = upcast(x)

        arguments = self._modulated_arguments(x, modulation, state is None) if modulation else self._own_arguments(x)
        if state is None:
            state = self.initial_state(x.detach()[0] if x.shape[0] else x.new_zeros(x.shape[1:]))
        else:
            self.check_state(state, x)

        return x, state, arguments

    def _own_arguments(self, x: Tensor | None = None) -> dict[str, Any]:
        """The arguments of the step function without modulation, checked against a signal if one is given."""
        # is_compiling first: a compiler would guard what it reads, and trace what is written
        if not torch.compiler.is_compiling() and self._kept is not None:
            return self._kept

        quantities = {name: getattr(self, name) for name in self.modulable}
        if x is not None:
            self._check_quantities(quantities, {}, x)

        arguments = self.arguments(quantities)
        has_tensors = self._parameters or self._buffers or self._modules or torch.compiler.is_compiling()
        if not has_tensors and not any(isinstance(value, Tensor) for value in arguments.values()):
            self.__dict__[KEPT] = arguments

        return arguments

    def _modulated_by_rows(self, effects: RowEffects, ndim: int) -> dict[str, Any]:
        """Every quantity of one step, whose signal has `ndim` axes."""
        quantities = {name: getattr(self, name) for name in self.modulable}
        for name, acts in effects.items():
            for row, by in acts:
                # axes line up from the left
                signal = row.reshape(*row.shape, *[1] * (ndim - row.ndim)) if row.ndim < ndim else row
                quantities[name] = modulate(quantities[name], signal, by)

        return quantities

    def _modulated_arguments(self, x: Tensor, modulation: dict[str, Modulated], is_first: bool) -> dict[str, Any]:
        for name in self.modulable:
            if name in modulation:
                what = f"{name} of {type(self).__name__}"
                refuse_ambiguous(what, getattr(self, name), x.shape[2:])
                refuse_ambiguous(what, modulation[name], x.shape[2:])

        quantities = self.quantities(x.ndim, modulation, is_first)
        self._check_quantities(quantities, modulation, x)

        return self.arguments(quantities)

    def _check_quantities(self, quantities: dict[str, Any], modulation: dict[str, Modulated], x: Tensor) -> None:
        """Raises if a tensor does not fit a signal."""
        who = type(self).__name__
        for name, value in quantities.items():
            if not isinstance(value, Tensor):
                continue

            refuse_other_place(f"{who} has {name} in", value, ", but its input is", x)
            is_modulated = modulation.get(name) is not None
            if not is_modulated:
                refuse_ambiguous(f"{name} of {who}", value, x.shape[2:])

            # a layer keeps a value a neuron: time and batch may come from a modulation only
            shape, axes = (x.shape, "(T, B, *N)") if is_modulated else (x.shape[2:], "(*N)")
            if not broadcasts(value.shape, shape):
                hint = "; an Effect lines its axes up from the left, one value a channel too" if is_modulated else ""
                raise ShapeError(
                    f"{who} has {name} of shape {tuple(value.shape)}, which does not broadcast against {tuple(shape)}, "
                    f"the {axes} of its input{hint}"
                )

    def extra_repr(self) -> str:
        texts = []
        for name in self.modulable:
            value = torch.as_tensor(getattr(self, name)).detach()
            texts.append(f"{name}={tuple(value.shape)}" if value.ndim else f"{name}={float(value):g}")

        return ", ".join(texts + ([f"dt={self.dt:g}"] if self.dt is not None else []))


def _pool_steps(y: Tensor, size: Size) -> Tensor:
    return max_pool2d(y.flatten(0, 1), size).unflatten(0, y.shape[:2])


def _may_be_nan(v: Tensor) -> bool:
    """True if a membrane may be NaN: known on a CPU, where reading one number waits for nothing."""
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
    """Raises if a membrane is NaN or infinite: the one never fires, the other always, and both in silence."""
    number = count_not_finite(v)
    if number:
        raise DataError(
            f"{type(layer).__name__} met NaN or infinity in its input or parameters ({number} of {v.numel()} "
            "membranes); check the data and, in training, the learning rate"
        )


def fusable_pool_size(layer: nn.Module, after: nn.Module) -> Size | None:
    """The windows of a max pooling side by side behind a layer of neurons, if no hook needs the output in between."""
    size = windows_of(after) if is_plain_neuron(layer) else None
    return None if size is None or has_hooks(after) else size


def is_plain_neuron(layer: nn.Module) -> bool:
    """True if a layer runs as `Neuron` does and has no hooks, so that a fused path may replace it."""
    return isinstance(layer, Neuron) and type(layer).forward is Neuron.forward and not has_hooks(layer)
