"""Bundles of what trains: several outputs, states that are set and read, effects on any neuron, cells with memory."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from pretend_onnx import pretend
from small_networks import edited
from torch import Tensor, nn

from spikebridge.cli.main import main
from spikebridge.deploy import (
    Bundle,
    QConfig,
    QConfigMapping,
    Runner,
    Tolerance,
    add_integers,
    compare_bundle,
    export,
    quantize,
)
from spikebridge.deploy.onnx.session import OnnxSession
from spikebridge.deploy.onnx.writer import OnnxSignature, write_onnx_step
from spikebridge.deploy.run import write_arrays
from spikebridge.errors import DataError, ExportError, ShapeError, SpikebridgeError
from spikebridge.hybrid import (
    Difference,
    Exponential,
    HybridNetwork,
    HybridUnit,
    Initialisation,
    Mean,
    Modulation,
    SignedDelta,
    Sliding,
    Transmission,
    Tumbling,
    Wake,
    every,
    ticks,
)
from spikebridge.neurons import (
    LIF,
    AdaptiveLIF,
    DiagonalStateSpace,
    Memory,
    Sequential,
    Stateful,
)
from spikebridge.neurons.quantity import Quantity
from spikebridge.neurons.state import select

pytestmark = pytest.mark.untyped
DT = 0.001


class Boxes(NamedTuple):
    box: Tensor
    score: Tensor


class Detector(nn.Module):
    """A part with two outputs by name."""

    def __init__(self) -> None:
        super().__init__()
        self.box = nn.Linear(3, 4)
        self.score = nn.Linear(3, 1)

    def forward(self, x: Tensor) -> Boxes:
        return Boxes(self.box(x), self.score(x).sigmoid())


class Trace(Stateful):
    """A low-pass filter of a user's own, with a quantity and a second input, that gives two outputs."""

    gain = Quantity()

    def __init__(self) -> None:
        super().__init__()
        self.store_quantities((), {"gain": 0.5})

    def initial_state(self, x_t: Tensor) -> Tensor:
        return torch.zeros_like(x_t)

    def step(self, x_t: Tensor, state: Tensor, *, bias: Tensor, **modulation: Any) -> tuple[dict[str, Tensor], Tensor]:
        gain = self.quantities(x_t.ndim + 1, modulation)["gain"]
        gain = gain[0] if isinstance(gain, Tensor) and gain.ndim > x_t.ndim else gain
        state = 0.5 * state + gain * x_t + bias
        return {"low": state, "high": x_t - state}, state


def network_of(parts: dict[str, nn.Module], links: list[Any], outputs: list[str]) -> HybridNetwork:
    """Parts on events at every tick and frames at every fourth, the first of them at tick 3."""
    torch.manual_seed(0)
    inputs = {"events": every(DT), "frames": every(4 * DT, phase=3 * DT)}
    read = {link.source for link in links}
    inputs = {name: clock for name, clock in inputs.items() if name in read}
    return HybridNetwork(dt=DT, inputs=inputs, parts=parts, links=links, outputs=outputs).eval()


def inputs_of(network: HybridNetwork, seed: int = 0, num_ticks: int = 16, batch: int = 2) -> dict[str, Tensor]:
    make = torch.Generator().manual_seed(seed)
    numbers = {name: clock.count(num_ticks) for name, clock in network.inputs.items()}
    return {name: 2 * torch.rand(number, batch, 3, generator=make) for name, number in numbers.items()}


def several_outputs() -> HybridNetwork:
    return network_of(
        {"eye": Detector(), "box": nn.Identity(), "snn": Sequential(LIF(0.01)), "pair": Pair()},
        [
            Transmission("frames", "eye"),
            Transmission("eye.box", "box"),
            Transmission("events", "snn"),
            Modulation("eye.score", "snn.0.v_threshold"),
            Transmission("events", "pair"),
        ],
        ["eye.score", "box", "snn", "pair.first"],
    )


class Pair(Stateful):
    """A stateful part with two outputs, one of which is read."""

    def initial_state(self, x_t: Tensor) -> Tensor:
        return torch.zeros_like(x_t)

    def step(self, x_t: Tensor, state: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        return {"second": x_t, "first": x_t + state}, 0.5 * x_t


def states_of_nir() -> HybridNetwork:
    """An ANN that sets membranes, which an ANN reads."""
    return network_of(
        {"ann": nn.Linear(3, 5), "snn": Sequential(fc=nn.Linear(3, 5), lif=LIF(0.01)), "reader": nn.Linear(5, 2)},
        [
            Transmission("frames", "ann"),
            Transmission("events", "snn"),
            Initialisation("ann", "snn.lif.v", HybridUnit(None, None, nn.Sigmoid())),
            Transmission("snn.lif.v", "reader", HybridUnit(Tumbling(4), Mean())),
        ],
        ["snn", "reader", "snn.lif.v"],
    )


def states_of_onnx() -> HybridNetwork:
    """The same of cells and neurons that NIR does not have, one of which feeds back."""
    return network_of(
        {
            "gru": Sequential(gru=Memory(nn.GRUCell(3, 4))),
            "snn": Sequential(fc=nn.Linear(3, 4), alif=AdaptiveLIF(0.01)),
            "bare": AdaptiveLIF(0.02, v_threshold=0.7),
        },
        [
            Transmission("frames", "gru"),
            Transmission("events", "snn"),
            Transmission("events", "bare"),
            Initialisation("gru.gru.h", "snn.alif.v", delay=ticks(1)),
            Initialisation("snn.alif.a", "gru.gru.h", HybridUnit(None, None, nn.Linear(4, 4)), delay=ticks(2)),
            Initialisation("frames", "bare.v"),
        ],
        ["gru", "snn", "bare", "bare.a"],
    )


def woken_states() -> HybridNetwork:
    """A part that is set at waking, whose state is read while it sleeps."""
    return network_of(
        {
            "ann": nn.Linear(3, 5),
            "snn": Sequential(fc=nn.Linear(3, 5), lif=LIF(0.01)),
            "alif": Sequential(fc=nn.Linear(3, 5), alif=AdaptiveLIF(0.01)),
            "eye": Detector(),
        },
        [
            Transmission("frames", "ann"),
            Transmission("events", "snn"),
            Transmission("events", "alif"),
            Transmission("events", "eye"),
            Initialisation("ann", "snn.lif.v", name="sets"),
            Initialisation("ann", "alif.alif.v"),
            Wake("events", "snn", HybridUnit(None, None, Large())),
            Wake("events", "alif", HybridUnit(None, None, Large()), state="reset", asleep="zero"),
            Wake("events", "eye", HybridUnit(None, None, Large())),
        ],
        ["snn", "snn.lif.v", "alif", "alif.alif.a", "eye.box", "eye.awake"],
    )


class Large(nn.Module):
    """1 where the first value is large."""

    def forward(self, x: Tensor) -> Tensor:
        return (x[..., :1] > 1).float()


def effects() -> HybridNetwork:
    """Modulation of neurons without a NIR node, of parts with several inputs, before and behind the first value."""
    slow = HybridUnit(None, None, nn.Sequential(nn.Linear(3, 5), nn.Softplus()))
    return network_of(
        {
            "alif": Sequential(fc=nn.Linear(3, 5), alif=AdaptiveLIF(0.01, jump=0.1, v_threshold=0.5)),
            "own": Trace(),
            "out": nn.Identity(),
        },
        [
            Transmission("events", "alif"),
            Transmission("events", "own"),
            Transmission("events", "own", HybridUnit(None, None, nn.Linear(3, 3)), into="bias", name="bias"),
            Modulation("frames", "alif.alif.jump", slow, by="multiply", name="jump"),
            Modulation("frames", "alif.alif.tau", HybridUnit(None, None, Tenth()), by="replace", name="tau"),
            Modulation("frames", "alif.alif.v_threshold", HybridUnit(None, None, Tenth()), by="add", name="first"),
            Modulation("frames", "alif.fc.bias", HybridUnit(None, None, nn.Linear(3, 5)), by="replace", name="bias_of"),
            Modulation("alif", "own.gain", HybridUnit(None, Mean(), nn.Linear(5, 3)), by="add", name="gain"),
            Modulation("frames", "own.gain", by="multiply", delay=ticks(2), name="again"),
            Transmission("own.low", "out"),
        ],
        ["alif", "own.high", "out"],
    )


class Tenth(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 0.01 + 0.01 * x.mean(-1, keepdim=True)


def cells() -> HybridNetwork:
    parts = {
        "gru": Memory(nn.GRUCell(3, 4)),
        "lstm": Memory(nn.LSTMCell(3, 4)),
        "layers": Memory(nn.LSTM(3, 4, num_layers=2)),
        "modes": DiagonalStateSpace(3, modes=2),
    }
    return network_of(parts, [Transmission("events", name) for name in parts], list(parts))


NETWORKS = [several_outputs, states_of_nir, states_of_onnx, woken_states, effects, cells]


def exported(network: HybridNetwork, path: Path) -> Bundle:
    return export(network, inputs_of(network), path / "bundle")


@pytest.mark.parametrize("build", NETWORKS)
def test_every_level_agrees_on_the_sample_and_on_other_inputs(
    build: Callable[[], HybridNetwork], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch)
    network = build()
    bundle = exported(network, tmp_path)
    comparison = compare_bundle(bundle)
    assert comparison.passed, [row for row in comparison.rows if not row.passed]

    other = inputs_of(network, seed=5, num_ticks=19, batch=1)
    comparison = compare_bundle(bundle, inputs=other, network=network)
    assert comparison.passed, [row for row in comparison.rows if not row.passed]
    assert all(y.any() for y in network(other)[0].values())


def units_with_memory() -> HybridNetwork:
    """Windows that are open, kernels with a carry, values on their way, a context and the total of a code."""
    change = HybridUnit(None, None, nn.Linear(3, 2), SignedDelta(0.25))
    return network_of(
        {"ann": nn.Linear(3, 3), "out": nn.Linear(3, 2), "codes": nn.Linear(2, 2), "snn": Sequential(lif=LIF(0.01))},
        [
            Transmission("frames", "ann"),
            Transmission("events", "out", HybridUnit(Sliding(5, 2), Mean()), delay=ticks(3)),
            Transmission("events", "codes", change),
            Transmission(
                "events", "snn", HybridUnit(Tumbling(4), Exponential(0.003, keep=True), Both()), context="ann"
            ),
            Modulation("frames", "snn.lif.v_threshold", HybridUnit(None, Difference(lag=2)), by="add", delay=ticks(1)),
        ],
        ["out", "codes", "snn"],
    )


class Both(nn.Module):
    def forward(self, h: Tensor, context: Tensor) -> Tensor:
        return h + context


@pytest.mark.parametrize(("build", "num_streams"), [(states_of_onnx, 1), (woken_states, 2), (units_with_memory, 1)])
def test_a_bundle_continues_the_stream_at_whose_state_it_begins(
    build: Callable[[], HybridNetwork], num_streams: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch)
    network = build()
    early = {name: x[:, :num_streams] for name, x in inputs_of(network, num_ticks=21).items()}
    late = {name: x[-16 // network.inputs[name].period :] for name, x in inputs_of(network, 3, 40).items()}
    with torch.no_grad():
        state = network(early, ticks=21)[1]
        expected = network(late, state if num_streams == 2 else select(state, [0, 0]))[0]

    bundle = export(network, late, tmp_path / "bundle", state=state)
    runner = Runner(bundle)

    def wrong(inputs: Any, ticks: int) -> Any:
        signals = runner.run_recorded(inputs, ticks)
        signals["parts"][network.outputs[0]][1] += 1
        return signals

    comparison = compare_bundle(bundle, further={"wrong": (wrong, Tolerance())})
    (failed,) = (row for row in comparison.rows if not row.passed)
    # the second sample of the output from tick 21 on
    clock = network.clock_of(network.outputs[0])
    assert (failed.level, failed.first_tick) == ("wrong", clock.ticks(21, 40)[1])

    given = runner.run({name: x.numpy() for name, x in late.items()})
    for name, y in expected.items():
        np.testing.assert_allclose(given[name], y.numpy(), atol=1e-5, err_msg=name)

    if num_streams == 1:
        assert (runner.start(3).tick, bundle.manifest.start.batch) == (21, 1)
    else:
        with pytest.raises(ShapeError, match="begins at a state of 2 streams, but 3 were asked for"):
            runner.start(3)


def refused_states() -> list[tuple[Any, str]]:
    network = states_of_nir()
    inputs = inputs_of(network)
    state = network(inputs)[1]
    one = states_of_onnx()
    snn = state.parts["snn"]
    wrong = snn._replace(layers=(None, snn.layers[1]._replace(v=torch.zeros(2, 4))))
    return [
        (snn, r"a bundle begins at a NetworkState, but got a SequentialState; .* leave state= out"),
        (one(inputs_of(one))[1], r"the state is of another network"),
        (select(state, [0, 1, 0]), r"has a batch of 2, but the stream has 3"),
        (state._replace(parts={**state.parts, "snn": wrong}), r"'parts.snn.lif': LIF got a state whose v is a tensor"),
    ]


@pytest.mark.parametrize("number", range(4))
def test_a_state_of_another_network_stream_or_shape_is_refused_in_one_line(number: int, tmp_path: Path) -> None:
    network = states_of_nir()
    state, words = refused_states()[number]
    with pytest.raises(SpikebridgeError, match=words) as caught:
        export(network, inputs_of(network), tmp_path / "bundle", state=state)

    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def change(path: Path, link: int, **fields: Any) -> Path:
    return edited(path, lambda plain: plain["links"][link].update(fields))


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda path: change(path, 2, quantity="u"), r"set or read the state 'lif.u' of part 'snn'; .* lif.v"),
        (
            lambda path: change(path, 2, source="frames", target="ann"),
            r"set or read the state 'lif.v' of part 'ann'; Known: none",
        ),
        (lambda path: edited(path, lambda plain: plain["links"].append({**plain["links"][2], "name": "again"})), "two"),
        (lambda path: change(path, 2, node=None), "the initialisation .* names no quantity"),
        (
            lambda path: change(path, 2, shape=[4]),
            r"link 'ann_sets_snn_lif_v' carried \(5,\) .* the manifest says \(4,\)",
        ),
    ],
)
def test_a_manifest_with_a_wrong_link_to_a_state_is_refused_in_one_line(
    edit: Callable[[Path], Path], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch)
    path = edit(exported(states_of_nir(), tmp_path).path)
    with pytest.raises(DataError, match=words) as caught:
        Runner(Bundle.open(path))
    assert "\n" not in str(caught.value)


def test_a_replacement_that_comes_late_behind_another_effect_is_refused(tmp_path: Path) -> None:
    links = [
        Transmission("events", "alif"),
        Modulation("events", "alif.jump", HybridUnit(None, Mean()), by="add", name="first"),
        Modulation("frames", "alif.jump", by="replace", name="late"),
    ]
    network = network_of({"alif": AdaptiveLIF(0.01)}, links, ["alif"])
    with pytest.raises(ExportError, match=r"'late' replaces alif.jump, .* from a tick after the first .*by='multiply'"):
        export(network, inputs_of(network), tmp_path / "bundle")


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (several_outputs, r"part 'eye' gives several tensors by name, which has no integer form yet"),
        (states_of_nir, r"the link 'ann_sets_snn_lif_v' sets a state of part 'snn', which has no integer form yet"),
    ],
)
def test_integers_refuse_what_they_do_not_hold_and_take_the_other_parts(
    build: Callable[[], HybridNetwork], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch)
    network = build()
    inputs = inputs_of(network)
    with pytest.raises(ExportError, match=words):
        quantize(network, inputs)

    others = [name for name in network.parts if name in ("ann", "reader", "box")]
    quantized = quantize(network, inputs, QConfigMapping(tuple(QConfig(name) for name in others)))
    bundle = add_integers(exported(network, tmp_path), network, quantized)
    assert compare_bundle(bundle).passed

    other = inputs_of(network, seed=2)
    comparison = compare_bundle(bundle, inputs=other, network=network, quantized=quantized)
    assert comparison.passed
    assert {row.name for row in comparison.rows if row.level == "integers"} >= set(others)


def test_the_command_compares_other_inputs_with_the_rebuilt_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pretend(monkeypatch)
    network = states_of_nir()
    bundle = exported(network, tmp_path)
    write_arrays(tmp_path / "other.npz", {name: x.numpy() for name, x in inputs_of(network, 4, 20).items()})
    assert main(["compare", str(bundle.path), "--input", str(tmp_path / "other.npz"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["passed"] is True

    write_arrays(tmp_path / "wrong.npz", {"events": np.zeros((8, 1, 4), np.float32), "frames": np.zeros((2, 1, 3))})
    assert main(["compare", str(bundle.path), "--input", str(tmp_path / "wrong.npz")]) == 2
    said = capsys.readouterr().err.strip()
    assert "input 'events' needs a step (8, 3), but got (8, 4)" in said and "\n" not in said


def test_steps_in_onnx_take_effects_and_name_their_outputs_and_states() -> None:
    x = torch.rand(2, 3)
    part = AdaptiveLIF(0.01, dt=DT)
    signature = OnnxSignature(
        {"x": x, "gain": torch.ones(2, 1)}, effects={"gain": ("jump", "multiply")}, states={"a": "neuron.a"}
    )
    content, initial = write_onnx_step(part, signature)
    session = OnnxSession(content, "step.onnx")
    assert session.inputs == ["x", "gain", "state.0", "state.neuron.a"]
    assert session.outputs == ["output", "next.0", "next.neuron.a"]

    feed = {"x": 2 * x.numpy(), "gain": np.full((2, 1), 3.0, np.float32)}
    feed |= {f"state.{name}": t.expand(2, 3).numpy() for name, t in initial.items()}
    spikes, _, jumps = session.run(feed)
    assert spikes.any()
    np.testing.assert_allclose(jumps, 3 * 0.2 * spikes, rtol=1e-6)
