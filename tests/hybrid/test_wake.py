"""Parts that run only when they are awake: numbers worked by hand, demand, training, and errors."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spikebridge.errors import ConfigError, DataError, ShapeError, StateError
from spikebridge.hybrid import (
    HybridNetwork,
    HybridUnit,
    Mean,
    Modulation,
    Since,
    Sliding,
    Sum,
    Transmission,
    Tumbling,
    Wake,
    every,
    ticks,
)
from spikebridge.neurons import LIF, Integrator, Izhikevich, Sequential
from spikebridge.ops import reference

pytestmark = pytest.mark.untyped


class Counted(nn.Module):
    """Doubles its rows, and counts them."""

    def __init__(self) -> None:
        super().__init__()
        self.num_rows = 0

    def forward(self, x: Tensor) -> Tensor:
        self.num_rows += len(x)
        return 2 * x


def network_of(eye: nn.Module, *others: Any, outputs: tuple[str, ...] = (), **settings: Any) -> HybridNetwork:
    """A part "eye" that the input "flags" wakes, and further links."""
    return HybridNetwork(
        dt=1.0,
        inputs={"flags": every(1.0), "x": every(1.0)},
        parts={"eye": eye},
        links=[Transmission("x", "eye"), Wake("flags", "eye", **settings), *others],
        outputs=["eye", "eye.awake", *outputs],
    )


def column(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float32).reshape(-1, 1, 1)


FLAGS = column(0, 1, 0, 0, 1, 1, 0)
X = column(1, 2, 3, 4, 5, 6, 7)


def test_a_part_holds_its_output_or_gives_zeros_while_it_is_asleep() -> None:
    for asleep, expected in (("hold", [0, 4, 4, 4, 10, 12, 12]), ("zero", [0, 4, 0, 0, 10, 12, 0])):
        outputs, _ = network_of(Counted(), asleep=asleep)({"flags": FLAGS, "x": X})
        assert outputs["eye"].flatten().tolist() == expected
        assert outputs["eye.awake"].flatten().tolist() == FLAGS.flatten().tolist()


def test_a_plain_part_is_called_once_for_the_awake_rows() -> None:
    eye = Counted()
    network = network_of(eye)
    state = network.initial_state({"flags": FLAGS, "x": X})
    eye.num_rows = 0
    network({"flags": FLAGS, "x": X}, state)
    assert eye.num_rows == 3


@pytest.mark.parametrize(
    ("state", "replay", "expected"),
    [
        # a sum that halves each tick
        ("keep", 0, [0, 2, 2, 2, 6, 9, 9]),
        ("leak", 0, [0, 2, 2, 2, 5.25, 8.625, 8.625]),  # 2 / 4 at waking, then half of it and 5
        ("reset", 0, [0, 2, 2, 2, 5, 8.5, 8.5]),
        ("keep", 1, [0, 2.5, 2.5, 2.5, 7.625, 9.8125, 9.8125]),  # tick 3 is run over again, tick 2 is lost
        ("leak", 1, [0, 2.5, 2.5, 2.5, 7.3125, 9.65625, 9.65625]),  # and tick 2 leaks
        ("reset", 9, [0, 2.5, 2.5, 2.5, 8.0625, 10.03125, 10.03125]),  # all samples of the stream
    ],
)
def test_the_state_at_waking(state: str, replay: int, expected: list[float]) -> None:
    part = Integrator(1 / torch.log(torch.tensor(2.0)).item())
    network = network_of(part, state=state, replay=replay)
    inputs = {"flags": FLAGS, "x": X}
    outputs, _ = network(inputs)
    assert outputs["eye"].flatten().tolist() == pytest.approx(expected, abs=1e-6)

    at = network.initial_state(inputs)
    for t, value in enumerate(expected):
        row, at = network.step({name: x[t] for name, x in inputs.items()}, at)
        assert row["eye"].item() == pytest.approx(value, abs=1e-6)


def test_a_flag_keeps_a_part_awake_for_its_stay() -> None:
    outputs, _ = network_of(Counted(), stay=ticks(2))({"flags": FLAGS, "x": X})
    assert outputs["eye.awake"].flatten().tolist() == [0, 1, 1, 0, 1, 1, 1]


def test_of_several_flags_since_the_last_tick_of_the_part_one_is_enough() -> None:
    network = HybridNetwork(
        dt=1.0,
        inputs={"flags": every(1.0), "x": every(3.0, phase=2.0)},
        parts={"eye": Counted()},
        links=[Transmission("x", "eye"), Wake("flags", "eye")],
        outputs=["eye.awake"],
    )
    outputs, _ = network({"flags": column(0, 1, 0, 0, 0, 0, 1, 0, 0), "x": X[:3]})
    assert outputs["eye.awake"].flatten().tolist() == [1, 0, 1]


def test_several_values_of_a_sample_wake_it_by_the_largest() -> None:
    network = network_of(Counted())
    flags = torch.tensor([[[0.0, 0.4, 0.5], [0.1, 0.2, 0.3]]])
    outputs, _ = network({"flags": flags, "x": torch.ones(1, 2, 1)})
    assert outputs["eye.awake"].flatten().tolist() == [1, 0]


def test_a_woken_part_wakes_the_next() -> None:
    network = HybridNetwork(
        dt=1.0,
        inputs={"flags": every(1.0), "x": every(1.0)},
        parts={"eye": nn.Identity(), "mind": Counted()},
        links=[
            Transmission("x", "eye"),
            Transmission("eye", "mind"),
            Wake("flags", "eye", asleep="zero"),
            Wake("eye", "mind", asleep="zero"),
        ],
        outputs=["mind", "mind.awake"],
    )
    outputs, _ = network({"flags": FLAGS, "x": column(1, 0, 1, 1, 1, 0, 1)})
    assert outputs["mind.awake"].flatten().tolist() == [0, 0, 0, 0, 1, 0, 0]


def test_a_window_since_the_last_waking_holds_what_came_meanwhile() -> None:
    meanwhile = Transmission(
        "x", "eye", HybridUnit(Since("eye.awake"), Sum()), into="missed", delay=ticks(1), name="meanwhile"
    )

    class Both(nn.Module):
        def forward(self, x: Tensor, missed: Tensor) -> Tensor:
            return missed

    inputs = {"flags": FLAGS, "x": X}
    network = network_of(Both(), meanwhile)
    whole, _ = network(inputs)
    # at tick 4 the samples of ticks 1 (the last waking), 2 and 3
    assert whole["eye"].flatten().tolist() == [0, 1, 1, 1, 2 + 3 + 4, 5, 5]

    state = network.initial_state(inputs)
    for t in range(7):
        row, state = network.step({name: x[t] for name, x in inputs.items()}, state)
        assert torch.equal(row["eye"], whole["eye"][t])


@pytest.mark.parametrize(
    ("unit", "held", "expected"),
    [
        (HybridUnit(None, Sum()), True, [-1, 2, 2, 2, 7, 13, 13]),
        (HybridUnit(Tumbling(2), Sum()), True, [-1, -1, -1, -1, 7, 7, 7]),
        (HybridUnit(Sliding(2), Sum()), True, [-1, -1, -1, -1, 7, 11, 11]),
        (None, False, [-1, 2, -1, -1, 5, 6, -1]),
    ],
)
def test_links_from_a_part_that_gives_nothing_asleep_skip_the_tick(
    unit: HybridUnit | None, held: bool, expected: list[float]
) -> None:
    network = HybridNetwork(
        dt=1.0,
        inputs={"flags": every(1.0), "x": every(1.0)},
        parts={"eye": nn.Identity(), "sum": nn.Identity()},
        links=[
            Transmission("x", "eye"),
            Wake("flags", "eye", asleep="none"),
            Transmission("eye", "sum", unit, held=held, initial=-1.0),
        ],
        outputs=["sum"],
        clocks={"sum": every(1.0)},
    )
    outputs, _ = network({"flags": FLAGS, "x": X})
    assert outputs["sum"].flatten().tolist() == expected


def test_a_network_says_which_inputs_the_next_tick_needs() -> None:
    network = network_of(Counted(), delay=ticks(1))
    outputs, state = network.step({"flags": torch.tensor([[1.0], [0.0]]), "x": torch.ones(2, 1)})
    assert {name: flags.tolist() for name, flags in network.wanted(state).items()} == {
        "flags": [True, True],
        "x": [True, False],
    }

    outputs, state = network.step({"flags": torch.zeros(2, 1), "x": torch.ones(2, 1)}, state)
    assert network.wanted(state)["x"].tolist() == [False, False]
    outputs, state = network.step({"flags": torch.ones(2, 1)}, state)
    assert outputs["eye"].tolist() == [[2.0], [0.0]]
    with pytest.raises(ShapeError, match=r"'x' has no sample at this tick.*'eye' is awake for the samples \[0, 1\]"):
        network.step({"flags": torch.ones(2, 1)}, state)


def test_an_input_is_needed_where_a_flag_is_made_in_the_tick_itself() -> None:
    network = network_of(Counted())
    _, state = network.step({"flags": torch.zeros(1, 1), "x": torch.ones(1, 1)})
    assert network.wanted(state)["x"].tolist() == [True]
    outputs, _ = network.step({"flags": torch.zeros(1, 1)}, state)  # nobody is awake after all
    assert outputs["eye.awake"].tolist() == [[0.0]]


@pytest.mark.parametrize("gradient", ["none", "straight_through", "expected"])
def test_the_gradient_of_a_flag(gradient: str) -> None:
    network = network_of(Counted(), gradient=gradient).train()
    flags = column(0.25, 0.75, 0.25).requires_grad_()
    outputs, _ = network({"flags": flags, "x": X[:3].clone().requires_grad_()})
    outputs["eye"][2].sum().backward()
    if gradient == "none":
        assert outputs["eye"].flatten().tolist() == [0, 4, 4]
        assert flags.grad is None
    elif gradient == "straight_through":
        # the last output is held since tick 1, where it would have been 0 asleep; at tick 2 it would be 6 awake
        assert outputs["eye"].flatten().tolist() == [0, 4, 4]
        assert flags.grad.flatten().tolist() == [0, 4, 6 - 4]
    else:
        # y = w f + (1 - w) y of the tick before
        y = [0.5, 0.75 * 4 + 0.25 * 0.5]
        assert outputs["eye"].flatten().tolist() == [*y, 0.25 * 6 + 0.75 * y[1]]
        assert flags.grad.flatten().tolist() == pytest.approx([0.75 * 0.25 * 2, 0.75 * (4 - 0.5), 6 - y[1]])
        assert network.eval()({"flags": flags, "x": X[:3]})[0]["eye"].flatten().tolist() == [0, 4, 4]


@pytest.mark.parametrize("stateful", [False, True])
def test_gradients_of_the_awake_rows_alone_are_those_of_all_rows(stateful: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    flags = (torch.rand(5, 3, 1, generator=generator) < 0.4).float()
    x = torch.randn(5, 3, 1, 6, 5, generator=generator)
    layers = [nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(24, 2)]
    torch.manual_seed(0)
    eye = Sequential(*layers, LIF(0.01)) if stateful else nn.Sequential(*layers)
    network = network_of(eye, gradient="none")
    found = []
    for mode in (torch.enable_grad(), reference()):
        leaf = x.clone().requires_grad_()
        network.zero_grad()
        with mode:
            outputs, _ = network({"flags": flags, "x": leaf})
        (outputs["eye"] ** 2).sum().backward()
        found.append([outputs["eye"], leaf.grad, *[p.grad.clone() for p in network.parameters()]])

    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_the_expected_cost_is_the_share_awake_times_the_products_of_a_run() -> None:
    network = network_of(nn.Linear(1, 4))
    flags = FLAGS.clone().requires_grad_()
    outputs, _ = network({"flags": flags, "x": X})
    cost = network.expected_cost(outputs)
    assert cost.item() == pytest.approx(4 * 3 / 7)
    assert network.expected_cost(outputs, {"eye": 70.0}).item() == pytest.approx(30.0)
    cost.backward()
    assert flags.grad.flatten().tolist() == pytest.approx([4 / 7] * 7)

    with pytest.raises(ConfigError, match=r"needs 'eye.awake' among the outputs"):
        network.expected_cost({"eye": outputs["eye"]})


def test_a_modulated_part_sleeps_too() -> None:
    for eye, path in ((nn.Linear(1, 1, bias=False), "weight"), (LIF(1.0), "v_threshold")):
        network = HybridNetwork(
            dt=1.0,
            inputs={"flags": every(1.0), "x": every(1.0), "m": every(2.0)},
            parts={"eye": eye},
            links=[Transmission("x", "eye"), Wake("flags", "eye"), Modulation("m", f"eye.{path}")],
            outputs=["eye"],
        )
        inputs = {"flags": (torch.rand(8, 3, 1) < 0.5).float(), "x": torch.rand(8, 3, 1), "m": torch.rand(4, 3, 1)}
        if path == "weight":
            inputs["m"] = inputs["m"].unsqueeze(-1)
        with torch.no_grad():
            fast, _ = network(inputs)
            with reference():
                whole, _ = network(inputs)
        torch.testing.assert_close(fast, whole)


def test_nan_in_a_flag_is_refused() -> None:
    network = network_of(Counted(), unit=HybridUnit(None, None, nn.Linear(1, 1)))
    with torch.no_grad():
        network.units["flags_wakes_eye"].nonlinearity.weight.fill_(torch.nan)
    with pytest.raises(DataError, match="got NaN as a flag; check 'flags' and the unit"):
        network({"flags": FLAGS, "x": X})


def test_nan_is_refused_in_what_an_awake_part_reads_and_ignored_asleep() -> None:
    x = X.clone()
    x[2] = torch.nan
    outputs, _ = network_of(nn.Identity())({"flags": FLAGS, "x": x})
    assert outputs["eye"].isfinite().all()
    x[4] = torch.nan
    with pytest.raises(DataError, match="input 'x' has 2 values that are not finite"):
        network_of(nn.Identity())({"flags": FLAGS, "x": x})


def test_a_state_of_another_network_is_refused() -> None:
    network = network_of(Counted())
    _, state = network({"flags": FLAGS, "x": X})
    with pytest.raises(StateError, match="part 'eye' has a wake, but NoneType as its state"):
        network({"flags": FLAGS, "x": X}, state._replace(like=state.like.clone(), parts={"eye": None}))


def test_a_wake_that_cannot_be_meant_is_refused_with_a_remedy() -> None:
    cases: list[tuple[str, Any]] = [
        ("asleep= as one of 'hold', 'zero', 'none', but got 'off'", lambda: Wake("a", "b", asleep="off")),
        ("gradient= as one of", lambda: Wake("a", "b", gradient="yes")),
        ("replay= as an integer of samples, 0 or more, but got -1", lambda: Wake("a", "b", replay=-1)),
        ("write ticks\\(3\\) or seconds", lambda: Wake("a", "b", stay=3)),
        ("has two wakes, from 'flags' and 'x'", lambda: network_of(Counted(), Wake("x", "eye"))),
        ("has state='reset', but 'eye' has no state; leave it out", lambda: network_of(Counted(), state="reset")),
        ("has replay=2, but 'eye' has no state", lambda: network_of(Counted(), replay=2)),
        (
            "the Izhikevich at 'eye' has a membrane with a square, .* no closed form, or take 'keep' or 'reset'",
            lambda: network_of(Izhikevich(), state="leak"),
        ),
        (
            "has replay=1, but 'eye' is modulated",
            lambda: network_of(LIF(1.0), Modulation("flags", "eye.v_threshold", name="m"), replay=1),
        ),
        (
            "brings a flag every 4 ticks .* say how long a flag holds, stay=ticks\\(4\\)",
            lambda: network_of(Counted(), unit=HybridUnit(Tumbling(4), Mean())),
        ),
        (
            "has a stay of 6 ticks, but brings a flag every 4; give a multiple of that, stay=ticks\\(8\\)",
            lambda: network_of(Counted(), unit=HybridUnit(Tumbling(4), Mean()), stay=ticks(6)),
        ),
        (
            "form a loop without a delay",
            lambda: HybridNetwork(
                dt=1.0,
                inputs={"x": every(1.0)},
                parts={"guard": nn.Identity(), "eye": nn.Identity()},
                links=[Transmission("eye", "guard"), Transmission("x", "eye"), Wake("guard", "eye")],
                outputs=["eye"],
            ),
        ),
        (
            "gives no value while it is asleep, but a window .* closes at no fixed tick: read it held=True",
            lambda: HybridNetwork(
                dt=1.0,
                inputs={"x": every(1.0)},
                parts={"eye": nn.Identity(), "mind": nn.Identity()},
                links=[
                    Transmission("x", "eye"),
                    Wake("x", "eye", asleep="none", name="wake"),
                    Transmission("eye", "mind", HybridUnit(Tumbling(2), Sum())),
                ],
                outputs=["mind"],
            ),
        ),
        ("has a wake, whose flags decide what runs", lambda: network_of(Counted()).compiled()),
    ]
    for message, build in cases:
        with pytest.raises(ConfigError, match=message):
            build()
