"""Tracking between frames: an ANN sees frames at 40 Hz, an SNN sees events, a hybrid unit adds the change it saw.

    spikebridge train sensing                     # on the real recording where it is there, else on generated scenes
    spikebridge train sensing --preset quick      # generated scenes, in seconds
    spikebridge train sensing --preset shipped    # what comes with the package: real, generated, and clips
    spikebridge train sensing --preset ablation   # every network, three seeds

The target's box is known at frames (protocol A: true boxes of the last two); where is the target at the end of each bin
of events until the next frame? Everything is trained on the first part of a recording, chosen on the second, reported
on the third; hold and constant velocity stand in the same harness.

| network | hybrid unit SNN -> ANN | velocity prior |
|---|---|---|
| learned | learned leak, learned 3 x 3 map | yes |
| fixed | plain sum, no map | yes |
| none | none: frames alone | yes |
| no_prior | learned leak, learned 3 x 3 map | no |
| fixed_no_prior, none_no_prior | as they say | no |
| memoryless | learned, but membranes that forget in every bin | yes |
| correlation | learned; an 11 x 11 correlation reads the sum of features and change | yes |
| kernel | the other way, ANN -> SNN: learned weights of the read-out, cut at the target | yes |
| kernel_fixed, kernel_none, .._no_prior | the bare cut; none (with neither there is only hold); without the prior | |

Source: R. Zhao et al., Nature Communications 13:3427 (2022), Fig. 2.
"""

from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spikebridge.errors import ConfigError, did_you_mean
from spikebridge.networks.sensing import Sensing
from spikebridge.networks.sensing_crops import AXES, cut_samples
from spikebridge.networks.sensing_tracker import SensingTracker
from spikebridge.recipes import sensing_config, sensing_finding, sensing_phases, sensing_quantization, sensing_scores
from spikebridge.recipes.sensing_config import KINDS, Config
from spikebridge.recipes.sensing_evaluation import Evaluation, evaluate_recording
from spikebridge.recipes.sensing_scores import Part
from spikebridge.training import Batches, Phase, Run, Settings, fit

PRESETS = sensing_config.PRESETS
REGIONS = sensing_quantization.REGIONS
calibration, measure = sensing_quantization.calibration, sensing_quantization.measure


def build(config: Config) -> dict[str, Sensing]:
    """Every network of the comparison, untrained."""
    return {name: _network(config, name) for name in config.networks}


def _network(config: Config, name: str) -> Sensing:
    sizes: dict[str, Any] = {"num_features": config.num_features, "reach": config.reach, "search": config.search}
    sizes |= {"size": config.size, "finder": config.finding_epochs > 0}
    return Sensing(dt=sensing_scores.DT, **sizes, **KINDS[name])


def tracker_of(config: Config, network: Sensing) -> SensingTracker:
    """A trained network as a tracker."""
    return SensingTracker(network.eval(), config.crop, config.renewal, config.recall)


def _seeded(config: Config, name: str, seed: int) -> Sensing:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _network(config, name)


def example(config: Config) -> dict[str, Tensor]:
    """One frame and six bins of events of a generated scene."""
    part = sensing_scores.generated("validation", 1)[0]
    samples = cut_samples(part.recording, part.frames, config.crop)
    return {"frames": samples.frames[None, :1], "boxes": samples.boxes[None, :1], "events": samples.events[:, :1]}


def train(config: Config, run: Run, quiet: bool = False) -> dict[str, Any]:
    """Trains every network with every seed, scores them, and writes the table."""
    seen = sensing_scores.parts(config.recording, "train", config.num_scenes, config.thinning)
    data = batches(config, seen[: 1 + config.following_scenes] if config.recording == "both" else seen)
    pairs = None
    if config.finding_epochs and not config.finders:
        pairs = sightings(config, seen)
    scored = _scored(config)
    scores: dict[str, list[dict[str, Any]]] = {name: [] for name in config.networks}
    # seeds outside, so that a stopped run has whole comparisons
    for seed in range(config.seed, config.seed + config.num_seeds):
        for name in config.networks:
            child = run.child(f"{name}/seed-{seed}")
            if not child.finished:
                network = _seeded(config, name, seed)
                settings = Settings(seed=seed, batch_size=config.batch_size, accelerator="cpu", quiet=quiet)
                taken = sensing_phases.take_parts(network, config.finders, config.pathways, child)
                fit(network, phases(config, network, f"{name}, seed {seed}", pairs), data, settings=settings, run=child)
                child.save_weights(network)
                child.save_results({**sensing_scores.score(tracker_of(config, network), scored), **taken})
            scores[name].append(child.results())
    results = sensing_scores.compare(scores, scored)
    run.save_results(results)
    return results


def _scored(config: Config, data: Path | None = None) -> list[Part]:
    return sensing_scores.parts(config.recording, config.split, max(1, config.num_scenes // 3), config.thinning, data)


def batches(config: Config, parts: list[Part]) -> Batches:
    """What the pathways are trained on."""
    cut = [cut_samples(part.recording, part.frames, config.crop, both_ways=True, as_bytes=True) for part in parts]
    return Batches({name: torch.cat([getattr(one, name) for one in cut], axis) for name, axis in AXES.items()}, AXES)


def sightings(config: Config, parts: Sequence[Part]) -> Batches:
    """What the finder is trained on: the same parts, scenes of its own, and clips.

    Args:
        config: says how many scenes, and whether there are clips.
        parts: recordings to train on.
    """
    own = sensing_scores.tumbling("train", config.finding_scenes)
    clips = sensing_scores.clips() if config.clips else []
    return sensing_finding.sightings([*parts, *own, *clips], lost=config.finding_lost, seed=config.seed)


def phases(config: Config, network: Sensing, name: str, pairs: Batches | None) -> list[Phase]:
    """First all that follows between frames, then what finds the target in them."""
    rates = {"lr": config.lr, "lr_scalars": config.lr_scalars}
    settings: dict[str, Any] = {"epochs": config.epochs, "shake": config.shake, **rates}
    following = [] if config.pathways else sensing_phases.following_phases(network, name, config.schedule, **settings)
    if pairs is None:
        return following
    names = ("epochs", "shake", "abroad", "lasting", "lr")
    finding: dict[str, Any] = {one: getattr(config, f"finding_{one}") for one in names}
    return [*following, sensing_phases.finding_phase(f"{name}, finder", pairs, renewal=config.renewal, **finding)]


def tracker(run: Run, network: str | None = None, seed: int | None = None) -> SensingTracker:
    """A trained network of a run, ready to follow a target.

    Args:
        run: with trained weights.
        network: its name; the first one without it.
        seed: of its training; the first one without it.

    Raises:
        ConfigError: the run has no such network.
    """
    config = run.config_as(Config)
    name = network or config.networks[0]
    found = {path: child for path, child in run.children().items() if path.startswith(f"{name}/")}
    chosen = f"{name}/seed-{seed}" if seed is not None else next(iter(found), "")
    if chosen not in found:
        raise ConfigError(f"{run.path} has no trained {chosen or name}: {did_you_mean(chosen, run.children())}")
    sensing = _network(config, name)
    found[chosen].load_weights(sensing)
    return tracker_of(config, sensing)


def evaluate(run: Run, data: Path | None = None, options: Evaluation | None = None) -> dict[str, Any]:
    """Measures a network of a run on a recording; without options, scores all its networks again as training did."""
    if options is not None:
        return evaluate_recording(run, data, options, partial(tracker, run))
    config = run.config_as(Config)
    scored = _scored(config, data)
    scores: dict[str, list[dict[str, Any]]] = {}
    for path, child in run.children().items():
        name = path.partition("/")[0]
        network = _network(config, name)
        child.load_weights(network)
        scores.setdefault(name, []).append(sensing_scores.score(tracker_of(config, network), scored))
    return sensing_scores.compare({name: scores[name] for name in config.networks}, scored)


def report(run: Run) -> Path:
    """Writes report.html: the table beside the baselines, error by bin, the network drawn."""
    from spikebridge.recipes import sensing_report  # figures are slow to load, and no tracker needs them

    config = run.config_as(Config)
    inputs = example(config)
    return sensing_report.write(run, build(config), _command(config), tracker(run), _scored(config), inputs)


def _command(config: Config) -> str:
    """What makes the same run again: the options that differ from the defaults."""
    words = ["spikebridge train sensing"]
    for setting in fields(config):
        value = getattr(config, setting.name)
        if value != setting.default:
            texts = [str(one) for one in value] if isinstance(value, tuple) else [str(value)]
            words += [f"--{setting.name.replace('_', '-')}", *texts]
    return " ".join(words)
