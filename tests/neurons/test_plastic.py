"""Weights that are part of a state: rules of one's own, their way back into the parameters, and truncated feedback."""

from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from spikebridge.errors import ConfigError
from spikebridge.hybrid import HybridNetwork, Transmission, Wake, every
from spikebridge.neurons import (
    LIF,
    Integrator,
    LIFState,
    Recurrent,
    Sequential,
    Stateful,
    load_state,
    save_state,
    select,
)
from spikebridge.training import WHOLE, Phase, Run, Settings, fit

pytestmark = pytest.mark.untyped


class RewardedState(NamedTuple):
    weight: Tensor
    fire: LIFState
    trace: Tensor
    eligibility: Tensor


class Rewarded(Stateful):
    """Reward-modulated STDP: a reward times the recent pairs of a spike of an input and one of a neuron behind it."""

    plastic = {"weight": "fc.weight"}

    def __init__(self, inputs: int, outputs: int, rate: float = 0.125) -> None:
        super().__init__()
        self.fc = nn.Linear(inputs, outputs, bias=False)
        self.fire = LIF(tau=0.01, dt=0.001)
        self.rate = rate

    def initial_state(self, x_t: Tensor) -> RewardedState:
        weight = self.fc.weight.expand(len(x_t), *self.fc.weight.shape)
        fire = self.fire.initial_state(x_t.new_zeros(len(x_t), self.fc.out_features))
        return RewardedState(weight, fire, torch.zeros_like(x_t), torch.zeros_like(weight))

    def step(self, x_t: Tensor, state: RewardedState, *, reward: Tensor | None = None) -> tuple[Tensor, RewardedState]:
        current = (state.weight * x_t.unsqueeze(1)).sum(-1)
        spikes, fire = self.fire.step(current, state.fire)
        trace = 0.5 * state.trace + x_t
        eligibility = 0.5 * state.eligibility + spikes.unsqueeze(2) * trace.unsqueeze(1)
        weight = state.weight
        if reward is not None:
            weight = weight + self.rate * reward.unsqueeze(2) * eligibility

        return spikes, RewardedState(weight, fire, trace, eligibility)


def network_of(*more: Any) -> HybridNetwork:
    torch.manual_seed(0)
    network = HybridNetwork(
        dt=0.001,
        inputs={"x": every(0.001), "reward": every(0.001)},
        parts={"snn": Rewarded(3, 2), "out": Integrator()},
        links=[
            Transmission("x", "snn"),
            Transmission("reward", "snn", into="reward"),
            Transmission("snn", "out"),
            *more,
        ],
        outputs=["snn", "out"],
    )
    nn.init.uniform_(network.parts["snn"].fc.weight, 0.2, 0.6)

    return network


def signals(steps: int, batch: int = 1) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = 2 * torch.rand(steps, batch, 3, generator=generator)
    return {"x": x, "reward": torch.rand(steps, batch, 1, generator=generator)}


def test_a_rule_worked_by_hand_moves_the_weight_of_a_pair_alone() -> None:
    layer = Rewarded(2, 1)
    nn.init.constant_(layer.fc.weight, 2.0)
    x = torch.tensor([[1.0, 0.0], [0.0, 0.0]]).reshape(2, 1, 2)
    spikes, state = layer(x, reward=torch.tensor([0.0, 1.0]).reshape(2, 1, 1))
    # the pair of the first step counts 1/2 when the reward comes: 2 + 0.125 / 2
    assert spikes.flatten().tolist() == [1.0, 0.0]
    assert state.weight.flatten().tolist() == [2.0625, 2.0]
    assert layer.fc.weight.flatten().tolist() == [2.0, 2.0]


def test_plastic_weights_give_the_same_in_steps_cuts_and_for_single_samples() -> None:
    network = network_of().double()
    inputs = {name: x.double() for name, x in signals(20, batch=3).items()}
    whole, end = network(inputs)
    state = None
    for t in range(20):
        outputs, state = network.step({name: x[t] for name, x in inputs.items()}, state)
        torch.testing.assert_close(outputs["out"], whole["out"][t], rtol=0, atol=1e-12)

    torch.testing.assert_close(state.parts["snn"].weight, end.parts["snn"].weight, rtol=0, atol=1e-12)
    _, alone = network({name: x[:, [2]] for name, x in inputs.items()})
    torch.testing.assert_close(alone.parts["snn"].weight, end.parts["snn"].weight[[2]], rtol=0, atol=1e-12)


def test_a_network_writes_its_weights_back_and_begins_with_them() -> None:
    network = network_of()
    _, state = network(signals(20))
    learned = state.parts["snn"].weight
    assert not torch.equal(learned[0], network.parts["snn"].fc.weight)

    network.write_back(state)
    assert torch.equal(network.parts["snn"].fc.weight, learned[0])
    assert torch.equal(network.initial_state(signals(1)).parts["snn"].weight, learned)


def test_samples_that_differ_are_refused_unless_they_are_reduced() -> None:
    network = network_of()
    _, state = network(signals(20, batch=2))
    weights = state.parts["snn"].weight
    before = network.parts["snn"].fc.weight.clone()
    with pytest.raises(ConfigError, match=r"'snn.fc.weight' differ from sample to sample of the 2; give reduce="):
        network.write_back(state)
    assert torch.equal(network.parts["snn"].fc.weight, before)

    network.write_back(state, reduce="mean")
    assert torch.equal(network.parts["snn"].fc.weight, weights.mean(0))
    network.write_back(state, reduce=lambda values: values[1])
    assert torch.equal(network.parts["snn"].fc.weight, weights[1])
    network.parts["snn"].write_back(select(state.parts["snn"], [0]))
    assert torch.equal(network.parts["snn"].fc.weight, weights[0])


def test_weights_in_rows_in_feedback_and_behind_a_wake_are_found() -> None:
    row = Sequential(first=Rewarded(3, 3), loop=Recurrent(Rewarded(3, 3), nn.Linear(3, 3)))
    _, state = row(torch.ones(4, 1, 3))
    changed = state._replace(
        layers=(
            state.layers[0]._replace(weight=state.layers[0].weight + 1),
            state.layers[1]._replace(layer=state.layers[1].layer._replace(weight=state.layers[1].layer.weight + 2)),
        )
    )
    expected = [(row.first.fc.weight + 1).tolist(), (row.loop.layer.fc.weight + 2).tolist()]
    row.write_back(changed)
    assert [row.first.fc.weight.tolist(), row.loop.layer.fc.weight.tolist()] == expected

    network = network_of(Wake("reward", "snn"))
    _, asleep = network(signals(20))
    network.write_back(asleep)
    assert torch.equal(network.parts["snn"].fc.weight, asleep.parts["snn"].part.weight[0])


def test_a_saved_stream_resumes_with_its_weights(tmp_path: Path) -> None:
    network = network_of()
    inputs = signals(20)
    whole, _ = network(inputs)
    _, state = network({name: x[:12] for name, x in inputs.items()})
    save_state(tmp_path / "state.safetensors", state)
    rest, _ = network({name: x[12:] for name, x in inputs.items()}, load_state(tmp_path / "state.safetensors"))
    assert torch.equal(rest["out"], whole["out"][12:])


class _StoppedError(Exception):
    pass


def test_a_training_that_writes_weights_back_resumes_with_the_same_bits(tmp_path: Path) -> None:
    calls: list[int] = []

    def learns(network: HybridNetwork, batch: tuple[Tensor, Tensor], stop: int | None) -> Tensor:
        x, reward = (y.transpose(0, 1) for y in batch)
        outputs, state = network({"x": x, "reward": reward})
        with torch.no_grad():
            network.write_back(state, reduce="mean")
        calls.append(1)
        if len(calls) == stop:
            raise _StoppedError
        return outputs["out"].square().mean()

    def trained(folder: Path, stop: int | None = None) -> Tensor:
        network = network_of()
        data = torch.utils.data.TensorDataset(*(x.transpose(0, 1) for x in signals(6, batch=4).values()))
        phase = Phase("rule", WHOLE, partial(learns, stop=stop), 2, partial(torch.optim.SGD, lr=0.1))
        run = Run.create(folder, "rule", {}) if not folder.exists() else Run.open(folder)
        fit(network, [phase], data, settings=Settings(batch_size=2, accelerator="cpu", quiet=True), run=run)
        return network.parts["snn"].fc.weight.detach()

    whole = trained(tmp_path / "whole")
    calls.clear()
    with pytest.raises(_StoppedError):
        trained(tmp_path / "cut", stop=3)
    assert torch.equal(trained(tmp_path / "cut"), whole)


def test_the_gradient_of_cut_feedback_stays_in_its_step() -> None:
    def gradient(cut: bool) -> tuple[list[float], float, float]:
        echo = nn.Linear(1, 1, bias=False)
        nn.init.constant_(echo.weight, 2.0)
        layer = Recurrent(Sum(), echo, cut=cut)
        x = torch.tensor([1.0, 0.0, 0.0]).reshape(3, 1, 1).requires_grad_()
        y, _ = layer(x)
        y[-1].sum().backward()
        return y.flatten().tolist(), x.grad[0].item(), echo.weight.grad.item()

    # y = 1, 2, 4; with w the weight y[2] = w y[1] = w^2 x[0]
    assert gradient(cut=False) == ([1.0, 2.0, 4.0], 4.0, 4.0)
    assert gradient(cut=True) == ([1.0, 2.0, 4.0], 0.0, 2.0)


class Sum(Stateful):
    """A layer that gives its input."""

    def initial_state(self, x_t: Tensor) -> tuple[()]:
        return ()

    def step(self, x_t: Tensor, state: tuple[()]) -> tuple[Tensor, tuple[()]]:
        return x_t, state


class Misnamed(Rewarded):
    plastic = {"weights": "fc.weight"}


class Elsewhere(Rewarded):
    plastic = {"weight": "fc.weights"}


@pytest.mark.parametrize(
    ("layer", "settings", "words"),
    [
        (LIF(dt=0.001), {}, "no plastic weights"),
        (Misnamed(3, 2), {}, "has no field 'weights' in its state"),
        (Elsewhere(3, 2), {}, "has no parameter 'fc.weights'"),
        (Rewarded(3, 2), {"reduce": "max"}, "reduce= as 'mean', a function or None"),
        (Rewarded(3, 2), {"reduce": lambda values: values.mean()}, r"are \(\) in the state"),
    ],
)
def test_what_cannot_be_written_back_is_one_line(layer: Stateful, settings: dict[str, Any], words: str) -> None:
    _, state = layer(torch.ones(2, 1, 3))
    with pytest.raises(ConfigError, match=words) as caught:
        layer.write_back(state, **settings)
    assert "\n" not in str(caught.value)
