"""C reads and writes memory of the CPU: its signals are served there, whatever device new tensors go to by default."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from spikebridge.hybrid import Alpha, Exponential, HybridUnit, Kernel, Mean, Sliding, Sum, Tumbling
from spikebridge.neurons import IF, LIF, AdaptiveLIF, CubaLIF, Sequential
from spikebridge.ops import MaxPool2d
from spikebridge.ops.sparse.engine import EventDriven

pytestmark = pytest.mark.untyped

DT = 0.001
NEURONS = {"LIF": LIF, "AdaptiveLIF": AdaptiveLIF, "CubaLIF": CubaLIF}
KERNELS: dict[str, Callable[[], Kernel]] = {
    "Sum": Sum,
    "Mean": Mean,
    "Exponential": lambda: Exponential(torch.linspace(0.01, 0.02, 40), dt=DT),
    "learned Exponential": lambda: Exponential(torch.linspace(0.01, 0.02, 40), dt=DT, learn="tau"),
    "Alpha": lambda: Alpha(0.01, dt=DT),
}


def spikes(*shape: int) -> Tensor:
    return (torch.rand(shape, generator=torch.Generator().manual_seed(0)) < 0.2).float()


def beside(run: Callable[[Tensor], Tensor], x: Tensor, *parameters: Tensor) -> None:
    """Values and gradients with the CPU as the default device, and with one that holds no numbers."""
    x = x.requires_grad_()
    found = []
    for device in ("cpu", "meta"):
        with torch.device(device):
            y = run(x)
            found.append((y, *torch.autograd.grad((y * y).sum(), (x, *parameters))))

    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("kind", NEURONS)
def test_neurons(kind: str) -> None:
    neuron = NEURONS[kind](dt=DT, learn=["v_threshold", "tau"])
    beside(lambda x: neuron(x)[0], 3 * spikes(9, 2, 40), *neuron.parameters())


@pytest.mark.parametrize("kind", KERNELS)
@pytest.mark.parametrize("keep", [True, False])
def test_kernels(kind: str, keep: bool) -> None:
    kernel = KERNELS[kind]()
    kernel.keep = keep
    unit = HybridUnit(Tumbling(4) if keep else Sliding(4, stride=2), kernel)
    beside(lambda x: unit(x)[0], spikes(12, 2, 40), *unit.parameters())


def test_rows_of_layers() -> None:
    torch.manual_seed(0)
    dense = Sequential(nn.Linear(200, 100), IF(v_threshold=0.2))
    beside(lambda x: dense(x)[0], spikes(60, 5, 200), *dense.parameters())
    pictures = Sequential(nn.Conv2d(1, 16, 3), LIF(tau=0.01, dt=DT, v_threshold=0.2), nn.MaxPool2d(2), MaxPool2d(2))
    pictures = pictures.to(memory_format=torch.channels_last)
    beside(lambda x: pictures(x)[0], 3 * spikes(5, 2, 1, 14, 14), *pictures.parameters())


def test_live_steps() -> None:
    torch.manual_seed(0)
    layers = (nn.Conv2d(1, 16, 3), LIF(tau=0.01, dt=DT, v_threshold=0.2), nn.MaxPool2d(2), nn.Flatten())
    network = Sequential(*layers, nn.Linear(16 * 36, 10), IF(v_threshold=0.1)).eval()
    signal = 3 * spikes(6, 1, 1, 14, 14)
    found = []

    for device in ("cpu", "meta"):
        with torch.device(device):
            live = EventDriven(network)
            state = network.initial_state(signal[0])
            outputs = []

            for x_t in signal:
                y, state = live.step(x_t, state)
                outputs.append(y)

            found.append(torch.cat(outputs))

    assert torch.equal(*found) and found[0].any()
