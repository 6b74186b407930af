"""Neurons over time as one custom operator, so that `torch.compile` and `torch.export` need not unroll time.

An operator takes tensors, numbers and strings, so the specification is passed field by field, and the surrogate as the
full name of its class and its width: `_Operands` reads them.
"""

import math
from functools import lru_cache
from importlib import import_module
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikebridge.ops.sequence.dispatch import choose
from spikebridge.ops.sequence.spec import BackwardArgs, ForwardArgs, NeuronParams, NeuronSpec, NeuronState

_NAMES = ("x", *NeuronState._fields, *NeuronParams._fields)
NEED_INPUT = ("r", "decay_syn")  # parameters whose gradients are products with the input or its current
_OPTIONAL = ", ".join(f"Tensor? {name}" for name in (*NeuronState._fields[1:], *NeuronParams._fields))
_SETTINGS = "float[] numbers, str surrogate, float width, str reset, bool detach_reset"


class _Operands(NamedTuple):
    """The operands of the operator, in the order of its schema."""

    x: Tensor  # the input; in the backward pass the membranes that were kept, which have its shape
    start: NeuronState
    tensors: tuple[Tensor | None, ...]  # `NeuronParams`, None where they are numbers
    numbers: list[float]  # `NeuronParams`, NaN where they are tensors
    kind: tuple[str, float, Any, bool]  # class of the surrogate, its width, reset, detach_reset

    @classmethod
    def of(cls, flat: tuple[Any, ...]) -> "_Operands":
        first = 1 + len(NeuronState._fields)
        end = len(_NAMES)
        surrogate, width, reset, detach_reset = flat[end + 1 :]
        kind = (surrogate, width, reset, detach_reset)

        return cls(flat[0], NeuronState(*flat[1:first]), flat[first:end], flat[end], kind)

    @property
    def spec(self) -> NeuronSpec:
        return _spec_of(*self.kind)

    @property
    def values(self) -> NeuronParams:
        return NeuronParams(*[n if t is None else t for t, n in zip(self.tensors, self.numbers, strict=True)])


def run_custom_op(spec: NeuronSpec, x: Tensor, start: NeuronState, values: NeuronParams) -> tuple[Tensor, NeuronState]:
    """The same as `autograd.run_sequence`, in float32 or float64, as one operator."""
    numbers = [math.nan if isinstance(value, Tensor) else float(value) for value in values]
    tensors = [value if isinstance(value, Tensor) else None for value in values]
    kind = type(spec.surrogate)
    surrogate = "" if spec.surrogate is None else f"{kind.__module__}.{kind.__qualname__}"
    width = 0.0 if spec.surrogate is None else float(spec.surrogate.width)
    settings = (surrogate, width, spec.reset, spec.detach_reset)
    y, _, v, i, a = torch.ops.spikebridge.sequence(x, *start, *tensors, numbers, *settings)

    return y, NeuronState(v, i if start.i is not None else None, a if start.a is not None else None)


@lru_cache(maxsize=64)
def _spec_of(surrogate: str, width: float, reset: Any, detach_reset: bool) -> NeuronSpec:
    if not surrogate:
        return NeuronSpec(None, reset, detach_reset)
    module, _, name = surrogate.rpartition(".")
    return NeuronSpec(getattr(import_module(module), name)(width=width), reset, detach_reset)


@torch.library.custom_op(
    "spikebridge::sequence",
    mutates_args=(),
    schema=f"(Tensor x, Tensor v, {_OPTIONAL}, {_SETTINGS}) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
)
def sequence(*flat: Any) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Outputs, membranes before the reset, and the three tensors of the last state; one that is not there is empty."""
    operands = _Operands.of(flat)
    x = operands.x
    spec = operands.spec
    args = ForwardArgs(spec, x, operands.start, operands.values, keep=spec.fires)
    y, kept, end = choose(spec, x).forward(args)
    declared = _declared(operands, torch.device("meta"))
    y, kept, v, i, a = (_with_strides_of(t, like, x) for t, like in zip((y, kept, *end), declared, strict=True))

    return y, kept, v, i, a


@sequence.register_fake
def _(*flat: Any) -> tuple[Tensor, ...]:
    operands = _Operands.of(flat)
    return _declared(operands, operands.x.device)


def _declared(operands: _Operands, device: torch.device) -> tuple[Tensor, ...]:
    """Results without numbers: a compiler relies on their shapes and strides, which are those of the signal."""
    x = operands.x
    fires = bool(operands.kind[0])
    kept = torch.empty_like(x, device=device) if fires else x.new_empty(0, device=device)
    end = [
        x.new_empty(0, device=device) if state is None else torch.empty_like(x[0], device=device)
        for state in operands.start
    ]

    return torch.empty_like(x, device=device), kept, *end


def _with_strides_of(result: Tensor | None, declared: Tensor, x: Tensor) -> Tensor:
    """A result with the declared strides: itself, or a copy; empty where there is none."""
    if result is None:
        return x.new_empty(0)

    axes = zip(result.shape, result.stride(), declared.stride(), strict=True)
    if all(size == 1 or stride == expected for size, stride, expected in axes):
        return result

    return result.new_empty_strided(declared.shape, declared.stride()).copy_(result)


@torch.library.custom_op(
    "spikebridge::sequence_backward",
    mutates_args=(),
    schema=f"(Tensor? x, Tensor kept, Tensor v, {_OPTIONAL}, {_SETTINGS}, Tensor? grad_y, Tensor? grad_v, "
    "Tensor? grad_i, Tensor? grad_a, str wanted) -> Tensor[]",
)
def _sequence_backward(x: Tensor | None, *flat: Any) -> list[Tensor]:
    """The gradients that are wanted, in the order of their names, which are divided by blanks."""
    *operands_flat, grad_y, grad_v, grad_i, grad_a, wanted = flat
    operands = _Operands.of(tuple(operands_flat))
    spec = operands.spec
    names = wanted.split()
    ends = zip(NeuronState._fields, operands.start, (grad_v, grad_i, grad_a), strict=True)
    grad_end = {name: grad for name, state, grad in ends if state is not None and grad is not None}
    args = BackwardArgs(spec, x, operands.x, operands.start, operands.values, grad_y, grad_end, names)
    grads = choose(spec, operands.x).backward(args)

    return [grads[name].contiguous() for name in names]


@_sequence_backward.register_fake
def _(x: Tensor | None, *flat: Any) -> list[Tensor]:
    inputs = dict(zip(_NAMES, flat, strict=False))  # the membranes that were kept have the shape of the input
    return [torch.empty_like(inputs[name], memory_format=torch.contiguous_format) for name in flat[-1].split()]


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    tensors = inputs[: len(_NAMES)]
    ctx.settings = inputs[len(_NAMES) :]
    _, surrogate, _, reset, _ = ctx.settings
    ctx.unused = {"v_reset"} if reset == "subtract" else set()

    # a neuron that does not fire has its membranes as outputs
    kept = output[1] if surrogate else output[0]
    ctx.save_for_backward(*tensors, kept)


def _backward(ctx: Any, grad_y: Tensor | None, grad_kept: Any, *grad_end: Tensor | None) -> tuple[Any, ...]:
    x, *tensors, kept = ctx.saved_tensors
    needed = zip(_NAMES, ctx.needs_input_grad[: len(_NAMES)], strict=True)
    wanted = [name for name, need in needed if need and name not in ctx.unused]
    grads = dict.fromkeys(_NAMES)

    if wanted:
        num_states = len(NeuronState._fields)
        grads_in_order = torch.ops.spikebridge.sequence_backward(
            x if any(name in wanted for name in NEED_INPUT) else None,
            kept,
            *tensors,
            *ctx.settings,
            grad_y,
            *[g if t is not None else None for g, t in zip(grad_end, tensors[:num_states], strict=True)],
            " ".join(wanted),
        )
        grads.update(zip(wanted, grads_in_order, strict=True))

    return *grads.values(), *[None] * len(ctx.settings)


sequence.register_autograd(_backward, setup_context=_setup_context)
