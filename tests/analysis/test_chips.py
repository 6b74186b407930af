"""Parts on chips: the schedule by hand, limits of memory, and chips that do not keep up."""

import dataclasses
from itertools import product
from pathlib import Path

import pytest
import torch
from torch import nn

from spikebridge.analysis import Chip, measure_load, place, simulate
from spikebridge.analysis.chips import LinkLoad, NetworkLoad, PartLoad, path_in_words, read_chip
from spikebridge.cli.main import main
from spikebridge.errors import ConfigError, DataError
from spikebridge.hybrid import Clock, HybridNetwork, Transmission, every, ticks

TICK = Clock(1, 0)
SLOW = Chip("slow", memory=8.0, operations=1000.0, events=1000.0, latency=0.002, energy_of_an_operation=1e-3, power=2.0)


def diamond() -> NetworkLoad:
    """a, then b and c at once, then d; 10 ms each, 3 ms for a value."""
    links = [("x", "a"), ("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")]
    return NetworkLoad(
        0.1,
        {name: PartLoad(10.0, 4.0, TICK) for name in "abcd"},
        tuple(LinkLoad(source, target, 1.0, TICK, 0) for source, target in links),
        ("d",),
    )


def test_the_latency_is_that_of_the_schedule_by_hand() -> None:
    one = simulate(diamond(), dict.fromkeys("abcd", 0), SLOW)
    assert one.latency == pytest.approx(0.04)
    assert one.busy == pytest.approx((0.4,))
    assert one.energy == pytest.approx(2.0 + 40 / 0.1 * 1e-3)

    # a part with a wake may do nothing that is counted
    parts = diamond().parts | {"a": PartLoad(0.0, 4.0, TICK, mean=0.0)}
    assert simulate(
        dataclasses.replace(diamond(), parts=parts), dict.fromkeys("abcd", 0), SLOW
    ).latency == pytest.approx(0.03)

    two = simulate(diamond(), {"a": 0, "b": 0, "c": 1, "d": 0}, SLOW)
    # a 10, to c 3, c 10, to d 3, d 10; b runs at the same time
    assert two.latency == pytest.approx(0.036)
    assert [step.what for step in two.path] == ["a", "a -> c", "c", "c -> d", "d"]


def test_a_placement_is_as_good_as_the_best_of_all_by_search() -> None:
    load = diamond()
    chip = Chip("wide", memory=100.0, operations=1000.0, events=1000.0, latency=0.002)
    best = min(simulate(load, dict(zip("abcd", c, strict=True)), chip).latency for c in product((0, 1), repeat=4))

    assert place(load, chip, 2).timing.latency == pytest.approx(best)
    assert place(load, chip, 1).timing.latency == pytest.approx(0.04)
    assert set(place(load, chip, 64).chips.values()) == {0, 1}


def test_the_critical_path_is_a_table_in_milliseconds() -> None:
    rows = path_in_words(simulate(diamond(), dict.fromkeys("abcd", 0), SLOW, num_ticks=1).path)
    assert rows[0] == {"step": "a", "chip": 0, "start [ms]": 0.0, "stop [ms]": 10.0}


def test_a_simulation_covers_two_periods_of_all_clocks() -> None:
    # b fires at ticks 5, 11, 17 and 23: 24 ticks of 0.1 s with 6 and 4 operations of 1 ms
    parts = {"a": PartLoad(1.0, 1.0, Clock(4, 0)), "b": PartLoad(1.0, 1.0, Clock(6, 5))}
    assert simulate(NetworkLoad(0.1, parts, (), ("b",)), {"a": 0, "b": 0}, SLOW).busy == pytest.approx((0.010 / 2.4,))


def test_a_network_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match="needs 16 bytes, but 1 chips 'slow' have 8; take at least 2"):
        place(diamond(), SLOW, 1)

    assert max(place(diamond(), SLOW, 2).memory) <= 8
    with pytest.raises(ConfigError, match="part 'a' needs 4 bytes"):
        place(diamond(), Chip("tiny", 2.0, 1.0, 1.0), 4)

    with pytest.raises(ConfigError, match="at least one chip"):
        place(diamond(), SLOW, 0)

    with pytest.raises(ConfigError, match="'a' has no chip"):
        simulate(diamond(), {}, SLOW)

    with pytest.raises(ConfigError, match="operations above 0"):
        Chip("none", 1.0, 0.0, 1.0)


def test_neurons_are_a_limit_of_a_chip_as_bytes_are() -> None:
    load = diamond()
    parts = {name: part._replace(neurons=30) for name, part in load.parts.items()}
    load = dataclasses.replace(load, parts=parts)
    chip = dataclasses.replace(SLOW, memory=100.0, neurons=60)
    with pytest.raises(ConfigError, match="the network needs 120 neurons, but 1 chips 'slow' have 60; take at least 2"):
        place(load, chip, 1)
    with pytest.raises(ConfigError, match="part 'a' needs 30 neurons, but a chip 'slow' has 20"):
        place(load, dataclasses.replace(chip, neurons=20), 4)

    assert sorted(place(load, chip, 2).chips.values()) == [0, 0, 1, 1]


def test_a_chip_that_is_too_slow_does_not_keep_up() -> None:
    assert simulate(diamond(), dict.fromkeys("abcd", 0), SLOW, num_ticks=8).keeps_up

    slower = Chip("slower", memory=100.0, operations=200.0, events=1000.0)
    assert not simulate(diamond(), dict.fromkeys("abcd", 0), slower, num_ticks=8).keeps_up

    # 11 % more work than time: the latency grows by less than half a tick in two ticks
    busy = Chip("busy", memory=100.0, operations=360.0, events=1000.0)
    assert not simulate(diamond(), dict.fromkeys("abcd", 0), busy, num_ticks=2).keeps_up


def test_delayed_and_slow_links_bind_the_ticks_that_they_reach() -> None:
    # b of tick 1 waits for what a gave at tick 0; the transfer takes longer than a tick
    load = NetworkLoad(
        0.01,
        {"a": PartLoad(1.0, 1.0, TICK), "b": PartLoad(1.0, 1.0, TICK)},
        (LinkLoad("x", "a", 1.0, TICK, 0), LinkLoad("a", "b", 1.0, TICK, 1)),
        ("b",),
    )

    chip = Chip("far", memory=1.0, operations=1000.0, events=1000.0, latency=0.02)
    # 1 ms a, 1 ms to send, 20 ms on the way, 1 ms b: 23 ms after tick 0, 13 ms after tick 1
    assert simulate(load, {"a": 0, "b": 1}, chip, num_ticks=2).latency == pytest.approx(0.013)


def test_loads_are_counted_on_an_input() -> None:
    torch.manual_seed(0)
    network = HybridNetwork(
        dt=0.001,
        inputs={"x": every(0.001)},
        parts={"a": nn.Linear(3, 4), "b": nn.Linear(4, 2)},
        links=[Transmission("x", "a"), Transmission("a", "b", delay=ticks(2), initial=torch.zeros(4))],
        outputs=["b"],
    )

    load = measure_load(network, {"x": torch.rand(6, 2, 3)})
    assert list(load.parts) == ["a", "b"]
    assert load.parts["a"].operations == 3 * 4 + 4
    assert load.parts["b"].memory == 4 * (4 * 2 + 2)
    assert [(link.source, link.target, link.events, link.delay) for link in load.links][1] == ("a", "b", 4.0, 2)


def test_a_chip_is_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("memory = 1000\noperations = 1e6\nevents = 1e5\n")

    assert read_chip(file) == Chip("mine", 1000, 1e6, 1e5)
    for text, message in (
        ("memory = ", "no TOML"),
        ("memory = " + "[" * 5000, "no TOML"),
        ("memory = 1", "lacks operations"),
        ("speed = 1", "has no field 'speed'"),
    ):
        file.write_text(text)
        with pytest.raises(DataError, match=message):
            read_chip(file)


def test_the_command_refuses_a_folder_that_is_no_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["place", str(tmp_path), "--chips", "2"]) == 2
    assert "is not a bundle" in capsys.readouterr().err
    assert main(["place", str(tmp_path), "--chip", str(tmp_path / "no.toml")]) == 2
    assert "no.toml" in capsys.readouterr().err
