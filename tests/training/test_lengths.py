"""Samples of unequal lengths: a padded batch gives the numbers and gradients of single samples of their own length."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.data import DataLoader

import spikebridge.training.losses as losses
from spikebridge.errors import ConfigError, ShapeError
from spikebridge.neurons import LIF, Integrator
from spikebridge.training import WHOLE, Phase, StackSamples, evaluate, fit

MEASURES: dict[str, Callable[..., Tensor]] = {
    "rate_loss": losses.rate_loss,
    "rate_target_loss": losses.rate_target_loss,
    "first_spike_loss": partial(losses.first_spike_loss, dt=0.5, tau=0.7),
    "rate_accuracy": losses.rate_accuracy,
    "first_spike_accuracy": losses.first_spike_accuracy,
    "spike_count": lambda x, labels, lengths=None: losses.spike_count(x, lengths=lengths),
    **{
        f"{name} over {over}": partial(getattr(losses, name), over=over)
        for name in ("membrane_loss", "membrane_accuracy")
        for over in ("mean", "max", "last")
    },
}


def measures(outputs: Tensor, labels: Tensor, **lengths: Tensor) -> dict[str, Tensor]:
    return {name: measure(outputs, labels, **lengths) for name, measure in MEASURES.items()}


@examples(deadline=None, max_examples=20)
@given(
    lengths=st.lists(st.integers(1, 7), min_size=1, max_size=5), later=st.integers(0, 2), seed=st.integers(0, 2**31 - 1)
)
def test_every_loss_and_accuracy_is_that_of_single_samples(lengths: list[int], later: int, seed: int) -> None:
    make = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (len(lengths),), generator=make)
    padded = torch.full((max(lengths) + later, len(lengths), 3), torch.nan, dtype=torch.float64)
    for sample, length in enumerate(lengths):
        padded[:length, sample] = (torch.rand(length, 3, generator=make) < 0.4).double()
    padded.requires_grad_()

    together = measures(padded, labels, lengths=torch.tensor(lengths))
    alone = [measures(padded[:n, k : k + 1], labels[k : k + 1]) for k, n in enumerate(lengths)]
    for name, value in together.items():
        mean = torch.stack([one[name] for one in alone]).mean()
        torch.testing.assert_close(value, mean, rtol=1e-12, atol=1e-12)
        if value.grad_fn is not None and "accuracy" not in name:
            gradients = (torch.autograd.grad(of, padded, retain_graph=True)[0] for of in (value, mean))
            torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-12)


class Classifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.front = nn.Linear(4, 6).double()
        self.lif = LIF(tau=0.01, dt=0.001)
        self.back = nn.Linear(6, 3).double()
        self.sum = Integrator(tau=0.02, dt=0.001)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        spikes, _ = self.lif(self.front(x))
        return spikes, self.sum(self.back(spikes))[0]


def objective(module: nn.Module, batch: Any) -> Any:
    spikes, v = module(batch["x"])
    lengths, labels = batch["lengths"], batch["label"]
    loss = losses.membrane_loss(v, labels, over="max", lengths=lengths)
    metrics = {
        "accuracy": losses.membrane_accuracy(v, labels, over="last", lengths=lengths),
        "spikes": losses.spike_count(spikes, lengths=lengths),
    }
    return loss + 0.01 * metrics["spikes"], metrics


def samples() -> list[dict[str, Any]]:
    make = torch.Generator().manual_seed(1)
    sizes = (3, 9, 1, 6, 12)
    return [{"x": 3 * torch.rand(n, 4, generator=make).double(), "label": n % 3} for n in sizes]


def loader(batch_size: int, value: float = 0.0) -> DataLoader[Any]:
    collate = StackSamples({"x": 1, "label": 0}, pad={"x": value})
    return DataLoader(samples(), batch_size, collate_fn=collate)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [0.0, 5.0])
def test_padding_changes_no_mean_of_evaluate_and_no_step_of_fit(value: float, settings: Callable[..., Any]) -> None:
    single = evaluate(Classifier(), objective, loader(1))
    for size in (2, 5):
        assert evaluate(Classifier(), objective, loader(size, value)) == pytest.approx(single, rel=1e-12)

    trained = []
    for size in (1, 2, 5):
        network = Classifier()
        sgd = partial(torch.optim.SGD, lr=0.5)
        phase = Phase("all", WHOLE, objective, 2, sgd, accumulate=-(-5 // size))
        rows = fit(network, [phase], loader(size, value), settings=settings(precision="64-true"))
        trained.append((rows[-1]["loss"], network.state_dict()))

    for loss, weights in trained[1:]:
        # a loss has single precision behind the network
        assert loss == pytest.approx(trained[0][0], rel=1e-6)
        torch.testing.assert_close(dict(weights), dict(trained[0][1]), rtol=1e-7, atol=1e-7)


def test_signals_are_padded_at_the_end_of_time_and_their_lengths_given() -> None:
    signals = [{"x": np.ones((2, 3)), "y": torch.ones(1), "z": 4}, {"x": np.ones((1, 3)), "y": torch.ones(3), "z": 5}]
    batch = StackSamples({"x": 1, "y": 1, "z": 0}, pad={"x": 0.0, "y": -1.0})(signals)
    assert batch["x"][:, 1].tolist() == [[1, 1, 1], [0, 0, 0]]
    assert batch["y"].tolist() == [[1, 1], [-1, 1], [-1, 1]]
    assert {name: lengths.tolist() for name, lengths in batch["lengths"].items()} == {"x": [2, 1], "y": [1, 3]}

    pairs = [(signal["x"], signal["z"]) for signal in signals]
    x, z, lengths = StackSamples((1, 0), pad={0: 0.0})(pairs)
    assert (x.shape, z.tolist(), lengths.tolist()) == ((2, 2, 3), [4, 5], [2, 1])


SPIKES = torch.zeros(4, 2, 3)
LABELS = torch.tensor([0, 1])


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        (torch.tensor([0, 4]), r"lengths are 1 to 4 steps, .* but got \[0, 4\]; leave out empty samples"),
        (torch.tensor([5, 4]), r"lengths are 1 to 4 steps, .* but got \[5, 4\]"),
        (torch.tensor([4]), r"expected lengths as 2 integers \(B,\), but got \(1,\)"),
        (torch.tensor([4.0, 4.0]), r"but got \(2,\) of torch\.float32"),
    ],
)
@pytest.mark.parametrize("name", MEASURES)
def test_lengths_that_cannot_be_are_one_line(name: str, lengths: Tensor, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        MEASURES[name](SPIKES, LABELS, lengths=lengths)


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: StackSamples({"x": 1}, pad={"y": 0.0}), ConfigError, "no part 'y' to pad"),
        (lambda: StackSamples((1, 0), pad={"x": 0.0}), ConfigError, "no part 'x' to pad"),
        (lambda: StackSamples({"x": 1, "lengths": 0}, pad={"x": 0.0}), ConfigError, "gets its 'lengths' from"),
        (lambda: padded(torch.ones(2), torch.ones(0)), ShapeError, "x: sample 1 of the batch has no time step; leave"),
        (lambda: padded(torch.ones(2), torch.tensor(1.0)), ShapeError, "x: sample 1 of the batch has no time step"),
        (lambda: padded(torch.ones(2, 3), torch.ones(1, 4)), ShapeError, "x has samples of different shapes"),
        (lambda: StackSamples({"x": 1})([{"x": torch.ones(2)}, {"x": torch.ones(1)}]), ShapeError, r"pad time with"),
    ],
)
def test_padding_that_cannot_be_meant_is_one_line(make: Callable[[], Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        make()


def padded(*signals: Tensor) -> Mapping[str, Tensor]:
    batch: Mapping[str, Tensor] = StackSamples({"x": 1}, pad={"x": 0.0})([{"x": signal} for signal in signals])
    return batch
