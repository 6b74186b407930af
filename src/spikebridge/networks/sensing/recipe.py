"""Tracking between frames: an ANN on frames at 40 Hz, an SNN on events; a hybrid unit adds the change since a frame.

    spikebridge train sensing                     # the real recording if it is found, else generated scenes
    spikebridge train sensing --preset quick      # generated scenes, in seconds
    spikebridge train sensing --preset shipped    # the shipped weights: real recording, generated scenes, and clips
    spikebridge train sensing --preset ablation   # every network, three seeds

Protocol A: the true boxes of the last two frames are given; the network predicts the box at the end of each bin of
events until the next frame. It is trained on the first part of a recording, settings were chosen on the second part,
and results are measured on the third. Static box and constant velocity are evaluated in the same way.

| network | hybrid unit SNN -> ANN | velocity prior |
|---|---|---|
| learned | learned leak, learned 3 x 3 map | yes |
| fixed | plain sum, no map | yes |
| none | none: frames only | yes |
| no_prior | learned leak, learned 3 x 3 map | no |
| fixed_no_prior, none_no_prior | as the name says | no |
| memoryless | learned, but the membranes are reset in every bin | yes |
| correlation | learned; an 11 x 11 correlation reads the sum of features and change | yes |
| kernel | ANN -> SNN: learned weights of the read-out, cut at the target | yes |
| kernel_fixed, kernel_none | the bare cut; no unit | yes |
| kernel_no_prior, kernel_fixed_no_prior | as the name says | no |

`--model.change-map` sets the map of the learned unit SNN -> ANN, `--model.counts` counts events.

Source: R. Zhao et al., Nature Communications 13:3427 (2022), Fig. 2.
"""

import logging
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from spikebridge.data.simulation.families import check_family
from spikebridge.deploy.bundle.bundle import Bundle
from spikebridge.errors import ConfigError, DataError, did_you_mean
from spikebridge.networks.sensing.data import DT, film_parts, generated_parts, run_parts
from spikebridge.networks.sensing.evaluation import benchmark
from spikebridge.networks.sensing.evaluation.evaluate import TrackingEvaluation, evaluate_recording
from spikebridge.networks.sensing.evaluation.protocols import interframe
from spikebridge.networks.sensing.model.boxes import check_crop
from spikebridge.networks.sensing.model.sensing import Sensing
from spikebridge.networks.sensing.model.units import ChangeMap, SensingOptions, Size
from spikebridge.networks.sensing.tracker.bundle_inference import bundle_model
from spikebridge.networks.sensing.tracker.tracker import SensingTracker, TrackerOptions
from spikebridge.networks.sensing.training.datasets import training_data
from spikebridge.networks.sensing.training.detector_samples import detector_samples
from spikebridge.networks.sensing.training.phases import (
    DetectorTraining,
    PathwayTraining,
    Schedule,
    detector_phase,
    load_parts,
    tracking_phases,
)
from spikebridge.networks.sensing.training.samples import cut_samples
from spikebridge.networks.sensing.training.spread import fit_spread
from spikebridge.training.batches import Dataset
from spikebridge.training.loop import fit
from spikebridge.training.phase import Phase
from spikebridge.training.run.config_io import from_plain, reproduce_command
from spikebridge.training.run.run import Run
from spikebridge.training.settings import Settings, check_chosen, check_least, check_positive

_NUM_SPREAD_SCENES = 20
_log = logging.getLogger(__name__)

VARIANTS: dict[str, dict[str, Any]] = {
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
"""The networks of the table: their names stand in run folders, so all of them stay here."""
Evaluation = TrackingEvaluation
REGIONS = ("where", "units.unit")
"""What runs at every bin, the SNN and its unit, can run in integers; the head stays in floating point."""


@dataclass(frozen=True)
class ModelConfig:
    """Settings of the model that all networks of a run share."""

    size: Size = "small"
    """Size of the pathways: a few thousand weights, or ResNet bottlenecks of the size in the paper."""
    num_features: int = 8
    """Channels of both pathways."""
    crop: int = 96
    """Side of the square search window around the target, the input of the network [px]."""
    reach: int = 16
    """Largest displacement that is scored, in cells of 2 px."""
    search: float = 10.0
    """Largest distance of a scored displacement from the predicted position [px]."""
    change_map: ChangeMap = "linear"
    """Map of the learned unit SNN -> ANN: linear, tanh of linear, or tanh of linear on change and features joined."""
    counts: bool = False
    """The input of the SNN is the number of events of a pixel in a bin; otherwise 1 if there is any."""

    def __post_init__(self) -> None:
        """Refuses values out of range."""
        check_positive(self, ("num_features", "reach"), "model")
        check_crop(self.crop, self.options().stride)

    def options(self, **form: Any) -> SensingOptions:
        """Of one network.

        Args:
            form: further fields of `SensingOptions`, such as those of `VARIANTS`.
        """
        shared = {"size": self.size, "num_features": self.num_features, "reach": self.reach, "search": self.search}
        return SensingOptions(**{**shared, **form})


@dataclass(frozen=True)
class TrackerConfig:
    """Settings of the closed-loop tracker in evaluation."""

    template_rate: float = 0.3
    """Weight of the newest template; the first template has the rest."""
    detector_gain: float = 0.5
    """Weight of the detector's box at a frame without a given box; the predicted box has the rest."""

    def __post_init__(self) -> None:
        """Refuses values out of range."""
        TrackerOptions(template_rate=self.template_rate, detector_gain=self.detector_gain)


@dataclass(frozen=True)
class Config:
    """Settings of the sensing recipe."""

    networks: tuple[str, ...] = ("learned",)
    """Which networks to train and compare: learned, fixed, none, no_prior, memoryless, correlation, kernel, ..."""
    seed: int = 0
    """The first seed: of initial weights, order of samples and augmentation."""
    num_seeds: int = 1
    """Trainings of each network, with consecutive seeds."""
    recording: str = "auto"
    """real: the FE240hz recording in SPIKEBRIDGE_DATA; a path: another recording with boxes.
    `generated`: generated scenes; `auto`: real if found, else generated; `both`: trained on both, tested on real."""
    split: Literal["test", "validation"] = "test"
    """The split for the results; settings are chosen on validation."""
    num_scenes: int = 12
    """Generated scenes to train on."""
    scenes: tuple[str, ...] = ()
    """Families of the generated scenes, in turn: those of `data make moving-object --family`."""
    frame_step: int = 1
    """Only every N-th frame is used."""
    clips: bool = False
    """Train the detector also on video clips (OTB, VOT; no events) in SPIKEBRIDGE_DATA; with label_free the ANN too."""
    schedule: Schedule = "joint"
    """joint: all parts at once; alternate: the ANN on frames, then the SNN and its unit, twice.
    `label_free`: the ANN on frames with boxes (of the clips with --clips), then the SNN and its unit without boxes."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """Settings of the model that all networks share."""
    pathways: PathwayTraining = field(default_factory=PathwayTraining)
    """Training of the pathways, the hybrid unit, the head and the velocity prior."""
    detector: DetectorTraining = field(default_factory=DetectorTraining)
    """Training of the target detector, which finds the target in a frame."""
    tracker: TrackerConfig = field(default_factory=TrackerConfig)
    """Settings of the closed-loop tracker in evaluation."""

    ADDED_FIELDS: ClassVar[tuple[str, ...]] = ("scenes",)
    """Fields that run folders of before do not have."""
    RENAMED_FIELDS: ClassVar[dict[str, str]] = {
        "following_scenes": "pathways.num_scenes",
        "thinning": "frame_step",
        "crop": "model.crop",
        "reach": "model.reach",
        "search": "model.search",
        "num_features": "model.num_features",
        "size": "model.size",
        "change_map": "model.change_map",
        "counts": "model.counts",
        "shake": "pathways.box_noise",
        "epochs": "pathways.epochs",
        "batch_size": "pathways.batch_size",
        "lr": "pathways.lr",
        "lr_scalars": "pathways.lr_scalars",
        "pathways": "pathways.weights_from",
        "finding_scenes": "detector.num_scenes",
        "finding_epochs": "detector.epochs",
        "finding_lr": "detector.lr",
        "finding_shake": "detector.box_noise",
        "finding_abroad": "detector.background_swaps",
        "finding_lasting": "detector.template_error",
        "finding_lost": "detector.absent_share",
        "finders": "detector.weights_from",
        "renewal": "tracker.template_rate",
        "recall": "tracker.detector_gain",
    }
    """Fields of run folders of version 0.1, by their names now."""

    def __post_init__(self) -> None:
        """Refuses values out of range."""
        check_chosen("network", self.networks, VARIANTS)
        for name in self.networks:
            self.model.options(**self._form(name))

        for name in self.scenes:
            check_family(name)

        check_least(self, seed=0)
        check_positive(self, ("num_seeds", "num_scenes", "frame_step"))
        if self.pathways.weights_from and (self.detector.weights_from or not self.detector.epochs):
            raise ConfigError(
                "with pathways.weights_from only the detector is trained: leave out detector.weights_from, and train it"
            )

    def _form(self, name: str) -> dict[str, Any]:
        events = {"change_map": self.model.change_map, "counts": self.model.counts}
        return {**events, "detector": self.detector.epochs > 0, **VARIANTS[name]}

    def network(self, name: str) -> Sensing:
        """An untrained network of the comparison."""
        return Sensing(DT, self.model.options(**self._form(name)))


_BOTH = Config(
    recording="both",
    clips=True,
    num_scenes=6,
    pathways=PathwayTraining(epochs=8),
    detector=DetectorTraining(num_scenes=30, epochs=18, box_noise=1.2),
)

PRESETS = {
    "quick": Config(
        recording="generated",
        num_scenes=2,
        pathways=PathwayTraining(epochs=3),
        detector=DetectorTraining(epochs=2, num_scenes=1),
    ),
    "default": Config(),
    "shipped": _BOTH,
    "three": replace(_BOTH, num_seeds=3),
    "large": replace(_BOTH, model=ModelConfig(num_features=32)),
    # stride 8 and three bottlenecks, as the demonstration that the authors released; their crops have 145 px
    "paper": replace(_BOTH, model=ModelConfig(size="resnet", num_features=1024, crop=144, reach=4)),
    "ablation": Config(
        networks=tuple(name for name in VARIANTS if name != "correlation"),
        num_seeds=3,
        detector=DetectorTraining(epochs=0),
    ),
}


def build(config: Config) -> dict[str, Sensing]:
    """Every network of the comparison, untrained."""
    return {name: config.network(name) for name in config.networks}


def tracker_of(config: Config, network: Sensing) -> SensingTracker:
    """A trained network as a tracker."""
    # in single precision, as frames are, whatever torch's default was where it was made
    return SensingTracker(network.float().eval(), _tracker_options(config))


def _tracker_options(config: Config) -> TrackerOptions:
    return TrackerOptions(config.model.crop, config.tracker.template_rate, config.tracker.detector_gain)


def example(config: Config) -> dict[str, Tensor]:
    """One frame and six bins of events of a generated scene."""
    part = generated_parts("validation", 1)[0]
    samples = cut_samples(part.recording, part.frames, config.model.crop, counts=config.model.counts)
    return {"frames": samples.frames[None, :1], "boxes": samples.boxes[None, :1], "events": samples.events[:, :1]}


def train(config: Config, run: Run, quiet: bool = False) -> dict[str, Any]:
    """Trains every network with every seed, evaluates them, and writes the table."""
    data = training_data(config)
    scored = run_parts(config, config.split)
    scores: dict[str, list[dict[str, Any]]] = {name: [] for name in config.networks}

    # seeds in the outer loop, so that a stopped run has whole comparisons
    for seed in _seeds(config):
        for name in config.networks:
            child = run.child(f"{name}/seed-{seed}")
            if not child.finished:
                with torch.random.fork_rng(devices=[]):
                    torch.manual_seed(seed)
                    network = config.network(name)

                settings = Settings(seed=seed, batch_size=config.pathways.batch_size, accelerator="cpu", quiet=quiet)
                taken = load_parts(network, config.detector, config.pathways.weights_from, child)
                steps = phases(config, network, f"{name}, seed {seed}", data.detector, data.unlabelled)
                fit(network, steps, data.labelled, settings=settings, run=child)
                taken |= _fitted_spread(config, network, data.detector)
                child.save_weights(network)
                child.save_results({**benchmark.score(tracker_of(config, network), scored), **taken})

            scores[name].append(child.results())

    results = benchmark.compare(scores, scored)
    run.save_results(results)

    return results


def _fitted_spread(config: Config, network: Sensing, pairs: Dataset | None) -> dict[str, Any]:
    """Scales what a newly trained detector claims, where that is asked for."""
    if pairs is None or network.finder is None or not config.detector.fit_spread:
        return {}

    parts = generated_parts("validation", _NUM_SPREAD_SCENES, config.scenes)
    if config.detector.num_films:
        parts += film_parts("validation", _NUM_SPREAD_SCENES)

    samples = detector_samples(parts, lost=config.detector.absent_share, seed=config.seed)
    fitted = fit_spread(network.finder, samples, config.tracker.template_rate)

    return {"spread_factor": fitted.factor, "spread_exponent": fitted.exponent}


def _seeds(config: Config) -> range:
    return range(config.seed, config.seed + config.num_seeds)


def phases(
    config: Config, network: Sensing, name: str, pairs: Dataset | None, unlabelled: Dataset | None = None
) -> list[Phase]:
    """First all that tracks between frames, then the detector; the datasets are those of `TrainingData`."""
    tracking = (
        []
        if config.pathways.weights_from
        else tracking_phases(network, name, config.schedule, config.pathways, unlabelled)
    )
    if pairs is None:
        return tracking

    # the name of the phase stands in checkpoints
    return [*tracking, detector_phase(f"{name}, finder", pairs, config.detector, config.tracker.template_rate)]


def tracker(run: Run, network: str | None = None, seed: int | None = None) -> SensingTracker:
    """A trained network of a run as a tracker that calibrates itself, and warns of unsuitable inputs.

    Args:
        run: with trained weights.
        network: its name; by default the first one.
        seed: of its training; by default the first one.

    Raises:
        ConfigError: the run has no such network.
    """
    config = run.config_as(Config)
    name = network or config.networks[0]
    found = {path: child for path, child in run.children().items() if path.startswith(f"{name}/")}
    chosen = f"{name}/seed-{seed}" if seed is not None else next(iter(found), "")

    if chosen not in found:
        raise ConfigError(f"{run.path} has no trained {chosen or name}: {did_you_mean(chosen, run.children())}")

    sensing = config.network(name)
    found[chosen].load_weights(sensing)

    return tracker_of(config, sensing).with_options(calibrate=True, detector="both", warns=True)


def bundle_tracker(path: Path, integers: bool = False) -> SensingTracker:
    """The network of a bundle as a tracker, which calibrates itself as that of `tracker` does.

    Args:
        path: the folder that `spikebridge export` wrote.
        integers: whether what was quantised computes with integers (`spikebridge quantize --bundle`).

    Raises:
        ConfigError: it is a bundle of another recipe, or of a form that cannot be followed with.
        DataError: the bundle is damaged or incomplete.
    """
    bundle = Bundle.open(path)
    card = bundle.manifest.card
    if card.get("recipe") != "sensing" or not {"config", "network"} <= card.keys():
        raise ConfigError(f"{path}: expected a bundle of the recipe sensing, but it is of {card.get('recipe')!r}")

    config = from_plain(Config, card["config"], f"{path}: config")
    sensing = config.network(card["network"])
    if bundle.manifest.dt != sensing.dt:
        raise DataError(f"{path}: expected bins of {sensing.dt:g} s, but they have {bundle.manifest.dt:g} s")

    tracked = SensingTracker(sensing.eval(), _tracker_options(config), bundle_model(bundle, sensing, integers))
    return tracked.with_options(calibrate=True, detector="both", warns=True)


def evaluate(run: Run, data: Path | None = None, options: Evaluation | None = None) -> dict[str, Any]:
    """Evaluates a network of a run on a recording; without options, all its networks as training did."""
    if options is not None:
        return evaluate_recording(run, data, options, partial(tracker, run))

    config = run.config_as(Config)
    scored = run_parts(config, config.split, data)
    trackers = {
        name: [
            tracker(run, name, seed).with_options(calibrate=False, detector="learned", warns=False)
            for seed in _seeds(config)
        ]
        for name in config.networks
    }

    scores: dict[str, list[dict[str, Any]]] = {name: [] for name in trackers}
    for name, seeds in trackers.items():
        for number, one in enumerate(seeds, start=1):
            _log.info("tracking with %s (%d of %d)", name, number, len(seeds))
            scores[name].append(benchmark.score(one, scored))

    return benchmark.compare(scores, scored)


def calibration(config: Config, num_samples: int, data: Path | None = None) -> dict[str, Tensor]:
    """Frames of training recordings and the events after them, on which the scales of integers are chosen.

    Args:
        config: of the run.
        num_samples: number of frames.
        data: the folder with data sets; that of the environment by default.
    """
    (first, *_) = run_parts(config, "train", data)
    samples = cut_samples(first.recording, first.frames, config.model.crop, counts=config.model.counts)
    # spread over the recording
    chosen = slice(None, None, max(1, len(samples.frames) // num_samples))

    return {
        "frames": samples.frames[chosen][None, :num_samples],
        "boxes": samples.boxes[chosen][None, :num_samples],
        "events": samples.events[:, chosen][:, :num_samples].float(),
    }


def measure(network: Sensing, config: Config, data: Path | None = None) -> dict[str, float]:
    """The figures that quantisation may change: the mean distance of protocol A, as trained and calibrated [px]."""
    scored = run_parts(config, config.split, data)
    tracked = SensingTracker(network.eval(), _tracker_options(config))
    trackers = {"mean_distance_px": tracked, "calibrated_distance_px": tracked.with_options(calibrate=True)}

    return {
        name: fmean(interframe(recording, one, frames).score().mean_distance_px for recording, frames in scored)
        for name, one in trackers.items()
    }


def report(run: Run) -> Path:
    """Writes report.html: the table beside the baselines, error by bin, the network drawn."""
    from spikebridge.networks.sensing.report import report as sensing_report

    config = run.config_as(Config)
    made = reproduce_command("sensing", config)
    scored = run_parts(config, config.split)

    settings = {
        "split": config.split,
        "frame_step": config.frame_step,
        "crop": config.model.crop,
        "epochs": config.pathways.epochs,
        "box_noise": config.pathways.box_noise,
    }
    return sensing_report.write(run, build(config), made, tracker(run), scored, example(config), settings)
