"""The native steps beside the plain step functions: outputs to the bit, gradients to rounding."""

import math
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from spikebridge.neurons import (
    AdaptiveLIFState,
    Arctan,
    CubaLIFState,
    FastSigmoid,
    Integrator,
    IntegratorState,
    LIFState,
    Rectangle,
    Surrogate,
    Triangle,
    adaptive_lif_step,
    cuba_lif_step,
    integrator_step,
    lif_step,
)
from spikebridge.ops.selection import runs_natively
from spikebridge.ops.sequence import native
from spikebridge.ops.sequence.spec import BackwardArgs, ForwardArgs, NeuronParams, NeuronSpec, NeuronState

pytestmark = [
    pytest.mark.untyped,
    pytest.mark.skipif(not native.available(), reason=f"no native steps: {native.why_not()}"),
]

# the step function, its state, the fields of `NeuronState` that it has, and the values that it takes beside the common
KINDS: dict[str, tuple[Any, Any, tuple[str, ...], tuple[str, ...]]] = {
    "LIF": (lif_step, LIFState, ("v",), ()),
    "CubaLIF": (cuba_lif_step, CubaLIFState, ("v", "i"), ("decay_syn",)),
    "AdaptiveLIF": (adaptive_lif_step, AdaptiveLIFState, ("v", "a"), ("decay_adaptation", "jump")),
    "Integrator": (integrator_step, IntegratorState, ("v",), ()),
}
MIDDLE = {
    "decay": 0.6,
    "v_threshold": 1.0,
    "v_reset": 0.1,
    "v_leak": 0.05,
    "r": 0.9,
    "decay_syn": 0.5,
    "decay_adaptation": 0.7,
    "jump": 0.3,
}
SHAPES = {
    "number": lambda T, B, N: None,
    "learned": lambda T, B, N: (),
    "neuron": lambda T, B, N: (N,),
    "sample": lambda T, B, N: (B, N),
    "each sample": lambda T, B, N: (B, 1),
    "each step": lambda T, B, N: (T, 1, 1),
    "step and sample": lambda T, B, N: (T, B, 1),
    "once for all": lambda T, B, N: (1, B, N),
    "everything": lambda T, B, N: (T, B, N),
}


@pytest.fixture(autouse=True)
def _poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that is taken but not written shows as NaN."""
    empty = torch.empty
    empty_like = torch.empty_like
    monkeypatch.setattr(torch, "empty", lambda *a, **k: _poison(empty(*a, **k)))
    monkeypatch.setattr(torch, "empty_like", lambda *a, **k: _poison(empty_like(*a, **k)))


def _poison(fresh: Tensor) -> Tensor:
    return fresh.fill_(math.nan) if fresh.is_floating_point() else fresh


@pytest.fixture
def threads_before() -> Iterator[int]:
    before = torch.get_num_threads()
    yield before
    torch.set_num_threads(before)


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest, threads_before: int) -> int:
    torch.set_num_threads(request.param)
    return int(request.param)


class Case:
    """A signal, a memory and values for a kind of neuron, with gradients wanted of everything that is a tensor."""

    def __init__(self, kind: str, form: str, shape: tuple[int, int, int], seed: int = 0, **numbers: float) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.step, self.state, self.names, more = KINDS[kind]
        used = ["decay", "v_leak", "r", *more]
        used += [] if kind == "Integrator" else ["v_threshold", "v_reset"]
        self.fires = kind != "Integrator"
        self.x = (torch.randn(shape, generator=generator) * 0.6 + 0.4).requires_grad_()
        self.values = {}

        for name in used:
            size = SHAPES[form](*shape)
            middle = numbers.get(name, MIDDLE[name])
            self.values[name] = (
                middle
                if size is None or name in numbers
                else (middle + 0.2 * torch.rand(size, generator=generator)).requires_grad_()
            )

        self.memory = {n: torch.rand(shape[1:], generator=generator).requires_grad_() for n in self.names}
        self.grad_y = torch.randn(shape, generator=generator)
        self.grad_end = {n: torch.randn(shape[1:], generator=generator) for n in self.names}

    def by_steps(self, spec: NeuronSpec) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        """Outputs, the last memory and gradients by the plain step function and autograd."""
        settings = (
            {"surrogate": spec.surrogate, "reset": spec.reset, "detach_reset": spec.detach_reset} if self.fires else {}
        )
        state = self.state(**self.memory)
        outputs = []

        for t, x_t in enumerate(self.x.unbind(0)):
            values = {n: _at(value, t) for n, value in self.values.items()}
            y_t, state = self.step(x_t, state, **values, **settings)
            outputs.append(y_t)

        y = torch.stack(outputs)
        end = {n: getattr(state, n) for n in self.names}
        tensors = {"x": self.x, **self.memory} | {n: v for n, v in self.values.items() if isinstance(v, Tensor)}

        grads = torch.autograd.grad(
            [y, *end.values()],
            list(tensors.values()),
            [self.grad_y, *self.grad_end.values()],
            allow_unused=True,
        )
        return y, end, {n: g for n, g in zip(tensors, grads, strict=True) if g is not None}

    def natively(self, spec: NeuronSpec, wanted: Any, in_place: bool = False) -> Any:
        """The same by the native steps."""
        assert runs_natively(self.x, spec)

        memory = NeuronState(**self.memory)
        values = NeuronParams(**self.values)

        with torch.no_grad():
            trace = native.forward_steps(ForwardArgs(spec, self.x, memory, values, keep=True))
            out = trace.v if in_place else None
            question = BackwardArgs(spec, self.x, trace.v, memory, values, self.grad_y, self.grad_end, wanted, out)
            grads = native.backward_steps(question)

        return trace.y, {n: getattr(trace.end, n) for n in self.names}, grads

    def check(self, spec: NeuronSpec, in_place: bool = False) -> None:
        self.compare(self.by_steps(spec), spec, in_place)

    def compare(self, expected: Any, spec: NeuronSpec, in_place: bool) -> None:
        """Compares outputs, states and gradients of the native library with those of the steps."""
        y, end, grads = expected
        native_y, native_end, native_grads = self.natively(spec, list(grads), in_place)

        assert torch.equal(native_y, y)
        assert all(torch.equal(native_end[n], value) for n, value in end.items())
        assert set(native_grads) == set(grads)

        for name, grad in grads.items():
            error = (native_grads[name] - grad).abs().max()
            assert native_grads[name].shape == grad.shape
            assert error <= 1e-5 * max(1.0, float(grad.abs().max())), name


def _at(value: Any, t: int) -> Any:
    """A value at a step, if it changes in time."""
    return value[min(t, len(value) - 1)] if isinstance(value, Tensor) and value.ndim == 3 else value


def scheme_of(kind: str, surrogate: Surrogate | None = None, **settings: Any) -> NeuronSpec:
    return NeuronSpec(None) if kind == "Integrator" else NeuronSpec(surrogate or Arctan(1.3), **settings)


@pytest.mark.parametrize("form", SHAPES)
@pytest.mark.parametrize("detach_reset", [False, True])
@pytest.mark.parametrize("reset", ["zero", "subtract"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_neuron_reset_and_shape_of_values(kind: str, reset: Any, detach_reset: bool, form: str) -> None:
    Case(kind, form, (9, 3, 7)).check(scheme_of(kind, reset=reset, detach_reset=detach_reset))


@pytest.mark.parametrize("surrogate", [Arctan(0.5), Rectangle(0.7), Triangle(0.9), FastSigmoid(0.4)])
@pytest.mark.parametrize("form", ["number", "neuron"])
@pytest.mark.parametrize("kind", ["LIF", "AdaptiveLIF"])
def test_every_surrogate(kind: str, form: str, surrogate: Surrogate) -> None:
    Case(kind, form, (20, 2, 9)).check(scheme_of(kind, surrogate))


@pytest.mark.parametrize("form", ["number", "neuron"])
@pytest.mark.parametrize("kind", KINDS)
def test_resting_value_and_reset_at_zero(kind: str, form: str) -> None:
    zeros = {"v_leak": 0.0} if kind == "Integrator" else {"v_leak": 0.0, "v_reset": 0.0}
    Case(kind, form, (9, 3, 7), **zeros).check(scheme_of(kind))


@pytest.mark.parametrize("decay", [0.0, 1.0])
def test_no_memory_and_no_leak(decay: float) -> None:
    Case("LIF", "learned", (9, 3, 7), decay=decay, v_leak=0.0, v_reset=0.0, r=1.0).check(scheme_of("LIF"))


@pytest.mark.parametrize("columns", [1, 7, 8191, 8193])
@pytest.mark.parametrize("num_steps", [1, 6])
@pytest.mark.parametrize("kind", KINDS)
def test_odd_sizes(kind: str, num_steps: int, columns: int, threads: int) -> None:
    for form in ("number", "learned", "neuron"):
        Case(kind, form, (num_steps, 1, columns)).check(scheme_of(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_many_steps_of_one_neuron(kind: str) -> None:
    Case(kind, "learned", (700, 1, 1)).check(scheme_of(kind))


@pytest.mark.usefixtures("threads_before")
def test_results_too_large_for_the_caches() -> None:
    case = Case("LIF", "number", (70, 1, 65535))
    spec = scheme_of("LIF")

    assert case.x.numel() * 4 > 2**24

    expected = case.by_steps(spec)
    for threads, in_place in product((1, 2), (False, True)):
        torch.set_num_threads(threads)
        case.compare(expected, spec, in_place)


@pytest.mark.parametrize("reset", ["zero", "subtract"])
@pytest.mark.parametrize("kind", ["LIF", "CubaLIF", "AdaptiveLIF"])
def test_gradients_may_take_the_place_of_membranes(kind: str, reset: Any) -> None:
    for form in ("number", "neuron"):
        Case(kind, form, (9, 3, 70)).check(scheme_of(kind, reset=reset), in_place=True)


@pytest.mark.usefixtures("instructions")
def test_every_set_of_instructions() -> None:
    for kind in KINDS:
        for form in ("number", "neuron"):
            Case(kind, form, (12, 2, 37)).check(scheme_of(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_tensors_of_any_strides(kind: str) -> None:
    case = Case(kind, "number", (9, 3, 7))
    case.x = case.x.detach().permute(2, 1, 0).contiguous().permute(2, 1, 0).requires_grad_()
    case.grad_y = torch.ones(()).expand(case.x.shape)
    case.memory = {n: m.detach().t().contiguous().t().requires_grad_() for n, m in case.memory.items()}

    assert not case.x.is_contiguous()

    case.check(scheme_of(kind))


@pytest.mark.parametrize("form", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_signal_is_run_as_it_lies(kind: str, form: str) -> None:
    case = Case(kind, form, (5, 3, 7))
    case.x = case.x.detach().transpose(1, 2).contiguous().transpose(1, 2).requires_grad_()
    for in_place in (False, True):
        case.check(scheme_of(kind), in_place=in_place and kind != "Integrator")

    y, _, grads = case.natively(scheme_of(kind), ["x"])
    assert y.stride() == grads["x"].stride() == case.x.stride() == (21, 1, 3)


def test_channels_stay_last() -> None:
    x = torch.randn(6, 4, 5, 5).to(memory_format=torch.channels_last)
    steps = x.unflatten(0, (3, 2))
    memory = NeuronState(torch.zeros(2, 4, 5, 5))
    threshold = torch.rand(4, 1, 1)
    trace = native.forward_steps(
        ForwardArgs(NeuronSpec(Arctan()), steps, memory, NeuronParams(0.5, v_threshold=threshold), keep=True)
    )
    plain = native.forward_steps(
        ForwardArgs(NeuronSpec(Arctan()), steps.contiguous(), memory, NeuronParams(0.5, threshold), keep=True)
    )

    assert torch.equal(trace.y, plain.y)
    assert torch.equal(trace.end.v, plain.end.v)
    assert trace.y.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", SHAPES)
def test_windows_run_side_by_side_where_they_lie(kind: str, form: str) -> None:
    case = Case(kind, form, (5, 3, 70))
    windows = case.x.detach().transpose(0, 1).contiguous()  # time inside of what counts as the batch
    case.x = windows.transpose(0, 1).requires_grad_()

    for in_place in (False, True):
        case.check(scheme_of(kind), in_place=in_place and kind != "Integrator")

    y, _, grads = case.natively(scheme_of(kind), ["x"])

    assert y.stride() == grads["x"].stride() == case.x.stride() == (70, 350, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_lie_apart_or_overlap_are_read_where_they_are(kind: str, threads: int) -> None:
    case = Case(kind, "neuron", (6, 4, 50))
    signal = case.x.detach().clone()
    for x in (signal[:, ::2], signal[:5].unfold(0, 3, 1).movedim(-1, 0)[:, :, 0], signal[:, :1].expand(6, 4, 50)):
        case.x = x.requires_grad_()
        case.grad_y = torch.randn(x.shape)
        case.memory = {n: m.detach()[:1].expand(x.shape[1:]).clone().requires_grad_() for n, m in case.memory.items()}
        case.grad_end = {n: torch.randn(x.shape[1:]) for n in case.memory}
        case.check(scheme_of(kind))


def test_outputs_in_another_order_may_be_written_into() -> None:
    x = torch.randn(4, 2, 3, 8, 8).transpose(-1, -3).requires_grad_()
    y, _ = Integrator(0.01, dt=0.01)(x)
    y.mul_(2).sum().backward()
    assert x.grad is not None and x.grad.isfinite().all()


def test_what_is_not_given_counts_as_zero() -> None:
    case = Case("LIF", "number", (5, 2, 3))
    memory = NeuronState(**case.memory)
    values = NeuronParams(**case.values)

    with torch.no_grad():
        trace = native.forward_steps(ForwardArgs(scheme_of("LIF"), case.x, memory, values, keep=True))
        question = BackwardArgs(scheme_of("LIF"), None, trace.v, memory, values, None, {}, ["x", "v"])
        grads = native.backward_steps(question)

    assert grads["x"].tolist() == torch.zeros(5, 2, 3).tolist()
    assert grads["v"].tolist() == torch.zeros(2, 3).tolist()


def test_nothing_is_kept_where_nobody_asks() -> None:
    case = Case("LIF", "number", (5, 2, 3))
    with torch.no_grad():
        kept = native.forward_steps(
            ForwardArgs(scheme_of("LIF"), case.x, NeuronState(**case.memory), NeuronParams(**case.values), keep=True)
        )
        bare = native.forward_steps(
            ForwardArgs(scheme_of("LIF"), case.x, NeuronState(**case.memory), NeuronParams(**case.values), keep=False)
        )

    assert bare.v is None
    assert torch.equal(bare.y, kept.y)


def test_the_start_is_left_alone() -> None:
    case = Case("AdaptiveLIF", "number", (5, 2, 3))
    before = {n: m.clone() for n, m in case.memory.items()}
    case.check(scheme_of("AdaptiveLIF"))
    assert all(torch.equal(case.memory[n], value) for n, value in before.items())


def test_nan_never_fires_and_stays() -> None:
    x = torch.ones(4, 1, 2)
    x[1, 0, 0] = math.nan
    trace = native.forward_steps(
        ForwardArgs(NeuronSpec(Arctan()), x, NeuronState(torch.zeros(1, 2)), NeuronParams(1.0, v_threshold=2.0), True)
    )

    assert trace.y[:, 0].tolist() == [[0.0, 0.0], [0.0, 1.0], [0.0, 0.0], [0.0, 1.0]]
    assert trace.end.v.isnan().tolist() == [[True, False]]


def test_what_is_served() -> None:
    class Steep(Arctan):
        """Has another derivative, for all that one knows."""

    x = torch.zeros(2, 1, 3)
    assert runs_natively(x, NeuronSpec(None))
    assert not runs_natively(x, NeuronSpec(Steep()))
    assert not runs_natively(x.double(), NeuronSpec(Arctan()))
    assert not runs_natively(x[:, :0], NeuronSpec(Arctan()))
    assert not runs_natively(x.to("meta"), NeuronSpec(Arctan()))
