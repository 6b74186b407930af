"""The benchmark of a GPU on a machine without one: it ends in one line, and its tables work at small sizes."""

import importlib
from contextlib import nullcontext
from functools import partial
from types import ModuleType
from typing import Any

import pytest
import torch

pytestmark = pytest.mark.untyped

MODULES = ["LIF, hard reset", "unit: taps, linear layer", "network: loop, modulation, two clocks"]


@pytest.fixture
def gpu() -> ModuleType:
    return importlib.import_module("research.speed.gpu")


def test_without_cuda_it_ends_in_one_line(gpu: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit) as ended:
        gpu.main(["--quick"])

    # a text is printed, and the exit code is 1
    line = str(ended.value.code)
    assert line.startswith("research/speed/gpu.py needs an NVIDIA GPU with CUDA, but PyTorch") and "\n" not in line


def test_the_distance_of_tensors_is_that_by_hand(gpu: ModuleType) -> None:
    first = {"y": torch.tensor([1.0, -4.0]), "z": torch.tensor([10.0, 2.0]), "empty": torch.zeros(0)}
    second = {"y": torch.tensor([1.0, -3.0]), "z": torch.tensor([10.0, 1.0]), "empty": torch.zeros(0)}
    assert gpu.distance(first, second) == 0.25  # 1 of 4; 1 of 10


def test_the_cpu_agrees_with_itself(gpu: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    rows = gpu.parity("cpu", MODULES)
    assert [row["module"] for row in rows[::2]] == MODULES
    assert {row["precision"] for row in rows} == {"float32", "float64"}
    assert {row[name] for row in rows for name in ("outputs", "differing values", "gradients")} == {0.0}

    # a silent module would agree with anything
    for case in gpu.cases().values():
        outputs, gradients = gpu.forward_and_backward(case, "cpu", torch.float32)
        assert all(y.any() for y in outputs.values()) and any(g.any() for g in gradients.values())


@pytest.mark.filterwarnings("ignore:Converting a tensor")
def test_the_tables_have_a_row_for_each_library(gpu: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    makers = {"here": partial(gpu.Ours, nullcontext)}
    networks: dict[str, Any] = {"B": (gpu.Dense, (2, 3, 784))}
    tables = [*gpu.speed("cpu", makers, 1, [(2, 1, 3)], networks, [(2, 1, 4)]), gpu.hybrid("cpu", 1, (4, 2, 8))]
    names = [[row["name"] for row in table["rows"]] for table in tables]

    assert names == [["here", "floor"], ["here", "no neurons"], ["here"], ["no neurons", "LIF"]]
    assert all(row["ms"] > 0 and row["rounds"] == 1 for table in tables for row in table["rows"])
    assert "hybrid training step (4, 2, 8)" in capsys.readouterr().out


def test_every_tensor_of_the_works_is_on_the_device(gpu: ModuleType) -> None:
    """On the meta device nothing is computed, but a tensor that stayed on the CPU is an error."""
    layer = partial(gpu.Ours, nullcontext)
    for run in (
        gpu.layer_alone(layer(), (2, 3, 4), "meta"),
        gpu.memory_traffic((2, 3, 4), "meta"),
        gpu.training_step(gpu.Dense, layer, (2, 3, 784), device="meta"),
        gpu.training_step(gpu.Convolutional, layer, (2, 3, 1, 28, 28), device="meta"),
        gpu.hybrid_step(partial(gpu.LIF, 0.002), (4, 2, 8), "meta"),
    ):
        assert run().device.type == "meta"
