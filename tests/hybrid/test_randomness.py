"""Explicit randomness: numbers are functions of seed, draw and place; no generator is touched in evaluation."""

from typing import Any

import torch
from torch import Tensor, nn

from spikebridge.coding import BernoulliEncoder
from spikebridge.hybrid import Bernoulli, Hold, HybridNetwork, HybridUnit, Transmission, every
from spikebridge.hybrid.unit.discretizer import draw_uniform, seed_of_path, start_draws, straight_through
from spikebridge.hybrid.unit.unit import UnitState
from spikebridge.neurons import Stateful, select

CPU = torch.device("cpu")


def test_draws_are_uniform_and_unrelated_in_time_batch_and_place() -> None:
    uniform, state = draw_uniform(start_draws(1, 40, CPU), 50, (60,))
    assert state.num_draws == 50
    assert uniform.min() >= 0 and uniform.max() < 1

    share = torch.histc(uniform, 10, 0, 1) / uniform.numel()
    # 120 000 numbers: a tenth within 5 standard deviations of sqrt(0.09 / 120000)
    assert (share - 0.1).abs().max() < 5 * (0.09 / uniform.numel()) ** 0.5

    flat = uniform - 0.5
    for axis in (0, 1, 2):
        lag = (flat.narrow(axis, 1, flat.shape[axis] - 1) * flat.narrow(axis, 0, flat.shape[axis] - 1)).mean() * 12
        assert lag.abs() < 5 / uniform.numel() ** 0.5


def test_single_steps_draw_the_numbers_of_the_whole() -> None:
    state = start_draws(seed=0, batch=2, device=CPU)
    both, _ = draw_uniform(state, 2, (3,))
    first, state = draw_uniform(state, 1, (3,))
    second, state = draw_uniform(state, 1, (3,))

    assert torch.equal(both, torch.cat([first, second]))


def test_a_seed_of_a_path_stays_the_same_for_ever() -> None:
    assert seed_of_path("units.eye_to_ear.discretizer") == 1767585387
    assert seed_of_path("units.eye_to_arm.discretizer") == 1756836342


def test_a_spike_has_the_gradient_of_its_probability() -> None:
    x = torch.tensor(0.3, requires_grad=True)
    y = straight_through(x.round(), 2 * x)
    y.backward()

    assert y.item() == 0.0
    assert x.grad is not None
    assert x.grad.item() == 2.0


def test_other_seeds_give_other_numbers_and_the_same_seed_the_same() -> None:
    one, _ = draw_uniform(start_draws(1, 2, CPU), 3, (4,))
    again, _ = draw_uniform(start_draws(1, 2, CPU), 3, (4,))
    other, _ = draw_uniform(start_draws(2, 2, CPU), 3, (4,))

    assert torch.equal(one, again)
    assert not torch.isclose(one, other).any()
    assert len(one.unique()) == one.numel()


def test_numbers_do_not_depend_on_dtype_and_stay_the_same_for_ever() -> None:
    # a change of these numbers changes every stochastic result: it must be on purpose
    uniform, _ = draw_uniform(start_draws(0, 1, CPU), 1, (4,))
    assert (uniform * 2**24).long().flatten().tolist() == [8892644, 16571184, 14485000, 187906]

    half = torch.full((8, 1, 1, 4), 0.5)
    spikes, _ = Bernoulli().eval()(half, length=1)
    double, _ = Bernoulli().eval()(half.double(), length=1)

    assert torch.equal(spikes.double(), double)


def test_spikes_come_with_their_probability() -> None:
    probability = torch.tensor([-1.0, 0.0, 0.1, 0.5, 0.9, 1.0, 2.0])
    spikes, _ = Bernoulli().eval()(probability.expand(4000, 1, 1, 7), length=1)
    rate = spikes.mean((0, 1, 2))

    assert rate[[0, 1]].tolist() == [0, 0]
    assert rate[[5, 6]].tolist() == [1, 1]

    deviation = (probability * (1 - probability) / 4000).clamp(min=0).sqrt()
    assert ((rate - probability).abs()[2:5] < 4 * deviation[2:5]).all()


def test_the_gradient_goes_straight_through_within_the_range() -> None:
    probability = torch.tensor([-1.0, 0.3, 0.7, 2.0]).reshape(1, 1, 1, 4).requires_grad_()
    Bernoulli().eval()(probability, length=1)[0].sum().backward()
    assert probability.grad.flatten().tolist() == [0, 1, 1, 0]


def test_evaluation_touches_no_generator_and_training_takes_one_seed_a_stream() -> None:
    unit = HybridUnit(Hold(4), None, None, Bernoulli(seed=5))
    x = torch.full((3, 2, 6), 0.5)
    before = torch.get_rng_state()
    one, _ = unit.eval()(x)

    assert torch.equal(torch.get_rng_state(), before)

    unit.train()
    drawn = []

    for _ in range(2):
        torch.manual_seed(0)
        first, state = unit(x[:1])
        middle = torch.get_rng_state()
        rest, _ = unit(x[1:], state)

        assert torch.equal(torch.get_rng_state(), middle)

        drawn.append(torch.cat([first, rest]))

    assert torch.equal(*drawn)
    assert not torch.equal(drawn[0], one)


def test_a_selected_sample_keeps_its_draws() -> None:
    unit = HybridUnit(None, None, None, Bernoulli()).eval()
    x = torch.full((10, 3, 20), 0.5)
    whole, _ = unit(x)
    _, state = unit(x[:4])
    alone, _ = unit(x[4:, [2]], select(state, [2]))

    assert torch.equal(alone, whole[4:, [2]])
    assert not torch.equal(whole[:, 0], whole[:, 1])


def noisy_network() -> HybridNetwork:
    return HybridNetwork(
        dt=1.0,
        inputs={"x": every(2.0)},
        parts={"a": nn.Identity(), "b": nn.Identity()},
        links=[
            Transmission("x", "a", HybridUnit(None, None, None, Bernoulli(seed=1))),
            Transmission("a", "b", HybridUnit(Hold(2), None, None, Bernoulli(seed=2))),
        ],
        outputs=["a", "b"],
    )


def two_encoders(first: str = "left", seed: int | None = None) -> HybridNetwork:
    """One input on two links with an encoder each, and a part with an encoder of its own."""
    links = [
        Transmission("x", name, BernoulliEncoder(4, seed if name == first else None))
        for name in sorted(["left", "right"], reverse=first == "right")
    ]

    parts = {"left": nn.Identity(), "right": nn.Identity(), "own": Own()}
    links.append(Transmission("x", "own"))

    return HybridNetwork(dt=1.0, inputs={"x": every(4.0)}, parts=parts, links=links, outputs=[*parts]).eval()


class Own(Stateful):
    """A part with two encoders inside."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = (HybridUnit(None, None, None, Bernoulli()) for _ in range(2))

    def initial_state(self, x_t: Tensor) -> tuple[UnitState, UnitState]:
        return self(x_t.new_empty((0, *x_t.shape)))[1]

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        one, two = state if state is not None else (None, None)
        y, one = self.one(x, one)
        z, two = self.two(x, two)
        return torch.stack([y, z], -1), (one, two)


def test_stages_of_a_network_draw_independently_by_default() -> None:
    network = two_encoders()
    x = torch.full((50, 2, 30), 0.5)
    outputs, _ = network({"x": x})
    draws = [outputs["left"][::4], outputs["right"][::4], *outputs["own"].unbind(-1)]

    for i, one in enumerate(draws):
        for other in draws[:i]:
            # 3000 pairs of fair coins: half agree, to within 5 standard deviations of sqrt(3000) / 2
            assert abs((one == other).sum().item() - 1500) < 5 * 3000**0.5 / 2


def test_a_network_built_again_or_in_another_order_draws_the_same() -> None:
    x = torch.full((5, 2, 30), 0.5)
    one, again, reordered = (
        network({"x": x})[0] for network in (two_encoders(), two_encoders(), two_encoders("right"))
    )
    for name, y in one.items():
        assert torch.equal(y, again[name])
        assert torch.equal(y, reordered[name])


def test_default_seeds_draw_the_same_in_steps_and_cuts() -> None:
    network = two_encoders()
    x = torch.full((5, 2, 30), 0.5)
    whole, _ = network({"x": x})
    first, state = network({"x": x[:2]}, ticks=7)
    rest, _ = network({"x": x[2:]}, state, ticks=13)
    state = network.initial_state({"x": x})
    steps = []

    for tick in range(20):
        outputs, state = network.step({"x": x[tick // 4]} if tick % 4 == 0 else {}, state)
        steps.append(outputs["left"])

    for name, y in whole.items():
        assert torch.equal(torch.cat([first[name], rest[name]]), y)

    assert torch.equal(torch.stack(steps), whole["left"])


def test_a_seed_that_is_given_stays() -> None:
    network = two_encoders(seed=7)
    assert network.units["x_to_left"].discretizer.seed == 7
    assert network.units["x_to_right"].discretizer.seed == seed_of_path("units.x_to_right.discretizer")

    moved = HybridNetwork(
        dt=1.0,
        inputs={"x": every(4.0)},
        parts={"other": nn.Identity()},
        links=[Transmission("x", "other", network.units["x_to_right"])],
        outputs=["other"],
    )

    assert moved.units["x_to_other"].discretizer.seed == seed_of_path("units.x_to_right.discretizer")


def test_in_training_too_whole_and_step_and_cut_draw_the_same() -> None:
    network = noisy_network().train()
    x = torch.full((5, 2, 30), 0.5)
    torch.manual_seed(3)
    whole, _ = network({"x": x})
    torch.manual_seed(3)
    first, state = network({"x": x[:2]}, ticks=3)
    rest, _ = network({"x": x[2:]}, state, ticks=7)
    torch.manual_seed(3)
    state = network.initial_state({"x": x})
    steps = []

    for tick in range(10):
        outputs, state = network.step({"x": x[tick // 2]} if tick % 2 == 0 else {}, state)
        steps.append(outputs["b"])

    assert torch.equal(torch.cat([first["b"], rest["b"]]), whole["b"])
    assert torch.equal(torch.stack(steps), whole["b"])


def test_how_many_numbers_a_stream_takes_does_not_depend_on_what_ran_before() -> None:
    x = torch.full((5, 2, 30), 0.5)
    after = []
    network = noisy_network().train()

    for _ in range(3):
        torch.manual_seed(3)
        network({"x": x})
        after.append(torch.rand(()).item())

    assert after[0] == after[1] == after[2]
