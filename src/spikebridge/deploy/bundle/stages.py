"""Stages of hybrid units as records and tensors of a bundle, and back.

A window, kernel or discretizer with a form in arrays is stored by name and numbers, another one as an ONNX function of
one window, if it is such a function.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikebridge import hybrid
from spikebridge.axes import Signal, Step, Windows
from spikebridge.deploy.bundle.manifest import Setting, StageRecord, record_name
from spikebridge.deploy.stages.discretizers import DISCRETIZERS, DiscretizerForm
from spikebridge.deploy.stages.kernels import KERNELS, KernelForm
from spikebridge.deploy.stages.neurons import NeuronForm
from spikebridge.errors import ConfigError, DataError, ExportError
from spikebridge.hybrid import FIR, Delay, Discretizer, Hold, HybridUnit, Kernel, Since, Sliding, Tumbling, Window
from spikebridge.neurons.state import State

FUNCTION = "Function"
# the arguments of a window
_WINDOWS: dict[type[nn.Module], tuple[str, ...]] = {
    Hold: ("length",),
    Tumbling: ("length",),
    Sliding: ("length", "stride"),
    Since: ("trigger",),
}
_PUBLIC = [kind for name in hybrid.__all__ if isinstance(kind := getattr(hybrid, name), type)]
_KINDS = {record_name(kind): kind for kind in _PUBLIC if issubclass(kind, Window | Kernel | Discretizer)}


def kernel_form(kind: type[nn.Module]) -> KernelForm | None:
    """The array form of a kernel class, user-defined or of the package; None if it has none."""
    return _form(kind, KERNELS, KernelForm)


def discretizer_form(kind: type[nn.Module]) -> DiscretizerForm | None:
    """The array form of a discretizer class, user-defined or of the package; None if it has none."""
    return _form(kind, DISCRETIZERS, DiscretizerForm)


def array_forms(stages: Iterable[type[nn.Module]]) -> dict[str, KernelForm | DiscretizerForm | NeuronForm]:
    """The array forms of user-defined classes by record name, as the runners without torch take them."""
    forms: dict[str, KernelForm | DiscretizerForm | NeuronForm] = {}
    for kind in stages:
        form = vars(kind).get("array_form")
        if not isinstance(form, KernelForm | DiscretizerForm | NeuronForm):
            raise ConfigError(
                f"{kind.__name__} needs a class attribute array_form, a KernelForm, DiscretizerForm or NeuronForm"
            )
        forms[record_name(kind)] = form

    return forms


def _form(kind: type[nn.Module], forms: Mapping[str, Any], form_kind: type[Any]) -> Any:
    name = record_name(kind)
    # a user-defined class may have the name of one of the package's
    form = vars(kind).get("array_form", forms.get(name) if _KINDS.get(name) is kind else None)
    return form if isinstance(form, form_kind) else None


def is_storable(stage: nn.Module) -> bool:
    """True if a stage can be stored by name and numbers."""
    return _arguments(type(stage)) is not None


def _arguments(kind: type[nn.Module]) -> tuple[str, ...] | None:
    form = kernel_form(kind) or discretizer_form(kind)
    return form.arguments if form is not None else _WINDOWS.get(kind)


def stage_record(stage: nn.Module, where: str) -> tuple[StageRecord, dict[str, Tensor]]:
    """The record of a window, kernel or discretizer, and its tensors."""
    kind = type(stage)
    arguments = _arguments(kind)
    if arguments is None:
        names = ", ".join([*map(record_name, _WINDOWS), *KERNELS, *DISCRETIZERS])
        raise ExportError(f"{where} is a {kind.__name__}, which a bundle does not hold; it holds {names}")

    values = {name: getattr(stage, name) for name in arguments}
    settings: dict[str, Setting] = {name: x for name, x in values.items() if not isinstance(x, Tensor)}
    tensors = {name: x.detach() for name, x in values.items() if isinstance(x, Tensor)}

    if isinstance(stage, Kernel):
        quantities = {name: getattr(stage, name) for name in stage.modulable}
        like = next(stage.parameters(), torch.empty(0))
        taps = stage.arguments(quantities, like).get("taps")
        if taps is not None:
            # a Gaussian is stored by its taps as well, which need no torch to compute
            tensors["weight"] = taps.detach()

    return StageRecord(record_name(kind), settings), tensors


def stage_of(record: StageRecord, tensors: Mapping[str, Tensor], user_stages: Iterable[type[nn.Module]] = ()) -> Any:
    """The stage of a record and its tensors; `user_stages` are user-defined classes."""
    kinds = {**_KINDS, **{record_name(kind): kind for kind in user_stages}}
    kind: Any = kinds.get(record.name)
    arguments = None if kind is None else _arguments(kind)
    if arguments is None:
        names = [name for name, other in kinds.items() if _arguments(other) is not None]
        raise DataError(f"there is no stage {record.name!r}; known are {', '.join(names)}")

    values: dict[str, Any] = {**record.settings, **{name: x for name, x in tensors.items() if name in arguments}}
    try:
        if kind is Delay:
            # records count delays in steps, the class takes seconds
            dt = float(values["dt"])
            times = {"delay": values["ticks"] * dt, "max_delay": values["max_ticks"] * dt}
            return Delay(**times, dt=dt, keep=bool(values["keep"])).eval()

        return _fir(values, tensors["weight"]) if kind is FIR else kind(**values)
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"the stage {record.name!r} cannot be made of {record.settings}: {error}") from None


def _fir(values: Mapping[str, Any], weight: Tensor) -> FIR:
    stage = FIR(len(weight), tuple(weight.shape[1:]), keep=bool(values["keep"]))
    with torch.no_grad():
        stage.weight.copy_(weight)

    return stage


class KernelFunction(nn.Module):
    """The value of a kernel at the end of a window, as a function of the window's steps."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__()
        self.kernel = kernel

    def forward(self, steps: Float[Tensor, "B L *N"]) -> Float[Tensor, "B *N2"]:
        return self.kernel.last(steps.transpose(0, 1))


class DiscretizerFunction(nn.Module):
    """A discretizer without a state, as a function of the values of one window of `length` steps."""

    def __init__(self, discretizer: Discretizer, length: int) -> None:
        super().__init__()
        self.discretizer = discretizer
        self.length = length

    def forward(self, values: Float[Tensor, "B M *N"]) -> Float[Tensor, "B M2 *N2"]:
        y, _ = self.discretizer(values.transpose(0, 1).unsqueeze(0), self.length)
        return y.squeeze(0).transpose(0, 1)


def check_function(unit: HybridUnit, stage: str, values: Windows, where: str) -> None:
    """Raises an `ExportError` for a stage that is no function of one window `(K, M, B, *N)`.

    A "discretizer" with a state is none, and a "kernel" that gives a value at every step.
    """
    module: Any = getattr(unit, stage)
    kind = type(module).__name__
    if stage == "kernel":
        if unit.form != "framed" or unit.kept:
            raise ExportError(
                f"{where} is a {kind}, which a bundle holds only where it gives one value at the end of a window of "
                "known length"
            )

        return

    with torch.no_grad():
        state = module(values, unit.window_length)[1]

    if state is not None:
        raise ExportError(f"{where} is a {kind} with a memory, which a bundle does not hold")


class _WindowSteps(NamedTuple):
    steps: Tensor


class FunctionKernel(Kernel):
    """A kernel that is a function of a whole window `(B, L, *N)`; `num_axes` are those of `*N`."""

    is_vectorized = True

    def __init__(self, function: nn.Module, length: int, num_axes: int) -> None:
        super().__init__()
        self.function = function
        self.length = length
        self.num_axes = num_axes

    def initial_state(self, x_t: Step) -> _WindowSteps:
        return _WindowSteps(x_t.new_zeros((x_t.shape[0], self.length, *x_t.shape[1:])))

    def step(self, x_t: Step, state: _WindowSteps, **modulation: Any) -> tuple[Step, _WindowSteps]:
        steps = torch.cat([state.steps[:, 1:], x_t.unsqueeze(1)], 1)
        return self.function(steps), _WindowSteps(steps)

    def last(self, x: Signal) -> Float[Tensor, "B *N2"]:
        # several windows count as samples
        lead = x.shape[1 : x.ndim - self.num_axes]
        rows: Tensor = self.function(x.movedim(0, len(lead)).flatten(0, len(lead) - 1))
        return rows.unflatten(0, lead)


class FunctionDiscretizer(Discretizer):
    """A discretizer that is a function of the values of a window, `(B, M, *N)`."""

    def __init__(self, function: nn.Module, kind: Any) -> None:
        super().__init__()
        self.function = function
        self.kind = kind

    def forward(self, h: Windows, length: int, state: State = None) -> tuple[Float[Tensor, "K M2 B *N2"], None]:
        rows = h.movedim(2, 1)
        y = self.function(rows.flatten(0, 1))
        return y.unflatten(0, rows.shape[:2]).movedim(1, 2), None
