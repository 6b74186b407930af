"""Writing parts and nonlinearities as ONNX files, for any batch size.

A plain module becomes a function of its signals. A stateful part becomes a step: input and state to output and next
state. Inputs are named after the links that lead to the part.
"""

import copy
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

import torch
from torch import Tensor, nn

from spikebridge.deploy.onnx.session import check_opset
from spikebridge.errors import ExportError, import_extra
from spikebridge.neurons import Stateful
from spikebridge.neurons.state import State
from spikebridge.ops import reference

_OUTPUT = "output"
# torch's translations of its operators, by the options of `ONNXRegistry.from_torchlib`
_TRANSLATED: dict[Any, Any] = {}


def write_onnx(
    module: nn.Module, signals: Mapping[str, Tensor], into: Mapping[str, str] | None = None, *, name: str | None = None
) -> bytes:
    """A plain module in eval mode as the bytes of an ONNX file.

    `signals` has an example `(B, *N)` of each input by its name in the file, in the order of the arguments. `into`
    names the argument of inputs that the module takes by name.
    """
    named = dict(into or {})
    function = _Function(module, [named.get(signal) for signal in signals])

    return _export(function, list(signals.items()), [_OUTPUT], name or type(module).__name__)


def write_onnx_step(
    part: Stateful, signals: Mapping[str, Tensor], into: Mapping[str, str] | None = None, *, name: str | None = None
) -> tuple[bytes, list[Tensor]]:
    """A stateful part as a step: inputs and `state.0`, `state.1`, ... to the output and `next.0`, `next.1`, ...

    The arguments are those of `write_onnx`; the first signal is the input of the part. Returns the bytes of the file,
    and the state before the first tick for a batch of one.
    """
    who = name or type(part).__name__
    named = dict(into or {})
    first = next(iter(signals.values()))

    with torch.no_grad():
        state = part.initial_state(torch.zeros_like(first))
        tensors = tensors_of(state, who)
        initial = [t[:1].clone() for t in tensors]
        _refuse_shared(tensors, len(first), who)

    step = _Step(part, [named.get(signal) for signal in signals], state)
    inputs = [*signals.items(), *((f"state.{i}", t) for i, t in enumerate(tensors))]
    outputs = [_OUTPUT, *(f"next.{i}" for i in range(len(tensors)))]

    return _export(step, inputs, outputs, who), initial


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
    """A module whose signals are all positional; `into` has the argument of each, None for those by position."""

    def __init__(self, module: nn.Module, into: Sequence[str | None]) -> None:
        super().__init__()
        self.module = module
        self.into = into

    def forward(self, *signals: Tensor) -> Tensor:
        args, named = _by_argument(signals, self.into)
        return self.module(*args, **named)


class _Step(nn.Module):
    """One step of a stateful part, whose signals and tensors of the state are all positional."""

    def __init__(self, part: Stateful, into: Sequence[str | None], like: State) -> None:
        super().__init__()
        self.part = part
        self.into = into
        self.like = like

    def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
        signals = values[: len(self.into)]
        state = iter(values[len(self.into) :])
        args, named = _by_argument(signals, self.into)
        y, after = self.part.step(args[0], _like(self.like, state), **named)

        return (y, *tensors_of(after, type(self.part).__name__))


def _by_argument(signals: Sequence[Tensor], into: Sequence[str | None]) -> tuple[list[Tensor], dict[str, Tensor]]:
    pairs = list(zip(signals, into, strict=True))
    return [x for x, name in pairs if name is None], {name: x for x, name in pairs if name is not None}


def _like(state: Any, values: Iterator[Tensor]) -> Any:
    if isinstance(state, Tensor):
        return next(values)
    if isinstance(state, dict):
        return {name: _like(item, values) for name, item in state.items()}

    if isinstance(state, tuple | list):
        items = [_like(item, values) for item in state]
        return type(state)(*items) if hasattr(state, "_fields") else type(state)(items)

    return state


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
