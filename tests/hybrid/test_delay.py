"""Delays, fixed and learned: as layers, on links, in training and in evaluation."""

import math

import pytest
import torch
from torch import Tensor, nn

from spikebridge.errors import ConfigError, ShapeError
from spikebridge.hybrid import (
    FIR,
    Delay,
    Exponential,
    HybridNetwork,
    HybridUnit,
    Kernel,
    Modulation,
    Transmission,
    Tumbling,
    every,
    narrow_delays,
    ticks,
)
from spikebridge.neurons import IF, Effect, Sequential

STEPS = 11
BATCH = 2
WIDTH = 3


def learned(training: bool = True, sigma: float = 1.0) -> Delay:
    layer = Delay(torch.tensor([0.0, 1.4, 3.0]), max_delay=4.0, sigma=sigma, dt=1.0, learn="delay")
    return layer.double().train(training)


def signal(seed: int = 0) -> Tensor:
    return torch.randn(STEPS, BATCH, WIDTH, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_evaluation_delays_each_channel_by_whole_steps() -> None:
    x = signal()
    y, state = learned(training=False)(x)
    for channel, steps in enumerate((0, 1, 3)):
        assert y[:steps, :, channel].eq(0).all()
        assert y[steps:, :, channel].equal(x[: STEPS - steps, :, channel])

    assert state.last.shape == (BATCH, 4, WIDTH)
    assert learned().ticks.tolist() == [0, 1, 3]


@pytest.mark.parametrize("steps", [0.5, 1.5, 2.5, 4.5])
@pytest.mark.parametrize("dt", [1.0, 0.001])
def test_half_a_step_is_rounded_in_the_longest_delay_as_in_the_delay(steps: float, dt: float) -> None:
    for layer in (Delay(steps * dt, dt=dt), Delay(torch.tensor([steps * dt]), dt=dt, learn="delay").eval()):
        whole = layer.max_ticks
        assert layer(torch.arange(1.0, 7.0).reshape(6, 1, 1))[0].flatten().tolist() == [0.0] * whole + [
            *range(1, 7 - whole)
        ]
        assert int(layer.ticks) == whole

        # up where the half is exact
        assert whole == steps + 0.5 or (dt < 1 and whole == steps - 0.5)


@pytest.mark.parametrize(
    "kernel",
    [Delay(torch.tensor([1.0, 2.0]), dt=1.0), Exponential(torch.tensor([1.0, 2.0]), dt=1.0), FIR(2, (2,))],
    ids=lambda kernel: type(kernel).__name__,
)
def test_a_value_a_neuron_needs_as_many_neurons(kernel: Kernel) -> None:
    for call in (kernel, HybridUnit(Tumbling(2), kernel)):
        with pytest.raises(ShapeError, match=r"has \w+ of shape \(2,\), which does not broadcast against \(3,\)"):
            call(torch.rand(4, 1, 3))


def test_training_weighs_the_steps_around_the_delay_by_a_gaussian() -> None:
    impulse = torch.zeros(6, 1, WIDTH, dtype=torch.float64)
    impulse[0] = 1
    y, _ = learned()(impulse)

    for channel, delay in enumerate((0.0, 1.4, 3.0)):
        weights = [math.exp(-((k - delay) ** 2) / 2) for k in range(5)]
        expected = torch.tensor([w / sum(weights) for w in weights], dtype=torch.float64)
        torch.testing.assert_close(y[:5, 0, channel], expected, rtol=1e-6, atol=1e-6)

    assert y[5].eq(0).all()


@pytest.mark.parametrize("training", [False, True])
def test_any_cut_and_single_steps_make_the_whole(training: bool) -> None:
    layer = learned(training)
    x = signal()
    whole, end = layer(x)

    for cuts in ([4], [0, 1, 1, 7], list(range(1, STEPS))):
        state = None
        pieces = []
        for start, stop in zip([0, *cuts], [*cuts, STEPS], strict=True):
            y, state = layer(x[start:stop], state)
            pieces.append(y)

        torch.testing.assert_close(torch.cat(pieces), whole, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(state, end)

    y_t, _ = layer.step(x[0], layer.initial_state(x[0]))
    torch.testing.assert_close(y_t, whole[0])


def test_gradients_are_those_of_finite_differences() -> None:
    layer = learned()
    x = signal()[:6, :1].requires_grad_()

    def run(x: Tensor, delay: Tensor) -> Tensor:
        return torch.func.functional_call(layer, {"delay": delay}, (x,))[0]

    # where a delay is at the edge of its range the slopes of both sides differ
    delay = torch.tensor([0.3, 1.4, 3.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(run, (x, delay))


@pytest.mark.untyped
def test_a_delay_is_found_by_descent_and_stays_in_its_range() -> None:
    torch.manual_seed(0)
    x = (torch.rand(60, 4, WIDTH) < 0.1).float()
    target = Delay(torch.tensor([6.0, 2.0, 0.0]), dt=1.0).eval()(x)[0]
    layer = Delay(torch.full((WIDTH,), 3.0), max_delay=6.0, sigma=3.0, dt=1.0, learn="delay")
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)

    for step in range(80):
        narrow_delays(layer, step / 79)
        loss = ((layer(x)[0] - target) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    assert layer.ticks.tolist() == [6, 2, 0]
    assert layer.eval()(x)[0].equal(target)
    assert layer.delay.detach().abs().max() < 8


def test_widths_are_narrowed_from_the_first_to_a_quarter_step() -> None:
    layer = learned(sigma=4.0)
    fixed = Delay(2.0, dt=1.0)
    found = []

    for progress in (0.0, 0.5, 1.0):
        narrow_delays(nn.ModuleList([layer, fixed]), progress)
        found.append(layer.sigma)

    assert found == [4.0, 1.0, 0.25]
    assert fixed.sigma == 1.0
    with pytest.raises(ConfigError, match=r"0 to 1, but got 1\.5"):
        narrow_delays(layer, 1.5)


def test_a_delay_is_saved_with_its_width_and_the_state_depends_on_the_longest_alone() -> None:
    layer = learned()
    other = learned(training=False)
    layer.sigma = 0.5

    with torch.no_grad():
        layer.delay.copy_(torch.tensor([4.0, 0.2, 2.6]))

    other.load_state_dict(layer.state_dict())

    assert (other.ticks.tolist(), other.sigma) == ([4, 0, 3], 0.5)
    assert other(signal())[1].last.shape == (BATCH, 4, WIDTH)


def test_a_learned_delay_on_a_link_is_trained_with_the_network_and_becomes_ticks() -> None:
    unit = HybridUnit(None, Delay(torch.tensor([0.001, 0.0024]), max_delay=0.004, learn="delay"))
    network = HybridNetwork(
        dt=0.001,
        inputs={"x": every(0.001)},
        parts={"sum": nn.Linear(2, 1, bias=False), "fire": IF(v_threshold=2.0)},
        links=[Transmission("x", "sum", unit), Transmission("sum", "fire")],
        outputs=["fire", "sum"],
    )

    nn.init.ones_(network.parts["sum"].weight)
    x = torch.zeros(8, 1, 2)
    x[1, 0, 0] = x[0, 0, 1] = 1  # the second comes one step earlier and is delayed by one step more
    outputs, state = network.eval()({"x": x})

    assert outputs["sum"].flatten().tolist() == [0, 0, 2, 0, 0, 0, 0, 0]
    assert outputs["fire"].flatten().tolist() == [0, 0, 1, 0, 0, 0, 0, 0]

    state = None
    spikes = []
    for x_t in x:
        y, state = network.step({"x": x_t}, state)
        spikes.append(y["fire"])

    assert torch.stack(spikes).equal(outputs["fire"])

    network.train()({"x": x})[0]["sum"].square().sum().backward()
    assert (unit.kernel.delay.grad.abs() > 0).all()


def test_a_delay_in_a_sequence_takes_the_step_of_its_clock() -> None:
    part = Sequential(wait=Delay(torch.tensor([0.002, 0.0])), fire=IF(), dt=0.001).eval()
    spikes, _ = part(torch.tensor([[1.0, 1.0], [0.0, 0.0], [0.0, 0.0]]).reshape(3, 1, 2))
    assert spikes[:, 0].tolist() == [[0, 1], [0, 0], [1, 0]]


def test_a_network_modulates_the_delay_of_each_sample() -> None:
    layer = Delay(1.0, max_delay=3.0, dt=1.0).eval()
    x = torch.arange(1.0, 5.0).reshape(4, 1, 1).expand(4, 2, 1)
    y, _ = layer(x, delay=Effect(torch.tensor([[[0.0], [2.0]]]), "add"))

    assert y[..., 0].T.tolist() == [[0, 1, 2, 3], [0, 0, 0, 1]]

    network = HybridNetwork(
        dt=1.0,
        inputs={"x": every(1.0), "more": every(1.0)},
        parts={"wait": layer},
        links=[Transmission("x", "wait"), Modulation("more", "wait.delay", by="add", delay=ticks(1))],
        outputs=["wait"],
    )

    more = torch.tensor([0.0, 1.0, 1.0, 1.0]).reshape(4, 1, 1).expand(4, 2, 1)
    # before the first value of the link there is no modulation: 1, 1, 2, 2 steps
    assert network({"x": x, "more": more})[0]["wait"][:, 0, 0].tolist() == [0, 1, 1, 2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"delay": -0.1}, "delays from 0 s to max_delay"),
        ({"delay": torch.tensor([0.1, 0.3]), "max_delay": 0.2}, "0.2 s, but got 0.1 to 0.3 s"),
        ({"delay": float("nan")}, "delays from 0 s"),
        ({"delay": 0.0, "learn": "delay"}, r"give max_delay=0\.02"),
        ({"delay": 0.1, "learn": "sigma"}, "cannot learn 'sigma'"),
        ({"delay": 0.1, "sigma": 0.0}, "needs sigma > 0"),
    ],
)
def test_delays_that_cannot_be_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Delay(dt=0.01, **arguments)  # type: ignore[arg-type]
