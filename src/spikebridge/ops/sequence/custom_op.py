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
from spikebridge.ops.sequence.spec import BackwardArgs, NeuronMemory, NeuronParams, NeuronSpec

_NAMES = ("x", *NeuronMemory._fields, *NeuronParams._fields)
NEED_THE_INPUT = ("r", "decay_syn")  # values whose gradients are products with the input or its current
_OPTIONAL = ", ".join(f"Tensor? {name}" for name in (*NeuronMemory._fields[1:], *NeuronParams._fields))
_WORDS = "float[] numbers, str surrogate, float width, str reset, bool detach_reset"


class _Operands(NamedTuple):
    """The operands of the operator, in the order of its schema.

    Args:
        x: the input; in the backward pass the membranes that were kept, which have its shape.
        start: `NeuronMemory`, None where there is none.
        tensors: `NeuronParams`, None where they are numbers.
        numbers: `NeuronParams`, NaN where they are tensors.
        words: class of the surrogate, its width, reset, detach_reset.
    """

    x: Tensor
    start: NeuronMemory
    tensors: tuple[Tensor | None, ...]
    numbers: list[float]
    words: tuple[str, float, Any, bool]

    @classmethod
    def of(cls, flat: tuple[Any, ...]) -> "_Operands":
        """From the operands one after another."""
        first = 1 + len(NeuronMemory._fields)
        end = len(_NAMES)
        surrogate, width, reset, detach_reset = flat[end + 1 :]
        words = (surrogate, width, reset, detach_reset)

        return cls(flat[0], NeuronMemory(*flat[1:first]), flat[first:end], flat[end], words)

    @property
    def spec(self) -> NeuronSpec:
        """What kind of neuron."""
        return _spec_of(*self.words)

    @property
    def values(self) -> NeuronParams:
        """Its values."""
        return NeuronParams(*[n if t is None else t for t, n in zip(self.tensors, self.numbers, strict=True)])


def run_custom_op(
    spec: NeuronSpec, x: Tensor, start: NeuronMemory, values: NeuronParams
) -> tuple[Tensor, NeuronMemory]:
    """The same as `sequence.run_sequence`, in float32 or float64, as one operator."""
    numbers = [math.nan if isinstance(value, Tensor) else float(value) for value in values]
    tensors = [value if isinstance(value, Tensor) else None for value in values]
    kind = type(spec.surrogate)
    surrogate = "" if spec.surrogate is None else f"{kind.__module__}.{kind.__qualname__}"
    width = 0.0 if spec.surrogate is None else float(spec.surrogate.width)
    words = (surrogate, width, spec.reset, spec.detach_reset)
    y, _, v, i, a = torch.ops.spikebridge.sequence(x, *start, *tensors, numbers, *words)

    return y, NeuronMemory(v, i if start.i is not None else None, a if start.a is not None else None)


@lru_cache(maxsize=64)
def _spec_of(surrogate: str, width: float, reset: Any, detach_reset: bool) -> NeuronSpec:
    if not surrogate:
        return NeuronSpec(None, reset, detach_reset)
    module, _, name = surrogate.rpartition(".")
    return NeuronSpec(getattr(import_module(module), name)(width=width), reset, detach_reset)


@torch.library.custom_op(
    "spikebridge::sequence",
    mutates_args=(),
    schema=f"(Tensor x, Tensor v, {_OPTIONAL}, {_WORDS}) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
)
def sequence(*flat: Any) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Outputs, membranes before the reset, and the last memory; what there is not is empty."""
    given = _Operands.of(flat)
    x = given.x
    spec = given.spec
    y, kept, end = choose(spec, x).forward(spec, x, given.start, given.values, keep=spec.fires)
    declared = _declared(given, torch.device("meta"))
    found = [_with_strides_of(t, like, x) for t, like in zip((y, kept, *end), declared, strict=True)]

    return found[0], found[1], found[2], found[3], found[4]


@sequence.register_fake
def _(*flat: Any) -> tuple[Tensor, ...]:
    given = _Operands.of(flat)
    return _declared(given, given.x.device)


def _declared(given: _Operands, device: torch.device) -> tuple[Tensor, ...]:
    """What a compiler may rely on: shapes and strides of the results, which are those of the signal."""
    x, (surrogate, *_) = given.x, given.words
    kept = torch.empty_like(x, device=device) if surrogate else x.new_empty(0, device=device)
    ends = [
        x.new_empty(0, device=device) if memory is None else torch.empty_like(x[0], device=device)
        for memory in given.start
    ]

    return torch.empty_like(x, device=device), kept, *ends


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
    schema=f"(Tensor? x, Tensor kept, Tensor v, {_OPTIONAL}, {_WORDS}, Tensor? grad_y, Tensor? grad_v, "
    "Tensor? grad_i, Tensor? grad_a, str wanted) -> Tensor[]",
)
def _sequence_backward(x: Tensor | None, *flat: Any) -> list[Tensor]:
    """The gradients that are wanted, in the order of their names, parted by blanks."""
    *operands, grad_y, grad_v, grad_i, grad_a, wanted = flat
    given = _Operands.of(tuple(operands))
    names = wanted.split()
    ends = zip(NeuronMemory._fields, given.start, (grad_v, grad_i, grad_a), strict=True)
    grad_end = {name: grad for name, memory, grad in ends if memory is not None and grad is not None}
    args = BackwardArgs(given.spec, x, given.x, given.start, given.values, grad_y, grad_end, names)
    grads = choose(given.spec, given.x).backward(args)

    return [grads[name].contiguous() for name in names]


@_sequence_backward.register_fake
def _(x: Tensor | None, *flat: Any) -> list[Tensor]:
    inputs = dict(zip(_NAMES, flat, strict=False))  # the membranes that were kept have the shape of the input
    return [torch.empty_like(inputs[name], memory_format=torch.contiguous_format) for name in flat[-1].split()]


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    tensors = inputs[: len(_NAMES)]
    ctx.words = inputs[len(_NAMES) :]
    ctx.unused = {"v_reset"} if ctx.words[3] == "subtract" else set()
    kept = output[1] if ctx.words[1] else output[0]
    ctx.save_for_backward(*tensors, kept)


def _backward(ctx: Any, grad_y: Tensor | None, grad_kept: Any, *grad_end: Tensor | None) -> tuple[Any, ...]:
    x, *tensors, kept = ctx.saved_tensors
    needed = zip(_NAMES, ctx.needs_input_grad[: len(_NAMES)], strict=True)
    wanted = [name for name, need in needed if need and name not in ctx.unused]
    grads = dict.fromkeys(_NAMES)

    if wanted:
        grads_in_order = torch.ops.spikebridge.sequence_backward(
            x if any(name in wanted for name in NEED_THE_INPUT) else None,
            kept,
            *tensors,
            *ctx.words,
            grad_y,
            *[g if t is not None else None for g, t in zip(grad_end, tensors[:3], strict=True)],
            " ".join(wanted),
        )

        grads.update(zip(wanted, grads_in_order, strict=True))

    return *grads.values(), *[None] * len(ctx.words)


sequence.register_autograd(_backward, setup_context=_setup_context)
