"""Counting operations: numbers by hand."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spikebridge.analysis import Operations, count_cost
from spikebridge.analysis.cost import count_run
from spikebridge.errors import ConfigError, ShapeError
from spikebridge.hybrid import (
    FIR,
    Count,
    Gain,
    Gaussian,
    Hold,
    HybridNetwork,
    HybridUnit,
    Mean,
    Modulation,
    PhaseCode,
    Sliding,
    SpikingLayer,
    Sum,
    Threshold,
    Transmission,
    Tumbling,
    every,
)
from spikebridge.neurons import IF, Memoryless, Recurrent, Sequential


def values(*shape: int) -> Tensor:
    """Real values, none of them whole."""
    return torch.rand(*shape) * 0.5 + 0.2


def test_two_layers_by_hand() -> None:
    cost = count_cost(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2, bias=False)), values(5, 4))
    assert cost.total == Operations(macs=4 * 3 + 3 * 2, adds=3)
    assert cost.layers == {"0": Operations(macs=12, adds=3), "2": Operations(macs=6)}
    assert cost.num_samples == 5


def test_spikes_meet_the_weights_that_leave_them() -> None:
    network = Sequential(fc1=nn.Linear(4, 3), fire=Memoryless(), fc2=nn.Linear(3, 2))
    nn.init.ones_(network.fc1.weight)
    nn.init.zeros_(network.fc1.bias)
    x = torch.tensor([[1.0, 0, 0, 0], [0, 0, 0, 0]]).reshape(2, 1, 4)  # one spike makes three, then none
    cost = count_cost(network, x, dt=0.5)

    assert cost.layers["fc1"] == Operations(synops=3, adds=2 * 3)
    assert cost.layers["fire"] == Operations(updates=2 * 3)
    assert cost.layers["fc2"] == Operations(synops=3 * 2, adds=2 * 2)
    assert cost.seconds == 1.0

    with pytest.raises(ConfigError, match="count_cost needs dt > 0 s"):
        count_cost(network, x, dt=0)


def test_a_spiking_network_fed_by_real_values_pays_for_them() -> None:
    cost = count_cost(Sequential(nn.Linear(4, 3), IF()), values(5, 2, 4))
    assert cost.total == Operations(macs=5 * 12, adds=5 * 3, updates=5 * 3)


def test_one_value_that_is_no_spike_makes_the_layer_dense_for_the_whole_run() -> None:
    network = Sequential(fc=nn.Linear(2, 3, bias=False))
    x = torch.zeros(4, 1, 2)
    x[0, 0, 0] = 1

    assert count_cost(network, x).total == Operations(synops=3)

    x[3, 0, 1] = 0.5
    assert count_cost(network, x).total == Operations(macs=4 * 6)

    x[3, 0, 1] = 200  # a grey value, no number of spikes
    assert count_cost(network, x).total == Operations(macs=4 * 6)


def test_signed_and_several_spikes_are_counted_each() -> None:
    x = torch.tensor([[1.0, -1.0, 2.0]])
    assert count_cost(nn.Linear(3, 5, bias=False), x).total == Operations(synops=4 * 5)


def test_a_convolution_at_its_borders() -> None:
    conv = nn.Conv2d(1, 4, 3, padding=1, bias=False)
    x = torch.zeros(1, 1, 5, 5)
    x[0, 0, 2, 2] = 1  # inside: nine positions

    assert count_cost(conv, x).total == Operations(synops=9 * 4)

    x[0, 0, 0, 0] = 1  # a corner: four
    assert count_cost(conv, x).total == Operations(synops=(9 + 4) * 4)
    assert count_cost(conv, values(1, 1, 5, 5)).total == Operations(macs=25 * 9 * 4)


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv1d(4, 6, 3, padding=2, dilation=2, stride=2),
        nn.Conv2d(4, 6, (3, 2), padding=(0, 1), stride=(2, 1)),
        nn.Conv2d(4, 8, 3, padding="same", groups=2),
        nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular"),
        nn.Conv3d(2, 3, 3, padding=1, stride=2),
        nn.ConvTranspose1d(4, 6, 3, stride=2, padding=1, output_padding=1),
        nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, groups=2),
    ],
    ids=lambda conv: f"{type(conv).__name__}-{conv.stride}-{conv.groups}",
)
def test_synaptic_operations_of_convolutions_are_the_weights_that_spikes_meet(conv: nn.Module) -> None:
    size = (7, 6, 5)[: conv.weight.ndim - 2]
    x = (torch.rand(2, conv.in_channels, *size) < 0.3).float()
    cost = count_cost(conv, x)

    # with all weights one, and no bias, the sum of the outputs counts every spike once for every weight that it meets
    with torch.no_grad():
        for parameter in conv.parameters():
            parameter.fill_(1.0)
        conv.bias.zero_()
        met = float(conv(x).sum()) / 2

    assert cost.total.synops == pytest.approx(met)
    assert cost.total.macs == 0
    assert cost.total.adds == conv(x)[0].numel()


def test_multiply_accumulates_of_convolutions() -> None:
    assert count_cost(nn.Conv1d(2, 6, 3, groups=2), values(1, 2, 10)).total.macs == 8 * 6 * 3
    assert count_cost(nn.Conv3d(1, 2, 3), values(1, 1, 4, 4, 4)).total.macs == 8 * 2 * 27
    # every input value meets every weight of its channel
    assert count_cost(nn.ConvTranspose2d(3, 2, 3), values(1, 3, 4, 4)).total.macs == 16 * 3 * 2 * 9


def test_functional_products_are_counted() -> None:
    class Correlation(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.conv2d(x, x[:1, :, :2, :2]).flatten(1) @ torch.full((9, 5), 0.3)

    assert count_cost(Correlation(), values(1, 1, 4, 4)).total.macs == 9 * 4 + 9 * 5


def test_a_matrix_times_spikes_counts_the_spikes() -> None:
    class Graph(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(4, 3))

        def forward(self, x: Tensor) -> Tensor:
            return (self.weight @ x.T).T

    assert count_cost(Graph(), torch.tensor([[1.0, 0.0, 1.0]])).total == Operations(synops=2 * 4)
    assert count_cost(Graph(), values(1, 3)).total == Operations(macs=12)


@pytest.mark.parametrize("num_steps", [1, 3])
def test_attention_is_counted(num_steps: int) -> None:
    layer = nn.MultiheadAttention(4, 2, batch_first=True)

    class Attend(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x, x, x, need_weights=False)[0]

    projections = num_steps * 4 * 16
    assert count_cost(Attend(), values(2, num_steps, 4)).total.macs == projections + 2 * num_steps * num_steps * 4


def modulated_network(part: nn.Module, path: str) -> HybridNetwork:
    return HybridNetwork(
        dt=0.5,
        inputs={"x": every(0.5), "w": every(0.5)},
        parts={"part": part},
        links=[Transmission("x", "part"), Modulation("w", f"part.{path}")],
        outputs=["part"],
    )


@pytest.mark.parametrize("steady", [True, False])
def test_modulated_weights_cost_what_plain_ones_do(steady: bool) -> None:
    network = modulated_network(Sequential(fc=nn.Linear(4, 3), fire=IF()), "fc.weight")
    w = values(6, 2, 1, 1)
    w = w[:1].expand(6, 2, 1, 1) if steady else w
    x = (torch.rand(6, 2, 4) < 0.5).float()
    cost = count_cost(network, {"x": x, "w": w})

    assert cost.parts["part"] == Operations(synops=float(x.sum()) * 3 / 2, adds=6 * 3, updates=6 * 3)

    cost = count_cost(network, {"x": values(6, 2, 4), "w": w})
    assert cost.parts["part"] == Operations(macs=6 * 12, adds=6 * 3, updates=6 * 3)
    assert cost.seconds == 3.0


def test_modulated_convolutions_cost_what_plain_ones_do() -> None:
    conv = nn.Conv2d(2, 3, 3, padding=1)
    x = (torch.rand(4, 2, 2, 5, 5) < 0.3).float()
    plain = count_cost(Sequential(conv=conv), x)
    modulated = count_cost(modulated_network(conv, "weight"), {"x": x, "w": values(4, 2, 1, 1, 1, 1)})

    assert modulated.total == plain.total


def test_parts_and_links_of_a_network_by_hand(network: HybridNetwork, inputs: dict[str, Tensor]) -> None:
    cost = count_cost(network, inputs)
    spikes = float(inputs["events"].sum()) / 3

    assert cost.parts["what"] == Operations(macs=4 * (12 * 8 + 12 * 5), adds=4 * (8 + 5))

    where = cost.parts["where"]
    assert where.synops == pytest.approx(spikes * 16)
    assert (where.macs, where.adds, where.updates) == (0, 24 * 16, 24 * 16)

    # the kernel takes 24 steps of 16 neurons; means of spikes are no spikes
    assert cost.links["where_to_what"] == Operations(macs=24 * 16 + 4 * 16 * 4, adds=4 * 4)
    assert cost.links["what_to_where"] == Operations(macs=4 * 5 * 16, adds=4 * 16)
    assert cost.total.num_operations == sum(one.num_operations for one in [*cost.parts.values(), *cost.links.values()])
    assert cost.seconds == pytest.approx(0.1)
    assert [row["of"] for row in cost.rows()] == ["what", "where", "where_to_what", "what_to_where", "total"]
    assert cost.rows()[-1]["updates"] == 24 * 16


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        (HybridUnit(Tumbling(4), Mean()), Operations(macs=8 * 2)),
        (HybridUnit(Sliding(4, 2), Mean()), Operations(macs=3 * 4 * 2)),
        (HybridUnit(Tumbling(4), FIR(3)), Operations(macs=8 * 2)),
        (HybridUnit(Tumbling(4), FIR(3, keep=True)), Operations(macs=8 * 2 * 3)),
        (HybridUnit(None, Gaussian(2.0, 0.5, dt=1.0)), Operations(macs=8 * 2)),
        (HybridUnit(None, Gaussian(2.0, 0.5, dt=1.0, keep=True)), Operations(macs=8 * 2 * 5)),
        (HybridUnit(Tumbling(4), None, None, Count()), Operations(compares=8 * 2)),
        (HybridUnit(Hold(3), None, None, Threshold()), Operations(compares=8 * 3 * 2)),
        (HybridUnit(Tumbling(4), Sum(), None, PhaseCode()), Operations(macs=8 * 2, compares=2 * 4 * 2)),
        (HybridUnit(None, None, None, SpikingLayer(IF())), Operations(updates=8 * 2)),
        (HybridUnit(Tumbling(4), Mean(), nn.Linear(2, 3)), Operations(macs=8 * 2 + 2 * 6, adds=2 * 3)),
    ],
    ids=lambda value: "" if isinstance(value, Operations) else None,
)
def test_hybrid_units_by_hand(unit: HybridUnit, expected: Operations) -> None:
    assert count_cost(unit, values(8, 1, 2)).total == expected


def test_gains_and_feedback_are_counted() -> None:
    assert count_cost(Sequential(gain=Gain(2.0)), values(5, 1, 3)).total == Operations(macs=15)

    layer = Recurrent(Memoryless(v_threshold=0.1), nn.Linear(2, 2, bias=False))
    nn.init.zeros_(layer.weight.weight)

    # spikes come back one step later: the last ones do not any more
    assert count_cost(layer, values(3, 1, 2)).total == Operations(synops=2 * 2 * 2, updates=3 * 2)


def test_counting_leaves_the_network_as_it_was() -> None:
    network = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout())
    network[2].eval()
    mean = network[1].running_mean.clone()
    count_cost(network, values(4, 3))

    assert torch.equal(network[1].running_mean, mean)
    assert [module.training for module in network] == [True, True, False]
    assert not any(module._forward_hooks for module in network.modules())


def test_a_module_that_cannot_be_counted_is_refused(network: HybridNetwork) -> None:
    with pytest.raises(ConfigError, match="LSTM at '0' cannot be counted; use its cell"):
        count_cost(nn.Sequential(nn.LSTM(2, 2)), values(3, 1, 2))

    with pytest.raises(ConfigError, match="needs its inputs by name"):
        count_cost(network, values(3, 1, 2))

    with pytest.raises(ConfigError, match="Linear needs one tensor, but got dict"):
        count_cost(nn.Linear(2, 2), {"x": values(3, 2)})

    with pytest.raises(ShapeError, match="a mean over samples"):
        count_cost(nn.Linear(2, 2), values(0, 2))


def test_a_fourier_transform_and_a_complex_product_by_hand() -> None:
    x = values(2, 8, 16)
    weight = torch.ones(8, 9, dtype=torch.complex64)

    class Filtered(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.fft.irfft2(torch.fft.rfft2(x) * weight)

    # 128 real values there and back, 1.5 log2(128) each; four for each of 72 complex products
    assert count_cost(Filtered(), x).total == Operations(macs=2 * 1.5 * 128 * 7 + 4 * 72)


def test_a_run_counts_the_products_between_modules_too() -> None:
    fc = nn.Linear(4, 3, bias=False)

    def run() -> int:
        with torch.inference_mode():  # operators come in one piece here
            return len(fc(values(2, 4)) @ torch.ones(3, 5))

    assert count_run(fc, run).total == Operations(macs=12 + 15)
