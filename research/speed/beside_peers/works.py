"""The works: each is run once a round, for the layer of any library, and gives the spikes of a layer."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spikebridge.neurons import Sequential

Work = Callable[[], Tensor]


def layer_alone(layer: nn.Module, shape: tuple[int, ...], device: str = "cpu") -> Work:
    """A: a layer alone, forward and backward through time, `(T, B, N)`."""
    layer = layer.to(device)
    x = (torch.randn(shape, generator=_seeded()) * 0.5 + 0.3).to(device).requires_grad_()
    gradient = torch.ones(shape, device=device)

    def run() -> Tensor:
        x.grad = None
        spikes = layer(x)
        spikes.backward(gradient)
        return spikes

    return run


def memory_traffic(shape: tuple[int, ...], device: str = "cpu") -> Work:
    """The floor of A: the reading and writing that every layer does (two results forward, one backward), alone."""
    x = torch.randn(shape, device=device)
    gradient = torch.ones(shape, device=device)

    def run() -> Tensor:
        spikes = x.clone()
        kept = x.clone()
        torch.add(kept, gradient)
        return spikes

    return run


class Dense(nn.Module):
    """784-1000-10 with neurons after each product; the products of all steps at once."""

    def __init__(self, layer: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.hidden = nn.Linear(784, 1000)
        self.out = nn.Linear(1000, 10)
        self.first = layer()
        self.second = layer()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        spikes = self.first(self.hidden(x))
        return self.second(self.out(spikes)).mean(0), spikes


class Convolutional(nn.Module):
    """32C3-MP2-64C3-MP2-FC10 on 28 x 28; the convolutions of all steps at once."""

    def __init__(self, layer: Callable[[], nn.Module], pool: Callable[[Tensor, int], Tensor] = F.max_pool2d) -> None:
        super().__init__()
        self.pool = pool
        self.conv1 = nn.Conv2d(1, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.out = nn.Linear(64 * 7 * 7, 10)
        self.first = layer()
        self.second = layer()
        self.third = layer()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        steps = x.shape[:2]
        spikes = self.first(self.conv1(x.flatten(0, 1)).unflatten(0, steps))
        y = self.pool(spikes.flatten(0, 1), 2)
        y = self.pool(self.second(self.conv2(y).unflatten(0, steps)).flatten(0, 1), 2)

        return self.third(self.out(y.flatten(1)).unflatten(0, steps)).mean(0), spikes


class _InARow(nn.Module):
    """A network as a `Sequential` of this package, which may run neighbouring layers as one."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = Sequential(*layers)
        self.spikes: Tensor | None = None  # of the first layer, at the first run: later runs may never hold all of them

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.spikes is None:
            with torch.no_grad():
                self.spikes, _ = Sequential(*list(self.layers)[:2])(x)
        return self.layers(x)[0].mean(0), self.spikes


class DenseInARow(_InARow):
    """`Dense`, whose products sum the gradients of their weights over active inputs alone."""

    def __init__(self, layer: Callable[[], nn.Module]) -> None:
        first, second = (layer().layer for _ in range(2))
        parts = Dense(nn.Identity)
        super().__init__(parts.hidden, first, parts.out, second)


class ConvolutionalInARow(_InARow):
    """`Convolutional`, whose spikes are pooled where they arise."""

    def __init__(self, layer: Callable[[], nn.Module]) -> None:
        first, second, third = (layer().layer for _ in range(3))
        parts = Convolutional(nn.Identity)
        super().__init__(
            *(parts.conv1, first, nn.MaxPool2d(2)),
            *(parts.conv2, second, nn.MaxPool2d(2)),
            *(nn.Flatten(), parts.out, third),
        )


def training_step(
    network: Callable[..., nn.Module],
    layer: Callable[[], nn.Module],
    shape: tuple[int, ...],
    channels_last: bool = False,
    device: str = "cpu",
) -> Work:
    """B and C: a training step with cross-entropy and plain gradient descent."""
    torch.manual_seed(0)
    model = network(layer).to(device)
    if channels_last:
        model = model.to(memory_format=torch.channels_last)

    # so strong that neurons with untrained weights fire
    x = 3.0 * (torch.rand(shape, generator=_seeded()) < 0.3).to(device)
    targets = torch.randint(10, (shape[1],), generator=_seeded()).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

    def run() -> Tensor:
        optimizer.zero_grad()
        y, spikes = model(x)
        F.cross_entropy(y, targets).backward()
        optimizer.step()

        return spikes.detach()

    return run


def _seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)
