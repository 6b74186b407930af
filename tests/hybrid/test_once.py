"""Links that bring a value in one tick alone, the one in which it arrives."""

import pytest
import torch
from torch import Tensor, nn

from spikebridge.errors import ConfigError
from spikebridge.hybrid import (
    HybridNetwork,
    HybridUnit,
    Modulation,
    SetPool,
    Sum,
    Transmission,
    Tumbling,
    Wake,
    every,
    restart,
    ticks,
)
from spikebridge.neurons import IF, Integrator

pytestmark = pytest.mark.untyped


def network_of(*links: object, target: nn.Module | None = None, clock: float = 1.0, slow: float = 3.0) -> HybridNetwork:
    """A fast signal x and a slow one, cue, that lead into one part."""
    return HybridNetwork(
        dt=1.0,
        inputs={"x": every(1.0), "cue": every(slow)},
        parts={"part": target or Pair()},
        links=[Transmission("x", "part", held=clock != 1.0), *links],
        outputs=["part"],
        clocks={"part": every(clock)} if clock != 1.0 else None,
    )


class Pair(nn.Module):
    """The second of two signals."""

    def forward(self, x: Tensor, cue: Tensor) -> Tensor:
        return cue + 0 * x


def signals(number: int, slow: int = 3) -> dict[str, Tensor]:
    cues = -(-number // slow)
    return {"x": torch.ones(number, 1, 1), "cue": torch.arange(1.0, cues + 1).reshape(cues, 1, 1)}


def in_steps(network: HybridNetwork, inputs: dict[str, Tensor], slow: int = 3) -> list[float]:
    state = network.initial_state(inputs)
    rows = []
    for tick in range(len(inputs["x"])):
        now = {"x": inputs["x"][tick]} | ({"cue": inputs["cue"][tick // slow]} if tick % slow == 0 else {})
        outputs, state = network.step(now, state)
        rows += outputs["part"].flatten().tolist()

    return rows


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        (Transmission("cue", "part", held=True), [1, 1, 1, 2, 2, 2, 3]),
        (Transmission("cue", "part", once=True), [1, 0, 0, 2, 0, 0, 3]),
        (Transmission("cue", "part", once=True, initial=9.0), [1, 9, 9, 2, 9, 9, 3]),
        (Transmission("cue", "part", once=True, initial=torch.tensor([7.0])), [1, 7, 7, 2, 7, 7, 3]),
        (Transmission("cue", "part", once=True, delay=ticks(2)), [0, 0, 1, 0, 0, 2, 0]),
    ],
)
def test_a_value_is_read_only_in_the_tick_in_which_it_arrives(link: Transmission, expected: list[float]) -> None:
    network = network_of(link)
    outputs, _ = network(signals(7))
    assert outputs["part"].flatten().tolist() == expected
    assert in_steps(network, signals(7)) == expected


def test_a_target_of_another_clock_reads_the_newest_value_at_its_first_tick_from_then_on() -> None:
    network = network_of(Transmission("cue", "part", once=True), clock=2.0)
    outputs, _ = network(signals(10), ticks=10)
    # values arrive at 0, 3, 6 and 9, ticks of the part are 0, 2, 4, 6 and 8
    assert outputs["part"].flatten().tolist() == [1, 0, 2, 3, 0]
    begin, state = network({"x": torch.ones(4, 1, 1), "cue": signals(10)["cue"][:2]}, ticks=4)
    rest, _ = network({"x": torch.ones(6, 1, 1), "cue": signals(10)["cue"][2:]}, state, ticks=6)
    assert torch.equal(torch.cat([begin["part"], rest["part"]]), outputs["part"])


@pytest.mark.parametrize("by", ["add", "multiply", "replace"])
def test_a_modulation_acts_only_in_the_tick_in_which_its_value_arrives(by: str) -> None:
    network = network_of(Modulation("cue", "part.r", by=by, once=True), target=Integrator(tau=float("inf")))
    outputs, _ = network(signals(6))
    first, second = {"add": (2, 3), "multiply": (1, 2), "replace": (1, 2)}[by]
    expected = [first, first + 1, first + 2, first + second + 2, first + second + 3, first + second + 4]
    assert outputs["part"].flatten().tolist() == expected
    assert in_steps(network, signals(6)) == expected


def test_a_modulated_weight_is_as_before_in_all_other_ticks() -> None:
    part = nn.Linear(1, 1, bias=False)
    nn.init.ones_(part.weight)
    unit = HybridUnit(None, None, nn.Unflatten(-1, (1, 1)))
    network = network_of(Modulation("cue", "part.weight", unit, by="replace", once=True), target=part)
    outputs, _ = network(signals(6))
    assert outputs["part"].flatten().tolist() == [1, 1, 1, 2, 1, 1] == in_steps(network, signals(6))


def test_gradients_reach_the_values_that_were_read() -> None:
    network = network_of(Transmission("cue", "part", once=True))
    inputs = signals(7)
    inputs["cue"].requires_grad_()
    network(inputs)[0]["part"].sum().backward()
    assert inputs["cue"].grad is not None
    assert inputs["cue"].grad.flatten().tolist() == [1, 1, 1]


def test_a_restarted_sample_reads_no_value_of_the_episode_before() -> None:
    network = network_of(Transmission("cue", "part", once=True, delay=ticks(1)))
    _, state = network(signals(4))
    outputs, _ = network.step({"x": torch.ones(1, 1)}, restart(network, state, torch.tensor([True])))
    assert outputs["part"].item() == 0


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: Transmission("a", "b", held=True, once=True), "held=True and once=True"),
        (lambda: Transmission("a", "b", once="yes"), "once=True or False"),
        (
            lambda: HybridNetwork(
                dt=1.0,
                inputs={"x": every(1.0)},
                parts={"a": nn.Identity(), "b": nn.Identity()},
                links=[Transmission("x", "a"), Wake("x", "a", asleep="none"), Transmission("a", "b", once=True)],
                outputs=["b"],
                clocks={"b": every(1.0)},
            ),
            "leave it out",
        ),
        (lambda: network_of(Transmission("cue", "part", once=True)).compiled(), "act once on part 'part'"),
    ],
)
def test_what_a_link_cannot_do_once_is_one_line(build: object, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        build()
    assert "\n" not in str(caught.value)


class Detector(nn.Module):
    """A set of members, and the mask of those that count."""

    def __init__(self) -> None:
        super().__init__()
        self.score = nn.Linear(1, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"found": self.score(x), "mask": (x > 0).squeeze(-1)}


def set_network(unit: HybridUnit) -> HybridNetwork:
    return HybridNetwork(
        dt=1.0,
        inputs={"x": every(1.0)},
        parts={"detector": Detector(), "snn": IF()},
        links=[Transmission("x", "detector"), Transmission("detector.found", "snn", unit, mask="detector.mask")],
        outputs=["snn"],
    )


@pytest.mark.parametrize(("by", "expected"), [("mean", 2.0), ("sum", 4.0), ("max", 3.0)])
def test_only_members_of_the_mask_count(by: str, expected: float) -> None:
    network = HybridNetwork(
        dt=1.0,
        inputs={"x": every(1.0), "mask": every(1.0)},
        parts={"out": nn.Identity()},
        links=[Transmission("x", "out", HybridUnit(None, None, SetPool(by)), mask="mask")],
        outputs=["out"],
    )
    x = torch.tensor([[1.0, 3.0, 1e9], [4.0, 4.0, 4.0]]).reshape(2, 1, 3, 1)
    mask = torch.tensor([[True, True, False], [False, False, False]]).reshape(2, 1, 3)
    outputs, _ = network({"x": x, "mask": mask})
    assert outputs["out"].flatten().tolist() == [expected, 0.0]


def test_members_that_do_not_count_are_zero_inside_of_a_window_and_have_no_gradient() -> None:
    network = set_network(HybridUnit(Tumbling(2), Sum(), SetPool("sum")))
    x = torch.tensor([[1.0, -2.0], [5.0, 7.0]]).reshape(2, 1, 2, 1).requires_grad_()
    nn.init.ones_(network.parts["detector"].score.weight)
    nn.init.zeros_(network.parts["detector"].score.bias)
    unit = network.unit_of(network.routes[1])
    seen = []
    unit.register_forward_hook(lambda module, arguments, result: seen.append(result[0]))
    network({"x": x})
    # member 2 does not count in the first step: 1 + 5 and 0 + 7
    assert seen[-1].flatten().tolist() == [13.0]
    seen[-1].sum().backward()
    assert x.grad.flatten().tolist() == [1.0, 0.0, 1.0, 1.0]


def test_sets_give_the_same_in_steps_and_for_single_samples() -> None:
    torch.manual_seed(0)
    network = set_network(HybridUnit(None, None, SetPool("mean"))).double()
    x = torch.randn(9, 3, 4, 1, dtype=torch.float64)
    whole, _ = network({"x": x})
    state = None
    for t in range(9):
        outputs, state = network.step({"x": x[t]}, state)
        torch.testing.assert_close(outputs["snn"], whole["snn"][t], rtol=0, atol=1e-12)

    alone, _ = network({"x": x[:, [1]]})
    torch.testing.assert_close(alone["snn"], whole["snn"][:, [1]], rtol=0, atol=1e-12)


def test_a_mask_of_floats_weighs_and_is_trained() -> None:
    weights = torch.tensor([[0.25, 0.75]], requires_grad=True)
    y = SetPool("mean")(torch.tensor([[[1.0], [3.0]]]), weights)
    assert y.item() == 2.5
    y.backward()
    assert weights.grad.flatten().tolist() == [-1.5, 0.5]


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: SetPool("median"), "one of 'mean', 'sum', 'max'"),
        (lambda: Transmission("a", "b", mask="m"), "has the mask 'm', but no nonlinearity"),
        (
            lambda: Transmission("a", "b", HybridUnit(None, None, SetPool()), context="c", mask="m"),
            "the context 'c' and the mask 'm'",
        ),
        (
            lambda: HybridNetwork(
                dt=1.0,
                inputs={"x": every(1.0), "mask": every(2.0)},
                parts={"out": nn.Identity()},
                links=[Transmission("x", "out", HybridUnit(None, None, SetPool()), mask="mask")],
                outputs=["out"],
            ),
            "give them one clock",
        ),
        (
            lambda: HybridNetwork(
                dt=1.0,
                inputs={"x": every(1.0), "mask": every(1.0)},
                parts={"out": nn.Identity()},
                links=[Transmission("x", "out", HybridUnit(None, None, SetPool()), mask="mask")],
                outputs=["out"],
            )({"x": torch.ones(1, 1, 3, 1), "mask": torch.ones(1, 1, 2)}),
            "names no members of the set",
        ),
    ],
)
def test_a_mask_that_does_not_fit_is_one_line(build: object, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        build()
    assert "\n" not in str(caught.value)
