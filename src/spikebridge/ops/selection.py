"""The choice of the implementation of an operation, made here alone and printed by `spikebridge doctor --paths`.

`OPERATIONS` lists the paths of each operation, the fastest first. `select` takes the first path that supports a call
(it gives the right numbers) and is profitable for it (it was measured to be faster at such sizes). The last path
supports every call. Every path gives the numbers of the last one: to the bit for neurons, to rounding for sums.

`with reference():` runs the plain step functions alone; `with without_native():` leaves plain C out.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.modules import module as nn_module

from spikebridge.ops.checks import check_mode
from spikebridge.ops.native.layout import layout_of
from spikebridge.ops.native.library import library
from spikebridge.ops.sequence.native import surrogate_number
from spikebridge.ops.sequence.spec import NeuronSpec, Size, SurrogateGradient, Value

SINGLE = (torch.float32, torch.float64)
CHANNELS_LAST = torch.channels_last

# measured; at smaller sizes the Python around a path costs more than the path saves
MIN_STEPS = {"native": 2, "torch": 4}  # of a sequence
_MAX_POOL_ROW = 2**14  # columns of a row of pooling windows that stay in the nearest cache
_MAX_WINDOW = 255  # places of a pooling window, so that a byte holds one
_MIN_LINEAR_OUTPUTS = 64
LINEAR_WORK = 2**21  # products
_MAX_LINEAR_INPUTS = 2**18
_MIN_CONV_OUTPUTS = 32
_MIN_CONV_TAPS = 48
CONV_WORK = 2**22  # products
_LANES = 16  # channels that fill a vector, as in plain C
_MAX_TAPS = 39  # weights of an output; up to here their gradient is faster as sums than by oneDNN
SMALL_STEP = 4096  # numbers of a step, so few that an operation costs more than its numbers
LARGE_SIGNAL = 2**21  # numbers, so many that a loop, which stacks its steps, waits for memory

_reference: ContextVar[bool] = ContextVar("reference", default=False)
_without_native: ContextVar[bool] = ContextVar("without_native", default=False)


@contextmanager
def reference() -> Iterator[None]:
    """Inside, the plain loops run, in this thread (or task) alone.

    Example:
        >>> with reference():
        ...     is_reference()
        True
        >>> is_reference()
        False
    """
    token = _reference.set(True)
    try:
        yield
    finally:
        _reference.reset(token)


@contextmanager
def without_native() -> Iterator[None]:
    """Inside, fast paths run in PyTorch alone, as where the installation had no compiler.

    Example:
        >>> with without_native():
        ...     _is_without_native()
        True
    """
    token = _without_native.set(True)
    try:
        yield
    finally:
        _without_native.reset(token)


def is_reference() -> bool:
    """True if fast paths are off."""
    return _reference.get()


# evaluated once, while tracing: torch.compiler.assume_constant_result does the same, but loads the compiler
is_reference._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _is_without_native() -> bool:
    """True if the native library is off."""
    return _without_native.get()


@dataclass(frozen=True)
class Path:
    """One implementation of an operation.

    Args:
        name: `native` (plain C), `torch`, `custom_op` (one operator of a compiled network), or `reference`.
        when: the calls that it supports and is profitable for, in words.
        supports: true if it gives the right numbers for a call.
        is_profitable: true if it is faster than the paths after it.
    """

    name: str
    when: str
    supports: Callable[..., bool]
    is_profitable: Callable[..., bool] = lambda *_: True


@dataclass(frozen=True)
class Operation:
    """An operation in words, its paths in order, and the arguments of a small call, made with a surrogate."""

    about: str
    paths: tuple[Path, ...]
    probe: Callable[[SurrogateGradient], tuple[Any, ...]]


def select(operation: str | Operation, *call: Any) -> str:
    """The name of the path that runs a call.

    Args:
        operation: a key of `OPERATIONS`, or one that another package declares where it is implemented.
        call: what the functions of its paths take, as in its probe.

    Example:
        >>> select("sequence", torch.ones(9, 1, 1, device="meta"), NeuronSpec())
        'reference'
    """
    *others, last = (OPERATIONS[operation] if isinstance(operation, str) else operation).paths
    for path in others:
        if path.supports(*call) and path.is_profitable(*call):
            return path.name

    return last.name


def _is_eager(x: Tensor) -> bool:
    """True if a plain tensor is computed now, outside compilers, transforms, forward gradients and `reference()`."""
    # is_compiling first: what stands after it is never traced
    if torch.compiler.is_compiling() or is_reference() or torch._C._are_functorch_transforms_active():
        return False

    return type(x) in (Tensor, nn.Parameter) and not x.is_meta and forward_ad._current_level < 0


def is_native(x: Tensor, *more: torch.dtype) -> bool:
    """True if the native library is there and takes the numbers of a signal: float32 (or `more`) on a CPU."""
    is_taken = x.is_cpu and (x.dtype == torch.float32 or x.dtype in more) and x.numel() > 0
    return is_taken and not _is_without_native() and library().steps is not None


def is_plain_training(x: Tensor, weight: Tensor) -> bool:
    """True if the gradient of a weight is wanted in float32 on a CPU, where it may be summed in another order.

    Example:
        >>> is_plain_training(torch.ones(2, 3), nn.Linear(3, 1).weight)
        True
    """
    if not _is_eager(x) or not torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"):
        return False

    return x.dtype == weight.dtype == torch.float32 and x.is_cpu and x.numel() > 0 and weight.requires_grad


def is_exportable(surrogate: SurrogateGradient | None) -> bool:
    """True if the name of its class and its width define a surrogate, so that an operator can hold it.

    Example:
        >>> from spikebridge.neurons import Arctan
        >>> is_exportable(Arctan(2.0)), is_exportable(None)
        (True, True)
    """
    if surrogate is None:
        return True

    kind: Any = type(surrogate)
    return list(getattr(kind, "__dataclass_fields__", ())) == ["width"] and "." not in kind.__qualname__


def runs_natively(x: Tensor, spec: NeuronSpec) -> bool:
    """True if plain C runs all steps of neurons: numbers that it takes, a surrogate of the package or none."""
    return is_native(x) and _is_surrogate_native(spec)


def _is_surrogate_native(spec: NeuronSpec) -> bool:
    return spec.surrogate is None or surrogate_number(spec.surrogate) is not None


def supports_sequence(x: Tensor, spec: NeuronSpec | None = None) -> bool:
    """True if neurons (or sums, without a `spec`) run a signal as a whole instead of step by step."""
    if torch.compiler.is_compiling():
        return _custom_op(x, spec)
    # PyTorch takes what plain C takes; only signals that are too short for it need a look at every path
    if x.shape[0] >= MIN_STEPS["torch"]:
        return _torch_sequence(x, spec or _SUM)
    return select("sequence", x, spec or _SUM) != "reference"


def _custom_op(x: Tensor, spec: NeuronSpec | None) -> bool:
    if not torch.compiler.is_compiling() or spec is None or is_reference():
        return False
    return is_exportable(spec.surrogate) and x.dtype in SINGLE


def _native_sequence(x: Tensor, spec: NeuronSpec) -> bool:
    return _is_eager(x) and is_native(x) and _is_surrogate_native(spec)


def _torch_sequence(x: Tensor, spec: NeuronSpec) -> bool:
    return _is_eager(x) and x.dtype in SINGLE


def _has_steps(path: str, x: Tensor, spec: NeuronSpec) -> bool:
    return x.shape[0] >= MIN_STEPS[path]


def _native_pooled(x: Tensor, spec: NeuronSpec, size: Size) -> bool:
    if x.ndim != 5 or not spec.fires or not _is_eager(x) or not runs_natively(x, spec):
        return False

    layout = layout_of(x)
    channels, height, width = x.shape[2:]
    fits = 0 < size[0] <= height and 0 < size[1] <= width and size[0] * width * channels <= _MAX_POOL_ROW

    return fits and layout is not None and layout.axes == (0, 1, 3, 4, 2) and x.shape[0] >= MIN_STEPS["native"]


def _native_pool(x: Tensor, size: Size) -> bool:
    if not _is_eager(x) or x.ndim != 4 or not is_native(x):
        return False
    fits = 0 < size[0] <= x.shape[2] and 0 < size[1] <= x.shape[3] and size[0] * size[1] <= _MAX_WINDOW
    return fits and x.is_contiguous(memory_format=CHANNELS_LAST)


def has_native(name: str) -> bool:
    """True if the native library is there and has a function."""
    return not _is_without_native() and hasattr(library().steps, name)


def is_linear_profitable(size: int, num_inputs: int, num_outputs: int) -> bool:
    """True if the weight gradient of a linear layer may leave out silent inputs, if enough of them are silent."""
    is_large = num_outputs >= _MIN_LINEAR_OUTPUTS and size * num_outputs >= LINEAR_WORK
    return is_large and num_inputs <= _MAX_LINEAR_INPUTS and has_native("spikebridge_linear_weights")


def _native_linear(x: Tensor, layer: nn.Linear) -> bool:
    return is_linear_profitable(x.numel(), layer.in_features, layer.out_features) and is_plain_training(x, layer.weight)


def convolved_size(
    size: Sequence[int], kernel: tuple[int, ...], stride: tuple[int, ...], padding: tuple[int, ...]
) -> tuple[int, int]:
    """Rows and columns of what a convolution gives, of those that it takes."""
    sides = zip(size, kernel, stride, padding, strict=True)
    height, width = ((side + 2 * pad - length) // step + 1 for side, length, step, pad in sides)
    return height, width


def _own_convolution(x: Tensor, layer: nn.Conv2d) -> bool:
    """True if the gradients of a convolution are the package's: zeros as padding, channels last, plain training."""
    has_zeros = layer.padding_mode == "zeros" and not isinstance(layer.padding, str) and x.ndim == 4
    return has_zeros and is_plain_training(x, layer.weight) and layer.weight.is_contiguous(memory_format=CHANNELS_LAST)


def _native_convolution(x: Tensor, layer: nn.Conv2d) -> bool:
    plain = layer.groups == 1 and tuple(layer.dilation) == (1, 1) and x.ndim == 4 and x.shape[1] == layer.in_channels
    return plain and has_native("spikebridge_spike_convolution") and _own_convolution(x, layer)


def _is_convolution_profitable(x: Tensor, layer: nn.Conv2d) -> bool:
    outputs = layer.out_channels
    rows = layer.kernel_size[0]
    row = layer.in_channels * layer.kernel_size[1]
    height, width = convolved_size(x.shape[2:], layer.kernel_size, layer.stride, layer.padding)  # type: ignore[arg-type]
    wide = outputs % _LANES == 0 and outputs >= _MIN_CONV_OUTPUTS and rows > 1 and row >= _MIN_CONV_TAPS

    return wide and min(height, width) > 0 and len(x) * height * width * outputs * rows * row >= CONV_WORK


def has_few_taps(weight: Tensor, dilation: tuple[int, ...], groups: int) -> bool:
    """True if plain C sums the weight gradient of a convolution with few inputs, as behind a camera."""
    few = weight[0].numel() <= _MAX_TAPS and len(weight) % _LANES == 0 and groups == 1 and tuple(dilation) == (1, 1)
    return few and has_native("spikebridge_convolution_weights")


def runs_in_one_pass(x: Tensor, *numbers: Value) -> bool:
    """True if plain C runs sums of a signal in one pass, with results in the layout of the signal."""
    return (
        not torch.compiler.is_compiling()
        and supports_one_pass(x, *numbers)
        and (x.is_contiguous() or layout_of(x) is None)
    )


def supports_one_pass(x: Tensor, *numbers: Value) -> bool:
    """True if plain C runs sums of a signal: numbers of its dtype that are the same at all steps."""
    tensors = [n for n in numbers if isinstance(n, Tensor)]
    return is_native(x) and all(n.dtype == x.dtype and (n.ndim < x.ndim or len(n) == 1) for n in tensors)


def _native_sums(x: Tensor, *numbers: Value) -> bool:
    return supports_sequence(x) and runs_in_one_pass(x, *numbers)


def is_sum_profitable(x: Tensor, min_steps: int) -> bool:
    """True if sums of a whole signal are faster than a loop over its steps.

    They are natively, and in PyTorch for a large signal or from `min_steps` on, which make up for the preparation.
    """
    return x.shape[0] >= min_steps or x.numel() >= LARGE_SIGNAL or is_native(x)


def is_faster_in_windows(x: Tensor) -> bool:
    """True if equal windows are faster side by side than one after the other."""
    return x[0].numel() <= SMALL_STEP or is_native(x)


def supports_rows(like: Tensor) -> bool:
    """True if a network may run ticks on rows: unchecked values in single or double precision, computed now."""
    # is_compiling first: what stands after it is never traced
    if torch.compiler.is_compiling() or _reference.get() or torch._C._are_functorch_transforms_active():
        return False
    if torch._C._is_any_autocast_enabled() or like.is_meta or check_mode.get() == "always" or _has_global_hooks():
        return False

    return like.dtype in SINGLE and like.shape[0] > 0


def has_hooks(module: nn.Module) -> bool:
    """True if hooks, a replaced `forward` or a compiler would see a module run, so that it has to be called itself."""
    return torch.compiler.is_compiling() or has_own_hooks(module) or _has_global_hooks()


def has_own_hooks(module: nn.Module) -> bool:
    """True if a module has hooks or a replaced `forward`."""
    own = vars(module)
    if own["_forward_hooks"] or own["_forward_pre_hooks"] or own["_backward_hooks"] or own["_backward_pre_hooks"]:
        return True

    return "forward" in own


def without_call(module: nn.Module | None) -> Callable[..., Any] | None:
    """The forward pass of a module as a plain function, or the module itself if it has hooks."""
    return module if module is None or has_own_hooks(module) else module.forward


def _has_global_hooks() -> bool:
    """True if there are hooks that run for every module."""
    # PyTorch has no function that asks for them
    if nn_module._global_forward_hooks or nn_module._global_forward_pre_hooks:
        return True

    return bool(nn_module._global_backward_hooks or nn_module._global_backward_pre_hooks)


PICTURES = "float32 on a CPU, without gradients"


def native_on_pictures(name: str) -> Callable[[Tensor], bool]:
    """A predicate: True if a function of the native library takes pictures without gradients, `PICTURES` in words."""
    return lambda x: _is_eager(x) and is_native(x) and not x.requires_grad and has_native(name)


def always(*_: Any) -> bool:
    """The predicate of a last path."""
    return True


def _pictures(*shape: int) -> Tensor:
    return torch.zeros(shape).to(memory_format=CHANNELS_LAST)


_SUM = NeuronSpec()


def _convolution_of_pictures() -> nn.Conv2d:
    layer = nn.Conv2d(32, 32, 3, padding=1)
    layer.weight.data = layer.weight.data.to(memory_format=CHANNELS_LAST)
    return layer


OPERATIONS = {
    "sequence": Operation(
        "neurons over time: charge, fire, reset",
        (
            Path("custom_op", "in a compiled or exported network, with a surrogate of a name and a width", _custom_op),
            Path(
                "native",
                "float32 on a CPU, a surrogate of the package, 2 steps or more",
                _native_sequence,
                partial(_has_steps, "native"),
            ),
            Path(
                "torch",
                "any signal outside transforms, 4 steps or more; any surrogate",
                _torch_sequence,
                partial(_has_steps, "torch"),
            ),
            Path("reference", "always: the step function in a loop", always),
        ),
        lambda surrogate: (torch.zeros(9, 1, 8), NeuronSpec(surrogate)),
    ),
    "pooled sequence": Operation(
        "neurons and the max pooling behind them",
        (
            Path(
                "native",
                "as the sequence, on pictures that lie channels last, with windows side by side",
                _native_pooled,
            ),
            Path("torch", "always: the sequence, then max_pool2d", always),
        ),
        lambda surrogate: (_pictures(4, 8, 4, 4).unsqueeze(1), NeuronSpec(surrogate), (2, 2)),
    ),
    "max_pool2d": Operation(
        "max pooling with windows side by side",
        (
            Path("native", "float32 on a CPU, channels last, windows of 255 places or fewer", _native_pool),
            Path("torch", "always", always),
        ),
        lambda _: (_pictures(1, 8, 4, 4), (2, 2)),
    ),
    "linear": Operation(
        "a linear layer in training",
        (
            Path(
                "native",
                "float32 on a CPU, 64 outputs and 2^21 products or more; the weight gradient leaves out silent inputs "
                "where at most 40 % are active",
                _native_linear,
            ),
            Path("torch", "always", always),
        ),
        lambda _: (torch.zeros(512, 64), nn.Linear(64, 64)),
    ),
    "convolution": Operation(
        "a convolution in training",
        (
            Path(
                "native",
                "float32 on a CPU, channels last, 32 outputs and 2^22 products or more; silent inputs are left out "
                "where at most 40 % are active",
                _native_convolution,
                _is_convolution_profitable,
            ),
            Path(
                "bias sums",
                "float32 on a CPU, channels last: the bias gradient (and weights of few taps) as sums",
                _own_convolution,
            ),
            Path("torch", "always", always),
        ),
        lambda _: (_pictures(4, 32, 16, 16), _convolution_of_pictures()),
    ),
    "sums": Operation(
        "leaky sums, means and alpha functions of kernels",
        (
            Path("native", "float32 on a CPU, numbers that are the same at all steps", _native_sums),
            Path("torch", "long or large signals outside transforms", lambda x, *_: supports_sequence(x)),
            Path("reference", "always: the kernel's step in a loop", always),
        ),
        lambda _: (torch.zeros(9, 1, 8), 0.5),
    ),
    "finite response": Operation(
        "a convolution in time with taps",
        (
            Path("native", "float32 on a CPU", lambda x, taps: taps.dtype == x.dtype and is_native(x)),
            Path("torch", "always: a product a tap", always),
        ),
        lambda _: (torch.zeros(9, 1, 8), torch.zeros(3)),
    ),
    "live step": Operation(
        "one step of one sample by events",
        (
            Path("native", "float32 or float64 on a CPU", lambda x: _is_eager(x) and is_native(x, torch.float64)),
            Path("torch", "outside `reference()`", _is_eager),
            Path("reference", "always: the network's own step", always),
        ),
        lambda _: (torch.zeros(1, 8),),
    ),
}
