"""Linear layers with quick gradients beside PyTorch's own."""

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from spikebridge.neurons import IF, Sequential
from spikebridge.ops import reference, selection, without_native
from spikebridge.ops.layers import linear as quick
from spikebridge.ops.layers.linear import linear
from spikebridge.ops.sequence import native

pytestmark = pytest.mark.untyped

needs_library = pytest.mark.skipif(not native.available(), reason=f"no native steps: {native.why_not()}")


def spikes(*shape: int, active: float = 0.1, seed: int = 0) -> Tensor:
    """Spikes of any size and sign, in a share of the places."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(shape, generator=generator) < active) * torch.randn(shape, generator=generator)


def gradients(y: Tensor, *inputs: Tensor) -> list[Tensor]:
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    return list(torch.autograd.grad((y * weights).sum(), inputs))


def layer(num_inputs: int, num_outputs: int, bias: bool = True) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(num_inputs, num_outputs, bias)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with each gradient that is summed the quick way."""
    found: list[int] = []
    sums = quick._sparse_gradient
    monkeypatch.setattr(quick, "_sparse_gradient", lambda *given: found.append(1) or sums(*given))
    return found


@needs_library
@pytest.mark.parametrize("shape", [(7, 9, 300), (64, 515), (4100, 33), (3, 2, 50, 128), (700,)])
@pytest.mark.parametrize("num_outputs", [64, 65, 90, 111, 130])
@pytest.mark.parametrize("through", [True, False])
@pytest.mark.parametrize("threads", [1, 2])
def test_outputs_are_those_of_pytorch_and_gradients_to_rounding(
    calls: list[int],
    monkeypatch: pytest.MonkeyPatch,
    shape: tuple[int, ...],
    num_outputs: int,
    through: bool,
    threads: int,
) -> None:
    monkeypatch.setattr(selection, "LINEAR_WORK", 0)
    dense = layer(shape[-1], num_outputs)
    before = torch.get_num_threads()
    x = spikes(*shape).requires_grad_(through)
    inputs = [*dense.parameters(), *[x] * through]
    torch.set_num_threads(threads)

    try:
        y = linear(dense, x)
        found = gradients(y, *inputs)
        assert torch.equal(y, dense(x))
    finally:
        torch.set_num_threads(before)

    assert calls == [1]
    for one, other in zip(found, gradients(dense(x), *inputs), strict=True):
        assert one.shape == other.shape
        # sums of up to 4,100 numbers in another order
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5 * float(other.abs().max()))


@needs_library
@settings(deadline=None, max_examples=40)
@given(
    num_rows=st.integers(1, 200),
    num_inputs=st.integers(1, 70),
    num_outputs=st.integers(1, 140),
    active=st.sampled_from([0.0, 0.02, 0.5, 1.0]),
    seed=st.integers(0, 9),
)
def test_integers_are_summed_exactly(
    num_rows: int, num_inputs: int, num_outputs: int, active: float, seed: int
) -> None:
    rows = spikes(num_rows, num_inputs, active=active, seed=seed).sign()
    of_rows = torch.randint(-9, 9, (num_rows, num_outputs), generator=torch.Generator().manual_seed(seed)).float()
    # sums below 2^24, which float32 holds exactly in any order
    assert torch.equal(quick._sparse_gradient(rows, of_rows), of_rows.T @ rows)


@needs_library
def test_few_active_inputs_of_large_layers_take_the_quick_way(calls: list[int]) -> None:
    large = layer(200, 100)
    x = spikes(300, 200)
    cases: list[tuple[nn.Linear, Tensor]] = [
        (layer(200, 63), x),  # few outputs
        (large, x[:20]),  # little work
        (large, x + 1),  # everything is active
        (layer(200, 100).double(), x.double()),
    ]

    for dense, signal in cases:
        linear(dense, signal).sum().backward()

    for path in (reference, without_native):
        with path():
            linear(large, x).sum().backward()

    with torch.no_grad():
        linear(large, x)

    frozen = layer(200, 100)
    frozen.weight.requires_grad_(False)
    linear(frozen, x).sum().backward()

    assert calls == []

    linear(large, x).sum().backward()
    # a signal may lie in any order in memory, and its rows in one place
    linear(large, x.T.contiguous().T).sum().backward()
    linear(large, x[:1].expand(300, 200)).sum().backward()

    assert calls == [1, 1, 1]


@needs_library
def test_a_layer_without_bias(calls: list[int]) -> None:
    dense = layer(200, 100, bias=False)
    x = spikes(300, 200)
    (found,) = gradients(linear(dense, x), dense.weight)
    (expected,) = gradients(dense(x), dense.weight)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)

    assert calls == [1]


@needs_library
def test_a_gradient_that_is_no_number_shows(calls: list[int]) -> None:
    dense = layer(200, 100)
    x = torch.zeros(300, 200)
    x[5, 7] = 1.0
    grad = torch.ones(300, 100)
    grad[5, 3] = torch.nan
    linear(dense, x).backward(grad)

    assert dense.weight.grad is not None and dense.bias.grad is not None
    assert dense.weight.grad[3, 7].isnan() and dense.weight.grad[2, 7] == 1.0 and dense.bias.grad[3].isnan()
    assert calls == [1]


@needs_library
def test_an_input_that_is_no_number_counts(calls: list[int]) -> None:
    dense = layer(200, 100)
    x = torch.zeros(300, 200)
    x[5, 7] = torch.nan
    linear(dense, x).sum().backward()

    assert dense.weight.grad is not None
    assert dense.weight.grad[:, 7].isnan().all() and not dense.weight.grad[:, 8].isnan().any()
    assert calls == [1]


def test_a_second_derivative_is_that_of_pytorch() -> None:
    dense = layer(200, 100)
    x = spikes(300, 200)
    found = []

    for run in (lambda: linear(dense, x), lambda: dense(x)):
        (slope,) = torch.autograd.grad(run().square().sum(), dense.weight, create_graph=True)
        found.append(torch.autograd.grad(slope.square().sum(), dense.weight)[0])

    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5 * float(found[0].abs().max()))


def test_a_row_of_layers_multiplies_so(calls: list[int]) -> None:
    net = Sequential(layer(200, 100), IF(v_threshold=0.3), layer(100, 80))
    x = spikes(30, 10, 200)
    found: list[list[Any]] = []

    for path in (nullcontext, reference):
        net.zero_grad()
        with path():
            net(x)[0].square().sum().backward()
        found.append([p.grad for p in net.parameters()])

    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)

    assert len(calls) == 2 * native.available()
    assert net(x[:0])[0].shape == (0, 10, 80)


def test_many_gradients_at_once_are_those_one_by_one() -> None:
    layer = Sequential(nn.Linear(400, 64))
    x = (torch.rand(20, 50, 400) < 0.05).float()
    y = layer(x)[0]
    weight = layer[0].weight
    grads = torch.randn(3, 20, 50, 64)
    (found,) = torch.autograd.grad(y, weight, grads, is_grads_batched=True, retain_graph=True)
    one_by_one = torch.stack([torch.autograd.grad(y, weight, grad, retain_graph=True)[0] for grad in grads])
    torch.testing.assert_close(found, one_by_one, rtol=1e-4, atol=1e-4)
