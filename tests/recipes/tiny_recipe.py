"""A recipe of a hybrid network that is trained in a moment, for tests of commands."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spikebridge.analysis.report import Section, write_report
from spikebridge.hybrid import HybridNetwork, HybridUnit, Mean, Transmission, Tumbling, every
from spikebridge.neurons import IF, Sequential
from spikebridge.training import WHOLE, Phase, Run, Settings, fit


@dataclass(frozen=True)
class Config:
    """The settings."""

    lr: float = 0.1


PRESETS = {"default": Config()}


def build(config: Config) -> dict[str, HybridNetwork]:
    torch.manual_seed(0)
    snn = Sequential(fc=nn.Linear(3, 4), fire=IF(v_threshold=0.5))
    links = [Transmission("x", "snn"), Transmission("snn", "ann", HybridUnit(Tumbling(2), Mean()))]
    parts = {"snn": snn, "ann": nn.Linear(4, 2)}
    return {"tiny": HybridNetwork(dt=1e-3, inputs={"x": every(1e-3)}, parts=parts, links=links, outputs=["ann"])}


def example(config: Config) -> dict[str, Tensor]:
    return {"x": torch.ones(6, 2, 3)}


def objective(network: nn.Module, batch: Tensor) -> Tensor:
    return network(example(Config()), ticks=6)[0]["ann"].square().mean()


def train(config: Config, run: Run, quiet: bool = False) -> dict[str, Any]:
    child = run.child("tiny/seed-0")
    network = build(config)["tiny"]
    optimizer = partial(torch.optim.SGD, lr=config.lr)
    phase = Phase("one", train=WHOLE, objective=objective, optimizer=optimizer, epochs=1)
    if not child.finished:
        fit(network, [phase], [torch.zeros(1)], settings=Settings(quiet=True), run=child)
        child.save_weights(network)
        child.save_results({"loss": 0.5})

    run.save_results(child.results())
    return run.results()


def evaluate(run: Run, data: Path | None = None) -> dict[str, Any]:
    network = build(run.config_as(Config))["tiny"]
    run.first_child("tiny").load_weights(network)
    return run.results()


def report(run: Run) -> Path:
    return write_report(run.file("report.html"), "Tiny", [Section("Results", str(run.results()))])


def calibration(config: Config, num_samples: int, data: Path | None = None) -> dict[str, Tensor]:
    return example(config)


def measure(network: HybridNetwork, config: Config, data: Path | None = None) -> dict[str, float]:
    return {"loss": 0.5}
