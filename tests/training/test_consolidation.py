"""Consolidation: numbers worked by hand, stability, closed weights, and what is kept between tasks."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from research.modulation.consolidation import Metaplasticity, SynapticIntelligence, damp_step
from spikebridge.errors import ConfigError
from spikebridge.neurons import LIF, Rectangle, Sequential
from spikebridge.training import EWC, Consolidation, Fisher
from spikebridge.training.continual.ewc import QuadraticPenalty, effective_step_sizes
from spikebridge.training.continual.subnetwork import Subnetwork, masked_step
from spikebridge.training.continual.xdg import RandomGates


class Labelled:
    """Samples with labels, as the loop takes them."""

    def __init__(self, x: Tensor, labels: Tensor, batch_axis: int = 0) -> None:
        self.x = x
        self.labels = labels
        self.batch_axis = batch_axis

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        return self.x.index_select(self.batch_axis, indices), self.labels[indices]


class Square(QuadraticPenalty):
    """A penalty of given A and b."""

    def __init__(self, strength: float, A: float, anchor: float) -> None:
        super().__init__(strength)
        self.A = A
        self.anchor = anchor

    def square(self, name: str) -> tuple[Tensor, Tensor]:
        return torch.tensor([self.A]), torch.tensor([self.A * self.anchor])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_tensors(seed: int) -> dict[str, Tensor]:
    return {"w": torch.randn(3, 4, generator=seeded(seed)), "b": torch.randn(3, generator=seeded(seed + 100))}


def descend(method: Consolidation, optimizer: Callable[..., Any], start: float, pull: float, steps: int) -> float:
    """The last value of a weight whose task has the loss `pull * w`, with the gradient `pull` everywhere."""
    w = nn.Parameter(torch.tensor([start]))
    moves = optimizer([w])
    for _ in range(steps):
        w.grad = torch.full_like(w, pull)
        masked_step({"w": w}, moves, method)

    return w.item()


def sgd(lr: float, momentum: float = 0.0, **more: Any) -> Callable[..., torch.optim.Optimizer]:
    return lambda parameters: torch.optim.SGD(parameters, lr=lr, momentum=momentum, **more)


def test_two_buffers_equal_the_sum_over_all_tasks_in_value_and_gradient() -> None:
    ewc = EWC(strength=3.0)
    copies = []

    for task in range(7):
        information = {name: tensor.square() for name, tensor in random_tensors(10 + task).items()}
        weights = random_tensors(20 + task)
        copies.append((information, weights))

        for name in weights:
            ewc.accumulate(name, information[name], weights[name])

    theta = {name: tensor.requires_grad_() for name, tensor in random_tensors(1).items()}
    ours = ewc.penalty(theta)
    copied = 1.5 * sum((f[name] * (theta[name] - w[name]).square()).sum() for f, w in copies for name in theta)
    torch.testing.assert_close(ours, copied)

    for one, other in zip(
        torch.autograd.grad(ours, list(theta.values())), torch.autograd.grad(copied, list(theta.values())), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_two_buffers_stay_exact_where_large_numbers_nearly_cancel() -> None:
    ewc = EWC(strength=2.0)
    for _ in range(50):
        ewc.accumulate("w", torch.tensor([1000.0]), torch.tensor([100.0]))

    # 50 * 1000 * 0.5^2; each of the three terms is near 5e8, where single precision counts in steps of 32
    assert ewc.penalty({"w": torch.tensor([100.5])}).item() == pytest.approx(12500, rel=1e-4)


def test_the_memory_of_two_buffers_does_not_grow_with_the_tasks() -> None:
    ewc = EWC(strength=1.0)
    for task in range(5):
        ewc.accumulate("w", torch.ones(3), torch.full((3,), float(task)))
        assert sum(tensor.numel() for kind in ewc.buffers.values() for tensor in kind.values()) == 6
        assert len(ewc.scalars) == 2


@pytest.mark.parametrize("strength", [1e-2, 1.0, 1e2, 1e4, 1e6])
@pytest.mark.parametrize(
    "optimizer", [sgd(0.1), sgd(0.1, 0.9), sgd(0.1, 0.9, nesterov=True), lambda p: torch.optim.Adam(p, lr=0.1)]
)
def test_the_proximal_step_never_leaves_the_way_between_loss_and_anchor(
    strength: float, optimizer: Callable[..., Any]
) -> None:
    # the anchor is 2, the pull goes down from 3: a strong penalty ends at 2, a weak one later, at 2 - 1 / strength
    end = descend(Square(strength, 1.0, 2.0), optimizer, 3.0, 1.0, 300)
    assert 2 - max(1 / strength, 0.01) - 1e-3 <= end <= 3


@pytest.mark.parametrize(
    "optimizer",
    [
        sgd(0.05),
        sgd(0.05, 0.8),
        sgd(0.05, 0.8, dampening=0.5),
        sgd(0.05, 0.8, nesterov=True),
        lambda p: torch.optim.Adam(p, lr=0.01),
        lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.0),
        lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True),
    ],
)
def test_the_proximal_step_rests_where_loss_and_penalty_balance(optimizer: Callable[..., Any]) -> None:
    # 1.5 = -strength A (w - anchor) = -4 * 0.5 * (w - 1): w = 0.25
    assert descend(Square(4.0, 0.5, 1.0), optimizer, 1.0, 1.5, 1200) == pytest.approx(0.25, abs=2e-3)


def test_the_steps_of_optimizers_are_those_of_a_constant_gradient() -> None:
    w = nn.Parameter(torch.zeros(1))
    assert effective_step_sizes(torch.optim.SGD([w], lr=0.5)) == {w: 0.5}
    assert effective_step_sizes(torch.optim.SGD([w], lr=0.5, momentum=0.75))[w] == 2.0
    assert effective_step_sizes(torch.optim.SGD([w], lr=0.5, momentum=0.75, dampening=0.5))[w] == 1.0

    adam = torch.optim.Adam([w], lr=0.5, eps=1.0)
    w.grad = torch.full_like(w, 4.0)
    adam.step()

    # after one step the corrected second moment is 4^2
    torch.testing.assert_close(effective_step_sizes(adam)[w], torch.tensor([0.1]))


def test_an_optimizer_that_the_proximal_step_does_not_know_is_refused() -> None:
    w = nn.Parameter(torch.ones(1))
    w.grad = torch.ones(1)
    with pytest.raises(ConfigError, match="supports SGD, Adam and AdamW, but the optimizer is RMSprop"):
        masked_step({"w": w}, torch.optim.RMSprop([w]), Square(1.0, 1.0, 0.0))


# ---- information ----


def brute_force(model: nn.Module, x: Tensor, weights: Tensor, batch_axis: int = 0) -> dict[str, Tensor]:
    """The mean of squared gradients, one sample and class at a time; `weights` is `(N, C)`."""
    sums = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for n in range(x.shape[batch_axis]):
        for label in range(weights.shape[1]):
            y = model(x.narrow(batch_axis, n, 1))
            loss = F.cross_entropy(y[0] if isinstance(y, tuple) else y, torch.tensor([label]))
            gradients = torch.autograd.grad(loss, list(model.parameters()))

            for total, gradient in zip(sums.values(), gradients, strict=True):
                total += weights[n, label] * gradient.square()

    return {name: total / x.shape[batch_axis] for name, total in sums.items()}


def small_network() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))


def small_data() -> Labelled:
    return Labelled(torch.randn(11, 4, generator=seeded()), torch.zeros(11, dtype=torch.int64))


def assert_equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("chunk_size", [1, 4, 50])
def test_information_is_the_mean_of_squared_gradients_of_single_samples(chunk_size: int) -> None:
    model = small_network()
    data = small_data()
    chances = model(data.x).softmax(1).detach()
    predicted = F.one_hot(chances.argmax(1), 3).float()
    assert_equal(Fisher("all", chunk_size=chunk_size).diagonal(model, data), brute_force(model, data.x, chances))
    assert_equal(
        Fisher("predicted", chunk_size=chunk_size).diagonal(model, data), brute_force(model, data.x, predicted)
    )


@pytest.mark.untyped
def test_drawn_labels_give_the_information_of_all_classes_in_the_mean() -> None:
    model = small_network()
    data = small_data()
    expected = Fisher("all").diagonal(model, data)
    draws = [Fisher("drawn", seed=seed).diagonal(model, data) for seed in range(150)]

    for name, tensor in expected.items():
        mean = torch.stack([draw[name] for draw in draws]).mean(0)
        assert float(mean.sum()) == pytest.approx(float(tensor.sum()), rel=0.05)

    again = Fisher("drawn", seed=3).diagonal(model, data)
    assert all(again[name].equal(draws[3][name]) for name in again)


def test_spiking_networks_have_information_too_with_time_first() -> None:
    model = Sequential(fc=nn.Linear(4, 3, bias=False), lif=LIF(tau=0.02, dt=0.01, surrogate=Rectangle(2.0)))
    with torch.no_grad():
        model.fc.weight.copy_(torch.randn(3, 4, generator=seeded()))

    class Rates(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: Tensor) -> Tensor:
            return self.model(x)[0].mean(0)

    rates = Rates()
    x = torch.rand(6, 7, 4, generator=seeded(1))
    data = Labelled(x, torch.zeros(7, dtype=torch.int64), batch_axis=1)
    information = Fisher("all").diagonal(rates, data)
    assert_equal(information, brute_force(rates, x, rates(x).softmax(1).detach(), batch_axis=1))

    assert float(information["model.fc.weight"].sum()) > 0


def test_squaring_the_gradient_of_a_batch_is_something_else() -> None:
    model = small_network()
    data = small_data()
    labels = torch.randint(0, 3, (11,), generator=seeded(5))
    loss = F.cross_entropy(model(data.x), labels)
    of_batch = sum(float(g.square().sum()) for g in torch.autograd.grad(loss, list(model.parameters())))
    exact = sum(float(f.sum()) for f in Fisher("all").diagonal(model, data).values())

    assert of_batch < exact / 3


def test_some_samples_alone_can_be_asked_for() -> None:
    model = small_network()
    data = small_data()
    few = Fisher("all", num_samples=4, seed=2).diagonal(model, data)
    chosen = torch.randperm(11, generator=seeded(2))[:4]
    assert_equal(few, Fisher("all").diagonal(model, Labelled(data.x[chosen], data.labels[chosen])))


def test_information_is_measured_in_eval_mode_and_leaves_the_network_as_it_was() -> None:
    model = nn.Sequential(nn.Linear(4, 5), nn.Dropout(0.5), nn.Linear(5, 3))
    one, other = (Fisher("all").diagonal(model, small_data()) for _ in range(2))

    assert all(one[name].equal(other[name]) for name in one)
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())


# ---- the other methods ----


def test_synaptic_intelligence_by_hand() -> None:
    w = nn.Parameter(torch.tensor([1.0]))
    moves = torch.optim.SGD([w], lr=0.5)
    method = SynapticIntelligence(strength=2.0, damping=0.75)

    for gradient in (1.0, -0.5, 1.0):
        w.grad = torch.tensor([gradient])
        masked_step({"w": w}, moves, method)

    # omega = 1 * 0.5 + 0.5 * 0.25 + 1 * 0.5 (a step against its gradient always counts up); way = -0.75
    assert method.buffers["omega"]["w"].item() == pytest.approx(1.125)

    method.end_of_task(nn.ParameterDict({"w": w}), small_data())
    assert method.buffers["importance"]["w"].item() == pytest.approx(1.125 / (0.5625 + 0.75))
    assert (method.buffers["omega"]["w"].item(), method.buffers["anchor"]["w"].item()) == (0.0, 0.25)
    assert method.penalty({"w": torch.tensor([1.25])}).item() == pytest.approx(2 * 1.125 / 1.3125)


def test_synaptic_intelligence_keeps_copies_and_not_views() -> None:
    w = nn.Parameter(torch.tensor([1.0]))
    method = SynapticIntelligence()
    w.grad = torch.tensor([1.0])
    masked_step({"w": w}, torch.optim.SGD([w], lr=0.5), method)

    assert method.buffers["anchor"]["w"].item() == 1.0
    assert method.buffers["omega"]["w"].item() == 0.5


def test_synaptic_intelligence_counts_the_gradient_of_the_tasks_loss_alone() -> None:
    w = nn.Parameter(torch.tensor([1.0]))
    method = SynapticIntelligence(strength=1.0)
    method.buffers = {
        "omega": {"w": torch.zeros(1)},
        "importance": {"w": torch.tensor([2.0])},
        "anchor": {"w": torch.tensor([0.0])},
    }

    w.grad = torch.tensor([-1.0])
    masked_step({"w": w}, torch.optim.SGD([w], lr=0.25), method)

    # the task moves to 1.25, the penalty to 1.25 / (1 + 0.25 * 2 * 2) = 0.625; omega is -(-1) * (0.625 - 1)
    assert w.item() == 0.625
    assert method.buffers["omega"]["w"].item() == -0.375


def test_metaplasticity_damps_what_shrinks_a_weight_and_reverses_nothing() -> None:
    weight = torch.randn(500, generator=seeded())
    move = torch.randn(500, generator=seeded(1))

    for only_shrinking in (True, False):
        result = damp_step(weight, move, strength=2.0, only_shrinking=only_shrinking)
        assert bool((result * move >= 0).all())

        growing = weight * move > 0
        assert bool((result[growing] == move[growing]).all()) is only_shrinking
        assert bool((result[~growing].abs() < move[~growing].abs()).all())

        # a large step still takes a small weight over zero
        assert bool(((weight + result) * weight < 0).any())


def test_metaplasticity_by_hand() -> None:
    w = nn.Parameter(torch.tensor([2.0, -2.0, 0.0]))
    w.grad = torch.ones(3)
    masked_step({"w": w}, torch.optim.SGD([w], lr=1.0), Metaplasticity(0.5))

    # exp(-1) of the step for the first weight; the second grows, the third has no size
    assert w.tolist() == pytest.approx([2 - 0.36787944, -3, -1])


def test_gates_of_random_tasks_are_independent_and_exactly_open() -> None:
    gates = RandomGates((100, 50), share=0.2, seed=1)
    tasks = torch.stack([gates(task)[0] for task in range(200)]).float()

    assert bool((tasks.sum(1) == 20).all())

    # two gates of 20 of 100 share 20 * 0.2 = 4 in the mean
    shared = (tasks @ tasks.T).fill_diagonal_(0).sum() / (200 * 199)
    assert float(shared) == pytest.approx(4, abs=0.1)
    assert not RandomGates((100,), seed=2)(0)[0].equal(gates(0)[0])


# ---- closed weights ----

METHODS: dict[str, Callable[[], Consolidation]] = {
    "none": Consolidation,
    "ewc": lambda: EWC(100.0),
    "si": lambda: SynapticIntelligence(1.0),
    "metaplasticity": lambda: Metaplasticity(1.0),
}


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(
    "optimizer",
    [
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1),
        lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.1),
    ],
)
def test_closed_weights_do_not_move_at_all(name: str, optimizer: Callable[..., torch.optim.Optimizer]) -> None:
    model = small_network()
    method = METHODS[name]()
    data = small_data()
    parameters = dict(model.named_parameters())
    moves = optimizer(parameters.values())

    for task in range(3):
        gate = RandomGates((5,), share=0.4)(task)[0]
        masks = Subnetwork(indices={"0.weight": (gate,), "0.bias": (gate,), "2.weight": (None, gate)}).masks(parameters)

        for _ in range(4):
            before = {key: p.detach().clone() for key, p in parameters.items()}
            moves.zero_grad()
            F.cross_entropy(model(data.x), data.labels + task % 3).backward()
            masked_step(parameters, moves, method, masks)

            for key, mask in masks.items():
                assert parameters[key][~mask].equal(before[key][~mask])
                assert not parameters[key][mask].equal(before[key][mask])

        kept = {kind: {k: t.clone() for k, t in tensors.items()} for kind, tensors in method.buffers.items()}
        method.end_of_task(model, data, masks=masks)
        for kind, tensors in kept.items():
            for key, tensor in tensors.items():
                closed = ~masks[key] if key in masks else torch.zeros_like(tensor, dtype=torch.bool)
                assert method.buffers[kind][key][closed].equal(tensor[closed])


@pytest.mark.parametrize("name", METHODS)
def test_what_a_method_keeps_can_be_saved_and_given_to_another(name: str) -> None:
    model = small_network()
    data = small_data()
    one = METHODS[name]()
    other = METHODS[name]()
    parameters = dict(model.named_parameters())
    moves = torch.optim.SGD(parameters.values(), lr=0.1)
    F.cross_entropy(model(data.x), data.labels).backward()
    masked_step(parameters, moves, one)
    one.end_of_task(model, data)
    other.load_state_dict(one.state_dict())
    elsewhere = {key: p.detach() + 1 for key, p in parameters.items()}

    assert other.penalty(elsewhere).equal(one.penalty(elsewhere))
    assert bool(one.penalty(elsewhere) > 0) == (name not in ("none", "metaplasticity"))


def test_the_state_of_another_method_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"SynapticIntelligence keeps .*, but the state has information, pull"):
        SynapticIntelligence().load_state_dict(EWC(1.0).state_dict())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EWC(-1.0), "EWC needs a strength of 0 or more, but got -1.0"),
        (lambda: SynapticIntelligence(damping=0.0), "damping should be above 0, but is 0.0"),
        (lambda: Metaplasticity(-1.0), "strength of 0 or more, but got -1.0"),
        (lambda: Metaplasticity(1.0, damp="some"), "'shrinking' or 'all', but is 'some'"),
        (lambda: Fisher(labels="true"), "'drawn', 'all' or 'predicted', but is 'true'"),
        (lambda: Fisher(num_samples=0), "at least one sample, but got .*num_samples=0"),
        (lambda: RandomGates((100,), share=0.001), "a share of 0.001 opens no neuron"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()
