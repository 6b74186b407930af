"""Max pooling with its places in bytes beside PyTorch's own."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spikebridge.errors import ConfigError
from spikebridge.neurons import IF, Sequential
from spikebridge.ops import MaxPool2d, max_pool2d, reference, without_native
from spikebridge.ops.layers import pooling
from spikebridge.ops.sequence import native
from spikebridge.ops.sparse import engine as event_driven

pytestmark = pytest.mark.untyped

SIZES = [2, 3, (1, 2), (3, 1), (5, 5)]
needs_library = pytest.mark.skipif(not native.available(), reason=f"no native steps: {native.why_not()}")


def pictures(*shape: int, spikes: bool = False) -> Tensor:
    x = torch.randn(shape)
    return (x > 0.5).float() if spikes else x


def channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last).requires_grad_()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("shape", [(3, 5, 8, 8), (1, 1, 7, 11), (2, 33, 5, 6), (130, 16, 6, 6)])
@pytest.mark.parametrize("spikes", [True, False])
@pytest.mark.parametrize("threads", [1, 2])
def test_values_and_gradients_are_those_of_pytorch(
    size: int | tuple[int, int], shape: tuple[int, ...], spikes: bool, threads: int
) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)

    try:
        x = channels_last(pictures(*shape, spikes=spikes))
        theirs = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
        y = max_pool2d(x, size)
        expected = F.max_pool2d(theirs, size)
        weights = torch.randn_like(expected)
        (y * weights).sum().backward()
        (expected * weights).sum().backward()
    finally:
        torch.set_num_threads(before)

    assert torch.equal(y, expected)
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert x.grad is not None
    assert theirs.grad is not None
    assert torch.equal(x.grad, theirs.grad)


def test_what_is_not_a_number_is_the_largest() -> None:
    x = channels_last(torch.tensor([[1.0, float("nan")], [float("inf"), float("-inf")]]).reshape(1, 1, 2, 2))
    y = max_pool2d(x, 2)
    y.backward()

    assert y.isnan().all()
    assert x.grad is not None
    # the place of NaN gets the gradient, that of infinity none
    assert x.grad.flatten().tolist() == [0.0, 1.0, 0.0, 0.0]


@needs_library
def test_pictures_that_lie_channels_last_take_the_fast_way(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    run = pooling._run
    monkeypatch.setattr(pooling, "_run", lambda name, *rest: calls.append(name) or run(name, *rest))
    x = pictures(2, 3, 4, 4)
    max_pool2d(x, 2)
    max_pool2d(channels_last(x.double()), 2)
    # a byte cannot tell 256 places
    max_pool2d(channels_last(pictures(1, 3, 16, 17)), (16, 16))

    with reference():
        max_pool2d(channels_last(x), 2)

    with without_native():
        max_pool2d(channels_last(x), 2)

    assert calls == []

    max_pool2d(channels_last(x), 2).sum().backward()
    assert calls == ["spikebridge_pool_forward", "spikebridge_pool_backward"]


@needs_library
def test_a_second_derivative_is_refused() -> None:
    x = channels_last(pictures(1, 2, 4, 4))
    with pytest.raises(ConfigError, match="max pooling on its fast path has no second derivative"):
        torch.autograd.grad(max_pool2d(x, 2).square().sum(), x, create_graph=True)


def test_the_module_is_one_of_pytorch_and_can_be_stepped_by_events() -> None:
    network = Sequential(pool=MaxPool2d(2), fire=IF(), flat=nn.Flatten(), out=nn.Linear(12, 3))
    x = pictures(6, 1, 3, 4, 4, spikes=True)
    expected, _ = network(x)
    stepper = event_driven.EventDriven(network.eval())
    state = stepper.initial_state(x[0])
    outputs = []

    for x_t in x:
        y_t, state = stepper.step(x_t, state)
        outputs.append(y_t)

    assert torch.allclose(torch.stack(outputs), expected, atol=1e-6)
