"""Bundles of networks whose parts are not always awake, run without torch, and what has no such form."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from compiled_c import COMPILER, same
from pretend_onnx import pretend
from torch import Tensor, nn

from spikebridge.deploy import (
    Bundle,
    QConfig,
    QConfigMapping,
    add_integers,
    compare_bundle,
    export,
    integer_model,
    integer_runner,
    quantize,
)
from spikebridge.deploy.c.export import write_c
from spikebridge.deploy.onnx.session import OnnxSession
from spikebridge.deploy.onnx.writer import OnnxSignature, leak_function, write_onnx
from spikebridge.deploy.quantization.fake_integers import FakeIntegerArithmetic
from spikebridge.deploy.runtime.runner import Runner
from spikebridge.errors import ConfigError, DataError, ExportError, ShapeError
from spikebridge.hybrid import (
    Bernoulli,
    HybridNetwork,
    HybridUnit,
    Mean,
    Sliding,
    Transmission,
    Tumbling,
    Wake,
    every,
    ticks,
)
from spikebridge.neurons import LIF, AdaptiveLIF, CubaLIF, Integrator, Recurrent, Sequential, Stateful


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


def test_a_runner_says_which_inputs_the_next_tick_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch)
    network = guarded_network(delay=ticks(1))
    runner = Runner(export(network, inputs_of(), tmp_path / "bundle"))
    inputs = inputs_of(seed=2)
    state, known = runner.start(2), network.initial_state(inputs)
    left_out = 0
    for tick in range(24):
        wanted = runner.wanted(state)
        expected = network.wanted(known)
        assert {name: flags.tolist() for name, flags in wanted.items()} == {n: f.tolist() for n, f in expected.items()}
        now = {"events": inputs["events"][tick]} | ({"frames": inputs["frames"][tick // 2]} if tick % 2 else {})
        if tick % 2 and not wanted["frames"].any():
            del now["frames"]
            left_out += 1

        outputs, state = runner.step({name: x.numpy() for name, x in now.items()}, state)
        rows, known = network.step(now, known)
        for name, y in outputs.items():
            np.testing.assert_allclose(y, rows[name].detach().numpy(), atol=1e-6)

    assert left_out > 1


SETTINGS: list[dict[str, Any]] = [
    {"asleep": "none"},
    {"state": "leak"},
    {"state": "leak", "replay": 2, "asleep": "none"},
    {"state": "reset", "replay": 3, "asleep": "zero"},
]


def woken_network(part: Stateful, guard: nn.Module | None = None, **settings: Any) -> HybridNetwork:
    """A guard that wakes neurons, and one reader with a window, which does not count ticks asleep, and one without."""
    torch.manual_seed(0)
    links = [Transmission("events", "guard"), Transmission("events", "snn"), Wake("guard", "snn", **settings)]
    links.append(Transmission("snn", "seen", HybridUnit(Sliding(2), Mean()), held=True))
    links.append(Transmission("snn", "now"))
    parts: dict[str, nn.Module] = {"guard": guard or nn.Linear(4, 2), "snn": part}
    return HybridNetwork(
        dt=0.001,
        inputs={"events": every(0.001)},
        parts={**parts, "seen": Integrator(0.01), "now": Integrator(0.01)},
        links=links,
        outputs=["snn", "seen", "now", "snn.awake"],
        clocks={"seen": every(0.001)},
    )


def spiking(neuron: Any, **settings: Any) -> Sequential:
    torch.manual_seed(1)
    return Sequential(fc=nn.Linear(4, 8), lif=neuron(0.01, v_threshold=0.3, **settings))


@pytest.mark.parametrize(("neuron", "settings"), [*zip([LIF, LIF, AdaptiveLIF, AdaptiveLIF], SETTINGS, strict=True)])
def test_every_level_of_a_woken_part_says_the_same(
    neuron: Any, settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch)
    events = {"events": inputs_of()["events"]}
    network = woken_network(spiking(neuron), **settings)
    bundle = export(network, events, tmp_path / "bundle")
    assert compare_bundle(bundle).passed

    # other inputs than the sample
    other = {"events": inputs_of(batch=3, seed=5)["events"]}
    expected, _ = network(other)
    given = Runner(bundle).run({name: x.numpy() for name, x in other.items()})
    assert 0 < given["snn.awake"].mean() < 1
    for name, y in expected.items():
        np.testing.assert_allclose(given[name], y.detach().numpy(), atol=1e-5)


def test_a_leak_as_onnx_is_that_of_the_layer() -> None:
    pytest.importorskip("onnxscript")
    layer = AdaptiveLIF(0.01, dt=0.001)
    function, signature = leak_function(layer, OnnxSignature({"x": torch.zeros(2, 3)}))
    session = OnnxSession(write_onnx(function, signature), "the leak")
    state = layer.initial_state(torch.zeros(2, 3))._replace(v=torch.rand(2, 3), a=torch.rand(2, 3))
    steps = torch.tensor([1, 40])
    given = session.run({"steps": steps.numpy(), "state.0": state.v.numpy(), "state.1": state.a.numpy()})
    for y, expected in zip(given, layer.leak(state, steps), strict=True):
        np.testing.assert_allclose(y, expected.numpy(), rtol=1e-6)


def test_a_target_that_cannot_leak_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch)

    class Target:
        def step(self, reads: Any, effects: Any, state: Any) -> Any:
            raise NotImplementedError

    network = woken_network(spiking(LIF), state="leak")
    bundle = export(network, {"events": inputs_of()["events"]}, tmp_path / "bundle")
    with pytest.raises(ConfigError, match=r"'snn' leaks while it is asleep, but its Target has no method leak"):
        Runner(bundle, {"snn": Target()})


@pytest.mark.parametrize(
    ("part", "settings"),
    [
        (spiking(LIF, refractory=0.002), SETTINGS[0]),
        (spiking(CubaLIF), SETTINGS[1]),
        (Recurrent(CubaLIF(), nn.Linear(4, 4)), SETTINGS[2]),
        (spiking(AdaptiveLIF), SETTINGS[2]),
        (spiking(CubaLIF), SETTINGS[3]),
    ],
)
def test_integers_of_a_woken_part_have_the_bits_of_the_quantised_network(
    part: Stateful, settings: dict[str, Any]
) -> None:
    calibration = {"events": inputs_of()["events"]}
    network = quantize(woken_network(part, **settings), calibration)
    model = integer_model(network, calibration)
    other = {"events": inputs_of(batch=3, seed=5)["events"]}
    with torch.no_grad():
        expected, _ = network(other)

    given = model.dequantize(model.run(model.quantize({name: x.numpy() for name, x in other.items()})))
    assert 0 < given["snn.awake"].mean() < 1
    for name, y in given.items():
        np.testing.assert_array_equal(y, expected[name].float().numpy())


def test_a_current_that_leaks_in_fake_integers_passes_its_gradient() -> None:
    a = FakeIntegerArithmetic({"high": 100}, {}, ratios={})
    current = torch.tensor([8.0], dtype=torch.float64, requires_grad=True)
    half = torch.tensor(2.0**14, dtype=torch.float64)
    added = a.charge_over(current, half, half, torch.tensor([2]))
    added.backward()

    # both decays over two steps: 1/2 * 1/2 + 1/2 * 1/2
    assert (added.tolist(), current.grad.tolist()) == ([4.0], [0.5])


def test_integers_in_a_bundle_are_compared_and_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch)
    sample = {"events": inputs_of()["events"]}
    network = woken_network(spiking(LIF), asleep="none", state="leak", replay=2)
    quantized = quantize(network, sample)
    bundle = add_integers(export(network, sample, tmp_path / "bundle"), network, quantized)
    rows = [row for row in compare_bundle(bundle).rows if row.level == "integers"]
    assert {row.name for row in rows} >= {"snn", "snn_to_seen"}
    assert all(row.passed for row in rows)

    other = {"events": inputs_of(batch=3, seed=5)["events"]}
    given = integer_runner(bundle).run({name: x.numpy() for name, x in other.items()})
    with torch.no_grad():
        expected, _ = quantized(other)
    for name, y in given.items():
        np.testing.assert_array_equal(y, expected[name].float().numpy())


def test_c_reads_an_input_where_the_part_that_reads_it_is_awake(tmp_path: Path) -> None:
    network = quantize(guarded_network(delay=ticks(1)), inputs_of())
    model = integer_model(network, inputs_of())
    entered = model.quantize({name: x.numpy() for name, x in inputs_of(seed=2).items()})
    written = write_c(model, entered, 24, tmp_path / "own")
    text = (written.folder / "own.c").read_text()
    assert text.count("in->frames[j]") == 1
    assert text.index("if (s->awake_eye[0])") < text.index("in->frames[j]") < text.index("part_eye(s);")

    # the check gives a frame only where the next step needs it
    assert "if (own_needs_frames(&s)) memcpy(in.frames" in (written.folder / "check.c").read_text()
    if COMPILER is not None:
        assert same(written) > 0


def test_a_real_flag_enters_the_integers_as_it_is_compared() -> None:
    regions = QConfigMapping(tuple(map(QConfig, ("snn", "seen", "now", "units.*"))))
    sample = {"events": inputs_of()["events"]}
    network = quantize(woken_network(spiking(LIF)), sample, regions)
    model = integer_model(network, sample)
    record = model.record.inputs["guard_wakes_snn"]
    assert record.signal == "guard"
    assert model.quantize({"guard": np.array([[0.4999, 0.5, 7.0, -3.0]])})["guard_wakes_snn"].tolist() == [[0, 1, 1, 0]]


def test_what_gives_no_value_asleep_cannot_stay_real() -> None:
    sample = {"events": inputs_of()["events"]}
    regions = QConfigMapping(tuple(map(QConfig, ("seen", "now", "units.*"))))
    network = quantize(woken_network(spiking(LIF), asleep="none"), sample, regions)
    with pytest.raises(ExportError, match="reads 'snn', which stays real and gives no value while it is asleep"):
        integer_model(network, sample)


def test_random_units_behind_a_part_that_gives_no_value_are_refused(tmp_path: Path) -> None:
    network = HybridNetwork(
        dt=0.001,
        inputs={"events": every(0.001)},
        parts={"eye": nn.Sigmoid(), "sum": Integrator(0.01)},
        links=[
            Transmission("events", "eye"),
            Wake("events", "eye", asleep="none", name="wake"),
            Transmission("eye", "sum", HybridUnit(None, None, None, Bernoulli())),
        ],
        outputs=["sum"],
    )
    with pytest.raises(ExportError, match="'eye_to_sum' draws at random behind a part that gives no value"):
        export(network, {"events": inputs_of()["events"]}, tmp_path / "refused")
