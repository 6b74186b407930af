"""Bundles of what trains: several outputs, states that are set and read, effects on any neuron, cells with memory."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from pretend_onnx import pretend
from torch import Tensor, nn

from spikebridge.deploy import Bundle, Runner, compare_bundle, export
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


def inputs_of(network: HybridNetwork, seed: int = 0, num_ticks: int = 24, batch: int = 2) -> dict[str, Tensor]:
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
    links = [Transmission("events", "gru"), *(Transmission("events", name) for name in ("lstm", "layers", "modes"))]
    return network_of(parts, links, list(parts))


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

    other = inputs_of(network, seed=5, num_ticks=33, batch=3)
    comparison = compare_bundle(bundle, inputs=other, network=network)
    assert comparison.passed, [row for row in comparison.rows if not row.passed]
    assert compare_bundle(bundle, inputs=other).passed

    expected = network(other)[0]
    given = Runner(bundle).run({name: x.numpy() for name, x in other.items()})
    for name, y in expected.items():
        assert y.any()
        np.testing.assert_allclose(given[name], y.detach().numpy(), atol=1e-5, err_msg=name)


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


@pytest.mark.parametrize("build", [*NETWORKS, units_with_memory])
@pytest.mark.parametrize("num_streams", [1, 2])
def test_a_bundle_continues_the_stream_at_whose_state_it_begins(
    build: Callable[[], HybridNetwork], num_streams: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch)
    network = build()
    early = {name: x[:, :num_streams] for name, x in inputs_of(network, num_ticks=21).items()}
    with torch.no_grad():
        state = network(early, ticks=21)[1]
    late = {name: x[-24 // network.inputs[name].period :] for name, x in inputs_of(network, 3, 48).items()}

    bundle = export(network, late, tmp_path / "bundle", state=state)
    comparison = compare_bundle(bundle)
    assert comparison.passed, [row for row in comparison.rows if not row.passed]
    assert compare_bundle(bundle, inputs={name: 1.1 * x for name, x in late.items()}, network=network).passed

    same = state if num_streams == 2 else select(state, [0, 0])
    with torch.no_grad():
        expected = network(late, same)[0]
    given = Runner(bundle).run({name: x.numpy() for name, x in late.items()})
    for name, y in expected.items():
        np.testing.assert_allclose(given[name], y.numpy(), atol=1e-5, err_msg=name)
    assert (Runner(bundle).start(2).tick, bundle.manifest.start.batch) == (21, num_streams)
