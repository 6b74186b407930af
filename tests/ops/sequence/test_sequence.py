"""Whole sequences beside the loop over step functions: outputs to the bit, gradients to rounding, for every layer."""

import math
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from spikebridge.errors import ConfigError, DataError
from spikebridge.neurons import (
    IF,
    LIF,
    PLIF,
    AdaptiveLIF,
    Arctan,
    CubaLIF,
    Effect,
    FastSigmoid,
    Integrator,
    Izhikevich,
    Memoryless,
    Neuron,
    Rectangle,
    Surrogate,
    Triangle,
    lif_step,
)
from spikebridge.neurons.state import map_tensors
from spikebridge.ops import reference, selection, without_native
from spikebridge.ops.selection import supports_sequence
from spikebridge.ops.sequence import autograd as sequence

pytestmark = pytest.mark.untyped

N = 5
MOVED = {"v_reset": -0.2, "v_leak": 0.1, "r": 1.5}
LAYERS: dict[str, Callable[..., Neuron]] = {
    "LIF": lambda **k: LIF(0.01, dt=0.004, **k),
    "PLIF": lambda **k: PLIF(0.01, dt=0.004, **k),
    "CubaLIF": lambda **k: CubaLIF(0.01, 0.004, dt=0.004, **k),
    "AdaptiveLIF": lambda **k: AdaptiveLIF(0.01, 0.03, dt=0.004, **k),
    "IF": lambda **k: IF(**k),
    "Memoryless": lambda **k: Memoryless(**{n: v for n, v in k.items() if n in ("surrogate", "r", "v_threshold")}),
    "Integrator": lambda **k: Integrator(0.01, dt=0.004, **{n: v for n, v in k.items() if n in ("r", "v_leak")}),
}
SURROGATES = [Arctan(0.7), Rectangle(1.5), Triangle(2.0), FastSigmoid(0.8)]
every_layer = pytest.mark.parametrize("name", LAYERS)


class Results(NamedTuple):
    numbers: list[Tensor]
    gradients: dict[str, Tensor | None]


@pytest.fixture(params=["native", "pytorch"])
def path(request: pytest.FixtureRequest) -> Iterator[None]:
    """Both fast paths; native steps take what is in float32, the rest runs in PyTorch either way."""
    with nullcontext() if request.param == "native" else without_native():
        yield


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts the sequences that took a fast path, so that no test compares the loop with itself."""
    counted: list[int] = []
    monkeypatch.setattr(selection, "MIN_STEPS", {"native": 1, "torch": 1})
    choose = sequence.choose
    monkeypatch.setattr(sequence, "choose", lambda *a: counted.append(1) or choose(*a))

    return counted


def train(layer: Neuron, x: Tensor, state: Any = None, **modulation: Any) -> Results:
    """Outputs, last state and the gradients of all that can have one, from weights that differ everywhere."""
    layer.zero_grad()
    x = x.detach().requires_grad_()
    state = map_tensors(lambda m: m.detach().requires_grad_(m.is_floating_point()), state)
    modulation = {n: v.detach().requires_grad_() if isinstance(v, Tensor) else v for n, v in modulation.items()}
    y, end = layer(x, state, **modulation)
    outputs = [y, *(m for m in end if m is not None)]
    total = sum(
        (o * torch.linspace(0.5, 1.5, max(1, o.numel()), dtype=o.dtype).reshape(o.shape)).sum() for o in outputs
    )
    total.backward()
    leaves = {"x": x, **dict(layer.named_parameters()), **modulation}
    leaves |= {f"state {i}": m for i, m in enumerate(state or ()) if m is not None}
    gradients = {n: leaf.grad for n, leaf in leaves.items() if isinstance(leaf, Tensor) and leaf.requires_grad}

    return Results([o.detach() for o in outputs], gradients)


def assert_same(fast: Results, slow: Results, tolerance: float) -> None:
    for a, b in zip(fast.numbers, slow.numbers, strict=True):
        assert a.dtype == b.dtype and torch.equal(a, b)

    assert fast.gradients.keys() == slow.gradients.keys()
    for name, expected in slow.gradients.items():
        found = fast.gradients[name]
        assert (found is None) == (expected is None), name

        if found is not None and expected is not None and expected.numel():
            assert found.shape == expected.shape

            scale = max(1.0, float(expected.abs().max()))
            torch.testing.assert_close(
                found, expected, rtol=tolerance, atol=tolerance * scale, msg=lambda m, n=name: n + m
            )


def assert_parity(layer: Neuron, x: Tensor, calls: list[int], state: Any = None, **modulation: Any) -> None:
    layer = layer.to(x.dtype)
    fast = train(layer, x, state, **modulation)

    assert calls, "no fast path was taken"
    with reference():
        slow = train(layer, x, state, **modulation)

    # a gradient of one number is a sum over everything, in another order
    assert_same(fast, slow, 1e-10 if x.dtype == torch.float64 else 1e-5)


def signal(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(math.prod(shape)), dtype=dtype) * 0.6 + 0.4


@every_layer
@pytest.mark.parametrize("moved", [{}, MOVED], ids=["at zero", "moved"])
@pytest.mark.parametrize("detach_reset", [False, True])
@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_every_layer_and_reset(
    name: str, reset: Any, detach_reset: bool, moved: dict[str, float], calls: list[int]
) -> None:
    layer = LAYERS[name](reset=reset, detach_reset=detach_reset, **moved)
    assert_parity(layer, signal(9, 3, N), calls)


@every_layer
@pytest.mark.parametrize("surrogate", SURROGATES, ids=lambda s: type(s).__name__)
def test_every_surrogate(name: str, surrogate: Surrogate, calls: list[int]) -> None:
    assert_parity(LAYERS[name](surrogate=surrogate), signal(9, 3, N), calls)


@every_layer
@pytest.mark.parametrize("shape", [(), (N,)], ids=["one for all", "one a neuron"])
@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_everything_learned(name: str, reset: Any, shape: tuple[int, ...], calls: list[int]) -> None:
    layer = LAYERS[name](reset=reset)
    for quantity in layer.modulable:
        if quantity not in ("tau",) or name != "PLIF":
            value = torch.as_tensor(getattr(layer, quantity)).detach().expand(shape).clone() + 0.01
            getattr(type(layer), quantity).store(layer, value, learn=True)

    state = layer.double()(signal(4, 3, N))[1]
    assert_parity(layer, signal(9, 3, N), calls, map_tensors(Tensor.detach, state))


@every_layer
@pytest.mark.parametrize("shape", [(N,), (3, N), (3, 1), (9, 3, N), (9, 1, 1), (1, 3, N)], ids=str)
def test_everything_modulated(name: str, shape: tuple[int, ...], calls: list[int]) -> None:
    layer = LAYERS[name]()
    random = torch.Generator().manual_seed(1)
    values = {
        quantity: float(torch.as_tensor(getattr(layer, quantity)).detach().clamp(max=1.0))
        * (1 + 0.3 * torch.rand(shape, generator=random, dtype=torch.float64))
        for quantity in layer.modulable
    }

    state = layer.double()(signal(4, 3, N))[1]
    assert_parity(layer, signal(9, 3, N), calls, map_tensors(Tensor.detach, state), **values)


def test_effects_reach_a_fast_path_too(calls: list[int]) -> None:
    effect = Effect(torch.tensor([1.0, 0.5, 2.0], dtype=torch.float64).reshape(1, 3, 1), "multiply")
    assert_parity(LIF(0.01, dt=0.004), signal(9, 3, N), calls, v_threshold=effect)


@every_layer
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 3, 7), (13, 1), (2, 1, 3, 2, 5), (70, 2, 33)], ids=str)
def test_odd_sizes_in_float32_and_float64(name: str, shape: tuple[int, ...], calls: list[int], path: None) -> None:
    assert_parity(LAYERS[name](), signal(*shape), calls)
    calls.clear()
    assert_parity(LAYERS[name](), signal(*shape, dtype=torch.float32), calls)


@pytest.mark.parametrize("name", ["LIF", "CubaLIF", "AdaptiveLIF", "Integrator"])
@pytest.mark.parametrize("threads", [1, 2])
def test_parts_of_a_batch_and_blocks_of_time(name: str, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = [1]
    before = torch.get_num_threads()
    monkeypatch.setattr("spikebridge.ops.sequence.tiling.ROW_SIZE", 20)
    learn = ("tau", "r") if name == "Integrator" else ("tau", "r", "v_threshold")
    layer = LAYERS[name](v_leak=0.1)

    for quantity in learn:
        value = torch.as_tensor(getattr(layer, quantity)).expand(7, N).clone()
        getattr(type(layer), quantity).store(layer, value[0], learn=True)

    try:
        torch.set_num_threads(threads)
        assert_parity(layer, signal(11, 7, N), calls, v_leak=signal(11, 7, N) * 0.1)
    finally:
        torch.set_num_threads(before)


@every_layer
def test_memory_that_is_not_written_never_shows(name: str, monkeypatch: pytest.MonkeyPatch, path: None) -> None:
    empty = torch.empty
    empty_like = torch.empty_like
    layer = LAYERS[name](**MOVED)
    x = signal(9, 3, N, dtype=torch.float32)

    with reference():
        slow = train(layer, x)

    monkeypatch.setattr(torch, "empty", lambda *a, **k: empty(*a, **k).fill_(math.nan))
    monkeypatch.setattr(torch, "empty_like", lambda *a, **k: empty_like(*a, **k).fill_(math.nan))
    assert_same(train(layer, x), slow, 1e-5)


@every_layer
def test_any_strides(name: str, calls: list[int], path: None) -> None:
    x = signal(3, 9, 2 * N, dtype=torch.float32).transpose(0, 1)[..., ::2]
    assert not x.is_contiguous()
    assert_parity(LAYERS[name](), x, calls)


@every_layer
def test_no_gradient_gives_the_same_numbers(name: str, path: None) -> None:
    layer = LAYERS[name]()
    x = signal(30, 3, N, dtype=torch.float32)
    with torch.no_grad():
        y, end = layer(x)

    with reference():
        expected, expected_end = layer(x)

    assert torch.equal(y, expected) and not y.requires_grad
    assert all(torch.equal(a, b) for a, b in zip(end, expected_end, strict=True) if a is not None)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["LIF", "AdaptiveLIF", "Integrator"])
def test_half_precision_is_worked_out_in_float32(name: str, dtype: torch.dtype, path: None) -> None:
    layer = LAYERS[name]()
    x = signal(20, 3, N, dtype=torch.float32).to(dtype)
    half = train(layer, x)
    single = train(layer, x.float())
    y, *state = half.numbers
    expected, *expected_state = single.numbers

    assert y.dtype == dtype and torch.equal(y, expected.to(dtype))
    assert all(a.dtype == torch.float32 and torch.equal(a, b) for a, b in zip(state, expected_state, strict=True))
    assert half.gradients["x"].dtype == dtype


@every_layer
def test_two_uses_in_one_graph(name: str, path: None) -> None:
    layer = LAYERS[name]()

    def twice(x: Tensor) -> tuple[Tensor, Tensor | None]:
        x = x.detach().requires_grad_()
        y, state = layer(x)
        z, _ = layer(x + y, state)
        (gradient,) = torch.autograd.grad((y * z + z * x).sum(), x)

        return z.detach(), gradient

    x = signal(9, 3, N, dtype=torch.float32)
    fast = twice(x)
    with reference():
        slow = twice(x)

    assert torch.equal(fast[0], slow[0])

    torch.testing.assert_close(fast[1], slow[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["LIF", "Integrator"])
def test_a_graph_that_is_kept_gives_its_gradient_again(name: str, path: None) -> None:
    x = signal(9, 3, N, dtype=torch.float32).requires_grad_()
    y, _ = LAYERS[name]()(x)
    first = torch.autograd.grad(y.sum(), x, retain_graph=True)[0].clone()
    assert torch.equal(torch.autograd.grad(y.sum(), x)[0], first)


def test_what_is_given_and_what_is_gotten_can_be_written_to(path: None) -> None:
    x = signal(9, 3, N, dtype=torch.float32)
    state = LIF(0.01, dt=0.004).initial_state(torch.zeros(3, N))
    kept = x.clone()
    leaf = x.clone().requires_grad_()
    y, end = LIF(0.01, dt=0.004)(leaf, state)
    expected = torch.autograd.grad(y.sum(), leaf, retain_graph=True)[0].clone()

    with torch.no_grad():
        y.zero_()
        end.v.fill_(7.0)

    assert torch.equal(torch.autograd.grad(y, leaf, torch.ones_like(y))[0], expected)
    assert torch.equal(leaf, kept) and not state.v.any()


def test_one_tensor_a_step_is_kept() -> None:
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    x = signal(50, 2, 8, dtype=torch.float32).requires_grad_()
    for layer in (LIF(0.01, dt=0.004), CubaLIF(0.01, dt=0.004, learn=("r", "tau_syn")), AdaptiveLIF(dt=0.004)):
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            layer(x)
        steps = sum(kept.values()) / (4 * 2 * 8)
        assert steps <= 50 + 4, "more than the membranes, the first memory and some values"


def test_second_derivatives_are_refused_and_the_reference_has_them() -> None:
    x = signal(4, 1, 1, dtype=torch.float32).requires_grad_()
    layer = LIF(0.01, dt=0.004)
    y, _ = layer(x)

    with pytest.raises(ConfigError, match=r"second derivative.*reference\(\)"):
        torch.autograd.grad(y.sum(), x, create_graph=True)

    with reference():
        y, _ = layer(x)
        (gradient,) = torch.autograd.grad(y.sum(), x, create_graph=True)

    assert torch.autograd.grad(gradient.sum(), x)[0].abs().sum() > 0


def test_many_gradients_at_once_are_refused_and_the_reference_takes_them(path: None) -> None:
    x = signal(4, 2, 3, dtype=torch.float32).requires_grad_()
    layer = LIF(0.01, dt=0.004)
    grads = torch.randn(5, 4, 2, 3)
    y, _ = layer(x)

    with pytest.raises(ConfigError, match=r"one gradient at a time.*reference\(\)"):
        torch.autograd.grad(y, x, grads, is_grads_batched=True)

    with pytest.raises(ConfigError, match=r"one gradient at a time.*reference\(\)"):
        torch.func.vmap(lambda grad: torch.autograd.grad(y, x, grad, retain_graph=True)[0])(grads)

    with reference():
        slow, _ = layer(x)

    (found,) = torch.autograd.grad(slow, x, grads, is_grads_batched=True)
    one_by_one = torch.stack([torch.autograd.grad(y, x, grad, retain_graph=True)[0] for grad in grads])
    torch.testing.assert_close(found, one_by_one, rtol=1e-4, atol=1e-5)


def test_transforms_take_the_loop() -> None:
    layer = LIF(0.01, dt=0.004)
    x = signal(6, 4, N, dtype=torch.float32)
    per_sample = torch.func.vmap(lambda one: layer(one.unsqueeze(1))[0].squeeze(1), in_dims=1, out_dims=1)(x)

    assert torch.equal(per_sample, layer(x)[0])

    gradient = torch.func.grad(lambda s: layer(s)[0].sum())(x)
    leaf = x.clone().requires_grad_()
    layer(leaf)[0].sum().backward()
    torch.testing.assert_close(gradient, leaf.grad, rtol=1e-5, atol=1e-6)


@every_layer
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # PyTorch's own, when it loads the rules
def test_forward_derivatives_take_the_loop(name: str) -> None:
    x = signal(6, 2, N)
    layer = LAYERS[name]().double()
    rows = torch.autograd.functional.jacobian(lambda s: layer(s)[0], x)

    assert isinstance(rows, Tensor)

    way = signal(3, 6, 2, N)[0]
    expected = torch.einsum("abcdef,def->abc", rows, way)

    assert expected.abs().sum() > 0
    with torch.autograd.forward_ad.dual_level():
        y, _ = layer(torch.autograd.forward_ad.make_dual(x, way))
        tangent = torch.autograd.forward_ad.unpack_dual(y).tangent

    torch.testing.assert_close(tangent, expected)
    torch.testing.assert_close(torch.func.jvp(lambda s: layer(s)[0], (x,), (way,))[1], expected)
    torch.testing.assert_close(torch.func.jacfwd(lambda s: layer(s)[0])(x), rows)


def test_a_step_of_ones_own_is_never_replaced(calls: list[int]) -> None:
    class Doubled(LIF):
        step_function = staticmethod(lambda x_t, state, **k: lif_step(2 * x_t, state, **k))

    class Late(Arctan):
        def __call__(self, x: Tensor) -> Tensor:
            return super().__call__(x - 0.5)

    x = torch.full((1, 1, 1), 0.7)
    assert Doubled(0.01, dt=0.004)(x)[0].item() == 1.0 and not calls
    assert LIF(0.01, dt=0.004, surrogate=Late())(x + 0.5)[0].item() == 0.0 and not calls


def test_what_does_not_fit_the_scheme_takes_the_loop(calls: list[int]) -> None:
    x = signal(6, 2, N, dtype=torch.float32)
    LIF(0.01, dt=0.004, refractory=0.008)(x)
    Izhikevich(dt=0.001)(x)

    with reference():
        LIF(0.01, dt=0.004)(x)

    assert not calls


def test_a_step_alone_takes_the_loop_which_costs_less(path: None) -> None:
    assert not supports_sequence(torch.ones(1, 2, N)) and supports_sequence(torch.ones(4, 2, N))


def test_a_surrogate_of_ones_own_has_its_derivative_taken(calls: list[int]) -> None:
    class Flat(Surrogate):
        def derivative(self, x: Tensor) -> Tensor:
            return torch.full_like(x, 0.25)

    assert_parity(LIF(0.01, dt=0.004, surrogate=Flat()), signal(9, 3, N), calls)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", [n for n in LAYERS if n != "Memoryless"])
def test_what_is_not_finite_is_noticed_at_the_end(name: str, bad: float, path: None) -> None:
    x = signal(9, 3, N, dtype=torch.float32)
    x[2, 1, 3] = bad
    with pytest.raises(DataError, match="1 of 15 membranes"):
        LAYERS[name]()(x)


def test_reference_holds_in_its_own_thread_alone() -> None:
    from concurrent.futures import ThreadPoolExecutor

    x = torch.ones(9, 1, 1)
    with reference(), ThreadPoolExecutor(1) as other:
        assert not supports_sequence(x) and other.submit(supports_sequence, x).result()

    assert supports_sequence(x)
