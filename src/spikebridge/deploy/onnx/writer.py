"""Writing parts and nonlinearities as ONNX files, for any batch size.

A plain module becomes a function of its signals. A stateful part becomes a step: inputs and state to outputs and next
state. Inputs are named after the links that lead to the part; a modulation is an input, too.
"""

import copy
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from spikebridge.deploy.onnx.session import LEAK_STEPS, check_opset
from spikebridge.errors import ExportError, import_extra
from spikebridge.hybrid.network.state_links import state_at
from spikebridge.neurons import Effect, Stateful
from spikebridge.neurons.base import first_step
from spikebridge.neurons.quantity import By
from spikebridge.neurons.state import State, map_tensors
from spikebridge.neurons.stateless import modulated, tensors_by_name
from spikebridge.ops import reference

_OUTPUT = "output"
# torch's translations of its operators, by the options of `ONNXRegistry.from_torchlib`
_TRANSLATED: dict[Any, Any] = {}


@dataclass(frozen=True)
class OnnxSignature:
    """The inputs and outputs of a module by their names in its file.

    `signals` has an example `(B, *N)` of each input in the order of the arguments, those by position first, and `into`
    the argument of those that are taken by name.
    """

    signals: Mapping[str, Tensor]
    into: Mapping[str, str] = field(default_factory=dict)
    effects: Mapping[str, tuple[str, By]] = field(default_factory=dict)  # of inputs that modulate: path and manner
    outputs: Sequence[str] = ()  # keys of several outputs; none for one tensor, "output"
    states: Mapping[str, str] = field(default_factory=dict)  # by path names of tensors of the state, else numbers


def signature_of(signals: "OnnxSignature | Mapping[str, Tensor]") -> OnnxSignature:
    """A signature, where signals by position alone may stand for one."""
    return signals if isinstance(signals, OnnxSignature) else OnnxSignature(signals)


def write_onnx(module: nn.Module, signals: OnnxSignature | Mapping[str, Tensor], *, name: str | None = None) -> bytes:
    """A plain module in eval mode as the bytes of an ONNX file."""
    signature = signature_of(signals)
    inputs = list(signature.signals.items())
    outputs = list(signature.outputs) or [_OUTPUT]

    return _export(_Function(module, signature), inputs, outputs, name or type(module).__name__)


def write_onnx_step(
    part: Stateful, signals: OnnxSignature | Mapping[str, Tensor], *, name: str | None = None
) -> tuple[bytes, dict[str, Tensor]]:
    """A stateful part as a step: inputs and `state.0`, `state.1`, ... to the outputs and `next.0`, `next.1`, ...

    The first signal is the input of the part. Returns the bytes of the file, and the tensors of the state before the
    first tick by name, for a batch of one.
    """
    who = name or type(part).__name__
    signature = signature_of(signals)
    state, tensors = initial_tensors(part, signature, who)
    _refuse_shared(list(tensors.values()), len(next(iter(signature.signals.values()))), who)

    step = _Step(part, signature, state)
    inputs = [*signature.signals.items(), *((f"state.{key}", t) for key, t in tensors.items())]
    outputs = [*(signature.outputs or [_OUTPUT]), *(f"next.{key}" for key in tensors)]

    return _export(step, inputs, outputs, who), {key: t[:1].clone() for key, t in tensors.items()}


def leak_function(part: Stateful, signature: OnnxSignature) -> tuple[nn.Module, OnnxSignature]:
    """The leak of a part as a plain module from steps and state to state, and its signature."""
    state, tensors = initial_tensors(part, signature, type(part).__name__)
    steps = torch.ones(len(next(iter(signature.signals.values()))), dtype=torch.int64)
    signals = {LEAK_STEPS: steps, **{f"state.{key}": t for key, t in tensors.items()}}
    keys = [f"next.{key}" for key in tensors]

    return _Leak(part, state, keys), OnnxSignature(signals, outputs=keys)


@torch.no_grad()
def initial_tensors(part: Stateful, signature: OnnxSignature, who: str) -> tuple[State, dict[str, Tensor]]:
    """The state before the first tick, and its tensors in order, each by its number, or by its name if it has one."""
    first = next(iter(signature.signals.values()))
    # copies: one tensor may stand for two fields
    state = map_tensors(torch.clone, part.initial_state(torch.zeros_like(first)))
    at_path = {id(state_at(part, state, path)): name for path, name in signature.states.items()}

    return state, {at_path.get(id(tensor), str(i)): tensor for i, tensor in enumerate(tensors_of(state, who))}


def tensors_of(state: State, who: str) -> list[Tensor]:
    """The tensors of a state in order; raises an `ExportError` for a state with anything else, such as a count."""
    if isinstance(state, Tensor):
        return [state]
    if state is None:
        return []

    if isinstance(state, dict):
        state = tuple(state.values())

    if not isinstance(state, tuple | list):
        raise ExportError(f"{who} has a {type(state).__name__} in its state; an exported step passes tensors only")

    return [tensor for item in state for tensor in tensors_of(item, who)]


class _Function(nn.Module):
    """A module whose signals are all positional."""

    def __init__(self, module: nn.Module, signature: OnnxSignature) -> None:
        super().__init__()
        self.module = module
        self.signature = signature

    def forward(self, *values: Tensor) -> Any:
        args, named, effects = _by_argument(self.signature, values)
        if effects:
            in_time = {name: x.unsqueeze(0) for name, x in named.items()}
            y = first_step(modulated(self.module, effects, *[x.unsqueeze(0) for x in args], **in_time))
        else:
            y = self.module(*args, **named)

        return _in_order(y, self.signature.outputs)


class _Step(nn.Module):
    """One step of a stateful part, whose signals and tensors of the state are all positional."""

    def __init__(self, part: Stateful, signature: OnnxSignature, like: State) -> None:
        super().__init__()
        self.part = part
        self.signature = signature
        self.like = like

    def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
        number = len(self.signature.signals)
        state = tensors_like(self.like, values[number:])
        args, named, effects = _by_argument(self.signature, values[:number])
        y, after = self.part.step(args[0], state, **named, **effects)

        return (*_in_order(y, self.signature.outputs), *tensors_of(after, type(self.part).__name__))


class _Leak(nn.Module):
    """The state of a part after some steps without input, its tensors all positional."""

    def __init__(self, part: Stateful, like: State, keys: Sequence[str]) -> None:
        super().__init__()
        self.part = part
        self.like = like
        self.keys = keys

    def forward(self, steps: Tensor, *values: Tensor) -> dict[str, Tensor]:
        after = self.part.leak(tensors_like(self.like, values), steps)
        return dict(zip(self.keys, tensors_of(after, type(self.part).__name__), strict=True))


def _in_order(y: Any, keys: Sequence[str]) -> tuple[Tensor, ...]:
    several = tensors_by_name(y) or {}
    return tuple(several[key] for key in keys) if keys else (y,)


def _by_argument(
    signature: OnnxSignature, values: Sequence[Tensor]
) -> tuple[list[Tensor], dict[str, Tensor], dict[str, tuple[Effect, ...]]]:
    """Signals by position, signals by argument, and effects on one step by path."""
    args: list[Tensor] = []
    named: dict[str, Tensor] = {}
    effects: dict[str, tuple[Effect, ...]] = {}

    for name, x in zip(signature.signals, values, strict=True):
        if name in signature.effects:
            path, by = signature.effects[name]
            effects[path] = (*effects.get(path, ()), Effect(x.unsqueeze(0), by))
        elif name in signature.into:
            named[signature.into[name]] = x
        else:
            args.append(x)

    return args, named, effects


def tensors_like(state: State, values: Sequence[Tensor]) -> State:
    """A state of the same form with other tensors, in order."""
    left = iter(values)
    return map_tensors(lambda _: next(left), state)


def _refuse_shared(tensors: list[Tensor], batch: int, who: str) -> None:
    for tensor in tensors:
        if tensor.ndim == 0 or len(tensor) != batch or not torch.equal(tensor, tensor[:1].expand_as(tensor)):
            raise ExportError(
                f"the initial state of {who} must be equal for all samples, with the batch as its first axis"
            )


def _export(module: nn.Module, inputs: list[tuple[str, Tensor]], outputs: list[str], name: str) -> bytes:
    # torch's exporter needs it, and says so less plainly
    import_extra("onnxscript", "onnx", "writing ONNX files needs", ExportError)

    # torch's exporter takes a dimension of 0 or 1 as a constant
    examples = tuple(_two_samples(x.detach()) for _, x in inputs)
    batch = torch.export.Dim("batch", min=1)
    shapes = (tuple({0: batch} for _ in examples),)

    # ONNX has the operators of the plain steps, and not those of the fast forms
    with _without_logs(), _library_translated_once(), reference(), torch.no_grad():
        try:
            module = copy.deepcopy(module).eval()
            program = torch.export.export(module, examples, dynamic_shapes=shapes, strict=False)
            written = torch.onnx.export(
                program,
                (),
                input_names=[signal for signal, _ in inputs],
                output_names=outputs,
                dynamo=True,
                verbose=False,
                external_data=False,
                custom_translation_table=_translations(),
            )
        except Exception as error:  # noqa: BLE001 - the exporter may raise anything; the user needs the part and the reason
            raise ExportError(f"{name} cannot be written as ONNX: {_reason(error)}") from None

    content: bytes = written.model_proto.SerializeToString()  # type: ignore[union-attr]
    check_opset(content, name)

    return content


def _translations() -> dict[Any, Any]:
    from onnxscript import opset18

    op: Any = opset18

    def sort_stable(self, stable=True, dim=-1, descending=False):  # type: ignore[no-untyped-def]
        # TopK is stable: of equal values it gives the one of the lower index first
        number = op.Reshape(op.Gather(op.Shape(self), op.Constant(value_int=dim), axis=0), op.Constant(value_ints=[1]))
        return op.TopK(self, number, axis=dim, largest=int(descending), sorted=1)

    return {torch.ops.aten.sort.stable: sort_stable}


def _two_samples(x: Tensor) -> Tensor:
    return torch.cat([x[:2], x[:1]]) if len(x) > 1 else x.repeat(2, *[1] * (x.ndim - 1))


def _reason(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__

    text = str(error)
    if "specialized it to be a constant" in text:
        return "its code fixes the size of the batch, as len(x) of a tensor does; x.shape[0] leaves it free"
    if "data-dependent" in text or "DataDependent" in type(error).__name__:
        return "its code takes a branch that depends on the values of a tensor; torch.where keeps it one graph"

    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:300] if lines else ''}"


@contextmanager
def _library_translated_once() -> Iterator[None]:
    """Keeps torch's translation of its library of 500 operators, which takes more than half of the time of a call."""
    try:
        from torch.onnx._internal.exporter._registration import ONNXRegistry

        original = vars(ONNXRegistry)["from_torchlib"]
    except (ImportError, KeyError):
        # another version of torch translates at each call
        yield
        return

    def translated(**options: Any) -> Any:
        key = tuple(sorted(options.items()))
        if key not in _TRANSLATED:
            _TRANSLATED[key] = original.__get__(None, ONNXRegistry)(**options)

        registry = copy.copy(_TRANSLATED[key])
        # a call adds translations of its own
        registry.functions = {target: list(found) for target, found in registry.functions.items()}

        return registry

    ONNXRegistry.from_torchlib = staticmethod(translated)  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        ONNXRegistry.from_torchlib = original  # type: ignore[method-assign]


@contextmanager
def _without_logs() -> Iterator[None]:
    """Silences the exporter, whose notes and graphs are about torch, not about the network."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)

    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
