"""Layers of neurons, defined by a pure step function: what all of them share."""

import inspect
import math
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikebridge.errors import ConfigError, DataError, ShapeError, did_you_mean
from spikebridge.neurons.base import Stateful, refuse_timeless, refuse_unknown, unbind_time
from spikebridge.neurons.dt import check_dt
from spikebridge.neurons.quantity import Modulated, Quantity, names_to_learn, refuse_ambiguous
from spikebridge.neurons.state import State
from spikebridge.neurons.surrogate import Surrogate
from spikebridge.ops.checks import is_finite, number_on_cpu, reads_values
from spikebridge.ops.layers.pooling import max_pool2d, sides_of, windows_of
from spikebridge.ops.precision import upcast
from spikebridge.ops.selection import has_hooks, is_long_enough, select, supports_sequence
from spikebridge.ops.sequence.autograd import run_sequence
from spikebridge.ops.sequence.spec import NeuronParams, NeuronSpec, NeuronState, Size

KINDS = ("surrogate", "reset", "detach_reset")  # arguments that are no numbers


_OTHER_WORDS = {  # of other libraries, and what stands for them here
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
    """Raises where a neuron is built with an argument that it does not have, or with another library's word."""
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
    arguments of the step function (decays). `arguments` runs once a sequence, however long it is. A state is a
    NamedTuple of tensors (or None) shaped like a step, the membrane first. Half-precision signals are computed in
    float32, with a state in float32; the output has the dtype of the signal.

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
            cls.follows_spec = False  # what a parent says holds for the parent's step

    def __new__(cls, *_: Any, **settings: Any) -> "Neuron":
        if settings:
            _refuse_other_words(cls, settings)
        return super().__new__(cls)

    def __init__(self, dt: float | None = None, learn: str | Iterable[str] = (), **quantities: Tensor | float) -> None:
        super().__init__()
        who = type(self).__name__
        check_dt(who, dt)
        self.dt = dt
        learned = names_to_learn(who, learn, quantities)

        for name, value in quantities.items():
            getattr(type(self), name).store(self, value, learn=name in learned)

    @property
    def uses_dt(self) -> bool:
        return any(name.startswith("tau") for name in self.modulable)

    def arguments(self, quantities: dict[str, Any]) -> dict[str, Any]:
        """The arguments of the step function from the physical quantities."""
        raise NotImplementedError

    def quantities(self, ndim: int, modulation: dict[str, Modulated], is_first: bool = True) -> dict[str, Any]:
        """Every quantity by name, those under modulation with their effects.

        Args:
            ndim: axes of the signal.
            modulation: by name.
            is_first: whether the call begins a stream, so that values under modulation are checked.
        """
        if not modulation:
            return {name: getattr(self, name) for name in self.modulable}

        refuse_unknown(self, modulation)
        return {
            name: getattr(type(self), name).resolve(self, value, ndim, is_first)
            if (value := modulation.get(name)) is not None
            else getattr(self, name)
            for name in self.modulable
        }

    def step(
        self, x_t: Float[Tensor, "B *N"], state: State, **modulation: Modulated
    ) -> tuple[Float[Tensor, "B *N"], State]:
        y, state = self(x_t.unsqueeze(0), state, **modulation)
        return y[0], state

    def forward(
        self, x: Float[Tensor, "T B *N"], state: State = None, **modulation: Modulated
    ) -> tuple[Float[Tensor, "T B *N"], State]:
        return self._checked(x, state, None, modulation, donated=False)

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
        return self._checked(x, state, size, modulation, donated=False)

    def forward_donated(
        self,
        x: Float[Tensor, "T B *N"],
        state: State = None,
        *,
        size: int | Size | None = None,
        **modulation: Modulated,
    ) -> tuple[Float[Tensor, "T B *M"], State]:
        """As `forward`, or as `pooled` where a size is given, of a signal that is not read again.

        What is kept for the backward pass takes its memory, with the native steps.

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
        return self._checked(x, state, size, modulation, donated=True)

    def _checked(
        self, x: Tensor, state: State, size: int | Size | None, modulation: dict[str, Modulated], donated: bool
    ) -> tuple[Tensor, State]:
        """A sequence on the fastest path that supports it; its input is checked before, its last membranes after."""
        pool = None if size is None else sides_of(size)
        is_first = state is None
        given = x
        x, state, arguments = self._prepared(x, state, modulation)
        donated = donated or x is not given  # a copy of its own in float32

        # x.shape[0], not len(x), which would tie an exported network to one number of steps
        if x.shape[0]:
            start = state
            spec = self._spec(x, state, arguments)
            y, state, is_pooled = self._run(spec, x, state, arguments, pool, donated)
            if state and reads_values(state[0], is_first):
                refuse_not_finite(self, state[0])
            elif spec is not None and not torch.compiler.is_compiling() and _may_be_nan(state[0]):
                y, is_pooled = self._with_nan(y, x, start, state[0], arguments, is_pooled, donated)
        else:
            y = x.new_empty(x.shape)
            is_pooled = False

        if pool is not None and not is_pooled:
            y = max_pool2d(y.flatten(0, 1), pool).unflatten(0, y.shape[:2])

        return y if y.dtype == given.dtype else y.to(given.dtype), state

    def _prepared(
        self, x: Tensor, state: State, modulation: dict[str, Modulated]
    ) -> tuple[Tensor, State, dict[str, Any]]:
        """A signal that can be run, the state before it, and the arguments of the step function."""
        refuse_timeless(self, x)
        if not x.is_floating_point():
            raise ShapeError(f"{type(self).__name__} needs a floating signal, but got {x.dtype}; use x.float()")

        x = upcast(x)
        for name in self.modulable if modulation else ():
            if name in modulation:
                what = f"{name} of {type(self).__name__}"
                refuse_ambiguous(what, getattr(self, name), x.shape[2:])
                refuse_ambiguous(what, modulation[name], x.shape[2:])

        quantities = self.quantities(x.ndim, modulation, state is None)
        for name, value in quantities.items():
            if isinstance(value, Tensor):
                self._check_fit(name, value, x, modulated=modulation.get(name) is not None)

        if state is None:
            state = self.initial_state(x.detach()[0] if x.shape[0] else x.new_zeros(x.shape[1:]))
        else:
            self.check_state(state, x)

        return x, state, self.arguments(quantities)

    def _run(
        self,
        spec: NeuronSpec | None,
        x: Tensor,
        state: State,
        arguments: dict[str, Any],
        pool: Size | None,
        donated: bool,
    ) -> tuple[Tensor, State, bool]:
        """Outputs, the last state, and whether the outputs are pooled."""
        if spec is None:
            return *self._loop(x, state, arguments), False
        size = pool if pool is not None and select("pooled sequence", x, spec, pool) == "native" else None
        return *self._whole(spec, x, state, arguments, size, donated), size is not None

    def _with_nan(
        self, y: Tensor, x: Tensor, start: State, v: Tensor, arguments: dict[str, Any], is_pooled: bool, donated: bool
    ) -> tuple[Tensor, bool]:
        """Outputs with NaN where a membrane is NaN (the fast paths only compare), and whether they are pooled."""
        if v.is_cpu and not donated:
            return self._loop(x, start, arguments)[0], False

        # on another device no value is read, and a donated signal is gone: the whole call of such a neuron is NaN
        mask = v.isnan()
        if is_pooled:
            mask = mask.flatten(1).any(1).reshape(-1, *[1] * (y.ndim - 2))

        return y.masked_fill(mask, math.nan), is_pooled

    def _spec(self, x: Tensor, state: State, arguments: dict[str, Any]) -> NeuronSpec | None:
        """What a whole sequence can run as at once, with the same numbers; None where only the loop will do."""
        if not (self.follows_spec and is_long_enough(x)):
            return None
        if getattr(state, "wait", None) is not None or arguments.get("reset") == "none":
            return None

        spec = NeuronSpec(**{name: arguments[name] for name in KINDS if name in arguments})
        surrogate = spec.surrogate
        # a surrogate with its own forward runs in the loop only
        plain = surrogate is None or type(surrogate).__call__ is Surrogate.__call__

        return spec if plain and supports_sequence(x, spec) else None

    def _whole(
        self, spec: NeuronSpec, x: Tensor, state: State, arguments: dict[str, Any], pool: Size | None, donated: bool
    ) -> tuple[Tensor, State]:
        values = NeuronParams(**{name: arguments[name] for name in NeuronParams._fields if name in arguments})
        memory = NeuronState(**{name: value for name, value in state._asdict().items() if name in NeuronState._fields})
        y, end = run_sequence(spec, x, memory, values, pool, donated)

        return y, state._replace(**{name: value for name, value in end._asdict().items() if value is not None})

    def _loop(self, x: Tensor, state: State, arguments: dict[str, Any]) -> tuple[Tensor, State]:
        varying = {
            name: unbind_time(name, value, len(x))
            for name, value in arguments.items()
            if isinstance(value, Tensor) and value.ndim == x.ndim
        }

        fixed = {name: value for name, value in arguments.items() if name not in varying}
        step_function = type(self).step_function
        outputs = []

        for t, x_t in enumerate(x.unbind(0)):
            y_t, state = step_function(x_t, state, **fixed, **{name: values[t] for name, values in varying.items()})
            outputs.append(y_t)

        return torch.stack(outputs), state

    def _check_fit(self, name: str, value: Tensor, x: Tensor, modulated: bool) -> None:
        who = type(self).__name__
        if value.dtype != x.dtype or value.device != x.device:
            raise ShapeError(
                f"{who} has {name} in {value.dtype} on {value.device}, but its input is {x.dtype} on {x.device}; "
                "move one of them with .to()"
            )

        if not modulated:
            refuse_ambiguous(f"{name} of {who}", value, x.shape[2:])

        # what the layer keeps is a value a neuron: time and batch may come from a modulation only
        shape, axes = (x.shape, "(T, B, *N)") if modulated else (x.shape[2:], "(*N)")
        pairs = zip(reversed(value.shape), reversed(shape), strict=False)  # shapes line up from the right
        if value.ndim > len(shape) or any(n not in (1, m) for n, m in pairs):
            hint = "; an Effect lines its axes up from the left, one value a channel too" if modulated else ""
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


def _may_be_nan(v: Tensor) -> bool:
    """Whether a membrane may be NaN: known on a CPU, where reading one number waits for nothing."""
    if type(v) is not Tensor or torch._C._are_functorch_transforms_active() or v.is_meta or v.numel() == 0:
        return False  # a tracer has no values
    if not v.is_cpu:
        return True

    return math.isnan(number_on_cpu(v.detach().sum()))


def refuse_not_finite(layer: nn.Module, v: Tensor) -> None:
    """Raises where a membrane is NaN or infinite: the one never fires, the other always, and both in silence."""
    # the sum is not finite where any value is not; it may also overflow, so then each value is checked
    total = v.detach().sum()
    if not math.isfinite(number_on_cpu(total) if v.is_cpu else float(total)) and not is_finite(v):
        raise DataError(
            f"{type(layer).__name__} met NaN or infinity in its input or parameters ({int((~v.isfinite()).sum())} of "
            f"{v.numel()} membranes); check the data and, in training, the learning rate"
        )


def fusable_pool_size(layer: nn.Module, after: nn.Module) -> Size | None:
    """The windows of a max pooling side by side behind a layer of neurons, if no hook needs the output in between.

    Example:
        >>> from spikebridge.neurons import IF
        >>> fusable_pool_size(IF(), nn.MaxPool2d(2)), fusable_pool_size(IF(), nn.MaxPool2d(2, stride=1))
        ((2, 2), None)
    """
    size = windows_of(after) if is_plain_neuron(layer) else None
    return None if size is None or has_hooks(after) else size


def is_plain_neuron(layer: nn.Module) -> bool:
    """Whether a layer runs as `Neuron` does and has no hooks, so that a fused path may replace it."""
    return isinstance(layer, Neuron) and type(layer).forward is Neuron.forward and not has_hooks(layer)
