"""The sensing recipe without labels: the SNN and its unit learn from frames and events alone.

    spikebridge train research/sensing/variants/label_free.py --recording my_recording --clips --out runs/free
    spikebridge track another --network runs/free --recipe research/sensing/variants/label_free.py

First the ANN and the head learn on boxes at frames; with --clips on those of video clips (OTB and VOT in `tracking` in
the folder SPIKEBRIDGE_DATA), so that no box of the recording is ever read. Then the SNN and its unit learn the change
of the ANN's features between two frames (`L_F`, eq. 13 of R. Zhao et al., Nature Communications 13:3427, 2022). Without
boxes the figures are of generated scenes, and are labelled so. The motion prior is not trained: the next frame shows
the target so well that a prior trained with it would be ignored.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim.lr_scheduler import CosineAnnealingLR

from spikebridge.data.catalog import find_files
from spikebridge.data.recordings.load import load_recording
from spikebridge.data.recordings.recording import Recording, temporal_splits
from spikebridge.errors import ConfigError, DataError, ShapeError
from spikebridge.networks.sensing import recipe as sensing
from spikebridge.networks.sensing.data import DT, RecordingPart, clip_parts, generated_parts, run_parts
from spikebridge.networks.sensing.evaluation import benchmark
from spikebridge.networks.sensing.evaluation.evaluate import evaluate_recording
from spikebridge.networks.sensing.model.sensing import Sensing
from spikebridge.networks.sensing.recipe import Evaluation, build, example
from spikebridge.networks.sensing.report import report as sensing_report
from spikebridge.networks.sensing.tracker.tracker import SensingTracker
from spikebridge.networks.sensing.training.datasets import detector_data, join_samples, pathway_data
from spikebridge.networks.sensing.training.objectives import (
    BOX_NOISE,
    Batch,
    Result,
    jitter_samples,
    map_presence,
    random_flip_samples,
)
from spikebridge.networks.sensing.training.phases import BATCH_SIZE, detector_phase, pathway_optimizer
from spikebridge.networks.sensing.training.samples import (
    FrameInterval,
    Labels,
    TrackingSamples,
    cut_sample,
    intervals,
    stack_samples,
)
from spikebridge.training import Phase, Run, Settings, fit
from spikebridge.training.batches import Batches

__all__ = ["PRESETS", "Config", "Evaluation", "build", "evaluate", "example", "report", "tracker", "train"]

_ANN_MODULES = ("what", "head")
_SNN_MODULES = ("where", "unit")
# weights of the presence and of the size of the features; too strong on the latter, and the features die
_PRESENCE_WEIGHT = 0.1
_SIZE_WEIGHT = 1e-3


@dataclass(frozen=True)
class Config(sensing.Config):
    """Settings of the sensing recipe."""

    def __post_init__(self) -> None:
        """Refuses networks whose SNN cannot learn alone."""
        super().__post_init__()
        if "none" in self.networks:
            raise ConfigError("without labels an SNN and its unit are trained, but the network 'none' has none")


PRESETS = {name: Config(**vars(preset)) for name, preset in sensing.PRESETS.items() if name != "shipped"}


def train(config: Config, run: Run, quiet: bool = False) -> dict[str, Any]:
    """Trains every network with every seed, evaluates them, and writes the table."""
    recorded = [] if config.clips else run_parts(config, "train")
    labelled = pathway_data(config, recorded or clip_parts())
    unlabelled = unlabelled_data(config)
    detector = detector_data(config, recorded) if config.detector.epochs else None
    scored = scored_parts(config)
    scores: dict[str, list[dict[str, Any]]] = {name: [] for name in config.networks}

    for seed in config.seeds:
        for name in config.networks:
            child = run.child(f"{name}/seed-{seed}")
            if not child.finished:
                with torch.random.fork_rng(devices=[]):
                    torch.manual_seed(seed)
                    network = config.network(name)

                title = f"{name}, seed {seed}"
                steps = phases(config, network, title, unlabelled)
                if detector is not None:
                    steps.append(detector_phase(f"{title}, finder", detector, config.detector, sensing.TEMPLATE_RATE))

                settings = Settings(seed=seed, batch_size=BATCH_SIZE, accelerator="cpu", quiet=quiet)
                fit(network, steps, labelled, settings=settings, run=child)
                child.save_weights(network)
                child.save_results(benchmark.score(sensing.tracker_of(config, network), scored))

            scores[name].append(child.results())

    results = benchmark.compare(scores, scored)
    run.save_results(results)

    return results


def phases(config: Config, network: Sensing, name: str, unlabelled: Batches) -> list[Phase]:
    """The ANN on frames with boxes, then the SNN and its unit without any box."""
    training = config.pathways
    weights = {**network.parts, **network.units}
    snn = tuple(part for part in _SNN_MODULES if next(weights[part].parameters(), None) is not None)

    def phase(what: str, train: tuple[str, ...], objective: Any) -> Phase:
        optimizer = partial(pathway_optimizer, lr=training.lr)
        scheduler = partial(CosineAnnealingLR, T_max=training.epochs)
        return Phase(f"{name}, {what}", train, objective, training.epochs, optimizer, scheduler, clip=1.0)

    on_changes = phase("events", snn, change_objective)
    return [phase("frames", _ANN_MODULES, frames_objective), replace(on_changes, data=unlabelled)]


def frames_objective(network: Sensing, batch: Batch, *, box_noise: float = BOX_NOISE) -> Result:
    """`L_c + L_1 + L_R`: the target's place in the next frame, from the change of the ANN's features."""
    samples, boxes, errors, start = jitter_samples(network, batch, box_noise)
    features, after = network.parts["what"](torch.cat([samples.frames, samples.after])).chunk(2)
    response = network.parts["head"](network.cut(features, boxes), after - features)
    places, _ = network.locate(response, torch.ones(len(features)), start)

    truth = samples.truths[-1] - errors
    square = (places - truth).square().sum(-1)
    presence = map_presence(response, truth + response.shape[-1] // 2, sigma=network.stride)
    loss = _PRESENCE_WEIGHT * presence + (square + 0.25).sqrt().mean() + _SIZE_WEIGHT * features.square().mean()

    return loss, {"distance_px": square.sqrt().mean()}


def change_objective(network: Sensing, batch: Batch) -> Result:
    """`L_F`: the unit's change at the end of the interval against that between the two frames. No label is read."""
    samples = random_flip_samples(TrackingSamples(**batch))
    # the goal gets no gradient, or the best features were those that never change
    with torch.no_grad():
        features, after = network.parts["what"](torch.cat([samples.frames, samples.after])).chunk(2)

    loss = feature_change(unit_change(network, samples.events)[-1], features, after)
    return loss, {"distance": loss.detach()}


def unit_change(network: Sensing, events: Float[Tensor, "T B 2 H W"]) -> Float[Tensor, "T B C H2 W2"]:
    """The change that the unit adds to the features of the frame, at each bin since the frame."""
    starts = torch.zeros(len(events), dtype=torch.bool, device=events.device)
    starts[:1] = True
    change: Tensor = network.units["unit"](network.parts["where"](events)[0], starts=starts)[0]
    return change


def feature_change(change: Tensor, features: Tensor, next_features: Tensor) -> Float[Tensor, ""]:
    """`L_F` (eq. 13): the mean squared difference of the unit's change from that between two frames."""
    if not change.shape == features.shape == next_features.shape:
        raise ShapeError(
            f"feature_change needs one shape, but got {tuple(change.shape)}, {tuple(features.shape)} and "
            f"{tuple(next_features.shape)}"
        )

    return (change - (next_features - features).detach()).square().mean()


def unlabelled_data(config: Config) -> Batches:
    """Samples of the recording without its boxes, cut around events drawn at random."""
    generator = np.random.default_rng(config.seed)
    parts = recording_without_boxes(config, "train")
    return join_samples([unlabelled_samples(part, config.model.crop, generator) for part in parts])


def recording_without_boxes(config: Config, split: str) -> list[RecordingPart]:
    """A split of the recording, whose boxes need not be known."""
    if config.recording == "generated":
        return generated_parts(split, config.num_scenes, config.scenes)

    is_real = config.recording in ("auto", "real", "both")
    folder = find_files("fe240hz")[0].parent if is_real else Path(config.recording).expanduser()
    recording = load_recording(folder, dt=DT)
    frames = temporal_splits(recording.num_frames)[split]
    step = config.frame_step

    return [RecordingPart(recording.subsample_frames(step), range(-(-frames.start // step), frames.stop // step))]


def unlabelled_samples(part: RecordingPart, size: int, generator: np.random.Generator) -> TrackingSamples:
    """One sample for each frame and direction of time, as bytes; boxes, motion and truths are NaN.

    Each is cut around one of its events, and moved inside of the sensor if it would stick out.
    """
    recording, frames = part
    read = lru_cache(maxsize=4)(recording.frames.__getitem__)
    samples = [
        cut_sample(read, interval, _crop(recording, interval, size, generator), _no_labels(len(interval.bins)))
        for interval in _with_events(intervals(recording, frames, both_ways=True))
    ]
    if not samples:
        raise ConfigError(f"changes need events between frames, but after {frames.start} to {frames.stop - 1} are none")

    return stack_samples(samples, as_bytes=True)


def _with_events(every: Iterator[FrameInterval]) -> Iterator[FrameInterval]:
    return (interval for interval in every if any(len(bin_.x) for bin_ in interval.bins))


def _crop(
    recording: Recording, interval: FrameInterval, size: int, generator: np.random.Generator
) -> tuple[int, int, int, int]:
    """A square around a random event."""
    x, y = (np.concatenate([getattr(bin_, axis) for bin_ in interval.bins]) for axis in ("x", "y"))
    drawn = generator.integers(len(x))
    left, top = (
        min(max(int(at[drawn]) - size // 2, 0), max(extent - size, 0))
        for at, extent in ((x, recording.events.width), (y, recording.events.height))
    )

    return left, top, size, size


def _no_labels(num_bins: int) -> Labels:
    return Labels(np.full(4, np.nan), np.full(2, np.nan), np.full((num_bins, 2), np.nan))


def scored_parts(config: Config, data: Path | None = None) -> list[RecordingPart]:
    """The evaluated parts; generated scenes, named as such, if the recording has no boxes."""
    try:
        return run_parts(config, config.split, data)
    except DataError:
        (first, *_) = recording_without_boxes(config, config.split)
        note = f"({first.recording.name} has no boxes)"
        scenes = generated_parts(config.split, max(1, config.num_scenes // 3), config.scenes)
        return [
            part._replace(recording=replace(part.recording, name=f"{part.recording.name} {note}")) for part in scenes
        ]


def tracker(run: Run, network: str | None = None, seed: int | None = None) -> SensingTracker:
    """See `sensing.tracker`."""
    return sensing.run_tracker(run, run.config_as(Config), network, seed)


def evaluate(run: Run, data: Path | None = None, options: Evaluation | None = None) -> dict[str, Any]:
    """See `sensing.evaluate`."""
    if options is not None:
        return evaluate_recording(run, data, options, partial(tracker, run))

    config = run.config_as(Config)
    return sensing.evaluate_networks(run, config, scored_parts(config, data))


def report(run: Run) -> Path:
    """See `sensing.report`."""
    config = run.config_as(Config)
    scored = scored_parts(config)
    settings = {"split": config.split, "recording": config.recording, "clips": config.clips}
    command = "spikebridge train research/sensing/variants/label_free.py"

    return sensing_report.write(run, build(config), command, tracker(run), scored, example(config), settings)
