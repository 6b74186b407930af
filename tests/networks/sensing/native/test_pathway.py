"""The native step of a pathway of two branches gives the numbers of its layers."""

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from spikebridge.networks.sensing.native.pathway import NativePathway, fits_pathway
from spikebridge.neurons.lif import LIFState, lif_step
from spikebridge.ops.sequence import native

pytestmark = pytest.mark.skipif(not native.available(), reason="built without a C compiler")
LEAK = 0.9


def layers(num_channels: int, kernel: int, stride: int, bias: bool = True) -> tuple[nn.Conv2d, nn.Conv2d]:
    torch.manual_seed(0)
    both = nn.Conv2d(2, 2 * num_channels, kernel, stride, kernel // 2, bias=bias)
    out = nn.Conv2d(num_channels, num_channels, 3, padding=1, bias=False)
    nn.init.normal_(both.weight, std=0.4)

    return both.requires_grad_(False), out.requires_grad_(False)


def by_layers(both: nn.Conv2d, out: nn.Conv2d, decay: Tensor, bins: list[Tensor]) -> list[Tensor]:
    state = None
    total = None
    totals = []

    for events in bins:
        straight, current = both(events).chunk(2, 1)
        if state is None or total is None:
            state = LIFState(torch.zeros_like(current))
            total = torch.zeros_like(straight)

        spikes, state = lif_step(current, state, decay=decay[:, None, None])
        total = LEAK * total + straight + out(spikes)
        totals.append(total)

    return totals


@pytest.mark.parametrize(
    ("num_channels", "kernel", "stride", "shape", "share"),
    [(8, 5, 2, (22, 18), 0.1), (3, 3, 1, (7, 11), 0.3), (12, 5, 3, (13, 9), 1.0), (16, 1, 2, (5, 5), 0.0)],
)
def test_steps_are_those_of_the_layers(
    num_channels: int, kernel: int, stride: int, shape: tuple[int, int], share: float
) -> None:
    both, out = layers(num_channels, kernel, stride, bias=num_channels != 16)
    decay = torch.linspace(0.5, 0.9, num_channels)
    # counts of events, as of a camera that keeps them all
    bins = [torch.randint(1, 3, (1, 2, *shape)) * (torch.rand(1, 2, *shape) < share).float() for _ in range(4)]
    expected = by_layers(both, out, decay, bins)
    pathway = deepcopy(NativePathway(both, out, decay, torch.tensor(LEAK), 1.0))  # as a tracker is copied
    v = total = torch.zeros_like(expected[0])

    for events, known in zip(bins, expected, strict=True):
        v, total = pathway.step(events, v, total)
        torch.testing.assert_close(total, known, atol=1e-4, rtol=1e-4)

    assert share == 0 or ((v >= 0).any() and v.max() < 1.0)


def test_what_was_given_is_left_as_it_was() -> None:
    both, out = layers(4, 3, 1)
    pathway = NativePathway(both, out, torch.tensor(0.5), torch.tensor(1.0), 1.0)
    events = torch.ones(1, 2, 6, 6)
    v = torch.zeros(1, 4, 6, 6)
    total = torch.ones(1, 4, 6, 6)
    first = pathway.step(events, v, total)

    assert (v == 0).all() and (total == 1).all() and (events == 1).all()
    for one, same in zip(first, pathway.step(events, v, total), strict=True):
        assert torch.equal(one, same)


def test_other_layers_do_not_fit() -> None:
    both, out = layers(4, 5, 2)
    assert fits_pathway(both, out)

    for other in (
        nn.Conv2d(4, 4, 3, padding=1),  # with a bias
        nn.Conv2d(4, 4, 3, bias=False),  # smaller outputs
        nn.Conv2d(4, 4, 3, padding=2, dilation=2, bias=False),
        nn.Conv2d(4, 4, 3, padding=1, groups=2, bias=False),
        nn.Conv2d(4, 6, 3, padding=1, bias=False),
    ):
        assert not fits_pathway(both, other)
