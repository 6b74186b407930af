"""The experiments on the paper's claims run in their small forms, and end as they should."""

import importlib
import math
from pathlib import Path
from typing import Any

import pytest
import torch

pytestmark = pytest.mark.untyped

FOLDER = Path(__file__).resolve().parents[1] / "research" / "claims"


@pytest.fixture(autouse=True)
def one_thread_and_a_seed() -> Any:
    threads = torch.get_num_threads()
    state = torch.get_rng_state()
    yield
    torch.set_num_threads(threads)
    torch.set_rng_state(state)


def experiment(name: str) -> Any:
    """The module of an experiment, or the one that all of them import."""
    folder = next(FOLDER.rglob(f"{name}.py")).relative_to(FOLDER.parents[1]).with_suffix("")
    return importlib.import_module(".".join(folder.parts))


def test_a_finished_step_is_not_measured_again(tmp_path: Path) -> None:
    kept = experiment("experiment").kept
    path = tmp_path / "steps" / "one.pt"
    first = kept(path, lambda: {"mean": 1.5, "values": [torch.ones(2)]})
    again = kept(path, lambda: pytest.fail("it is measured again"))

    assert again["cpu_s"] == first["cpu_s"] >= 0
    assert again["result"]["mean"] == 1.5
    assert [path] == list(path.parent.iterdir())


def test_neurons_fire_when_their_equations_say() -> None:
    found = experiment("neuron_models").run(quick=True)
    assert found["accuracy"][0]["off_ms"] < 0.01
    assert found["orders"][0]["order"] > 1.5
    assert {row["way"] for row in found["cost"]} == {"by hand", "network"}


def test_units_may_be_learned_in_five_ways() -> None:
    found = experiment("ways_to_learn").run(quick=True)
    assert [row["way"] for row in found["rows"]] == list(experiment("ways_to_learn").WAYS)
    assert all(0 <= row["accuracy"]["mean"] <= 1 for row in found["rows"])


def test_units_may_be_learned_in_five_ways_between_frames() -> None:
    (row,) = experiment("ways_in_sensing").run(quick=True)["rows"]
    assert (row["way"], row["rate_hz"]) == ("alone", 10)
    assert 0 < row["distance_px"]["mean"] < 48

    gained = row["exchanged_px"]["mean"] - row["distance_px"]["mean"]
    assert row["lost_px"]["mean"] == pytest.approx(gained, abs=2e-3)


def test_collisions_may_be_learned_from_answers() -> None:
    reasoning = experiment("ways_in_reasoning")
    # 0, 1 or 2 spikes of two pairs: .5 * .8, .5 * .8 + .5 * .2, .5 * .2
    share = torch.tensor([[0.5, 0.2, 0.0]]).expand(3, -1)
    losses = [reasoning.counting_loss(share[:1], torch.tensor([n])).exp().item() for n in range(3)]

    assert losses == pytest.approx([1 / 0.4, 1 / 0.5, 1 / 0.1], rel=1e-5)

    rows = reasoning.run(quick=True)["rows"]
    assert [row["way"] for row in rows] == list(reasoning.WAYS)
    assert all(0 <= row["exchanged"]["counts_right"]["mean"] <= 1 for row in rows)


def test_bayes_is_not_beaten_on_a_noisy_channel() -> None:
    channel = experiment("noisy_channel")
    rows = channel.run(quick=True)["rows"]
    for row in rows:
        best = max(row[name]["mean"] for name in ("learned", "learned, 200 samples", "designed"))
        assert row["Bayes"]["mean"] > best - 0.05

    # without noise, both designed decoders are right
    values = torch.arange(8)
    counts = channel.sent("latency", values, 1e-6, torch.Generator().manual_seed(0))

    assert torch.equal(channel.designed("latency", counts), values)
    assert torch.equal(channel.bayes("latency", counts, 0.01), values)


def test_the_exponent_of_a_power_law_is_found() -> None:
    orbits = experiment("orbits")
    r = torch.tensor([0.3, 0.5, 0.9])

    assert orbits.exponent(r, 1.5 * r.log() + 2) == pytest.approx(1.5, abs=1e-5)

    rows = orbits.run(quick=True)["rows"]
    assert all(math.isfinite(row["exponent"]["mean"]) for row in rows)


def test_a_unit_with_more_kernels_or_width_is_measured() -> None:
    found = experiment("approximation").run(quick=True)
    assert {(row["kernel"], row["axis"]) for row in found["rows"]} == {
        (kernel, axis) for kernel in ("taps", "exponentials") for axis in ("width", "kernels")
    }


def test_a_population_may_be_a_rate() -> None:
    found = experiment("mean_field").run(quick=True)
    assert [row["network"] for row in found["summary"]["rates"]] == ["excitatory as a rate", "a tenth spikes"]
    for row in found["seeds"][0]["costs"]:
        assert row["operations"]["all"] > 0

    sines = found["seeds"][0]["sines"]
    assert all(math.isfinite(gain) for row in sines for gain in row["gain"])


def test_parts_may_run_on_chips_that_wait_for_each_other() -> None:
    found = experiment("chips").run(quick=True)
    assert [row["chips"] for row in found["predicted"]] == [1, 2]
    assert found["predicted"][1]["latency_us"] <= found["predicted"][0]["latency_us"]

    (row,) = found["processes"]
    assert row["in_use"] == 2
    # a process never ends before the declared time; how much later it ends is up to the machine
    assert row["measured_s"]["mean"] >= row["predicted_s"] - 1e-3


def test_links_may_be_late() -> None:
    rows = experiment("link_latency").run(quick=True)["latency"]
    assert [row["delay_ms"] for row in rows] == [0.0, 75.0]


def test_graphs_of_parts_give_what_their_parts_give_by_hand() -> None:
    parts = experiment("many_parts")
    rows = parts.costs((2,), (1, 4), 1)["graphs"]  # compares the outputs

    assert [row["shape"] for row in rows] == ["chain", "tree", "random"]

    network = parts.clocked(4)
    late = parts.graph("tree", 5)

    assert network.clock_of("part7").period == 4
    assert late.clock_of("part4").period == 1


def test_a_network_and_its_rivals_learn_chains_of_tasks() -> None:
    scaling = experiment("task_scaling")
    rows = scaling.run(quick=True)["rows"]

    assert {row["tasks"] for row in rows if row["method"] == "hmn"} == {2, 4}
    assert {row["mode"] for row in rows if row["method"] == "hmn"} == {"given", "inferred", "nearest", "direct"}

    sizes = {"network": 100, "backbone": 10, "table_a_task": 4, "prototype_a_task": 2}
    assert scaling.stored(sizes, "hmn", "inferred", 3) == 100 + 10 + 3 * (4 + 2)
    assert scaling.stored(sizes, "single", "given", 3) == 300


def test_a_new_value_is_a_row_a_neuron_and_a_connection() -> None:
    found = experiment("one_shot").run(quick=True)
    assert found["added"]["neurons"] == found["added"]["connections"] == 1
    assert [row["way"] for row in found["rows"][:4]] == list(experiment("one_shot").WAYS)
    assert all(0 <= row["new"]["mean"] <= 1 for row in found["rows"])


def test_units_may_stand_at_several_depths() -> None:
    depths = experiment("depths")
    rows = {row["units"]: row for row in depths.run(quick=True)["rows"]}
    added = sum(9 * into * out + 2 * out for into, out in ((1, 8), (8, 16), (16, 16)))
    added += sum(n * n + n for n in (8, 16, 16))  # 1 x 1 maps with biases

    assert rows["1, 2, 3"]["weights"]["mean"] - rows["none"]["weights"]["mean"] == added
    assert set(depths.network_of((2,), 6).units) == {"unit2"}


def test_a_creature_with_a_true_memory_is_asked_and_answers() -> None:
    found = experiment("creature").run(quick=True)
    assert found["answers"] == found["true"]
