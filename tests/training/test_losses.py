"""Losses and metrics by hand, and what their gradients ask for."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import spikebridge.training.losses as losses
from spikebridge.errors import ConfigError, ShapeError
from spikebridge.neurons import LIF

SPIKES = torch.tensor([[[0.0, 1.0], [0.0, 0.0]], [[1.0, 1.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 0.0]]])  # (3, 2, 2)
LABELS = torch.tensor([0, 0])


def cross_entropy(*leads: float) -> float:
    """Mean over samples of two classes whose right logit leads by these."""
    return sum(math.log1p(math.exp(-lead)) for lead in leads) / len(leads)


def test_rates_by_hand() -> None:
    # counts: sample 0 has 2 and 2, sample 1 has 1 and 0
    assert losses.rate_loss(SPIKES, LABELS).item() == pytest.approx(cross_entropy(0.0, 1.0))
    assert losses.rate_accuracy(SPIKES, LABELS).item() == 0.75

    expected = ((2 / 3 - 0.8) ** 2 + (2 / 3 - 0.05) ** 2 + (1 / 3 - 0.8) ** 2 + 0.05**2) / 4
    assert losses.rate_target_loss(SPIKES, LABELS).item() == pytest.approx(expected)
    assert losses.spike_count(SPIKES).item() == 2.5


def test_first_spikes_by_hand() -> None:
    # steps: sample 0 has 1 and 0, sample 1 has 1 and none (3)
    assert losses.first_spike_times(SPIKES, dt=0.5).tolist() == [[0.5, 0.0], [0.5, 1.5]]

    loss = losses.first_spike_loss(SPIKES, LABELS, dt=0.5, tau=0.25)
    assert loss.item() == pytest.approx(cross_entropy(-2.0, 4.0))
    assert losses.first_spike_accuracy(SPIKES, LABELS).item() == 0.5


@pytest.mark.parametrize(("over", "leads"), [("mean", (0.5, -1.0)), ("max", (1.0, -1.0)), ("last", (-1.0, -2.0))])
def test_membranes_by_hand(over: Any, leads: tuple[float, float]) -> None:
    v = torch.tensor([[[3.0, 1.0], [0.0, 0.0]], [[1.0, 2.0], [-1.0, 1.0]]])
    assert losses.membrane_loss(v, LABELS, over=over).item() == pytest.approx(cross_entropy(*leads))
    assert losses.membrane_accuracy(v, LABELS, over=over).item() == sum(lead > 0 for lead in leads) / 2


def test_the_gradient_of_a_first_spike_time_is_what_one_more_spike_changes() -> None:
    torch.manual_seed(0)
    spikes = (torch.rand(7, 20) < 0.2).double().requires_grad_()
    times = losses.first_spike_times(spikes, dt=1.0)
    times.sum().backward()

    assert spikes.grad is not None
    for step in range(7):
        flipped = spikes.detach().clone()
        flipped[step] = 1 - flipped[step]
        # the time is linear in every single spike
        change = losses.first_spike_times(flipped, dt=1.0) - times.detach()
        torch.testing.assert_close(change, spikes.grad[step] * (flipped[step] - spikes[step].detach()))


@pytest.mark.parametrize(
    ("loss", "accuracy"),
    [
        (losses.rate_loss, losses.rate_accuracy),
        (losses.rate_target_loss, losses.rate_accuracy),
        (lambda s, y: losses.first_spike_loss(s, y, dt=0.001, tau=0.002), losses.first_spike_accuracy),
    ],
)
def test_each_loss_trains_a_spiking_layer(
    loss: Callable[[Tensor, Tensor], Tensor], accuracy: Callable[[Tensor, Tensor], Tensor]
) -> None:
    torch.manual_seed(0)
    labels = torch.randint(2, (30,))
    x = torch.cat([torch.nn.functional.one_hot(labels, 2), torch.rand(30, 6)], -1).expand(12, 30, 8)
    layer = torch.nn.Linear(8, 2)
    lif = LIF(tau=0.01, dt=0.001)
    adam = torch.optim.Adam(layer.parameters(), lr=0.05)
    first = last = 0.0

    for step in range(150):
        spikes, _ = lif(layer(x))
        value = loss(spikes, labels)
        adam.zero_grad()
        value.backward()
        adam.step()
        first = value.item() if step == 0 else first
        last = value.item()

    assert last < 0.8 * first
    assert accuracy(lif(layer(x))[0], labels).item() > 0.9


def test_labels_may_have_32_bits() -> None:
    for loss in (losses.rate_loss, losses.rate_target_loss, losses.membrane_loss, losses.rate_accuracy):
        assert torch.equal(loss(SPIKES, LABELS.int()), loss(SPIKES, LABELS))


def test_a_silent_network_scores_chance() -> None:
    silent = torch.zeros(4, 6, 3)
    labels = torch.tensor([0, 0, 0, 0, 0, 1])
    for accuracy in (losses.rate_accuracy, losses.first_spike_accuracy, losses.membrane_accuracy):
        assert accuracy(silent, labels).item() == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: losses.rate_loss(torch.zeros(2, 3), LABELS), ShapeError, r"but got \(2, 3\) and \(2,\); time is the"),
        (lambda: losses.membrane_loss(torch.zeros(5, 3, 2), LABELS), ShapeError, r"got \(5, 3, 2\) and \(2,\)"),
        (lambda: losses.rate_accuracy(torch.zeros(0, 2, 2), LABELS), ShapeError, r"got \(0, 2, 2\)"),
        (lambda: losses.rate_loss(SPIKES, LABELS.float()), ShapeError, r"integers from 0, but got torch\.float32"),
        (lambda: losses.first_spike_loss(SPIKES, LABELS, dt=1, tau=0), ConfigError, "needs tau > 0 s, but got 0"),
        (
            lambda: losses.membrane_loss(SPIKES, LABELS, over="end"),
            ConfigError,
            "'mean', 'max' or 'last', but is 'end'",
        ),  # type: ignore[arg-type]
    ],
)
def test_what_does_not_fit_is_named(call: Callable[[], Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        call()
