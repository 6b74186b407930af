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

`--change-map` gives the learned unit SNN -> ANN another map, `--counts` counts the events that it sees.

Source: R. Zhao et al., Nature Communications 13:3427 (2022), Fig. 2.

The networks that the sensing recipe compares: what `Sensing` is given for each.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from spikebridge.errors import ConfigError, did_you_mean
from spikebridge.networks.sensing import quantize as sensing_quantization
from spikebridge.networks.sensing.data import DT, RecordingPart, generated_parts, run_parts
from spikebridge.networks.sensing.evaluation import benchmark
from spikebridge.networks.sensing.evaluation.evaluate import Evaluation, evaluate_recording
from spikebridge.networks.sensing.model.boxes import check_crop
from spikebridge.networks.sensing.model.sensing import Sensing, stride_of
from spikebridge.networks.sensing.model.units import ChangeMap, check_options
from spikebridge.networks.sensing.tracker.tracker import SensingTracker
from spikebridge.networks.sensing.training import phases as sensing_phases
from spikebridge.networks.sensing.training.datasets import training_data
from spikebridge.networks.sensing.training.phases import Schedule
from spikebridge.networks.sensing.training.samples import cut_samples
from spikebridge.training.batches import Dataset
from spikebridge.training.loop import fit
from spikebridge.training.phase import Phase
from spikebridge.training.run.command import train_command
from spikebridge.training.run.run import Run
from spikebridge.training.settings import Settings

KINDS: dict[str, dict[str, Any]] = {
    "learned": {},
    "fixed": {"unit": "fixed"},
    "none": {"unit": "none"},
    "no_prior": {"prior": False},
    "fixed_no_prior": {"unit": "fixed", "prior": False},
    "none_no_prior": {"unit": "none", "prior": False},
    "memoryless": {"memory": False},
    "correlation": {"head": "correlation"},
    "kernel": {"mode": "kernel"},
    "kernel_fixed": {"mode": "kernel", "unit": "fixed"},
    "kernel_none": {"mode": "kernel", "unit": "none"},
    "kernel_no_prior": {"mode": "kernel", "prior": False},
    "kernel_fixed_no_prior": {"mode": "kernel", "unit": "fixed", "prior": False},
}


def check_kinds(names: Sequence[str], change_map: ChangeMap, counts: bool) -> None:
    """Refuses names of networks that there are not, and options that one of them has no use for.

    Args:
        names: of `KINDS`.
        change_map: of all of them.
        counts: of all of them.

    Raises:
        ConfigError: see above.

    Example:
        >>> check_kinds(["learned", "memoryless"], "joined", counts=True)
    """
    for name in names:
        if name not in KINDS:
            raise ConfigError(f"no network {name!r}; {did_you_mean(name, KINDS)}")
        check_options(change_map, counts, **KINDS[name])


REGIONS = sensing_quantization.REGIONS
calibration, measure = sensing_quantization.calibration, sensing_quantization.measure


@dataclass(frozen=True)
class Config:
    """Settings of the sensing recipe."""

    networks: tuple[str, ...] = ("learned",)
    """Which networks to train and compare: learned, fixed, none, no_prior, memoryless, correlation, kernel, ..."""
    seed: int = 0
    """The first seed: of initial weights, order of samples and augmentation."""
    num_seeds: int = 1
    """Trainings of each network, with seeds one after the other."""
    recording: str = "auto"
    """real is the recording of FE240hz in SPIKEBRIDGE_DATA; auto takes it where it is, else generated scenes; both
    trains on both and scores the real one. The folder of a recording of your own, with boxes, counts as real."""
    split: Literal["test", "validation"] = "test"
    """What the figures are measured on; settings are chosen on validation."""
    num_scenes: int = 12
    """Generated scenes to train on."""
    following_scenes: int = 2
    """With both, the pathways learn from so many of them; more take from the real recording. The finder sees all."""
    thinning: int = 1
    """Only each so-many-th frame is used."""
    crop: int = 96
    """Side of the square around the target that the network sees [px]."""
    reach: int = 16
    """Displacements are looked at up to so many cells of 2 px."""
    search: float = 10.0
    """And no further than this from the predicted place [px]."""
    num_features: int = 8
    """Channels of both pathways."""
    shake: float = 2.0
    """In training half of the boxes are moved, by up to this standard deviation [px]."""
    schedule: Schedule = "joint"
    """joint trains everything at once; alternate the ANN on frames, then the SNN and its unit, twice; label_free the
    ANN on frames with boxes, those of clips if clips are asked for, then the SNN and its unit without any box."""
    size: Literal["small", "resnet"] = "small"
    """Of the pathways: a few thousand weights, or the bottlenecks of the paper's size."""
    change_map: ChangeMap = "linear"
    """Of the learned unit SNN -> ANN: a linear map, the tanh of one, or that of one of change and features joined."""
    counts: bool = False
    """The SNN sees how many events a pixel had in a bin; else whether it had any."""
    epochs: int = 5
    """Passes over the training samples, each forwards and backwards in time."""
    batch_size: int = 16
    """Samples of a step."""
    lr: float = 3e-3
    """Learning rate of kernels; numbers of a whole channel or network learn at the rate of `lr_scalars`."""
    lr_scalars: float = 2e-2
    """Learning rate of time constants, gains and the like."""
    finding_scenes: int = 4
    """Generated scenes that are hard to hold on to, for the finder alone."""
    clips: bool = False
    """The finder also learns from video clips of OTB and VOT in SPIKEBRIDGE_DATA, which have no events. With label_free
    the ANN does too, and then no box of the recording is read."""
    finding_epochs: int = 10
    """Passes over pairs of frames for the finder, which looks for the target at frames; 0 leaves it out."""
    finding_lr: float = 3e-3
    """Learning rate of the finder."""
    finding_shake: float = 1.0
    """How wrong the boxes are that the finder is given in training; 1 is about a sixth of the target's size."""
    finding_abroad: float = 0.4
    """Share of the finder's samples in which the target stands before what is around another one."""
    finding_lasting: float = 1.0
    """The newest template is wrong by up to this share of what the believed box is wrong by, as in a closed loop."""
    finding_lost: float = 0.2
    """So many more samples, as a share, show where the target is not."""
    finders: str = ""
    """A run whose finders are taken, seed by seed, instead of training them."""
    pathways: str = ""
    """A run of which all but the finders is taken, seed by seed, instead of training it."""
    renewal: float = 0.3
    """Share of the newest template beside the first one."""
    recall: float = 0.5
    """Share of the way from the tracker's own answer to what the finder says of a frame."""

    def __post_init__(self) -> None:
        """Refuses settings that cannot be meant."""
        check_kinds(self.networks, self.change_map, self.counts)
        numbers = ("num_seeds", "num_scenes", "thinning", "reach", "num_features", "epochs", "batch_size")
        for name in (*numbers, "lr", "lr_scalars"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} needs to be above 0, but got {getattr(self, name)}")
        if self.pathways and (self.finders or not self.finding_epochs):
            raise ConfigError("with pathways of another run only the finders are trained: leave out finders, or train")
        for name in ("shake", "finding_shake", "finding_epochs", "finding_scenes", "following_scenes"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} needs to be 0 or more, but got {getattr(self, name)}")
        for name in ("finding_abroad", "finding_lasting", "finding_lost", "renewal", "recall"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is a share, from 0 to 1, but got {getattr(self, name)}")
        check_crop(self.crop, stride_of(self.size))


_BOTH = Config(
    recording="both", clips=True, num_scenes=6, finding_scenes=30, epochs=8, finding_epochs=18, finding_shake=1.2
)

PRESETS = {
    "quick": Config(recording="generated", num_scenes=2, epochs=3, finding_epochs=2, finding_scenes=1),
    "default": Config(),
    "shipped": _BOTH,
    "three": replace(_BOTH, num_seeds=3),
    "large": replace(_BOTH, num_features=32),
    # stride 8 and three bottlenecks, as the demonstration that the authors released; their crops have 145 px
    "paper": replace(_BOTH, size="resnet", num_features=1024, crop=144, reach=4),
    "ablation": Config(
        networks=tuple(name for name in KINDS if name != "correlation"), num_seeds=3, epochs=5, finding_epochs=0
    ),
}


def build(config: Config) -> dict[str, Sensing]:
    """Every network of the comparison, untrained."""
    return {name: _network(config, name) for name in config.networks}


def _network(config: Config, name: str) -> Sensing:
    sizes: dict[str, Any] = {"num_features": config.num_features, "reach": config.reach, "search": config.search}
    sizes |= {"size": config.size, "finder": config.finding_epochs > 0}
    sizes |= {"change_map": config.change_map, "counts": config.counts}
    return Sensing(dt=DT, **sizes, **KINDS[name])


def tracker_of(config: Config, network: Sensing) -> SensingTracker:
    """A trained network as a tracker."""
    # in single precision, as frames are, whatever torch's default was where it was made
    return SensingTracker(network.float().eval(), config.crop, config.renewal, config.recall)


def _seeded(config: Config, name: str, seed: int) -> Sensing:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _network(config, name)


def example(config: Config) -> dict[str, Tensor]:
    """One frame and six bins of events of a generated scene."""
    part = generated_parts("validation", 1)[0]
    samples = cut_samples(part.recording, part.frames, config.crop, counts=config.counts)
    return {"frames": samples.frames[None, :1], "boxes": samples.boxes[None, :1], "events": samples.events[:, :1]}


def train(config: Config, run: Run, quiet: bool = False) -> dict[str, Any]:
    """Trains every network with every seed, scores them, and writes the table."""
    data = training_data(config)
    scored = _scored(config)
    scores: dict[str, list[dict[str, Any]]] = {name: [] for name in config.networks}
    # seeds outside, so that a stopped run has whole comparisons
    for seed in _seeds(config):
        for name in config.networks:
            child = run.child(f"{name}/seed-{seed}")
            if not child.finished:
                network = _seeded(config, name, seed)
                settings = Settings(seed=seed, batch_size=config.batch_size, accelerator="cpu", quiet=quiet)
                taken = sensing_phases.load_parts(network, config.finders, config.pathways, child)
                steps = phases(config, network, f"{name}, seed {seed}", data.detector, data.unlabelled)
                fit(network, steps, data.labelled, settings=settings, run=child)
                child.save_weights(network)
                child.save_results({**benchmark.score(tracker_of(config, network), scored), **taken})
            scores[name].append(child.results())
    results = benchmark.compare(scores, scored)
    run.save_results(results)
    return results


def _seeds(config: Config) -> range:
    return range(config.seed, config.seed + config.num_seeds)


def _scored(config: Config, data: Path | None = None) -> list[RecordingPart]:
    return run_parts(config, config.split, data)


def phases(
    config: Config, network: Sensing, name: str, pairs: Dataset | None, changes: Dataset | None = None
) -> list[Phase]:
    """First all that follows between frames, then what finds the target in them; see `TrainingData`."""
    rates = {"lr": config.lr, "lr_scalars": config.lr_scalars}
    settings: dict[str, Any] = {"epochs": config.epochs, "shake": config.shake, **rates}
    asked = network, name, config.schedule, changes
    following = [] if config.pathways else sensing_phases.tracking_phases(*asked, **settings)
    if pairs is None:
        return following
    names = ("epochs", "shake", "abroad", "lasting", "lr")
    finding: dict[str, Any] = {one: getattr(config, f"finding_{one}") for one in names}
    return [*following, sensing_phases.detector_phase(f"{name}, finder", pairs, renewal=config.renewal, **finding)]


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
    trackers = {name: [tracker(run, name, seed) for seed in _seeds(config)] for name in config.networks}
    scores = {name: [benchmark.score(one, scored) for one in seeds] for name, seeds in trackers.items()}
    return benchmark.compare(scores, scored)


def report(run: Run) -> Path:
    """Writes report.html: the table beside the baselines, error by bin, the network drawn."""
    from spikebridge.networks.sensing.report import report as sensing_report

    config = run.config_as(Config)
    made, scored = train_command("sensing", config), _scored(config)
    return sensing_report.write(run, build(config), made, tracker(run), scored, example(config))
