"""Tables worked by hand for the rules of time. Inputs hold their own tick, so a value tells when it was made."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from spikebridge.errors import ShapeError
from spikebridge.hybrid import (
    Every,
    FirstSpike,
    Hold,
    HybridNetwork,
    HybridUnit,
    Last,
    Modulation,
    Since,
    Sliding,
    Sum,
    Transmission,
    Tumbling,
    every,
    ticks,
)
from spikebridge.hybrid.network.link import Link
from spikebridge.neurons import IF

TABLE = dict[int, float]


class Add(nn.Module):
    """Sums its inputs."""

    def forward(self, *signals: Tensor) -> Tensor:
        return torch.stack(signals).sum(0)


def clocked(period: int, phase: int = 0) -> Every:
    return every(float(period), float(phase))


def network(
    inputs: dict[str, Every], parts: Sequence[str], links: Sequence[Link], clocks: dict[str, Every] | None = None
) -> HybridNetwork:
    modules = {name: Add() for name in parts}
    return HybridNetwork(dt=1.0, inputs=inputs, parts=modules, links=links, outputs=list(parts), clocks=clocks)


def tables(net: HybridNetwork, ticks: int) -> dict[str, TABLE]:
    """The values of every part and their ticks, one tick after another; inputs hold their tick."""
    empty = {name: torch.zeros(0, 1, 1) for name in net.inputs}
    state = net.initial_state(empty)
    seen: dict[str, TABLE] = {name: {} for name in net.parts}

    for tick in range(ticks):
        now = {
            name: torch.full((1, 1), float(tick)) for name, clock in net.inputs.items() if clock.ticks(tick, tick + 1)
        }
        outputs, state = net.step(now, state)
        for name, y in outputs.items():
            seen[name] |= {tick: y.item()} if len(y) else {}

    whole, _ = net(
        {name: torch.tensor([float(t) for t in c.ticks(0, ticks)]).reshape(-1, 1, 1) for name, c in net.inputs.items()},
        ticks=ticks,
    )

    assert {name: y.flatten().tolist() for name, y in whole.items()} == {
        n: list(t.values()) for n, t in seen.items() if t
    }
    return seen


def read(unit: HybridUnit | None, source: Every, ticks: int, **link: object) -> TABLE:
    """A source through a unit into a part that fires with it."""
    return tables(network({"x": source}, ["y"], [Transmission("x", "y", unit, **link)]), ticks)["y"]


def held(unit: HybridUnit | None, source: Every, target: Every, ticks: int, **link: object) -> TABLE:
    """The same into a part with a clock of its own, which holds."""
    links = [Transmission("x", "y", unit, held=True, **link)]
    return tables(network({"x": source}, ["y"], links, {"y": target}), ticks)["y"]


def test_a_part_fires_at_its_ticks_and_its_output_carries_that_tick() -> None:
    assert read(None, clocked(3, 1), 9) == {1: 1, 4: 4, 7: 7}


def test_a_reduced_window_is_stamped_when_it_closes() -> None:
    last = HybridUnit(Tumbling(6), None, None, Last())
    assert read(last, clocked(1), 18) == {5: 5, 11: 11, 17: 17}
    # every second tick from 3: steps 3 5 7 | 9 11 13
    assert read(HybridUnit(Tumbling(3), Sum()), clocked(2, 3), 14) == {7: 15, 13: 33}

    # windows 0 1 2 3 | 2 3 4 5 | 4 5 6 7
    assert read(HybridUnit(Sliding(4, stride=2), Sum()), clocked(1), 8) == {3: 6, 5: 14, 7: 22}


def test_a_kept_window_runs_on_the_clock_of_its_source() -> None:
    assert read(HybridUnit(Tumbling(3), Sum(keep=True)), clocked(1, 1), 7) == {1: 1, 2: 3, 3: 6, 4: 4, 5: 9, 6: 15}


def test_a_held_value_fills_the_time_up_to_the_next() -> None:
    assert read(HybridUnit(Hold(3)), clocked(6, 2), 13) == {2: 2, 4: 2, 6: 2, 8: 8, 10: 8, 12: 8}


def test_spikes_of_a_reduced_window_begin_when_it_closes() -> None:
    # windows 0 1, 2 3: sums 1, 5, clipped to 1: a spike in the first of two steps
    assert read(HybridUnit(Tumbling(2), Sum(), None, FirstSpike()), clocked(2), 10) == {2: 1, 4: 0, 6: 1, 8: 0}


def test_a_camera_reads_windows_that_closed_before_it_fires() -> None:
    # closes at 5, 11, 17; the camera fires at 0, 6, 12, 18 and first reads the initial value
    last = HybridUnit(Tumbling(6), None, None, Last())
    assert held(last, clocked(1), clocked(6), 19, initial=-1.0) == {0: -1, 6: 5, 12: 11, 18: 17}


def test_a_held_reading_takes_the_newest_value_at_or_before_the_tick() -> None:
    assert held(None, clocked(4, 2), clocked(3), 13, initial=-1.0) == {0: -1, 3: 2, 6: 6, 9: 6, 12: 10}
    assert held(None, clocked(1), clocked(5, 3), 14) == {3: 3, 8: 8, 13: 13}


def test_a_delayed_sampled_link_begins_with_initial_values_and_keeps_its_period() -> None:
    # (P, phi) = (6, 2), delay 8: floor(8 / 6) = 1 initial value, clock (6, 2 + 8 mod 6) = (6, 4)
    assert read(None, clocked(6, 2), 17, delay=ticks(8), initial=-1.0) == {4: -1, 10: 2, 16: 8}
    # delay 3 < P: no initial value
    assert read(None, clocked(6, 2), 12, delay=ticks(3), initial=-1.0) == {5: 2, 11: 8}
    # delay 4 on every second tick: 2 initial values
    assert read(None, clocked(2), 9, delay=ticks(4), initial=-1.0) == {0: -1, 2: -1, 4: 0, 6: 2, 8: 4}


def test_a_delayed_window_is_late_by_the_delay() -> None:
    # closes at 2, 5, 8; delay 4 = 1 * 3 + 1: one initial value at tick 3, then 6, 9
    last = HybridUnit(Tumbling(3), None, None, Last())
    assert read(last, clocked(1), 13, delay=ticks(4), initial=-1.0) == {3: -1, 6: 2, 9: 5, 12: 8}


def test_a_delayed_held_link_shows_what_it_held_then() -> None:
    # stamps 2, 6, 10 arrive at 5, 9, 13
    assert held(None, clocked(4, 2), clocked(2), 13, delay=ticks(3), initial=-1.0) == {
        0: -1, 2: -1, 4: -1, 6: 2, 8: 2, 10: 6, 12: 6,
    }  # fmt: skip


def test_a_phase_may_exceed_the_period() -> None:
    assert read(None, clocked(2, 7), 12) == {7: 7, 9: 9, 11: 11}
    assert held(None, clocked(2, 7), clocked(3), 13, initial=-1.0) == {0: -1, 3: -1, 6: -1, 9: 9, 12: 11}
    # the delayed clock keeps a phase above its period, too: (2, 7 + 3 mod 2) = (2, 8), with one initial value
    assert read(None, clocked(2, 7), 13, delay=ticks(3), initial=-1.0) == {8: -1, 10: 7, 12: 9}


def test_inside_a_tick_parts_fire_along_the_links_whatever_the_order_they_are_named_in() -> None:
    links = [Transmission("a", "b"), Transmission("x", "a"), Transmission("b", "c"), Transmission("x", "c")]
    assert tables(network({"x": clocked(1)}, ["c", "b", "a"], links), 3)["c"] == {0: 0, 1: 2, 2: 4}


def test_a_loop_comes_back_after_its_delay() -> None:
    # y[n] = x[n] + y[n - 2]: 0, 1, 2, 3 + 1, 4 + 2, 5 + 4, 6 + 6
    links = [Transmission("x", "y"), Transmission("y", "y", delay=ticks(2))]
    net = network({"x": clocked(1)}, ["y"], links)
    assert tables(net, 7)["y"] == {0: 0, 1: 1, 2: 2, 3: 4, 4: 6, 5: 9, 6: 12}


def test_a_loop_of_three_parts_with_one_delay() -> None:
    # inside a tick a, b, c; back from c to a one tick later: a[n] = x[n] + c[n - 1], b = a, c = b
    links = [
        Transmission("x", "a"),
        Transmission("c", "a", delay=ticks(1)),
        Transmission("a", "b"),
        Transmission("b", "c"),
    ]

    seen = tables(network({"x": clocked(1)}, ["a", "b", "c"], links), 5)
    assert seen["a"] == seen["b"] == seen["c"] == {0: 0, 1: 1, 2: 3, 3: 6, 4: 10}


def test_a_loop_between_two_clocks() -> None:
    # slow fires at 0, 4, 8 and reads the newest fast value of at least one tick ago; fast reads slow at once
    links = [
        Transmission("x", "fast"),
        Transmission("slow", "fast", held=True),
        Transmission("fast", "slow", held=True, delay=ticks(1), initial=100.0),
    ]

    net = network({"x": clocked(1)}, ["fast", "slow"], links, {"slow": clocked(4)})
    seen = tables(net, 9)

    assert seen["slow"] == {0: 100, 4: 103, 8: 110}
    assert seen["fast"] == {0: 100, 1: 101, 2: 102, 3: 103, 4: 107, 5: 108, 6: 109, 7: 110, 8: 118}


def test_a_loop_runs_in_spans_cut_where_something_made_inside_would_arrive() -> None:
    links = [Transmission("x", "fast"), Transmission("fast", "slow", HybridUnit(Tumbling(4), Sum())),
             Transmission("slow", "fast", held=True, delay=ticks(2))]  # fmt: skip
    net = network({"x": clocked(1)}, ["fast", "slow"], links)
    (group,) = net.plan.groups

    # slow fires at 3, 7, 11; what it gives arrives at 5, 9, 13
    assert group.spans(0, 16) == [(0, 5), (5, 9), (9, 13), (13, 16)]
    assert group.spans(4, 8) == [(4, 8)]


def test_windows_since_a_late_camera() -> None:
    # sums of steps since the newest frame; frames at 4, 9, 14
    unit = HybridUnit(Since("frames"), Sum())
    links = [Transmission("x", "y", unit), Transmission("frames", "z")]
    seen = tables(network({"x": clocked(1), "frames": clocked(5, 4)}, ["y", "z"], links), 11)["y"]

    assert seen == {0: 0, 1: 1, 2: 3, 3: 6, 4: 4, 5: 9, 6: 15, 7: 22, 8: 30, 9: 9, 10: 19}


def test_a_trigger_between_two_steps_opens_at_the_next_one() -> None:
    # steps at 0, 3, 6, 9, 12; triggers at 1, 5, 9, 13: before the first one the window is open from the start
    unit = HybridUnit(Since("frames"), Sum())
    links = [Transmission("x", "y", unit), Transmission("frames", "z")]
    seen = tables(network({"x": clocked(3), "frames": clocked(4, 1)}, ["y", "z"], links), 14)["y"]

    assert seen == {0: 0, 3: 3, 6: 6, 9: 9, 12: 21}


def test_a_mask_opens_windows_for_each_sample_by_itself() -> None:
    unit = HybridUnit(Since("late"), Sum())
    net = HybridNetwork(
        dt=1.0,
        inputs={"x": clocked(2), "late": clocked(1)},
        parts={"y": nn.Identity()},
        links=[Transmission("x", "y", unit)],
        outputs=["y"],
    )

    x = torch.tensor([1.0, 2.0, 4.0, 8.0]).reshape(4, 1, 1).expand(4, 2, 1)  # at 0, 2, 4, 6
    flags = torch.zeros(8, 2, dtype=torch.bool)
    flags[3, 0] = True  # belongs to the step at 4
    flags[2, 1] = flags[5, 1] = True  # the steps at 2 and 6
    expected = {0: [1.0, 3.0, 4.0, 12.0], 1: [1.0, 2.0, 6.0, 8.0]}
    outputs, _ = net({"x": x, "late": flags})

    assert {sample: outputs["y"][:, sample, 0].tolist() for sample in (0, 1)} == expected

    # the same where a cut falls between the trigger and its step
    first, state = net({"x": x[:2], "late": flags[:4]}, ticks=4)
    second, _ = net({"x": x[2:], "late": flags[4:]}, state, ticks=4)

    assert torch.equal(torch.cat([first["y"], second["y"]]), outputs["y"])


def test_a_modulation_is_absent_before_its_first_value() -> None:
    # thresholds: 1 until tick 3, then 2 (arrives at 2 + 1), then 6
    net = HybridNetwork(
        dt=1.0,
        inputs={"x": clocked(1), "m": clocked(4, 2)},
        parts={"snn": IF()},
        links=[Transmission("x", "snn"), Modulation("m", "snn.v_threshold", by="replace", delay=ticks(1))],
        outputs=["snn"],
    )

    outputs, _ = net({"x": torch.ones(10, 1, 1), "m": torch.tensor([2.0, 6.0]).reshape(2, 1, 1)}, ticks=10)
    # membranes 1* 1* 1* | 1 2* 1 2* | 1 2 3: a star is a spike
    assert outputs["snn"].flatten().tolist() == [1, 1, 1, 0, 1, 0, 1, 0, 0, 0]


@pytest.mark.parametrize(
    ("frames", "events", "expected"),
    [(1, 6, 6), (0, 0, 0), (2, 12, 12), (2, 7, 7), (3, 13, 13)],
)
def test_ticks_are_counted_from_the_samples_given(frames: int, events: int, expected: int) -> None:
    links = [Transmission("frames", "a"), Transmission("events", "b")]
    net = network({"frames": clocked(6), "events": clocked(1)}, ["a", "b"], links)
    _, state = net({"frames": torch.zeros(frames, 1, 1), "events": torch.zeros(events, 1, 1)})
    assert state.ticks == expected


def test_the_most_ticks_are_taken_for_which_the_samples_suffice() -> None:
    # frames at 2, 8, 14: one of them lasts until before tick 8
    net = network({"frames": clocked(6, 2)}, ["a"], [Transmission("frames", "a")])
    _, state = net({"frames": torch.zeros(1, 1, 1)})

    assert state.ticks == 8

    _, state = net({"frames": torch.zeros(1, 1, 1)}, state)
    assert state.ticks == 14

    _, state = net({}, state)
    assert state.ticks == 14


def test_other_numbers_of_samples_are_an_error_that_names_the_number_expected() -> None:
    links = [Transmission("frames", "a"), Transmission("events", "b")]
    net = network({"frames": clocked(6), "events": clocked(1)}, ["a", "b"], links)
    with pytest.raises(ShapeError, match=r"'events' has 6 samples in the 6 ticks from tick 0 .* but 9 were given"):
        net({"frames": torch.zeros(1, 1, 1), "events": torch.zeros(9, 1, 1)})

    with pytest.raises(ShapeError, match=r"'frames' has 2 samples in the 8 ticks from tick 0 \(every 6 ticks"):
        net({"frames": torch.zeros(1, 1, 1), "events": torch.zeros(8, 1, 1)}, ticks=8)
