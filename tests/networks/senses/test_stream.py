"""Live streams of several sensors: the numbers of a whole run, looks on demand, sensors that are missing."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from spikebridge.deploy.streaming.loop import Live
from spikebridge.deploy.streaming.torch_network import network_advance
from spikebridge.errors import ConfigError, DataError
from spikebridge.hybrid import HybridNetwork
from spikebridge.networks.senses.data.sampling import sample_trials
from spikebridge.networks.senses.data.sets import generated_trials
from spikebridge.networks.senses.model.execution import at_end, run_network
from spikebridge.networks.senses.model.network import SenseShape, SensesShape, senses_network
from spikebridge.networks.senses.stream import SensesSteps, open_sensors

pytestmark = pytest.mark.untyped

SHAPE = SensesShape(
    0.02, (SenseShape("wrist", "snn", 1, (6,)), SenseShape("eye", "ann", 5, (1, 8, 8))), 4, hidden=12, features=8
)
TRIALS = generated_trials(num_people=1, num_each=1)
INPUTS = {"wrist": (1, (6,)), "eye": (5, (1, 8, 8))}


@pytest.fixture(scope="module")
def network() -> HybridNetwork:
    torch.manual_seed(0)
    return senses_network("hybrid", SHAPE).eval()


@pytest.fixture
def sources(tmp_path: Path) -> dict[str, Path]:
    """The first generated trial: an npz of samples with times, and a folder of pictures."""
    values, times = TRIALS.sensors["wrist"].of(0)
    np.savez(tmp_path / "wrist.npz", samples=values, s=times)
    pictures, times = TRIALS.sensors["eye"].of(0)
    (tmp_path / "eye" / "frames").mkdir(parents=True)
    lines = ["file,t_us"]
    for number, (picture, time) in enumerate(zip(pictures, times, strict=True)):
        Image.fromarray(np.round(255 * picture).astype(np.uint8)).save(tmp_path / f"eye/frames/{number}.png")
        lines.append(f"{number}.png,{round(1e6 * time)}")
    (tmp_path / "eye" / "frames.csv").write_text("\n".join(lines) + "\n")

    return {"wrist": tmp_path / "wrist.npz", "eye": tmp_path / "eye"}


def streamed(network: HybridNetwork, sources: dict[str, Path], max_behind: int = 2) -> tuple[SensesSteps, Any]:
    steps = SensesSteps(INPUTS, network.dt, network_advance(network), network.wanted, ("a", "b", "c", "d"))
    source = open_sensors(sources, steps, speed=1000.0)
    rows = [answer.output for answer in Live(source, steps, max_behind)]
    return steps, rows


def test_a_stream_gives_the_answer_of_the_whole_and_reads_no_picture_while_the_eye_sleeps(
    network: HybridNetwork, sources: dict[str, Path]
) -> None:
    data = sample_trials(TRIALS, {"wrist": 1, "eye": 5}, 0.02).select(np.array([0]))
    outputs = run_network(network, data)
    steps, rows = streamed(network, sources, max_behind=100)
    (answer,) = steps.finish()

    assert len(rows) == steps.num_bins == data.lengths["eye"].item()
    whole = torch.softmax(at_end(outputs["answer"], data), -1)[0]
    # pictures of bytes
    assert answer["share"] == pytest.approx(whole.max().item(), abs=0.02)
    assert answer["answer"] == "abcd"[int(whole.argmax())]
    assert answer["missing"] == []
    assert answer["confidence"] == answer["share"]
    # the decision of the last tick comes too late
    looks = int(outputs["gate.look"][: data.lengths["eye"].item() - 1].sum())
    assert steps.num_asked == steps.num_frames == looks < steps.num_bins


@pytest.mark.parametrize(("kept", "gone"), [("wrist", "eye"), ("eye", "wrist")])
def test_a_sensor_that_never_comes_is_named_and_the_answer_is_that_of_the_other(
    network: HybridNetwork, sources: dict[str, Path], kept: str, gone: str
) -> None:
    steps, _ = streamed(network, {kept: sources[kept]})
    (answer,) = steps.finish()

    assert answer["missing"] == [gone]
    assert 0 < answer["confidence"] <= answer["share"] <= 1


def test_confidence_falls_when_a_sensor_ends_early(network: HybridNetwork, sources: dict[str, Path]) -> None:
    samples, times = (np.load(sources["wrist"])[key] for key in ("samples", "s"))
    np.savez(sources["wrist"], samples=samples[:60], s=times[:60])
    _, rows = streamed(network, sources, max_behind=100)

    assert rows[11]["missing"] == []
    assert rows[-1]["missing"] == ["wrist"]
    assert rows[-1]["confidence"] < rows[-1]["share"]


def test_a_sensor_that_repeats_one_value_is_dead(network: HybridNetwork, sources: dict[str, Path]) -> None:
    samples, times = (np.load(sources["wrist"])[key] for key in ("samples", "s"))
    samples[40:] = samples[40]
    np.savez(sources["wrist"], samples=samples, s=times)
    _, rows = streamed(network, sources, max_behind=100)

    # from 0.5 s after the first one
    assert [row["missing"] for row in rows[10:14]] == [[], [], [], ["wrist"]]
    assert rows[-1]["confidence"] < rows[-1]["share"]


def test_a_slow_sensor_is_not_missing_between_its_samples(network: HybridNetwork, sources: dict[str, Path]) -> None:
    samples, times = (np.load(sources["wrist"])[key] for key in ("samples", "s"))
    np.savez(sources["wrist"], samples=samples[::50], s=times[::50])
    _, rows = streamed(network, sources)

    assert all(row["missing"] in ([], ["eye"]) for row in rows)


def test_a_look_that_brings_no_picture_is_counted(network: HybridNetwork, sources: dict[str, Path]) -> None:
    for file in sorted((sources["eye"] / "frames").glob("*.png"))[1:]:
        file.write_bytes(b"no image")
    steps, _ = streamed(network, sources)
    (answer,) = steps.finish()

    assert steps.num_lost > 0
    assert answer["missing"] == ["eye"]


def test_clocks_that_drift_are_a_warning(network: HybridNetwork, sources: dict[str, Path]) -> None:
    samples, times = (np.load(sources["wrist"])[key] for key in ("samples", "s"))
    np.savez(sources["wrist"], samples=samples, s=times + 1.0)
    steps = SensesSteps(INPUTS, network.dt, network_advance(network), network.wanted, ())

    assert "1.1 s apart: clocks that drift" in open_sensors(sources, steps).warning


@pytest.mark.parametrize(
    ("change", "error", "line"),
    [
        ({"samples": np.zeros((9, 3)), "rate_hz": 50.0}, DataError, r"shape \(3,\), but the network reads \(6,\)"),
        ({"samples": np.zeros((9, 6)), "s": 1e9 + np.arange(9)}, DataError, "they begin at 0 in each recording"),
        ({"samples": np.zeros((9, 6)), "rate_hz": 50.0, "starts": [0, 4, 9]}, DataError, "as many recordings"),
        ({"sample": np.zeros((9, 6))}, DataError, "expected an array 'samples' or 'wrist'; Known: sample"),
    ],
)
def test_a_source_that_does_not_fit_is_one_line(
    network: HybridNetwork, sources: dict[str, Path], change: dict[str, Any], error: type[Exception], line: str
) -> None:
    np.savez(sources["wrist"], **change)
    steps = SensesSteps(INPUTS, network.dt, network_advance(network), network.wanted, ())
    with pytest.raises(error, match=line):
        open_sensors(sources, steps)


def test_a_sensor_that_the_network_has_not_is_named(network: HybridNetwork, sources: dict[str, Path]) -> None:
    steps = SensesSteps(INPUTS, network.dt, network_advance(network), network.wanted, ())
    with pytest.raises(ConfigError, match="no sensor 'wrists'; did you mean 'wrist'"):
        open_sensors({"wrists": sources["wrist"]}, steps)


def test_recordings_of_a_file_are_answered_one_by_one(network: HybridNetwork, tmp_path: Path) -> None:
    arrays: dict[str, Any] = {}
    for name, one in TRIALS.sensors.items():
        arrays |= {name: one.samples, f"{name}_starts": one.starts, f"{name}_s": one.times}
    np.savez(tmp_path / "all.npz", **arrays)
    steps, _ = streamed(network, dict.fromkeys(TRIALS.sensors, tmp_path / "all.npz"))
    answers = steps.finish()

    data = sample_trials(TRIALS, {"wrist": 1, "eye": 5}, 0.02)
    whole = torch.softmax(at_end(run_network(network, data)["answer"], data), -1).amax(-1)
    assert [one["recording"] for one in answers] == [0, 1, 2, 3]
    assert [one["share"] for one in answers] == pytest.approx(whole.tolist(), abs=1e-3)
