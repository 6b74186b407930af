"""Clipping: values of `clamp`, and gradients that no version of PyTorch changes."""

import pytest
import torch

from spikebridge.ops.saturation import clip, saturate

pytestmark = pytest.mark.untyped

X = [-2.0, 0.0, 1e-7, 0.5, 1 - 1e-7, 1.0, 3.0, float("nan"), float("inf")]


def test_the_gradient_is_that_of_the_range_its_ends_included() -> None:
    x = torch.tensor(X, dtype=torch.float64, requires_grad=True)
    y = clip(x, 0, 1)

    assert torch.equal(y.nan_to_num(7), x.detach().clamp(0, 1).nan_to_num(7))

    (gradient,) = torch.autograd.grad(y[:-2].sum(), x)
    assert gradient.tolist() == [0, 1, 1, 1, 1, 1, 0, 0, 0]
    with torch.no_grad():
        assert torch.equal(clip(x, 0, 1).nan_to_num(7), y.nan_to_num(7))


@pytest.mark.parametrize(("low", "high", "passed"), [(0.0, None, [0, 1, 1]), (None, 0.0, [1, 1, 0])])
def test_a_range_may_have_one_end(low: float | None, high: float | None, passed: list[int]) -> None:
    x = torch.tensor([-1.0, 0.0, 1.0], requires_grad=True)
    clip(x, **{name: end for name, end in (("low", low), ("high", high)) if end is not None}).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == passed


def test_outside_of_the_range_a_gradient_that_leads_back_passes() -> None:
    x = torch.tensor([-1.0, 0.0, 0.5, 1.0, 2.0], requires_grad=True)
    for sign, passed in ((1.0, [0, 1, 1, 1, 1]), (-1.0, [-1, -1, -1, -1, 0])):
        (gradient,) = torch.autograd.grad(sign * saturate(x).sum(), x)
        assert gradient.tolist() == passed
