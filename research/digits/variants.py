"""A recipe: the digits recipe with two more hybrid networks, whose units are fixed or link one way only.

    spikebridge train research/digits/variants.py --networks learned fixed transmission modulation

| network | unit SNN -> ANN | unit ANN -> SNN thresholds |
|---|---|---|
| learned, transmission, ann, snn | as in the recipe digits | |
| fixed | mean, identity | identity |
| modulation | mean, identity; the read-out uses the SNN only | learned map |

Learned and fixed units are level at the default noise, and the modulation alone is behind: NOTES.md.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from spikebridge.hybrid import HybridNetwork, HybridUnit, Mean, Modulation, Transmission, Tumbling, every
from spikebridge.networks.digits import recipe as digits
from spikebridge.networks.digits.model import (
    Readout,
    ThresholdFactor,
    learned_modulation,
    what_pathway,
    where_pathway,
)
from spikebridge.networks.digits.recipe import Camera, build, calibration, example, measure, train
from spikebridge.training import Run
from spikebridge.training.run.config_io import reproduce_command
from spikebridge.training.settings import check_chosen

__all__ = [
    "PRESETS",
    "VARIANTS",
    "Camera",
    "Config",
    "build",
    "calibration",
    "evaluate",
    "example",
    "measure",
    "report",
    "train",
]

# in the order of the tables
VARIANTS = ("learned", "fixed", "transmission", "modulation", "ann", "snn")


@dataclass(frozen=True)
class Config(digits.Config):
    """Settings of the digits recipe, with all six networks."""

    networks: tuple[str, ...] = VARIANTS
    """The networks to train and compare."""

    def check_networks(self) -> None:
        """See `digits.Config.check_networks`."""
        check_chosen("network", self.networks, VARIANTS)

    @property
    def available(self) -> tuple[str, ...]:
        """See `digits.Config.available`."""
        return self.networks

    def builder(self, name: str) -> Callable[[int], HybridNetwork]:
        """See `digits.Config.builder`."""
        if name in digits.VARIANTS:
            return super().builder(name)

        return partial(other_units, name, **self.sizes)


PRESETS = {
    "quick": Config(num_seeds=1, epochs=6, batch_size=32, num_train=384, hidden=16),
    "default": Config(),
    "five": Config(num_seeds=5),
}


def other_units(
    variant: str, hidden: int, *, dt: float, frame_period: int, frame_every: int, sensor: int
) -> HybridNetwork:
    """The hybrid network with fixed units, or with the learned modulation alone; see `digits.model.what_where`."""
    is_fixed = variant == "fixed"
    parts = {"what": what_pathway(hidden, sensor), "where": where_pathway(hidden, sensor)}
    links: list[Transmission | Modulation] = [Transmission("frames", "what"), Transmission("events", "where")]

    if is_fixed:
        links.append(Transmission("what", "answer", held=True))

    links.append(Transmission("where", "answer", HybridUnit(Tumbling(frame_period), Mean())))
    factors = HybridUnit(nonlinearity=ThresholdFactor()) if is_fixed else learned_modulation(hidden)
    links.append(Modulation("what", "where.lif2.v_threshold", factors, by="multiply"))
    parts["answer"] = Readout(hidden * sum(link.target == "answer" for link in links), num_classes=10)

    return HybridNetwork(
        dt=dt,
        inputs={"frames": every(frame_every * dt), "events": every(dt)},
        parts=parts,
        links=links,
        outputs=["answer"],
        clocks={"answer": every(frame_period * dt, (frame_period - 1) * dt)},
    )


def evaluate(run: Run, data: Path | None = None) -> dict[str, Any]:
    """See `digits.evaluate`."""
    return digits.evaluate_networks(run, run.config_as(Config), data)


def report(run: Run) -> Path:
    """See `digits.report`."""
    config = run.config_as(Config)
    return digits.write_report(run, config, reproduce_command("research/digits/variants.py", config))
