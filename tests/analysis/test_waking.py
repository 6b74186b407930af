"""Wakes in costs, energy, summaries, drawings, replays and diagnoses."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from spikebridge.analysis import Standby, count_cost, diagnose, energy, hardware_profile, summarize
from spikebridge.analysis.chips import Chip, measure_load, simulate
from spikebridge.analysis.plots.network_diagram import draw_network
from spikebridge.analysis.replay.network import record_network
from spikebridge.deploy import export
from spikebridge.deploy.bundle.rebuild import rebuild
from spikebridge.errors import ConfigError
from spikebridge.hybrid import HybridNetwork, Transmission, Wake, every
from spikebridge.neurons import LIF, Sequential
from spikebridge.recipes.bundle import load_of_bundle

FLAGS = [0, 0, 1, 1, 0, 0, 0, 1]


def network_of(eye: nn.Module, wakes: bool = True, **settings: object) -> HybridNetwork:
    wake = [Wake("flags", "eye", **settings)] if wakes else []  # type: ignore[arg-type]
    inputs = {"x": every(0.5), **({"flags": every(0.5)} if wakes else {})}
    return HybridNetwork(
        dt=0.5, inputs=inputs, parts={"eye": eye}, links=[Transmission("x", "eye"), *wake], outputs=["eye"]
    )


def inputs_of(flags: list[int]) -> dict[str, Tensor]:
    column = torch.tensor(flags, dtype=torch.float32).reshape(-1, 1, 1)
    return {"x": torch.rand(len(flags), 1, 4, generator=torch.Generator().manual_seed(0)), "flags": column}


@pytest.mark.parametrize("stateful", [False, True])
def test_counted_operations_are_the_recorded_share_of_those_always_awake(stateful: bool) -> None:
    eye: nn.Module = Sequential(nn.Linear(4, 3), LIF(1.0)) if stateful else nn.Linear(4, 3)
    inputs = inputs_of(FLAGS)
    cost = count_cost(network_of(eye), inputs)
    always = count_cost(network_of(eye, wakes=False), {"x": inputs["x"]})
    share = cost.wakes["eye"].share

    assert share == 3 / 8
    assert cost.parts["eye"] == always.parts["eye"].scaled(share)
    assert (cost.wakes["eye"].num_wakes, cost.wakes["eye"].wakes_an_hour) == (2, 1800)


def test_replayed_samples_are_counted_as_operations() -> None:
    eye = Sequential(nn.Linear(4, 3), LIF(1.0))
    cost = count_cost(network_of(eye, replay=2), inputs_of(FLAGS))
    assert cost.wakes["eye"].num_replayed == 4
    assert cost.parts["eye"].macs == (3 + 4) * 12


def test_energy_adds_wakes_and_standby_power() -> None:
    cost = count_cost(network_of(nn.Linear(4, 3)), inputs_of(FLAGS))
    profile = hardware_profile("45nm")
    standby = {"eye": Standby(start_up=1.0, asleep=2.0, awake=10.0, source="a data sheet")}
    added = energy(cost, profile, standby).total - energy(cost, profile).total
    assert added == pytest.approx(2 * 1.0 + 4.0 * (3 / 8 * 10 + 5 / 8 * 2))

    with pytest.raises(ConfigError, match="standby has 'ear', which has no wake"):
        energy(cost, profile, {"ear": Standby()})
    with pytest.raises(ConfigError, match="needs asleep= of 0 or more, but got -1"):
        Standby(asleep=-1)


def test_summaries_drawings_and_replays_show_wakes() -> None:
    network = network_of(nn.Linear(4, 3), asleep="zero")
    assert "wake, zero" in str(summarize(network))
    drawing = draw_network(network)
    assert '<g class="wake">' in drawing
    assert "wakes: zero" in drawing

    replay = record_network(network, inputs_of(FLAGS))
    (lane,) = [lane for lane in replay.lanes if lane.name == "eye.awake"]
    assert lane.series["0"].tolist() == FLAGS


@pytest.mark.parametrize(("flags", "word"), [([0] * 8, "never"), ([1] * 8, "always")])
def test_the_doctor_finds_a_wake_that_never_opens_or_always(flags: list[int], word: str) -> None:
    findings = [f for f in diagnose(network_of(nn.Linear(4, 3)), inputs_of(flags)) if f.kind == "constant wake"]
    assert [(f.where, word in f.what) for f in findings] == [("flags_wakes_eye", True)]
    assert not [f for f in diagnose(network_of(nn.Linear(4, 3)), inputs_of(FLAGS)) if f.kind == "constant wake"]


def test_the_share_awake_of_a_bundle_counts_in_its_cost_and_on_chips(tmp_path: Path) -> None:
    inputs = inputs_of(FLAGS)
    network = network_of(Sequential(nn.Linear(4, 3), LIF(1.0, v_threshold=0.1)))
    bundle = export(network, inputs, tmp_path / "bundle")
    cost = count_cost(rebuild(bundle), inputs)
    assert cost.wakes["eye"].share == 3 / 8
    assert cost.parts["eye"].macs == 3 * 12

    chip = Chip("slow", memory=1e6, operations=1000.0, events=1e9, energy_of_an_operation=1.0)
    load = load_of_bundle(bundle)
    always = measure_load(network_of(network.parts["eye"], wakes=False), {"x": inputs["x"]})
    assert load.parts["eye"].operations == pytest.approx(always.parts["eye"].operations)
    one, other = simulate(load, {"eye": 0}, chip), simulate(always, {"eye": 0}, chip)
    # a tick awake takes its full time; work and energy are those of the share awake
    assert one.latency == pytest.approx(other.latency)
    assert one.energy == pytest.approx(3 / 8 * other.energy)
    assert one.busy[0] == pytest.approx(3 / 8 * other.busy[0])
