"""Surrogates: the step, its derivative by hand, and that gradients are those of that derivative."""

import math

import pytest
import torch

from spikebridge.errors import ConfigError
from spikebridge.neurons import LIF, PLIF, Arctan, FastSigmoid, Rectangle, Surrogate, Triangle

KINDS = [Rectangle, Triangle, Arctan, FastSigmoid]
kinds = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)

# distance from the threshold -> derivative, at width 1 and at width 4
TABLES = {
    Rectangle: ({0.0: 1, 0.5: 1, -0.5: 1, 0.51: 0, -3.0: 0}, {0.0: 1 / 4, 2.0: 1 / 4, -2.0: 1 / 4, 2.1: 0}),
    Triangle: ({0.0: 1, 0.25: 3 / 4, -0.5: 1 / 2, 1.0: 0, 2.0: 0}, {0.0: 1 / 4, 2.0: 1 / 8, -3.0: 1 / 16, 4.5: 0}),
    Arctan: (
        {0.0: 1, 1 / math.pi: 1 / 2, -1 / math.pi: 1 / 2, 3 / math.pi: 1 / 10},
        {0.0: 1 / 4, 4 / math.pi: 1 / 8, -8 / math.pi: 1 / 20},
    ),
    FastSigmoid: ({0.0: 1, 1.0: 1 / 4, -1.0: 1 / 4, 3.0: 1 / 16}, {0.0: 1, 4.0: 1 / 4, -12.0: 1 / 16}),
}


def test_every_surrogate_has_a_table():
    assert set(TABLES) == set(Surrogate.__subclasses__()) == set(KINDS)


@kinds
@pytest.mark.parametrize(("column", "width"), [(0, 1.0), (1, 4.0)])
def test_the_derivative_is_that_of_the_table(kind, column, width):
    points = TABLES[kind][column]
    got = kind(width=width).derivative(torch.tensor(list(points), dtype=torch.float64))
    torch.testing.assert_close(got, torch.tensor(list(points.values()), dtype=torch.float64))


@kinds
def test_the_step_is_one_from_the_threshold_on(kind):
    x = torch.tensor([-1.0, -1e-6, 0.0, 1e-6, 5.0])
    for values in (x, x.clone().requires_grad_()):
        assert kind()(values).tolist() == [0, 0, 1, 1, 1]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_step_of_extreme_numbers(dtype):
    tiny = torch.finfo(dtype).smallest_normal
    x = torch.tensor([-math.inf, -tiny, -0.0, 0.0, tiny, math.inf], dtype=dtype)
    assert Arctan()(x).tolist() == [0, 0, 1, 1, 1, 1]
    assert Arctan()(torch.tensor(math.nan, dtype=dtype)).isnan()


@kinds
def test_the_backward_pass_is_the_derivative(kind):
    x = torch.linspace(-3, 3, 41, dtype=torch.float64).requires_grad_()
    weights = torch.randn(41, dtype=torch.float64)
    surrogate = kind(width=1.5)
    (surrogate(x) * weights).sum().backward()

    assert torch.equal(x.grad, weights * surrogate.derivative(x.detach()))


@kinds
@pytest.mark.parametrize("width", [0.5, 1.0, 3.0])
def test_the_area_under_the_derivative(kind, width):
    x = torch.linspace(-2000, 2000, 4_000_001, dtype=torch.float64)
    area = torch.trapezoid(kind(width=width).derivative(x), x).item()
    # one, as that of the true derivative; the fast sigmoid keeps its height instead
    assert area == pytest.approx(2 * width if kind is FastSigmoid else 1, rel=0.01)


@kinds
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_extreme_membranes_have_finite_gradients(kind, dtype):
    most = torch.finfo(dtype).max
    x = torch.tensor([-most, -1e4, 0.0, 1e4, most, math.inf, -math.inf], dtype=dtype, requires_grad=True)
    spikes = kind(width=0.1)(x)
    spikes.sum().backward()

    assert spikes.tolist() == [0, 0, 1, 1, 1, 1, 0]
    assert x.grad.isfinite().all()
    assert x.grad.dtype == dtype
    assert x.grad[[0, 4, 5, 6]].abs().max() < 1e-3


@kinds
def test_gradients_of_learned_quantities_are_those_of_plain_autograd(kind):
    """The same loop with the step written as `smooth + (step - smooth).detach()`, smooth being an integral."""
    surrogate = kind(width=0.7)
    primitive = {
        Rectangle: lambda d: d.clamp(-0.35, 0.35) / 0.7,
        Triangle: lambda d: (d / 0.7 - d * d.abs() / (2 * 0.7**2)) * (d.abs() < 0.7),
        Arctan: lambda d: torch.atan(math.pi * d / 0.7) / math.pi,
        FastSigmoid: lambda d: d / (1 + d.abs() / 0.7),
    }[kind]

    torch.manual_seed(0)
    x = torch.randn(15, 3, 4, dtype=torch.float64) + 0.5
    start = torch.linspace(0.002, 0.01, 4, dtype=torch.float64)
    layer = PLIF(start, dt=0.001, v_threshold=torch.tensor(0.9).double(), surrogate=surrogate, learn="v_threshold")
    log_tau = start.log().requires_grad_()
    threshold = torch.tensor(0.9).double().requires_grad_()

    weights = torch.randn_like(x)
    (layer(x)[0] * weights).sum().backward()

    v = torch.zeros(3, 4, dtype=torch.float64)
    loss = 0

    for x_t, w_t in zip(x, weights, strict=True):
        v = v * torch.exp(-0.001 / log_tau.exp()) + x_t
        smooth = primitive(v - threshold)
        s = smooth + ((v >= threshold).double() - smooth).detach()
        v = v * (1 - s)
        loss = loss + (s * w_t).sum()

    loss.backward()
    torch.testing.assert_close(layer.log_tau.grad, log_tau.grad)
    torch.testing.assert_close(layer.v_threshold.grad, threshold.grad)

    assert threshold.grad.abs() > 0


@kinds
def test_gradients_of_gradients_are_those_of_the_derivative(kind):
    x = torch.tensor([-0.3, 0.2, 0.4], dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(kind()(x).sum(), x, create_graph=True)

    assert torch.equal(first, kind().derivative(x))
    if kind is not Rectangle:  # whose own derivative is nothing
        (second,) = torch.autograd.grad(first.sum(), x)
        (expected,) = torch.autograd.grad(kind().derivative(x).sum(), x)
        torch.testing.assert_close(second, expected)


@kinds
def test_spikes_without_gradients_are_the_same(kind):
    x = torch.randn(100)
    with torch.no_grad():
        quiet = kind()(x.requires_grad_())

    assert torch.equal(quiet, kind()(x))
    assert not quiet.requires_grad


def test_a_layer_runs_under_torch_func():
    x = torch.rand(8, 3, 2, dtype=torch.float64) + 0.2
    layer = LIF(0.004, dt=0.001)

    def loss(x: torch.Tensor) -> torch.Tensor:
        return layer(x)[0].sum()

    plain = torch.autograd.grad(loss(leaf := x.clone().requires_grad_()), leaf)[0]
    torch.testing.assert_close(torch.func.grad(loss)(x), plain)
    with torch.no_grad():
        torch.testing.assert_close(torch.func.grad(loss)(x), plain)

    each = torch.func.vmap(torch.func.grad(loss), in_dims=1, out_dims=1)(x.unsqueeze(2))
    torch.testing.assert_close(each.squeeze(2), plain)
    over_samples = torch.func.vmap(lambda x: layer(x.unsqueeze(1))[0], in_dims=1)
    torch.testing.assert_close(torch.func.grad(lambda x: over_samples(x).sum())(x), plain)


def test_a_surrogate_cannot_change_and_is_compared_by_its_numbers():
    assert Arctan(width=2.0) == Arctan(2.0) != Arctan(1.0)
    assert Arctan() != FastSigmoid()
    with pytest.raises(AttributeError):
        Arctan().width = 2.0


@kinds
@pytest.mark.parametrize("width", [0.0, -1.0, math.nan, math.inf])
def test_a_width_is_a_positive_number(kind, width):
    with pytest.raises(ConfigError, match=f"{kind.__name__} needs width > 0, but got {width}"):
        kind(width=width)
