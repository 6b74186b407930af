"""Tracking between frames: an ANN on frames at 40 Hz, an SNN on events; a hybrid unit adds the change since a frame.

    spikebridge train sensing                     # the real recording if it is found, else generated scenes
    spikebridge train sensing --preset quick      # generated scenes, in seconds
    spikebridge train sensing --preset shipped    # real recording, generated scenes and clips, as sensing_research

| network | hybrid unit SNN -> ANN | velocity prior |
|---|---|---|
| learned | learned leak, learned 3 x 3 map | yes |
| fixed | plain sum, no map | yes |
| none | none: frames only | yes |
| no_prior | learned leak, learned 3 x 3 map | no |
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from spikebridge._moved import left_networks, refuse_left_networks
from spikebridge.data.simulation.families import check_family
from spikebridge.deploy.bundle.bundle import Bundle
from spikebridge.errors import ConfigError, DataError, did_you_mean
from spikebridge.networks.sensing.data import DT, RecordingPart, generated_parts, run_parts
from spikebridge.networks.sensing.evaluation import benchmark
from spikebridge.networks.sensing.evaluation.evaluate import TrackingEvaluation, evaluate_recording
from spikebridge.networks.sensing.evaluation.protocols import interframe
from spikebridge.networks.sensing.model.boxes import check_crop
from spikebridge.networks.sensing.model.sensing import Sensing
from spikebridge.networks.sensing.model.units import SensingOptions
from spikebridge.networks.sensing.tracker.bundle_inference import bundle_model
from spikebridge.networks.sensing.tracker.tracker import SensingTracker, TrackerOptions
from spikebridge.networks.sensing.training.datasets import training_data
from spikebridge.networks.sensing.training.detector_samples import detector_samples
from spikebridge.networks.sensing.training.phases import (
    BATCH_SIZE,
    DetectorTraining,
    PathwayTraining,
    detector_phase,
    load_parts,
    pathway_phase,
)
from spikebridge.networks.sensing.training.samples import cut_samples
from spikebridge.networks.sensing.training.spread import fit_spread
from spikebridge.training.batches import Dataset
from spikebridge.training.loop import fit
from spikebridge.training.phase import Phase
from spikebridge.training.run.config_io import from_plain, reproduce_command
from spikebridge.training.run.run import Run, train_children
from spikebridge.training.settings import Settings, check_chosen, check_minimum, check_positive

_log = logging.getLogger(__name__)

# the closed loop: shares of the newest template, and of the detected box at a frame that comes in time; chosen on the
# validation frames of the real recording
TEMPLATE_RATE = 0.3
_DETECTOR_GAIN = 0.5
_NUM_SPREAD_SCENES = 20

# the networks of the table, as fields of `SensingOptions`; their names stand in run folders
VARIANTS: dict[str, dict[str, Any]] = {
    "learned": {},
    "fixed": {"unit": "fixed"},
    "none": {"unit": "none"},
    "no_prior": {"prior": False},
}
Evaluation = TrackingEvaluation
# the parts that run at every bin, the SNN and its unit, can run in integers; the head stays in floating point
REGIONS = ("where", "units.unit")


@dataclass(frozen=True)
class ModelConfig:
    """Settings of the model that all networks of a run share."""

    num_features: int = 8
    """Channels of both pathways."""
    crop: int = 96
    """Side of the square search window [px]."""
    reach: int = 16
    """Largest scored displacement [2 px]."""
    search: float = 10.0
    """Search range around the prediction [px]."""

    REMOVED_FIELDS: ClassVar[dict[str, Any]] = {"size": "small", "change_map": "linear", "counts": False}

    def __post_init__(self) -> None:
        check_positive(self, ("num_features", "reach"), "model")
        check_crop(self.crop, Sensing.stride)

    def options(self, **form: Any) -> SensingOptions:
        """The form of one network, with further fields of `SensingOptions` such as those of `VARIANTS`."""
        shared = {"num_features": self.num_features, "reach": self.reach, "search": self.search}
        return SensingOptions(**{**shared, **form})


@dataclass(frozen=True)
class Config:
    """Settings of the sensing recipe."""

    networks: tuple[str, ...] = ("learned",)
    """Networks to train and compare: learned, fixed, none, no_prior."""
    seed: int = 0
    """The first seed."""
    num_seeds: int = 1
    """Trainings of each network, a seed each."""
    recording: str = "auto"
    """real (FE240hz), generated, auto (real if found), both, or the folder of another recording with boxes."""
    split: Literal["test", "validation"] = "test"
    """The split for the results."""
    num_scenes: int = 12
    """Generated scenes to train on."""
    scenes: tuple[str, ...] = ()
    """Scene families of data make moving-object."""
    frame_step: int = 1
    """Only every N-th frame is used."""
    clips: bool = False
    """Train the detector on video clips (OTB, VOT) in SPIKEBRIDGE_DATA, too."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """Settings of the model that all networks share."""
    pathways: PathwayTraining = field(default_factory=PathwayTraining)
    """Training of the pathways, the hybrid unit, the head and the velocity prior."""
    detector: DetectorTraining = field(default_factory=DetectorTraining)
    """Training of the target detector, which detects the target in a frame."""

    ADDED_FIELDS: ClassVar[tuple[str, ...]] = ("scenes",)
    # fields of the run folder of the shipped `sensing_research`, by their names today
    RENAMED_FIELDS: ClassVar[dict[str, str]] = {
        "thinning": "frame_step",
        "epochs": "pathways.epochs",
        "lr": "pathways.lr",
        "pathways": "pathways.weights_from",
        "finding_scenes": "detector.num_scenes",
        "finding_epochs": "detector.epochs",
        "finding_lr": "detector.lr",
        "finding_shake": "detector.box_noise",
        "finders": "detector.weights_from",
    }
    REMOVED_FIELDS: ClassVar[dict[str, Any]] = {
        "schedule": "joint",
        "tracker": {"template_rate": TEMPLATE_RATE, "detector_gain": _DETECTOR_GAIN},
        # fields of the run folder of `sensing_research`
        "batch_size": BATCH_SIZE,
        "size": "small",
        "change_map": "linear",
        "counts": False,
        "lr_scalars": 0.02,
        "shake": 2.0,
        "following_scenes": 2,
        "finding_abroad": 0.4,
        "finding_lasting": 1.0,
        "finding_lost": 0.2,
        "renewal": TEMPLATE_RATE,
        "recall": _DETECTOR_GAIN,
    }

    def __post_init__(self) -> None:
        self.check_networks()
        for name in self.scenes:
            check_family(name)

        # refuses a search of less than 1 px
        self.model.options()
        check_minimum(self, seed=0)
        check_positive(self, ("num_seeds", "num_scenes", "frame_step"))
        if self.pathways.weights_from and (self.detector.weights_from or not self.detector.epochs):
            raise ConfigError(
                "with pathways.weights_from only the detector is trained: leave out detector.weights_from, and train it"
            )

    def check_networks(self) -> None:
        """Raises if a chosen network does not exist; a subclass may have others."""
        check_chosen("network", self.networks, [*VARIANTS, *left_networks("sensing", self.networks)])

    @property
    def available(self) -> tuple[str, ...]:
        """The chosen networks without those that left the recipe; a subclass may have others."""
        return tuple(name for name in self.networks if name in VARIANTS)

    @property
    def seeds(self) -> range:
        """The seeds of the trainings of each network."""
        return range(self.seed, self.seed + self.num_seeds)

    def network(self, name: str) -> Sensing:
        """An untrained network of the comparison."""
        return Sensing(DT, self.model.options(detector=self.detector.epochs > 0, **VARIANTS[name]))


PRESETS = {
    "quick": Config(
        recording="generated",
        num_scenes=2,
        pathways=PathwayTraining(epochs=3),
        detector=DetectorTraining(epochs=2, num_scenes=1),
    ),
    "default": Config(),
    "shipped": Config(
        recording="both",
        clips=True,
        num_scenes=6,
        pathways=PathwayTraining(epochs=8),
        detector=DetectorTraining(num_scenes=30, epochs=18, box_noise=1.2),
    ),
}


def build(config: Config) -> dict[str, Sensing]:
    """Every network of the comparison, untrained."""
    return {name: config.network(name) for name in config.available}


def tracker_of(config: Config, network: Sensing) -> SensingTracker:
    """A trained network as a tracker."""
    # single precision, as frames have, whatever torch's default was when the network was made
    return SensingTracker(network.float().eval(), _tracker_options(config))


def _tracker_options(config: Config) -> TrackerOptions:
    return TrackerOptions(config.model.crop, TEMPLATE_RATE, _DETECTOR_GAIN)


def example(config: Config) -> dict[str, Tensor]:
    """One frame and six bins of events of a generated scene."""
    part = generated_parts("validation", 1)[0]
    samples = cut_samples(part.recording, part.frames, config.model.crop)
    return {"frames": samples.frames[None, :1], "boxes": samples.boxes[None, :1], "events": samples.events[:, :1]}


def train(config: Config, run: Run, quiet: bool = False) -> dict[str, Any]:
    """Trains every network with every seed, evaluates them, and writes the table.

    Networks are trained on the first part of a recording and evaluated on the third, by default; settings were chosen
    on the second. In protocol A the network gets the true boxes of the last two frames, and predicts the box at
    the end of each bin of events until the next frame. Static box and constant velocity are evaluated in the same way.
    """
    refuse_left_networks("sensing", [name for name in config.networks if name not in config.available])
    data = training_data(config)
    scored = run_parts(config, config.split)

    def train_network(name: str, seed: int, child: Run) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = config.network(name)

        settings = Settings(seed=seed, batch_size=BATCH_SIZE, accelerator="cpu", quiet=quiet)
        record = load_parts(network, config.detector.weights_from, config.pathways.weights_from, child)
        steps = phases(config, network, f"{name}, seed {seed}", data.detector)
        fit(network, steps, data.pathways, settings=settings, run=child)
        if data.detector is not None and config.detector.fit_spread:
            record |= _fitted_spread(config, network)

        child.save_weights(network)
        child.save_results({**benchmark.score(tracker_of(config, network), scored), **record})

    results = benchmark.compare(
        train_children(run, config.networks, config.seeds, train_network, benchmark.TrackerScore), scored
    )
    run.save_results(results)

    return results


def _fitted_spread(config: Config, network: Sensing) -> dict[str, Any]:
    """Scales the claims of a newly trained detector to its errors on generated scenes."""
    if network.detector is None:
        return {}

    parts = generated_parts("validation", _NUM_SPREAD_SCENES, config.scenes)
    fitted = fit_spread(network.detector, detector_samples(parts, seed=config.seed), TEMPLATE_RATE)

    return {"spread_factor": fitted.factor, "spread_exponent": fitted.exponent}


def phases(config: Config, network: Sensing, name: str, detector_data: Dataset | None) -> list[Phase]:
    """The phases: first all that tracks between frames, then the detector, if there are samples for it."""
    steps = [] if config.pathways.weights_from else [pathway_phase(network, name, config.pathways)]
    if detector_data is not None:
        # the name of the phase stands in checkpoints
        steps.append(detector_phase(f"{name}, finder", detector_data, config.detector, TEMPLATE_RATE))

    return steps


def tracker(run: Run, network: str | None = None, seed: int | None = None) -> SensingTracker:
    """A trained network of a run as a tracker that calibrates itself, and warns of unsuitable inputs.

    Args:
        run: a run with trained weights.
        network: name of the network; by default the first one.
        seed: seed of its training; by default the first one.

    Raises:
        ConfigError: the run has no such network.
    """
    return run_tracker(run, run.config_as(Config), network, seed)


def run_tracker(run: Run, config: Config, network: str | None = None, seed: int | None = None) -> SensingTracker:
    """The tracker of a run with the settings of a subclass of `Config`; see `tracker`."""
    name = network or config.available[0]
    trained = {path: child for path, child in run.children().items() if path.startswith(f"{name}/")}
    chosen = f"{name}/seed-{seed}" if seed is not None else next(iter(trained), "")

    if chosen not in trained:
        raise ConfigError(f"{run.path} has no trained {chosen or name}: {did_you_mean(chosen, run.children())}")

    sensing = config.network(name)
    trained[chosen].load_weights(sensing)

    return tracker_of(config, sensing).with_options(calibrate=True, detector="auto", warns=True)


def bundle_tracker(path: Path, integers: bool = False) -> SensingTracker:
    """The network of a bundle as a tracker, which calibrates itself as that of `tracker` does.

    Args:
        path: the folder that `spikebridge export` wrote.
        integers: the quantised parts compute with integers (`spikebridge quantize --bundle`).

    Raises:
        ConfigError: the bundle is of another recipe, or of a form that a tracker cannot run.
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

    model = bundle_model(bundle, sensing, integers)
    bundled = SensingTracker(sensing.eval(), _tracker_options(config), model)
    return bundled.with_options(calibrate=True, detector="auto", warns=True)


def evaluate(run: Run, data: Path | None = None, options: Evaluation | None = None) -> dict[str, Any]:
    """Evaluates a network of a run on a recording; without options, all its networks as training did."""
    if options is not None:
        return evaluate_recording(run, data, options, partial(tracker, run))

    config = run.config_as(Config)
    return evaluate_networks(run, config, run_parts(config, config.split, data))


def evaluate_networks(run: Run, config: Config, scored: Sequence[RecordingPart]) -> dict[str, Any]:
    """The comparison of all networks of a run, with the settings of a subclass of `Config`."""
    trackers = {
        name: [
            run_tracker(run, config, name, seed).with_options(calibrate=False, detector="learned", warns=False)
            for seed in config.seeds
        ]
        for name in config.available
    }

    scores: dict[str, list[dict[str, Any]]] = {name: [] for name in trackers}
    for name, seeds in trackers.items():
        for number, one in enumerate(seeds, start=1):
            _log.info("tracking with %s (%d of %d)", name, number, len(seeds))
            scores[name].append(benchmark.score(one, scored))

    return benchmark.compare(scores, scored)


def calibration(config: Config, num_samples: int, data: Path | None = None) -> dict[str, Tensor]:
    """Frames of training recordings and the events after them, on which the scales of integers are chosen."""
    (first, *_) = run_parts(config, "train", data)
    samples = cut_samples(first.recording, first.frames, config.model.crop)
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
    trained = SensingTracker(network.eval(), _tracker_options(config))
    trackers = {"mean_distance_px": trained, "calibrated_distance_px": trained.with_options(calibrate=True)}

    return {
        name: fmean(interframe(recording, one, frames).score().mean_distance_px for recording, frames in scored)
        for name, one in trackers.items()
    }


def report(run: Run) -> Path:
    """Writes report.html: the table with the baselines, error by bin, and the networks as drawings."""
    # matplotlib is needed for pages alone
    from spikebridge.networks.sensing.report import report as sensing_report

    config = run.config_as(Config)
    command = reproduce_command("sensing", config)
    scored = run_parts(config, config.split)
    settings = {
        "split": config.split,
        "frame_step": config.frame_step,
        "crop": config.model.crop,
        "epochs": config.pathways.epochs,
    }

    return sensing_report.write(run, build(config), command, tracker(run), scored, example(config), settings)
