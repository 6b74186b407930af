"""Plain modules among layers with time: time is folded into the batch, and their weights may be modulated.

A module gives one tensor, or several by name: a dict or a NamedTuple of tensors.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from inspect import signature
from numbers import Real
from typing import Any, TypeAlias

import torch
from jaxtyping import Shaped
from torch import Tensor, nn
from torch.func import functional_call

from spikebridge.errors import ConfigError, ShapeError, did_you_mean, in_words
from spikebridge.neurons.base import Stateful, split_in_time
from spikebridge.neurons.quantity import (
    Effect,
    Modulated,
    are_effects,
    broadcasts,
    refuse_ambiguous,
    refuse_other_place,
)
from spikebridge.neurons.state import join_tensors, map_tensors
from spikebridge.ops.precision import SINGLE_OR_HALF, cast_for, complete_autocast, is_autocast

_Signal: TypeAlias = Shaped[Tensor, "T B ..."]


def over_time(module: nn.Module, *signals: _Signal, **named: _Signal) -> _Signal:
    """A module without time on signals `(T, B, *N)`, as rows `(T * B, *N)`; an empty signal changes nothing in it."""
    y: Tensor = outputs_over_time(module, *signals, **named)
    if not isinstance(y, Tensor):
        raise ShapeError(
            f"{type(module).__name__} gives several tensors ({words_of_names(y)}), but one is taken here; only a part "
            "of a network may give several"
        )

    return y


def outputs_over_time(module: nn.Module, *signals: _Signal, **named: _Signal) -> Any:
    """The same for a module that may give several tensors by name, a dict or a NamedTuple: each is `(T, B, *M)`."""
    num_steps, batch = _times(module, signals, named)
    if torch.compiler.is_dynamo_compiling() and not torch.compiler.is_exporting():
        _fix_sizes(*signals, *named.values())

    rows = [x.flatten(0, 1) for x in signals]
    # a held row, expanded over the steps, comes once, `(B, *N)`, to a module that lists it in `takes_held`
    held = [name for name in getattr(type(module), "takes_held", ()) if name in named and named[name].stride(0) == 0]
    if num_steps == 0 or len(held) == len(signals) + len(named):
        held = []

    named_rows = {name: x[0] if name in held else x.flatten(0, 1) for name, x in named.items()}
    device = (signals or (*named.values(),))[0].device
    with complete_autocast(module, device) if torch._C._is_any_autocast_enabled() else nullcontext():
        y = module(*rows, **named_rows) if num_steps * batch > 0 else _on_no_rows(module, rows, named_rows)

    check_rows(module, y, num_steps * batch)
    if isinstance(y, Tensor):
        return y.reshape(num_steps, batch, *y.shape[1:])
    return map_tensors(lambda rows: rows.reshape(num_steps, batch, *rows.shape[1:]), y)


def _on_no_rows(module: nn.Module, rows: list[Tensor], named: dict[str, Tensor]) -> Any:
    """A module on signals without rows, for the shapes that it gives."""
    # batch normalisation counts even a batch without rows: it counts in copies
    copies = {name: buffer.clone() for name, buffer in module.named_buffers()}
    return functional_call(module, copies, tuple(rows), named) if copies else module(*rows, **named)


def tensors_by_name(y: Any) -> Mapping[Any, Any] | None:
    """The outputs of a module that gives several tensors by name; None for anything else."""
    if isinstance(y, dict):
        return y

    return y._asdict() if isinstance(y, tuple) and hasattr(y, "_asdict") else None


def words_of_names(y: Any) -> str:
    """The names of several tensors, for a message."""
    return ", ".join(map(repr, tensors_by_name(y) or ()))


def _fix_sizes(*signals: Tensor) -> None:
    """Makes the sizes `*N` of a compiled network constants; steps and samples stay symbols under `dynamic=True`."""
    # inductor (PyTorch 2.13) cannot order the strides of a convolution's gradient whose picture has symbolic sides and
    # whose first axis is a product of two symbols
    for x in signals:
        _ = {size: size for size in x.shape[2:]}  # the compiler takes what is hashed as a constant


def check_rows(module: nn.Module, y: Any, num_rows: Any) -> None:
    """Raises if the output of a module is no tensor with the rows of its signals, and no dict of such tensors."""
    if isinstance(y, Tensor):
        if y.ndim == 0 or y.shape[0] != num_rows:
            raise ShapeError(
                f"{type(module).__name__} was given {num_rows} rows (T * B) and gave shape {tuple(y.shape)}; "
                "it must keep the first axis"
            )

        return

    several = tensors_by_name(y)
    if not several:
        gave = type(y).__name__ if several is None else "a dict without tensors"
        raise ShapeError(
            f"a part gives one tensor, but {type(module).__name__} gave {gave}; wrap it in a module that picks one, or "
            "that gives several by name in a dict or a NamedTuple"
        )

    for name, value in several.items():
        if not isinstance(value, Tensor):
            raise ShapeError(
                f"{type(module).__name__} gave {name!r} as {in_words(value)}; all that a part gives by name are tensors"
            )

        check_rows(module, value, num_rows)


def modulated(module: nn.Module, modulation: Mapping[str, Modulated], *signals: _Signal, **named: _Signal) -> Any:
    """A module over time with parameters `(*W)` under modulation: by `(*W)`, `(B, *W)` or `(T, B, *W)`, or `Effect`s.

    The module itself is never written to.
    """
    num_steps, batch = _times(module, signals, named)
    parameters = dict(module.named_parameters())
    effects: dict[str, list[Effect]] = {}

    for path, value in modulation.items():
        if path not in parameters:
            raise ConfigError(f"{type(module).__name__} has no parameter {path!r}; {did_you_mean(path, parameters)}")
        if value is not None:
            effects[path] = _as_effects(parameters[path], value, num_steps)

    if not effects or num_steps * batch == 0:
        return outputs_over_time(module, *signals, **named)

    _refuse_running_statistics(module)
    if all(len(effect.signal) == 1 for several in effects.values() for effect in several):
        values = {path: per_sample(parameters[path], several, 1, batch)[0] for path, several in effects.items()}
        return _each_sample(module, values, signals, named)

    # split, not x[t : t + 1]: slicing in the loop would add a whole zero tensor a step to the backward pass
    rows = list(zip(*[x.split(1) for x in signals], strict=True)) or [()] * num_steps
    named_rows = {name: x.split(1) for name, x in named.items()}
    columns, _ = split_in_time(effects, num_steps, ndim=0)
    steps = []

    for t in range(num_steps):
        values = {path: per_sample(parameters[path], column[t], 1, batch)[0] for path, column in columns.items()}
        steps.append(_each_sample(module, values, rows[t], {name: x[t] for name, x in named_rows.items()}))

    return join_tensors(torch.cat, steps)


def per_sample(base: Tensor, value: Modulated, num_steps: int, batch: int) -> Tensor:
    """A modulated parameter as `(1 or T, B, *W)`."""
    result = base
    for effect in _as_effects(base, value, num_steps):
        if {effect.signal.dtype, base.dtype} <= SINGLE_OR_HALF:
            effect = Effect(effect.signal.to(base.dtype), effect.by)

        refuse_other_place("a parameter in", base, " is modulated by", effect.signal)
        refuse_ambiguous("a modulated parameter", effect, base.shape)
        result = effect.on(result, base.ndim + 2)
        if not broadcasts(result.shape, (result.shape[0], batch, *base.shape)):
            raise ShapeError(_misfit(base, effect.signal, num_steps, batch))

    return result.expand(result.shape[0], batch, *base.shape)


def _as_effects(base: Tensor, value: Modulated, num_steps: int) -> list[Effect]:
    """Any form of modulation of a parameter `(*W)` as effects, whose signals are `(1 or T, B, *W)`."""
    if isinstance(value, Effect):
        effects = [value]
    elif are_effects(value):
        effects = list(value)
    else:
        if not isinstance(value, Tensor | Real):
            raise ConfigError(f"a parameter is modulated by a number, a tensor or an Effect, but got {value!r}")
        tensor = value if isinstance(value, Tensor) else base.new_full(base.shape, float(value))
        extra = tensor.ndim - base.ndim
        if extra not in (0, 1, 2):
            raise ShapeError(_misfit(base, tensor, num_steps, None))
        effects = [Effect(tensor.reshape(*[1] * (2 - extra), *tensor.shape), "replace")]

    for effect in effects:
        if len(effect.signal) not in (1, num_steps):
            raise ShapeError(f"a modulation has {len(effect.signal)} steps in time, but the signal has {num_steps}")

    return effects


def _misfit(base: Tensor, value: Tensor, num_steps: int, batch: int | None) -> str:
    samples = "" if batch is None else f" and {batch} samples"
    return (
        f"a parameter of shape {tuple(base.shape)} cannot be modulated by a value of shape {tuple(value.shape)} over "
        f"{num_steps} steps{samples}: it needs (*W), (B, *W) or (T, B, *W)"
    )


def _times(module: nn.Module, signals: tuple[Tensor, ...], named: Mapping[str, Tensor]) -> tuple[Any, Any]:
    """The numbers of steps and samples that all signals share, symbols while a network is exported."""
    tensors = [*signals, *named.values()]
    if not tensors:
        raise ShapeError(f"{type(module).__name__} was given no signal")

    first = tensors[0].shape
    # compared one by one: an exported network's sizes are symbols, which no set takes
    if any(x.ndim < 2 or x.shape[:2] != first[:2] for x in tensors):
        shapes = ", ".join(str(tuple(x.shape)) for x in tensors)
        raise ShapeError(f"{type(module).__name__} needs signals (T, B, *N) of equal T and B, but got {shapes}")

    return first[0], first[1]


def _each_sample(
    module: nn.Module, values: dict[str, Tensor], signals: tuple[Tensor, ...], named: Mapping[str, Tensor]
) -> Any:
    """A module with weights of its own for each sample."""
    if is_autocast(next(iter(values.values())).device):
        # autocast does not reach every operation inside vmap
        signals = tuple(cast_for(module, x) for x in signals)
        named = {name: cast_for(module, x) for name, x in named.items()}

    call = partial(functional_call, module)
    if torch.compiler.is_exporting():
        # the same with samples first, which ONNX has products for
        rows = [{name: x.transpose(0, 1) for name, x in group.items()} for group in (dict(enumerate(signals)), named)]
        y = torch.vmap(call, randomness="different")(values, tuple(rows[0].values()), rows[1])
        return map_tensors(lambda one: one.transpose(0, 1), y)

    return torch.vmap(call, in_dims=(0, 1, 1), out_dims=1, randomness="different")(values, signals, dict(named))


def _refuse_running_statistics(module: nn.Module) -> None:
    """Raises if each sample, alone with its own weights, would have to write the statistics that all share."""
    for path, child in module.named_modules():
        if child.training and getattr(child, "track_running_stats", False):
            raise ConfigError(
                f"{type(child).__name__} at {path!r} cannot be trained under modulated weights, where each sample runs "
                "alone; put it in eval mode, or use GroupNorm"
            )


def refuse_hidden_state(module: nn.Module, who: str) -> None:
    """Raises if a plain module is or holds a layer with a state: it would be lost, or leak from call to call."""
    if isinstance(module, Stateful):
        return

    # inside of a module of the user's own, torch's recurrent layers may run over an axis that is not time
    alone = {module, *(layer for row in module.modules() if isinstance(row, nn.Sequential) for layer in row)}
    for path, child in module.named_modules():
        what = f"{type(child).__name__}{f' at {path!r}' if path else ''}"
        if isinstance(child, Stateful):
            raise ConfigError(
                f"{who} is a plain {type(module).__name__}, but holds the stateful {what}, whose state it cannot "
                "carry; use spikebridge.neurons.Sequential, or make it a Stateful"
            )

        if isinstance(child, nn.RNNBase | nn.RNNCellBase) and child in alone:
            raise ConfigError(
                f"{who} would run torch's {what} without memory, each step alone; wrap it in spikebridge.neurons.Memory"
            )

        library = type(child).__module__.partition(".")[0]
        if library in SPIKING_LIBRARIES and _keeps_state(child):
            raise ConfigError(
                f"{who} holds the {what} of {library}, whose state would be shared by all streams; make it a part "
                "with spikebridge.deploy.adapt(module)"
            )


SPIKING_LIBRARIES = ("spikingjelly", "snntorch", "norse", "sinabs")  # whose modules `deploy.adapt` makes parts of


def _keeps_state(module: Any) -> bool:
    """True if a module of a spiking library has a state, inside or as an argument of its forward."""
    is_marked = hasattr(module, "init_hidden") or hasattr(module, "is_state_initialised")
    return is_marked or bool(getattr(module, "_memories", ())) or "state" in signature(module.forward).parameters


@contextmanager
def refuse_inplace(module: nn.Module, signals: Iterable[Tensor]) -> Iterator[None]:
    """Raises if a module, called inside, writes into one of the signals: other parts read them, too."""
    tensors = [x for x in signals if not x.is_inference()]
    versions = [x._version for x in tensors]
    yield
    if [x._version for x in tensors] != versions:
        raise ConfigError(
            f"{type(module).__name__} writes into its input, which others read, too; give its layers inplace=False"
        )
