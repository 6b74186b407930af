"""Trains the detector of the reasoning network on pictures of generated videos, in minutes on one core.

python -m spikebridge.networks.reasoning.training.detector --out runs/reasoning_detector
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spikebridge.errors import ConfigError
from spikebridge.networks.reasoning.data.scene import ATTRIBUTES
from spikebridge.networks.reasoning.perception.detector import Detector, detect, detection_loss
from spikebridge.networks.reasoning.simulation.render import render_frames
from spikebridge.networks.reasoning.simulation.video import NUM_OBSERVED_FRAMES, RollingVideo, generate_video, in_view
from spikebridge.training.batches import Batches
from spikebridge.training.evaluation import evaluating
from spikebridge.training.loop import fit
from spikebridge.training.phase import WHOLE, Phase
from spikebridge.training.run.run import Run
from spikebridge.training.settings import Settings

_MOST_OBJECTS = 8


@dataclass(frozen=True)
class DetectorConfig:
    """Settings of the training of the detector."""

    num_videos: int = 500
    """Generated videos to train on."""
    num_pictures: int = 6
    """Pictures of each video."""
    num_features: int = 40
    """Channels of the network."""
    epochs: int = 10
    """Passes over the pictures."""
    batch_size: int = 16
    """Pictures of a step."""
    lr: float = 4e-3
    """Highest learning rate of a one-cycle schedule."""
    seed: int = 0
    """Seed of initial weights and order."""
    num_scored: int = 40
    """Validation videos of the results."""

    def __post_init__(self) -> None:
        """Refuses settings out of range."""
        for name in ("num_videos", "num_pictures", "num_features", "epochs", "batch_size", "lr", "num_scored"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} needs to be above 0, but got {getattr(self, name)}")


DETECTORS = {
    "quick": DetectorConfig(num_videos=12, num_pictures=4, num_features=8, epochs=2, num_scored=1),
    "default": DetectorConfig(),
}


def _build_detector(config: DetectorConfig) -> Detector:
    """The network, untrained."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return Detector(config.num_features)


def _samples(split: str, num_videos: int, num_pictures: int) -> Batches:
    """Pictures of generated videos with the objects in them."""
    shown = []
    truths = []
    there = []

    for number in range(num_videos):
        video = generate_video(split, number)
        frames = np.random.default_rng(number).choice(NUM_OBSERVED_FRAMES, num_pictures, replace=False)
        shown.append(render_frames(video, frames))

        for frame in frames:
            rows = _objects_in(video, int(frame))
            truths.append(np.concatenate([rows, np.zeros((_MOST_OBJECTS - len(rows), 7))]))
            there.append(np.arange(_MOST_OBJECTS) < len(rows))

    tensors = {
        "pictures": torch.from_numpy(np.concatenate(shown)),
        "truths": torch.tensor(np.stack(truths), dtype=torch.float32),
        "there": torch.tensor(np.stack(there), dtype=torch.float32),
    }
    return Batches(tensors, batch=dict.fromkeys(tensors, 0))


def _objects_in(video: RollingVideo, frame: int) -> np.ndarray:
    """x, y, width, height [px] and the numbers of the three values of every object whose centre is visible."""
    seen = in_view(video.positions[frame])
    occluder = video.appearance.occluder
    if occluder is not None:
        from_left = video.positions[frame, :, 0] - occluder.left - occluder.velocity * frame
        seen &= ~((from_left >= 0) & (from_left <= occluder.width))

    named = [[values.index(v) for v, values in zip(t, ATTRIBUTES.values(), strict=True)] for t in video.objects]
    return np.concatenate([video.positions[frame], video.boxes[frame, :, 2:], np.array(named)], axis=1)[seen]


def _objective(detector: Detector, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a batch of pictures."""
    maps = detector(batch["pictures"].permute(0, 3, 1, 2).float() / 255)
    return detection_loss(maps, batch["truths"], batch["there"])


def train_detector(config: DetectorConfig, run: Run, quiet: bool = False) -> dict[str, Any]:
    """Trains the detector and scores it on videos of the validation split."""
    data = _samples("train", config.num_videos, config.num_pictures)
    detector = _build_detector(config)
    phase = Phase(
        "detector",
        train=WHOLE,
        objective=_objective,
        epochs=config.epochs,
        optimizer=partial(torch.optim.AdamW, lr=config.lr, weight_decay=0.01),
        scheduler=partial(
            torch.optim.lr_scheduler.OneCycleLR, max_lr=config.lr, total_steps=config.epochs + 1, pct_start=0.2
        ),
        clip=5.0,
    )

    settings = Settings(seed=config.seed, batch_size=config.batch_size, accelerator="cpu", quiet=quiet)
    fit(detector, [phase], data, settings=settings, run=run)
    run.save_weights(detector)
    results = score(detector, config.num_scored)
    run.save_results(results)

    return results


def score(detector: Detector, num_videos: int) -> dict[str, Any]:
    """Recall, precision and classification accuracy in every fourth frame of validation videos."""
    hits = 0
    found = 0
    true = 0
    errors = []
    right: dict[str, list[bool]] = {name: [] for name in ATTRIBUTES}

    with evaluating(detector):
        for number in range(num_videos):
            video = generate_video("validation", number)
            frames = np.arange(0, NUM_OBSERVED_FRAMES, 4)
            detections = detect(detector, render_frames(video, frames))
            found += len(detections.frame)

            for k, frame in enumerate(frames):
                here = np.flatnonzero(detections.frame == k)
                for truth in _objects_in(video, int(frame)):
                    true += 1
                    away = np.hypot(*(detections.position[here] - truth[:2]).T)
                    if len(here) == 0 or away.min() > 4:
                        continue

                    hits += 1
                    errors.append(float(away.min()))
                    for a, name in enumerate(ATTRIBUTES):
                        best = getattr(detections, name)[here[away.argmin()]].argmax()
                        right[name].append(bool(best == truth[4 + a]))

    named = {name: float(np.mean(values)) if values else 0.0 for name, values in right.items()}
    error = float(np.mean(errors)) if errors else None

    return {"recall": hits / max(1, true), "precision": hits / max(1, found), "error_px": error, **named}


def main() -> None:
    """Trains and prints the results."""
    import tyro

    def run(config: DetectorConfig, out: Path) -> None:
        print(train_detector(config, Run.create(out, "reasoning_detector", config)))

    tyro.cli(run, config=(tyro.conf.OmitArgPrefixes,))


if __name__ == "__main__":
    main()
