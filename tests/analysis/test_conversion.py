"""Conversion of an ANN into a hybrid network: levels worked by hand, convergence, and the front of `hybridise`."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spikebridge.analysis import convert, count_cost, energy, hardware_profile, hybridise
from spikebridge.errors import ConfigError
from spikebridge.hybrid import HybridNetwork


def outputs_of(network: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return network({"x": x[None]})[0]["ann"][0]


def dense() -> tuple[nn.Sequential, Tensor]:
    torch.manual_seed(0)
    ann = nn.Sequential(
        nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 3)
    )
    ann(torch.randn(64, 8))
    return ann.eval(), torch.rand(40, 8)


def convolutional() -> tuple[nn.Sequential, Tensor]:
    torch.manual_seed(0)
    ann = nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.AvgPool2d(2)),
        nn.Conv2d(4, 6, 3, groups=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(6 * 4, 5),
        nn.ReLU(),
        nn.Linear(5, 2),
    )
    ann(torch.randn(16, 1, 8, 8))
    return ann.eval(), torch.rand(20, 1, 8, 8)


def test_a_rate_is_the_nearest_level_of_the_activation() -> None:
    ann = nn.Sequential(nn.Linear(1, 1, bias=False), nn.ReLU())
    with torch.no_grad():
        ann[0].weight.fill_(1.0)

    examples = torch.tensor([[4.0], [2.0]])
    network = convert(ann, examples, steps=4, percentile=100)
    # threshold 4, so that the levels are 0, 1, 2, 3 and 4; 9 saturates
    x = torch.tensor([[-1.0], [0.4], [0.6], [2.4], [3.4], [9.0]])

    assert outputs_of(network, x).flatten().tolist() == [0.0, 0.0, 1.0, 2.0, 3.0, 4.0]


def test_a_threshold_has_the_least_squared_error_unless_a_percentile_is_given() -> None:
    ann = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU())
    with torch.no_grad():
        ann[0].weight.copy_(torch.eye(2))

    # of two levels: many values of 1, one of 8; and a channel that is silent
    examples = torch.tensor([[1.0, -1.0]] * 500 + [[8.0, -1.0]])
    x = torch.tensor([[1.0, 0.5]])
    assert outputs_of(convert(ann, examples, steps=2, percentile=100), x)[0, 0].item() == 0.0
    assert outputs_of(convert(ann, examples, steps=2), x).tolist() == [[pytest.approx(1, abs=0.1), 0.5]]

    def error(percentile: float | None) -> float:
        y = outputs_of(convert(ann, examples, steps=2, percentile=percentile), examples)
        return (y - ann(examples).detach()).square().sum().item()

    assert error(None) < min(error(99.0), error(100.0))


def test_hybridise_runs_every_network_once(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[int] = []
    forward = HybridNetwork.forward

    def counted(self: HybridNetwork, *arguments: Any, **settings: Any) -> Any:
        runs.append(1)
        return forward(self, *arguments, **settings)

    monkeypatch.setattr(HybridNetwork, "forward", counted)
    ann, x = dense()
    hybridise(ann, x, lambda y: float(y.mean()), steps=(1, 2, 4))
    # two layers can spike, with three numbers of steps
    assert len(runs) == 6


@pytest.mark.parametrize("make", [dense, convolutional])
@pytest.mark.parametrize("layers", [1, 2, None])
def test_many_steps_give_the_values_of_the_ann(make: Callable[[], Any], layers: int | None) -> None:
    ann, x = make()
    expected = ann(x).detach()
    errors = [
        (outputs_of(convert(ann, x, steps=steps, layers=layers, percentile=100), x) - expected).abs().max().item()
        for steps in (4, 256)
    ]

    assert errors[1] < 0.03 * expected.abs().max()
    assert errors[1] < errors[0] / 4


def test_the_ann_stays_as_it_was() -> None:
    ann, x = dense()
    before = {name: value.clone() for name, value in ann.state_dict().items()}
    convert(ann, x)

    assert all(torch.equal(value, before[name]) for name, value in ann.state_dict().items())


def test_the_first_product_is_computed_once_an_input() -> None:
    ann, x = dense()
    cost = count_cost(convert(ann, x, steps=8, layers=2), {"x": x[None]})

    assert cost.parts["encoder"].macs == 8 * 16
    assert cost.parts["snn"].macs == 0 < cost.parts["snn"].synops


def test_the_front_rises_in_energy_and_in_score_within_the_budget() -> None:
    ann, x = dense()
    labels = ann(x).argmax(-1)

    def score(y: Tensor) -> float:
        return (y.argmax(-1) == labels).float().mean().item()

    front = hybridise(ann, x, score, steps=(1, 32))
    whole = energy(count_cost(ann, x), hardware_profile()).total
    assert [one.score for one in front] == sorted({one.score for one in front})
    assert [one.energy for one in front] == sorted(one.energy for one in front)
    assert front[-1].score == 1.0

    cheaper = hybridise(ann, x, score, steps=(1, 32), budget=0.9 * whole)
    assert all(one.layers > 0 and one.energy <= 0.9 * whole for one in cheaper)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda ann, x: convert(ann, x, steps=0), "steps"),
        (lambda ann, x: convert(ann, x, layers=3), "2 can"),
        (lambda ann, x: convert(ann, x, percentile=0), "percentile"),
        (lambda ann, x: convert(ann, x, dt=-1), "dt"),
        (lambda ann, x: convert(nn.Linear(8, 2), x), "nn.Sequential"),
        (lambda ann, x: convert(nn.Sequential(nn.Conv2d(1, 1, 3), nn.MaxPool2d(2), nn.ReLU()), x), "average pool"),
        (lambda ann, x: hybridise(nn.Sequential(nn.Linear(8, 2), nn.Tanh()), x, len), "Tanh"),
        (lambda ann, x: hybridise(ann, x, lambda y: 1.0, budget=1e-15), "budget"),
    ],
)
def test_what_cannot_be_converted_is_refused(call: Callable[..., object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        call(*dense())
