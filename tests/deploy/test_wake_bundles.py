"""Bundles of networks whose parts are not always awake, run without torch, and what has no such form."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pretend_onnx import pretend
from torch import Tensor, nn

from spikebridge.deploy import Bundle, compare_bundle, export, quantize
from spikebridge.deploy.runtime.runner import Runner
from spikebridge.errors import DataError, ExportError, ShapeError
from spikebridge.hybrid import HybridNetwork, HybridUnit, Mean, Transmission, Tumbling, Wake, every, ticks
from spikebridge.neurons import LIF, Sequential


def guarded_network(**settings: Any) -> HybridNetwork:
    """A spiking guard that wakes an ANN."""
    torch.manual_seed(0)
    guard = Sequential(fc=nn.Linear(4, 8), lif=LIF(0.01))
    flags = HybridUnit(Tumbling(2), Mean())
    return HybridNetwork(
        dt=0.001,
        inputs={"events": every(0.001), "frames": every(0.002, phase=0.001)},
        parts={"guard": guard, "eye": nn.Linear(3, 2)},
        links=[Transmission("events", "guard"), Transmission("frames", "eye"), Wake("guard", "eye", flags, **settings)],
        outputs=["eye", "eye.awake"],
    )


def inputs_of(batch: int = 2, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "events": 3 * torch.randn(24, batch, 4, generator=generator),
        "frames": torch.randn(12, batch, 3, generator=generator),
    }


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    pretend(monkeypatch)
    return export(guarded_network(asleep="zero", stay=ticks(4)), inputs_of(), tmp_path / "bundle")


def test_a_bundle_wakes_its_part_as_the_network_does_on_other_inputs(bundle: Bundle) -> None:
    assert compare_bundle(bundle).passed
    expected, _ = guarded_network(asleep="zero", stay=ticks(4))(inputs_of(seed=2))
    given = Runner(bundle).run({name: x.numpy() for name, x in inputs_of(seed=2).items()})
    assert 0 < given["eye.awake"].mean() < 1
    for name, y in expected.items():
        np.testing.assert_allclose(given[name], y.detach().numpy(), atol=1e-6)


def test_a_runner_calls_a_part_for_the_awake_rows(bundle: Bundle) -> None:
    runner = Runner(bundle)
    eye = runner.parts["eye"]
    rows = []

    class Counted:
        def step(self, reads: Any, effects: Any, state: Any) -> Any:
            rows.append(len(next(iter(reads.values()))))
            return eye.step(reads, effects, state)

    runner.parts["eye"] = Counted()
    outputs = runner.run({name: x.numpy() for name, x in inputs_of(batch=5).items()})
    assert sum(rows) == outputs["eye.awake"].sum()
    assert 0 not in rows


def test_a_runner_needs_no_input_of_a_part_that_is_asleep(bundle: Bundle) -> None:
    runner = Runner(bundle)
    inputs = {name: x.numpy() for name, x in inputs_of(batch=1).items()}
    inputs["events"][6:18] = 0
    expected = runner.run(inputs)
    state = runner.start(1)
    left_out = 0
    for tick in range(24):
        now = {"events": inputs["events"][tick]}
        if tick % 2:
            now["frames"] = inputs["frames"][tick // 2]
        if tick % 2 and not expected["eye.awake"][tick // 2].any():
            del now["frames"]
            left_out += 1

        outputs, after = runner.step(now, state)
        if tick % 2:
            np.testing.assert_array_equal(outputs["eye"], expected["eye"][tick // 2])
        if tick % 2 and "frames" in now:
            with pytest.raises(ShapeError, match=r"'frames' has no sample at tick .*, but part 'eye' is awake"):
                runner.step({"events": now["events"]}, state)
        state = after

    assert left_out > 0


def test_nan_in_a_flag_of_a_bundle_is_refused(bundle: Bundle) -> None:
    runner = Runner(bundle)
    link = runner.links["guard_wakes_eye"]
    state = link.start(1)._replace(waiting=(np.array([[np.nan]], np.float32),))
    with pytest.raises(DataError, match="the wake 'guard_wakes_eye' got NaN as a flag"):
        link.read(1, True, state)


@pytest.mark.parametrize("settings", [{"asleep": "none"}, {"state": "leak"}, {"replay": 2}])
def test_what_a_bundle_does_not_hold_is_refused(settings: dict[str, Any], tmp_path: Path) -> None:
    network = HybridNetwork(
        dt=0.001,
        inputs={"events": every(0.001)},
        parts={"snn": Sequential(fc=nn.Linear(4, 8), lif=LIF(0.01))},
        links=[Transmission("events", "snn"), Wake("events", "snn", **settings)],
        outputs=["snn"],
    )
    word = "=".join(f"{name}={value!r}" for name, value in settings.items())
    with pytest.raises(ExportError, match=f"'events_wakes_snn' has {word}, which a bundle does not hold"):
        export(network, {"events": inputs_of()["events"]}, tmp_path / "refused")


def test_integers_of_a_wake_are_refused() -> None:
    with pytest.raises(ExportError, match="'guard_wakes_eye' wakes 'eye', which has no integer form yet"):
        quantize(guarded_network(), inputs_of())
