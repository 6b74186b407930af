"""Small networks to export, and what a manifest becomes when somebody writes into it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spikebridge.deploy import Bundle, QConfigMapping, add_integers, quantize
from spikebridge.hybrid import (
    FIR,
    HybridNetwork,
    HybridUnit,
    Mean,
    Modulation,
    Sum,
    Transmission,
    Tumbling,
    every,
    ticks,
)
from spikebridge.neurons import IF, LIF, Sequential

DT = 1e-3


def small_network() -> HybridNetwork:
    """An ANN on slow frames, an SNN on fast events, units both ways: taps and a map, a modulated threshold."""
    torch.manual_seed(0)
    gain = nn.Sequential(nn.Linear(4, 5), nn.Softplus())

    return HybridNetwork(
        dt=DT,
        inputs={"frames": every(4 * DT), "events": every(DT)},
        parts={
            "ann": nn.Sequential(nn.Linear(3, 4), nn.ReLU()),
            "snn": Sequential(fc=nn.Linear(6, 5), lif=LIF(tau=0.01, dt=DT, v_threshold=0.4, reset="subtract")),
            "answer": nn.Linear(3, 2),
        },
        links=[
            Transmission("frames", "ann"),
            Transmission("events", "snn"),
            Modulation("ann", "snn.lif.v_threshold", HybridUnit(None, None, gain)),
            Transmission("snn", "answer", HybridUnit(Tumbling(4), FIR(4, (5,)), nn.Linear(5, 3))),
        ],
        outputs=["answer"],
    ).eval()


def small_inputs(ticks: int = 24, batch: int = 3) -> dict[str, Tensor]:
    make = torch.Generator().manual_seed(1)
    frames = torch.rand(ticks // 4, batch, 3, generator=make)
    return {"frames": frames, "events": torch.rand(ticks, batch, 6, generator=make)}


def with_integers(bundle: Bundle, folder: Path, plan: QConfigMapping | None = None) -> Bundle:
    """A copy of the small bundle with its integer model."""
    shutil.copytree(bundle.path, folder)
    network = small_network()
    return add_integers(Bundle.open(folder), network, quantize(network, small_inputs(), plan or QConfigMapping()))


def spiking_network() -> HybridNetwork:
    """Two spiking parts in a loop, with a unit forth and a delayed modulation back; nothing in it needs ONNX."""
    torch.manual_seed(2)
    first = Sequential(fc=nn.Linear(3, 4), fire=IF(v_threshold=0.5))

    return HybridNetwork(
        dt=DT,
        inputs={"events": every(DT)},
        parts={"first": first, "second": Sequential(fire=IF(v_threshold=0.75))},
        links=[
            Transmission("events", "first"),
            Transmission("first", "second", HybridUnit(Tumbling(2), Sum())),
            Modulation("second", "first.fire.r", HybridUnit(None, Mean()), by="add", delay=ticks(2)),
        ],
        outputs=["second"],
    ).eval()


def edited(path: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """A bundle whose manifest was changed on purpose, so without the SHA-256 of its values."""
    file = path / "manifest.json"
    plain = json.loads(file.read_text())
    plain.pop("sha256", None)
    change(plain)
    file.write_text(json.dumps(plain))

    return path
