"""The folded response against the layers that it folds: the same numbers away from the border."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from spikebridge.errors import ShapeError
from spikebridge.networks.sensing import Sensing
from spikebridge.networks.sensing_kernel import TargetKernel
from spikebridge.ops.folded_response import fold_kernels, folded_step, margin

DT = 1 / 240


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def folded(spikes: Tensor, kernels: Tensor, decay: Tensor | float) -> Tensor:
    maps, responses = spikes.new_zeros(*kernels.shape[:2], *spikes.shape[3:]), []
    for s in spikes:
        response, maps = folded_step(s, maps, kernels, decay)
        responses.append(response)
    return torch.stack(responses)


def by_layers(spikes: Tensor, out: Tensor, mix: Tensor, template: Tensor, decay: Tensor) -> Tensor:
    """One layer after another, each with its border of zeros."""
    summed, responses = torch.zeros(1), []
    for s in spikes:
        summed = decay[:, None, None] * summed + F.conv2d(s, out, padding=out.shape[-1] // 2)
        h = F.conv2d(summed, mix, padding=mix.shape[-1] // 2)
        each = [F.conv2d(h[i : i + 1], template[i : i + 1], padding=template.shape[-1] // 2) for i in range(len(h))]
        responses.append(torch.cat(each)[:, 0])
    return torch.stack(responses)


@pytest.mark.parametrize(("height", "width"), [(20, 20), (17, 23)])
@pytest.mark.parametrize("alike", [True, False])
def test_the_fold_is_the_layers_away_from_the_border(alike: bool, height: int, width: int) -> None:
    out, mix, template = torch.randn(4, 3, 3, 3), torch.randn(4, 4, 3, 3), torch.randn(2, 4, 7, 7)
    decay = torch.full((4,), 0.8) if alike else torch.tensor([0.5, 0.7, 0.8, 0.9])
    spikes = (torch.rand(5, 2, 3, height, width) < 0.1).float()
    kernels = fold_kernels(out, mix, template, alike)
    assert kernels.shape == (2, 1 if alike else 4, 3, 11, 11)
    found = folded(spikes, kernels, 0.8 if alike else decay)
    expected = by_layers(spikes, out, mix, template, decay)
    m = margin(template, mix)
    assert m == 4
    inside = (..., slice(m, -m), slice(m, -m))
    torch.testing.assert_close(found[inside], expected[inside], atol=1e-3, rtol=1e-4)
    assert not torch.allclose(found, expected, atol=1e-3)  # at the border the layers know less


def test_eleven_cells_and_two_maps_of_three_make_225_numbers_a_spike() -> None:
    kernels = fold_kernels(torch.ones(1, 1, 3, 3), torch.ones(1, 1, 3, 3), torch.ones(1, 1, 11, 11), alike=True)
    assert kernels[0, 0, 0].numel() == 225
    assert margin(torch.ones(1, 1, 11, 11), torch.ones(1, 1, 3, 3)) == 6


def test_the_fold_is_the_sensing_network_with_its_correlation_head() -> None:
    sensing = Sensing(dt=DT, num_features=4, head="correlation", finder=False).eval()
    where, unit = sensing.parts["where"], sensing.units["unit"]
    torch.nn.init.zeros_(where.straight.weight)  # the fold is of the spiking path
    torch.nn.init.normal_(unit.nonlinearity.weight, std=0.2)
    events = (torch.rand(6, 2, 2, 64, 64) < 0.3).float()
    box = torch.tensor([[0.0, 0.0, 20.0, 20.0], [1.5, -2.0, 20.0, 20.0]])
    with torch.no_grad():
        spikes = where.spiking.lif(where.spiking.norm(where.spiking.conv(events.flatten(0, 1))).unflatten(0, (6, 2)))[0]
        assert 0.01 < spikes.mean() < 0.9
        template = TargetKernel(4)(torch.rand(2, 4, 32, 32), box)[:, 0]
        change = sensing.change(events)
        expected = torch.stack([F.conv2d(change[:, i], template[i : i + 1], padding=5)[:, 0] for i in range(2)], dim=1)
        decay = torch.exp(-DT / unit.kernel.tau.flatten())
        kernels = fold_kernels(where.spiking.out.weight, unit.nonlinearity.weight, template)
        found = folded(spikes, kernels, decay)
    torch.testing.assert_close(found[..., 6:-6, 6:-6], expected[..., 6:-6, 6:-6], atol=1e-4, rtol=1e-3)


def test_no_spike_is_a_leak_and_nothing_more() -> None:
    kernels = fold_kernels(torch.ones(1, 1, 1, 1), torch.ones(1, 1, 1, 1), torch.ones(1, 1, 3, 3))
    response, maps = folded_step(torch.zeros(1, 1, 6, 6), torch.ones(1, 1, 6, 6), kernels, 0.25)
    assert torch.equal(maps, torch.full((1, 1, 6, 6), 0.25))
    assert torch.equal(response, maps[:, 0])


def test_what_cannot_be_folded_is_refused() -> None:
    with pytest.raises(ShapeError, match="odd sides"):
        fold_kernels(torch.ones(1, 1, 2, 2), torch.ones(1, 1, 3, 3), torch.ones(1, 1, 3, 3))
    kernels = fold_kernels(torch.ones(1, 1, 3, 3), torch.ones(1, 1, 3, 3), torch.ones(1, 1, 3, 3))
    with pytest.raises(ShapeError, match="do not fit"):
        folded_step(torch.zeros(1, 2, 8, 8), torch.zeros(1, 1, 8, 8), kernels, 0.5)
