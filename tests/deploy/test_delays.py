"""Learned delays as whole steps: in NIR, in a bundle, in integers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from modules import parallel
from spikebridge.deploy import add_integers, compare_bundle, export, integer_runner, quantize
from spikebridge.deploy.integer.program import IntegerProgram, OperationRecord, ProgramRecord
from spikebridge.deploy.nir.reader import from_nir
from spikebridge.deploy.nir.writer import to_nir
from spikebridge.deploy.stages.kernels import float_kernel, integer_kernel
from spikebridge.errors import DataError
from spikebridge.hybrid import Delay, HybridNetwork, HybridUnit
from spikebridge.neurons import IF, LIF, Sequential

TICKS = 14


def network() -> HybridNetwork:
    torch.manual_seed(2)
    part = Sequential(
        wait=Delay(torch.tensor([0.0, 0.0024, 0.003]), max_delay=0.004, learn="delay"),
        fc=nn.Linear(3, 4),
        lif=LIF(tau=0.01, v_threshold=0.3),
        late=Delay(0.001),
        out=nn.Linear(4, 2),
        fire=IF(v_threshold=0.2),
    )

    unit = HybridUnit(None, Delay(torch.tensor([0.0011, 0.0, 0.0026]), max_delay=0.003, learn="delay"))
    return parallel({"snn": part}, unit).eval()


def stream() -> dict[str, torch.Tensor]:
    return {"x": (torch.rand(TICKS, 2, 3, generator=torch.Generator().manual_seed(1)) < 0.5).float()}


def test_nir_holds_the_delay_of_each_channel_in_seconds() -> None:
    part = network().parts["snn"]
    x = stream()["x"]
    written = to_nir(part, x, dt=0.001)

    # 2.4 ms are 2 steps of 1 ms
    assert np.allclose(written.graph.nodes["wait"].delay, [0.0, 0.002, 0.003])
    assert from_nir(written.graph)(x)[0].equal(part(x)[0])


def test_a_bundle_and_its_integers_hold_whole_steps_and_say_the_same(tmp_path: Path) -> None:
    trained = network()
    x = stream()
    bundle = export(trained, x, tmp_path / "delays.bundle")
    (link,) = bundle.manifest.links

    assert bundle.numbers(link.numbers)["kernel.ticks"].tolist() == [1, 0, 3]

    quantized = quantize(trained, x)
    bundle = add_integers(bundle, trained, quantized)
    comparison = compare_bundle(bundle)

    assert comparison.passed, [row for row in comparison.rows if not row.passed]
    assert {"integers"} < {row.level for row in comparison.rows}

    outputs = integer_runner(bundle).run({"x": x["x"].numpy()})["snn"]
    assert np.array_equal(outputs, quantized(x)[0]["snn"].detach().numpy())
    assert outputs.any()


@pytest.mark.parametrize(
    ("max_ticks", "ticks"), [(2, [3]), (2, [-1]), ("2", [0]), (1 << 20, [0])], ids=["far", "ahead", "text", "long"]
)
def test_delays_outside_the_state_are_refused(max_ticks: Any, ticks: list[int]) -> None:
    settings = {"max_ticks": max_ticks, "keep": False, "dt": 0.001, "high": 9, "low_out": 0, "high_out": 9}
    numbers = {"ticks": np.array(ticks)}
    layer = OperationRecord("late", "delay", ("x",), {"max_ticks": max_ticks})
    for make in (
        lambda: float_kernel("Delay", settings, numbers),
        lambda: integer_kernel("Delay", settings, numbers),
        lambda: IntegerProgram(ProgramRecord(("x",), (layer,), "late"), {"late": numbers}),
    ):
        with pytest.raises(DataError, match="a delay"):
            make()
