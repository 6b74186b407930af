"""Neurons with max pooling behind them in one pass, beside one after the other."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spikebridge.errors import ConfigError
from spikebridge.neurons import IF, LIF, AdaptiveLIF, CubaLIF, Integrator, Neuron, Sequential
from spikebridge.neurons import neuron as neuron_file
from spikebridge.neurons.state import map_tensors
from spikebridge.ops import MaxPool2d, max_pool2d, reference, without_native
from spikebridge.ops.layers import pooling
from spikebridge.ops.selection import select
from spikebridge.ops.sequence import autograd as sequence
from spikebridge.ops.sequence import native

pytestmark = pytest.mark.untyped

needs_library = pytest.mark.skipif(not native.available(), reason=f"no native steps: {native.why_not()}")

NEURONS: dict[str, Callable[[int], Neuron]] = {
    "LIF": lambda channels: LIF(0.002, dt=0.001, v_threshold=0.8),
    "LIF, soft, learned": lambda channels: LIF(
        torch.full((channels, 1, 1), 0.002),
        dt=0.001,
        v_threshold=0.8,
        v_leak=0.1,
        reset="subtract",
        learn=("tau", "v_threshold", "v_leak"),
    ),
    "AdaptiveLIF": lambda channels: AdaptiveLIF(0.002, tau_adaptation=0.01, dt=0.001, learn="v_threshold"),
    "CubaLIF": lambda channels: CubaLIF(0.002, 0.002, dt=0.001, learn="r"),
}
PICTURES = [
    ((5, 3, 4, 7, 9), (2, 2)),
    ((3, 1, 5, 6, 6), (3, 3)),
    ((4, 2, 17, 5, 8), (5, 1)),
    ((6, 2, 32, 12, 10), (2, 2)),
]


def pictures(*shape: int) -> Tensor:
    x = torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 1.2 - 0.4
    return x.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, shape[:2])


def run(neuron: Neuron, x: Tensor, size: tuple[int, int]) -> list[Tensor]:
    """Outputs, state and all gradients, in two halves of the stream."""
    signal = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    neuron.zero_grad()
    outputs = []
    state = None

    for part in signal.split(2):
        y, state = neuron.run(part, state, size=size)
        outputs.append(y)

    y = torch.cat(outputs)
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    loss = (y * weights).sum()
    tensors: list[Tensor] = []
    map_tensors(lambda t: tensors.append(t) or t, state)
    (loss + sum(t.square().sum() for t in tensors)).backward()

    assert signal.grad is not None

    gradients = [p.grad for p in neuron.parameters() if p.grad is not None]
    return [t.detach() for t in (y, *tensors, signal.grad, *gradients)]


@needs_library
@pytest.mark.parametrize("kind", NEURONS)
@pytest.mark.parametrize(("shape", "size"), PICTURES)
@pytest.mark.parametrize("threads", [1, 2])
def test_one_pass_has_the_numbers_and_gradients_of_two(
    kind: str, shape: tuple[int, ...], size: tuple[int, int], threads: int
) -> None:
    neuron = NEURONS[kind](shape[2])
    x = pictures(*shape)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)

    try:
        fast = run(neuron, x, size)
    finally:
        torch.set_num_threads(before)

    with reference():
        expected = run(neuron, x, size)

    assert torch.equal(fast[0], expected[0])
    assert 0 < fast[0].mean() < 1
    for one, other in zip(fast, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("path", [reference, without_native])
def test_without_one_pass_it_is_the_neuron_and_then_the_pooling(path: Callable[[], object]) -> None:
    neuron = IF(v_threshold=0.8)
    x = pictures(3, 2, 4, 6, 6)
    with path():  # type: ignore[attr-defined]
        y, state = neuron.run(x, size=(2, 3))

    spikes, expected = neuron(x)
    assert torch.equal(y, max_pool2d(spikes.flatten(0, 1), (2, 3)).unflatten(0, (3, 2)))
    assert torch.equal(state.v, expected.v)


@pytest.mark.parametrize("donated", [False, True])
def test_one_number_is_the_size_of_both_sides(donated: bool) -> None:
    neuron = IF(v_threshold=0.8)
    x = pictures(3, 2, 4, 6, 6)
    y, _ = neuron.run(x.clone(memory_format=torch.preserve_format), size=2, donated=donated)
    assert torch.equal(y, neuron.run(x, size=(2, 2))[0]) and y.shape == (3, 2, 4, 3, 3)


@pytest.mark.parametrize("size", [0, (2, -1), (2,), (2, 2, 2), 2.0, True, "2"], ids=str)
def test_what_is_no_size_is_refused(size: Any) -> None:
    x = pictures(3, 2, 4, 6, 6)
    for run in (lambda: IF().run(x, size=size), lambda: max_pool2d(x[0], size)):
        with pytest.raises(ConfigError, match=r"an integer of at least 1 or two of them .*, but got "):
            run()


@needs_library
def test_what_is_no_picture_channels_last_is_pooled_behind() -> None:
    spec = sequence.NeuronSpec(LIF(0.01, dt=0.001).surrogate)
    x = pictures(3, 2, 4, 6, 6)

    assert select("pooled sequence", x, spec, (2, 2)) == "native"
    assert select("pooled sequence", x, sequence.NeuronSpec(), (2, 2)) == "torch"  # no spikes
    assert select("pooled sequence", x.contiguous(), spec, (2, 2)) == "torch"
    assert select("pooled sequence", x.double(), spec, (2, 2)) == "torch"
    assert select("pooled sequence", x, spec, (7, 2)) == "torch"
    assert select("pooled sequence", x[:, :, :, 0], spec, (2, 2)) == "torch"

    y, _ = Integrator(0.01, dt=0.001).run(x, size=(2, 2))
    assert y.shape == (3, 2, 4, 3, 3)

    y, _ = IF().run(x[:0], size=(2, 2))
    assert y.shape == (0, 2, 4, 3, 3)


def network(pool: nn.Module) -> Sequential:
    torch.manual_seed(0)
    net = Sequential(conv=nn.Conv2d(2, 8, 3), fire=LIF(0.002, dt=0.001, v_threshold=0.2), pool=pool, flat=nn.Flatten())
    return net.to(memory_format=torch.channels_last)


@pytest.mark.parametrize("pool", [nn.MaxPool2d(2), MaxPool2d((1, 2)), nn.MaxPool2d(3, stride=2), nn.AvgPool2d(2)])
def test_a_row_of_layers_gives_the_same(pool: nn.Module) -> None:
    net = network(pool)
    x = torch.rand(4, 3, 2, 9, 9)
    y, state = net(x)

    with reference():
        expected, end = net(x)

    assert torch.equal(y, expected)

    torch.testing.assert_close(state.layers[1].v, end.layers[1].v)
    assert state.layers[2] is None


@needs_library
def test_a_row_of_layers_joins_them_unless_somebody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[tuple[int, int]] = []
    monkeypatch.setattr(neuron_file, "select", lambda name, *call: sizes.append(call[2]) or select(name, *call))
    net = network(nn.MaxPool2d(2))
    x = torch.rand(4, 3, 2, 9, 9)
    y, _ = net(x)

    assert sizes == [(2, 2)]

    heard: list[Tensor] = []
    handle = net.fire.register_forward_hook(lambda layer, given, result: heard.append(result[0]))
    again, _ = net(x)

    assert sizes == [(2, 2)]
    assert torch.equal(again, y)
    assert heard[0].shape == (4, 3, 8, 7, 7)

    handle.remove()
    net(x, None, **{"fire.v_threshold": torch.tensor(0.3)})

    assert len(sizes) == 2


def test_windows_that_overlap_or_have_a_margin_stay_alone() -> None:
    assert pooling.windows_of(nn.MaxPool2d((2, 3))) == (2, 3)
    for module in (
        nn.MaxPool2d(3, stride=2),
        nn.MaxPool2d(2, padding=1),
        nn.MaxPool2d(2, dilation=2),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.MaxPool2d(2, return_indices=True),
        nn.AvgPool2d(2),
    ):
        assert pooling.windows_of(module) is None
