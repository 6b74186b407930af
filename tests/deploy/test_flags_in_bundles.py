"""Signals that are no floats in bundles: flags start windows, wait in held links, are a context; units are shared.

Every form of a network gives its numbers, on its sample and on other inputs.
"""

import json
import random
from pathlib import Path

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
    Runner,
    add_integers,
    compare,
    compare_bundle,
    export,
    integer_runner,
    quantize,
)
from spikebridge.deploy.bundle import export as bundle_export
from spikebridge.deploy.bundle.trace import record_trace
from spikebridge.deploy.c.export import bundle_sample, write_c
from spikebridge.errors import DataError, ExportError
from spikebridge.hybrid import (
    Difference,
    Exponential,
    HybridNetwork,
    HybridUnit,
    Mean,
    Since,
    Sum,
    Transmission,
    Tumbling,
    every,
)

pytestmark = pytest.mark.untyped
DT = 0.001
TICKS = 16
OUTPUTS = ("first", "second", "third")


class Flag(nn.Module):
    """True where a sum is large: one flag a sample, `(B,)` or `(B, 1)`."""

    def __init__(self, keepdim: bool = False) -> None:
        super().__init__()
        self.keepdim = keepdim

    def forward(self, x: Tensor) -> Tensor:
        return x.sum(-1, keepdim=self.keepdim) > 1.6


class Largest(nn.Module):
    """The index of the largest value, an integer."""

    def forward(self, x: Tensor) -> Tensor:
        return x.argmax(-1)


class Choice(nn.Module):
    """Values, turned where a flag is true, and weighted by the row of an integer."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.Embedding(3, 3)

    def forward(self, x: Tensor, flags: Tensor, index: Tensor) -> Tensor:
        return torch.where(flags.reshape(-1, 1), x, -x) * self.rows(index)


class Turned(nn.Module):
    """Values, turned where a flag is true: a part, or a nonlinearity whose context is flags."""

    def forward(self, h: Tensor, flags: Tensor) -> Tensor:
        return torch.where(flags.reshape(-1, 1), h, -h)


def flags_network(seed: int) -> HybridNetwork:
    """A network of flags and integers with random kernels and delays, two of whose links share a unit."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    kernel = rng.choice([Sum(keep=True), Mean(keep=True), Difference(keep=True), Exponential(0.004, keep=True)])
    shared = HybridUnit(Tumbling(2), Mean(), nn.Linear(3, 3))
    delays = [rng.randint(0, 3) * DT for _ in range(5)]

    return HybridNetwork(
        dt=DT,
        inputs={"x": every(DT), "slow": every(2 * DT)},
        parts={
            "flag": Flag(rng.random() < 0.5),
            "index": Largest(),
            "first": Choice(),
            "second": nn.Linear(3, 2),
            "third": nn.Linear(3, 2),
        },
        links=[
            Transmission("slow", "flag", held=True, delay=delays[0]),
            Transmission("slow", "index", held=True),
            Transmission("x", "first", HybridUnit(Since("flag"), kernel), held=True, delay=delays[1]),
            Transmission("flag", "first", held=True, into="flags", delay=delays[2], initial=float(rng.randint(0, 1))),
            Transmission("index", "first", held=True, into="index", delay=delays[3]),
            Transmission("x", "second", shared, held=True),
            Transmission("first", "third", shared, held=True, delay=delays[4]),
        ],
        outputs=OUTPUTS,
        clocks={"flag": every(2 * DT), "index": every(4 * DT), **dict.fromkeys(OUTPUTS, every(DT))},
    ).eval()


def context_network() -> HybridNetwork:
    """Flags as the context of a nonlinearity, before the first of which the context is false."""
    return HybridNetwork(
        dt=DT,
        inputs={"x": every(DT), "slow": every(4 * DT, 2 * DT)},
        parts={"flag": Flag(), "out": nn.Identity()},
        links=[
            Transmission("slow", "flag"),
            Transmission("x", "out", HybridUnit(Tumbling(2), Sum(), Turned()), context="flag"),
        ],
        outputs=["out"],
    ).eval()


def since_network(flag: nn.Module) -> HybridNetwork:
    torch.manual_seed(0)
    return HybridNetwork(
        dt=DT,
        inputs={"x": every(DT), "slow": every(2 * DT)},
        parts={"flag": flag, "out": nn.Linear(3, 2)},
        links=[Transmission("slow", "flag"), Transmission("x", "out", HybridUnit(Since("flag"), Mean(keep=True)))],
        outputs=["out"],
    ).eval()


def inputs_of(network: HybridNetwork, seed: int, batch: int = 2) -> dict[str, Tensor]:
    make = torch.Generator().manual_seed(seed)
    numbers = {name: clock.count(TICKS) for name, clock in network.inputs.items()}
    return {name: torch.rand(number, batch, 3, generator=make) for name, number in numbers.items()}


def assert_runs_as(network: HybridNetwork, runner: Runner, seed: int) -> None:
    """The runner gives the network's outputs on inputs of which the bundle knows nothing."""
    inputs = inputs_of(network, seed, batch=3)
    with torch.no_grad():
        expected, _ = network(inputs, ticks=TICKS)

    outputs = runner.run({name: x.numpy() for name, x in inputs.items()}, TICKS)
    for name, y in expected.items():
        np.testing.assert_allclose(outputs[name], y.numpy(), atol=1e-5)


def test_random_networks_with_flags_and_shared_units_say_the_same_in_every_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch)
    # a late or rare flag may leave a unit without effect
    monkeypatch.setattr(bundle_export, "record_active_trace", record_trace)
    monkeypatch.setattr(compare, "record_active_trace", record_trace)

    for seed in range(6):
        network = flags_network(seed)
        bundle = export(network, inputs_of(network, seed), tmp_path / str(seed), ticks=TICKS)
        comparison = compare_bundle(bundle)

        assert {name: part.dtype for name, part in bundle.manifest.parts.items() if name not in OUTPUTS} == {
            "flag": "bool",
            "index": "int64",
        }
        assert comparison.passed, f"{seed}: {[row for row in comparison.rows if not row.passed]}"
        assert_runs_as(network, Runner(bundle), 100 + seed)


def test_onnx_files_take_flags_from_held_links(tmp_path: Path) -> None:
    network = HybridNetwork(
        dt=DT,
        inputs={"x": every(DT), "slow": every(2 * DT)},
        parts={"flag": Flag(), "out": Turned()},
        links=[
            Transmission("slow", "flag"),
            Transmission("x", "out"),
            Transmission("flag", "out", held=True, into="flags", delay=DT),
        ],
        outputs=["out"],
    ).eval()
    bundle = export(network, inputs_of(network, 3), tmp_path / "flags")

    assert compare_bundle(bundle).passed
    assert_runs_as(network, Runner(bundle), 103)


def test_a_context_of_flags_is_false_before_its_first_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch)
    network = context_network()
    bundle = export(network, inputs_of(network, 0), tmp_path / "context", ticks=TICKS)
    x = np.ones((4, 1, 3), np.float32)
    slow = np.ones((1, 1, 3), np.float32)
    outputs = Runner(bundle).run({"x": x, "slow": slow}, 4)["out"]

    # the window of two ones is turned until the flag comes at tick 2
    assert outputs[:, 0, 0].tolist() == [-2.0, 2.0]
    assert compare_bundle(bundle).passed
    assert_runs_as(network, Runner(bundle), 100)


def test_windows_since_flags_of_a_part_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch)
    network = since_network(Flag())
    network.parts["out"] = nn.Identity()
    bundle = export(network, inputs_of(network, 1), tmp_path / "since")
    slow = np.array([0.0, 1.0, 0.0], np.float32).reshape(3, 1, 1).repeat(3, 2)
    outputs = Runner(bundle).run({"x": np.arange(6, dtype=np.float32).reshape(6, 1, 1).repeat(3, 2), "slow": slow})

    # the mean starts again at tick 2, where the sum of the flag's input is 3
    assert outputs["out"][:, 0, 0].tolist() == [0.0, 0.5, 2.0, 2.5, 3.0, 3.5]


class Positive(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x > 0


@pytest.mark.parametrize("is_float", [True, False])
def test_windows_since_flags_of_a_part_in_integers_and_c(
    is_float: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch)
    regions = ("out", "units.x_to_out") if is_float else ("*",)
    weighted = nn.Linear(3, 1)
    nn.init.constant_(weighted.weight, 1.0)
    nn.init.constant_(weighted.bias, -1.6)
    flag = Flag() if is_float else nn.Sequential(weighted, Positive())
    network = since_network(flag)
    inputs = inputs_of(network, 1)
    quantized = quantize(network, inputs, QConfigMapping(tuple(QConfig(region) for region in regions)))
    bundle = add_integers(export(network, inputs, tmp_path / "since"), network, quantized)
    flags = bundle.numbers(bundle.manifest.sample.file)["parts.flag"]

    assert 0 < flags.mean() < 1
    assert [row for row in compare_bundle(bundle).rows if row.passed is False] == []
    assert_runs_as(quantized, integer_runner(bundle), 101)

    if COMPILER is not None:
        assert same(write_c(*bundle_sample(bundle), tmp_path / "since_c")) > 0


def test_a_bundle_that_does_not_know_its_flags_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch)
    network = since_network(Flag())
    path = export(network, inputs_of(network, 1), tmp_path / "since").path
    plain = json.loads((path / "manifest.json").read_text())
    del plain["sha256"], plain["parts"]["flag"]["dtype"]
    (path / "manifest.json").write_text(json.dumps(plain))

    with pytest.raises(DataError, match="'flag' gave bool on the sample, but the manifest says float32; export the"):
        Bundle.open(path)


class Branches(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


def test_a_refused_export_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    network = HybridNetwork(
        dt=DT, inputs={"x": every(DT)}, parts={"a": Branches()}, links=[Transmission("x", "a")], outputs=["a"]
    )
    with pytest.raises(ExportError, match="'a' cannot be written as ONNX: its code takes a branch"):
        export(network, inputs_of(network, 0), tmp_path / "refused")

    assert capfd.readouterr() == ("", "")
