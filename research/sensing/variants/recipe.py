"""The sensing recipe with the networks of the ablation, and other maps of the unit's change.

    spikebridge train research/sensing/variants/recipe.py --networks kernel memoryless --recording real

| network | hybrid unit | velocity prior |
|---|---|---|
| learned, fixed, none, no_prior | as in the recipe sensing | |
| fixed_no_prior, none_no_prior | as the name says | no |
| memoryless | learned, but the membranes are reset in every bin | yes |
| kernel | ANN -> SNN: learned weights of the read-out, cut at the target | yes |
| kernel_fixed, kernel_none | the bare cut; no unit | yes |
| kernel_no_prior, kernel_fixed_no_prior | as the name says | no |
"""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from research.sensing.variants.networks import ChangeMap, SensingVariant, VariantOptions
from spikebridge.networks.sensing import recipe as sensing
from spikebridge.networks.sensing.data import DT, run_parts
from spikebridge.networks.sensing.evaluation.evaluate import evaluate_recording
from spikebridge.networks.sensing.recipe import DetectorTraining, Evaluation, build, example, train
from spikebridge.networks.sensing.report import report as sensing_report
from spikebridge.networks.sensing.tracker.tracker import SensingTracker
from spikebridge.training import Run
from spikebridge.training.settings import check_chosen

__all__ = ["PRESETS", "VARIANTS", "Config", "Evaluation", "build", "evaluate", "example", "report", "tracker", "train"]

VARIANTS: dict[str, dict[str, Any]] = {
    **sensing.VARIANTS,
    "fixed_no_prior": {"unit": "fixed", "prior": False},
    "none_no_prior": {"unit": "none", "prior": False},
    "memoryless": {"memory": False},
    "kernel": {"mode": "kernel"},
    "kernel_fixed": {"mode": "kernel", "unit": "fixed"},
    "kernel_none": {"mode": "kernel", "unit": "none"},
    "kernel_no_prior": {"mode": "kernel", "prior": False},
    "kernel_fixed_no_prior": {"mode": "kernel", "unit": "fixed", "prior": False},
}


@dataclass(frozen=True)
class Config(sensing.Config):
    """Settings of the sensing recipe, and the map of the learned unit SNN -> ANN."""

    unit_map: ChangeMap = "linear"
    """Map of the learned unit SNN -> ANN: linear, tanh of linear, or tanh of linear on change and features joined."""

    def check_networks(self) -> None:
        """See `sensing.Config.check_networks`."""
        check_chosen("network", self.networks, VARIANTS)

    @property
    def available(self) -> tuple[str, ...]:
        """See `sensing.Config.available`."""
        return self.networks

    def network(self, name: str) -> SensingVariant:
        """See `sensing.Config.network`."""
        shared = {"num_features": self.model.num_features, "reach": self.model.reach, "search": self.model.search}
        form = {"change_map": self.unit_map, "detector": self.detector.epochs > 0, **VARIANTS[name]}
        return SensingVariant(DT, VariantOptions(**{**shared, **form}))


_ABLATION = Config(networks=tuple(VARIANTS), num_seeds=3, detector=DetectorTraining(epochs=0))
PRESETS = {
    "default": Config(),
    "quick": Config(
        recording="generated",
        num_scenes=2,
        pathways=sensing.PathwayTraining(epochs=1),
        detector=DetectorTraining(epochs=0),
    ),
    "ablation": _ABLATION,
    "ablation of the real recording": replace(_ABLATION, recording="real"),
}


def tracker(run: Run, network: str | None = None, seed: int | None = None) -> SensingTracker:
    """See `sensing.tracker`."""
    return sensing.run_tracker(run, run.config_as(Config), network, seed)


def evaluate(run: Run, data: Path | None = None, options: Evaluation | None = None) -> dict[str, Any]:
    """See `sensing.evaluate`."""
    if options is not None:
        return evaluate_recording(run, data, options, partial(tracker, run))

    config = run.config_as(Config)
    return sensing.evaluate_networks(run, config, run_parts(config, config.split, data))


def report(run: Run) -> Path:
    """See `sensing.report`."""
    config = run.config_as(Config)
    scored = run_parts(config, config.split)
    settings = {"split": config.split, "unit_map": config.unit_map}
    command = "spikebridge train research/sensing/variants/recipe.py"

    return sensing_report.write(run, build(config), command, tracker(run), scored, example(config), settings)
