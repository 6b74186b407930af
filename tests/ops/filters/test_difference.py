"""Changes over time beside their formula: values to the bit, and gradients."""

import pytest
import torch
from torch import Tensor

from spikebridge.ops.filters.difference import Before, change

pytestmark = pytest.mark.untyped


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("lag", [None, 1, 3])
@pytest.mark.parametrize("num_steps", [1, 2, 3, 8])
@pytest.mark.parametrize("columns", [2, 40])
@pytest.mark.parametrize("begins", [False, True])
def test_a_change_by_its_formula(lag: int | None, num_steps: int, columns: int, begins: bool) -> None:
    signal = random(3, num_steps, columns).double().requires_grad_()
    x = signal.transpose(0, 1)
    last = random(lag or 1, 3, columns, seed=1).double().requires_grad_()
    started = torch.tensor([not begins, False, not begins])
    before = torch.where(started[:, None], last, x[0])
    expected = x - (before if lag is None else torch.cat([before, x])[:num_steps])
    difference = change(x, lag, None if begins else Before(last, started))

    assert torch.equal(difference, expected)

    weights = random(*x.shape, seed=2)
    wanted = [signal] if begins else [signal, last]
    ours, theirs = (torch.autograd.grad((d * weights).sum(), wanted) for d in (difference, expected))
    torch.testing.assert_close(ours, theirs)
