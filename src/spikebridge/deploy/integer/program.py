"""Programs of the integer model: the operations of a part in order, `(B, *N)` in and out. No floats, and no torch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from spikebridge.deploy.bundle.manifest import Setting, check_shape
from spikebridge.deploy.stages.arithmetic import COMPARISONS, IntegerArithmetic, Ints, check_ticks, root
from spikebridge.deploy.stages.convolutions import convolution, windows
from spikebridge.deploy.stages.kernels import Forms
from spikebridge.deploy.stages.neurons import LAYERS, QUANTITIES, effects_on, layer_form
from spikebridge.errors import DataError, did_you_mean

_PREVIOUS = "previous"
_SIZES = ("kernel_size", "stride", "padding", "dilation", "num_taps")
_MAX_SIZE = 1 << 10
# integers without which a layer cannot run
_NUMBERS = {
    "linear": ("weight",),
    "convolution": ("weight",),
    "table": ("entries",),
    "delay": ("ticks",),
    "compare": ("bound",),
}
_SETTINGS = {"reduce": ("axis", "keep"), "slice": ("axis", "start", "stop")}
_SET_BY = {"reduction": "reduce", "by": "compare"}
_BELOW_ALL = -(1 << 40)  # the padding of a maximum
_States: TypeAlias = dict[str, Any]
_Function: TypeAlias = Callable[[Any, Sequence[Any]], Any]
Effects: TypeAlias = Mapping[tuple[str, str], Sequence[tuple[Ints, str]]]  # by neuron and quantity


@dataclass(frozen=True)
class OperationRecord:
    """An operation: its name, its kind, the signals that it takes, and its sizes."""

    name: str
    operation: str
    sources: tuple[str, ...]
    settings: dict[str, Setting]


@dataclass(frozen=True)
class ProgramRecord:
    """Operations in order; the integers of each are stored under its name."""

    inputs: tuple[str, ...]
    operations: tuple[OperationRecord, ...]
    output: str

    def __post_init__(self) -> None:
        computed = set(self.inputs)
        names = {record.name for record in self.operations}

        for record in self.operations:
            _check_operation(record)
            # feedback may come from an operation further down
            self._check_sources(record, names if record.operation == _PREVIOUS else computed)
            computed.add(record.name)

        if self.output not in computed:
            raise DataError(f"the output of a program is {self.output!r}, which no operation computes")

    @staticmethod
    def _check_sources(record: OperationRecord, signals: set[str]) -> None:
        if not record.sources:
            raise DataError(f"operation {record.name!r} takes no signal")
        for source in record.sources:
            if source not in signals:
                raise DataError(f"operation {record.name!r} takes {source!r}, which does not come before it")

    @property
    def has_state(self) -> bool:
        return any(record.operation in (*LAYERS, _PREVIOUS) for record in self.operations)

    def modulable(self) -> list[tuple[str, str]]:
        neurons = [record.name for record in self.operations if record.operation == "neuron"]
        factors = [record for record in self.operations if record.operation == "factor"]
        pairs = [(name, quantity) for name in neurons for quantity in QUANTITIES]
        return pairs + [(record.name, str(record.settings.get("quantity"))) for record in factors]


def _check_operation(record: OperationRecord) -> None:
    operations = (*_FUNCTIONS, *LAYERS, _PREVIOUS)
    if record.operation not in operations:
        raise DataError(f"there is no operation {record.operation!r}; {did_you_mean(record.operation, operations)}")

    for name, known in (("reduction", _REDUCTIONS), ("by", COMPARISONS)):
        word = record.settings.get(name)
        if record.operation == _SET_BY[name] and word not in known:
            raise DataError(f"operation {record.name!r} has the {name} {word!r}; {did_you_mean(str(word), known)}")

    for name, size in record.settings.items():
        # sizes are checked before any memory is taken; axis 0 is that of the batch
        is_place = record.operation in ("reduce", "slice") and name in ("axis", "start", "stop")
        lowest = 1 if is_place and name == "axis" else 0
        if (name.startswith(_SIZES) or is_place) and not (isinstance(size, int) and lowest <= size <= _MAX_SIZE):
            raise DataError(
                f"operation {record.name!r} has {name} = {size!r}; expected an integer from {lowest} to {_MAX_SIZE}"
            )


class IntegerProgram:
    """A part, or the nonlinearity of a unit: its operations, with the integers of each."""

    def __init__(self, record: ProgramRecord, numbers: Mapping[str, Mapping[str, Any]], forms: Forms = None) -> None:
        self.record = record
        self.arithmetics: dict[str, IntegerArithmetic] = {}
        layers = [operation for operation in record.operations if operation.operation in LAYERS]
        self.forms = {layer.name: layer_form(layer.operation, layer.settings, forms) for layer in layers}
        for operation in record.operations:
            constants = numbers.get(operation.name, {})
            _check_layer(operation, self.forms.get(operation.name), constants)
            self.arithmetics[operation.name] = IntegerArithmetic(operation.settings, constants)

    def step(self, inputs: Mapping[str, Ints], effects: Effects, state: _States | None) -> tuple[Ints, _States]:
        """One step: signals by input, and the state of layers by name (None at the start)."""
        values = dict(inputs)
        states = state or {}
        after: _States = {}

        for record in self.record.operations:
            name = record.name
            a = self.arithmetics[name]
            if record.operation == _PREVIOUS:
                values[name] = states[name] if name in states else _before_first_tick(record.settings, inputs)
                continue

            sources = [values[source] for source in record.sources]
            if record.operation in _FUNCTIONS:
                values[name] = _FUNCTIONS[record.operation](a, sources)
                continue

            form = self.forms[name]
            layer_state = states.get(name)
            if layer_state is None and form.start is not None:
                layer_state = form.start(a, sources)
            values[name], after[name] = form.step(a, sources, layer_state, effects_on(name, effects))

        feedback = [record for record in self.record.operations if record.operation == _PREVIOUS]
        after |= {record.name: values[record.sources[0]] for record in feedback}

        return values[self.record.output], after

    def leak(self, state: _States, steps: int) -> _States:
        """The state after steps without input; feedback is dropped with it."""
        after = dict(state)
        for record in self.record.operations:
            form = self.forms.get(record.name)
            if record.operation == _PREVIOUS:
                after[record.name] = state[record.name] * (steps == 0)
            elif form is not None and form.leak is not None:
                after[record.name] = form.leak(self.arithmetics[record.name], state[record.name], np.asarray(steps))
            elif form is not None and form.start is not None:
                raise DataError(f"operation {record.name!r} has a state that does not leak")

        return after


def _check_layer(record: OperationRecord, form: Any, numbers: Mapping[str, Any]) -> None:
    """Raises a `DataError` for a layer without its settings or numbers, or with delays that cannot be."""
    settings = _SETTINGS.get(record.operation, ()) if form is None else form.settings
    missing = [name for name in settings if name not in record.settings]
    missing += [name for name in _NUMBERS.get(record.operation, ()) if name not in numbers]
    if missing:
        raise DataError(f"operation {record.name!r} lacks {missing[0]!r}")

    if record.operation == "delay":
        check_ticks(record.settings["max_ticks"], numbers["ticks"])


def _before_first_tick(settings: Mapping[str, Setting], inputs: Mapping[str, Ints]) -> Ints:
    sizes = [settings[f"axis_{axis}"] for axis in range(len(settings))]
    shape = tuple(size for size in sizes if isinstance(size, int))
    check_shape(shape)
    batch = len(next(iter(inputs.values())))

    return np.zeros((batch, *shape), np.int64)


def sizes_of(settings: Mapping[str, Any], name: str, num_axes: int) -> list[int]:
    """A size of a convolution or pooling along each axis."""
    return [int(settings[f"{name}_{axis}"]) for axis in range(num_axes)]


def rescaled_inputs(a: Any, inputs: Sequence[Any]) -> list[Any]:
    """Signals in the scale of the output."""
    return [a.rescale(x, f"{i}.") for i, x in enumerate(inputs)]


def _requantize(a: Any, inputs: Sequence[Any]) -> Any:
    """Signals of any scales as one of few bits: added up, or concatenated along an axis."""
    rescaled = rescaled_inputs(a, inputs)
    axis = a.settings["axis"]
    joined = sum(rescaled[1:], rescaled[0]) if axis is None else a.xp.concatenate(rescaled, axis)

    return a.xp.clip(joined, a.settings["low"], a.settings["high"])


def _linear(a: Any, inputs: Sequence[Ints]) -> Ints:
    y: Ints = inputs[0] @ a["weight"].T
    return y + a["bias"] if "bias" in a.constants else y


def _convolution(a: Any, inputs: Sequence[Ints]) -> Ints:
    weight = a["weight"]
    num_axes = weight.ndim - 2
    stride, padding, dilation = (sizes_of(a.settings, name, num_axes) for name in ("stride", "padding", "dilation"))
    both_sides = [(n, n) for n in padding]

    return convolution(inputs[0], weight, a.constants.get("bias"), stride, both_sides, dilation, a.settings["groups"])


def _flatten(a: Any, inputs: Sequence[Ints]) -> Ints:
    (x,) = inputs
    start = a.settings["start"] % x.ndim
    end = a.settings["end"] % x.ndim
    return x.reshape(*x.shape[:start], int(np.prod(x.shape[start : end + 1])), *x.shape[end + 1 :])


def _shaped(a: Any, inputs: Sequence[Ints]) -> Ints:
    return inputs[0].reshape(len(inputs[0]), *sizes_of(a.settings, "axis", len(a.settings)))


def _sliced(a: Any, inputs: Sequence[Ints]) -> Ints:
    before = (slice(None),) * a.settings["axis"]
    return inputs[0][(*before, slice(a.settings["start"], a.settings["stop"]))]


def _reduced(a: Any, inputs: Sequence[Ints]) -> Ints:
    reduction = _REDUCTIONS[a.settings["reduction"]]
    return np.asarray(reduction(inputs[0], axis=a.settings["axis"], keepdims=a.settings["keep"]), np.int64)


def _norm(x: Ints, axis: int, keepdims: bool) -> Ints:
    return root((x * x).sum(axis, keepdims=keepdims))


def _pooled(a: Any, x: Ints, outside: int) -> Ints:
    kernel, stride, padding = (sizes_of(a.settings, name, 2) for name in ("kernel_size", "stride", "padding"))
    return windows(x, kernel, stride, [(n, n) for n in padding], outside=outside)


_REDUCTIONS: dict[str, Callable[..., Any]] = {
    "largest": np.max,
    "smallest": np.min,
    "place": np.argmax,
    "sum": np.sum,
    "norm": _norm,
}
# functions of each value alone, which become C as they stand
ELEMENTWISE: dict[str, _Function] = {
    "narrow": _requantize,
    "table": lambda a, inputs: a.entry("entries", inputs[0] - a.settings["low"]),
    "relu": lambda a, inputs: a.xp.maximum(inputs[0], 0),
    "product": lambda a, inputs: inputs[0] * inputs[1],
    "compare": lambda a, inputs: a.spikes(COMPARISONS[a.settings["by"]](inputs[0], a["bound"]), inputs[0]),
}
_FUNCTIONS: dict[str, _Function] = {
    **ELEMENTWISE,
    "linear": _linear,
    "convolution": _convolution,
    "flatten": _flatten,
    "largest": lambda a, inputs: _pooled(a, inputs[0], _BELOW_ALL).max((-2, -1)),
    "sums": lambda a, inputs: _pooled(a, inputs[0], 0).sum((-2, -1)),
    "sum": lambda a, inputs: inputs[0].sum((-2, -1), keepdims=True),
    "same": lambda a, inputs: inputs[0],
    "shape": _shaped,
    "slice": _sliced,
    "reduce": _reduced,
}
