"""Trains the detector of the reasoning network on pictures of generated videos, in minutes on one core.

python research/reasoning/training/detector.py --out runs/reasoning_detector
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from spikebridge.networks.reasoning.data.scene import ATTRIBUTES
from spikebridge.networks.reasoning.perception.detector import STRIDE, Detector, Maps, detect
from spikebridge.networks.reasoning.simulation.render import render_frames
from spikebridge.networks.reasoning.simulation.video import NUM_OBSERVED_FRAMES, RollingVideo, generate_video, in_view
from spikebridge.ops.modes import evaluating
from spikebridge.training.batches import Batches
from spikebridge.training.loop import fit
from spikebridge.training.phase import WHOLE, Phase
from spikebridge.training.run.run import Run
from spikebridge.training.settings import Settings, check_positive

_MAX_OBJECTS = 8


@dataclass(frozen=True)
class DetectorConfig:
    """Settings of the training of the detector."""

    num_videos: int = 500  # generated videos to train on
    num_pictures: int = 6  # pictures of each video
    num_features: int = 40  # channels of the network
    epochs: int = 10  # passes over the pictures
    batch_size: int = 16  # pictures of a step
    lr: float = 4e-3  # highest learning rate of a one-cycle schedule
    seed: int = 0  # seed of initial weights and order
    num_scored: int = 40  # validation videos of the results

    def __post_init__(self) -> None:
        check_positive(self, [name for name in vars(self) if name != "seed"])


DETECTORS = {
    "quick": DetectorConfig(num_videos=12, num_pictures=4, num_features=8, epochs=2, num_scored=1),
    "default": DetectorConfig(),
}


def detection_loss(
    maps: Maps, truths: Float[Tensor, "B K 7"], is_object: Float[Tensor, "B K"]
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss as a mean over pictures, and its parts: centres (focal), offset and size (L1), attributes.

    A row of `truths` has x, y, width and height of an object [px], and the numbers of colour, material and shape.
    """
    cells = truths[..., :2] / STRIDE
    column = cells[..., 0].long().clamp(0, maps.centre.shape[2] - 1)
    row = cells[..., 1].long().clamp(0, maps.centre.shape[1] - 1)
    # rows of pictures with fewer objects are empty
    num_objects = is_object.sum().clamp(min=1)
    losses = {"centre": _centre_loss(maps.centre, row, column, is_object) / num_objects}

    # the other maps are valid only at the cells of centres
    picture, number = is_object.nonzero(as_tuple=True)
    at = (picture, slice(None), row[picture, number], column[picture, number])
    truth = truths[picture, number]
    middle = torch.stack([column, row], -1)[picture, number] + 0.5
    losses["place"] = (maps.place[at] - (cells[picture, number] - middle)).abs().sum() / num_objects
    losses["size"] = (maps.size[at] - truth[:, 2:4] / STRIDE).abs().sum() / num_objects

    for k, name in enumerate(ATTRIBUTES):
        entropy = F.cross_entropy(getattr(maps, name)[at], truth[:, 4 + k].long(), reduction="sum")
        losses[name] = entropy / num_objects

    weights = {"place": 2.0, "size": 0.2}
    return torch.stack([weights.get(name, 1.0) * loss for name, loss in losses.items()]).sum(), losses


def _centre_loss(centre: Float[Tensor, "B h w"], row: Tensor, column: Tensor, is_object: Tensor) -> Tensor:
    """Focal loss with soft surroundings, exponents 2 and 4 (H. Law and J. Deng, ECCV 2018, eq. 1)."""
    rows = torch.arange(centre.shape[1])[:, None]
    columns = torch.arange(centre.shape[2])
    away = (rows - row[..., None, None]).square() + (columns - column[..., None, None]).square()
    near = (torch.exp(-away / (2 * 0.8**2)) * is_object[..., None, None]).amax(1)

    p = centre.sigmoid().clamp(1e-4, 1 - 1e-4)
    hit = ((1 - p).square() * p.log() * (near == 1)).sum()
    miss = ((1 - near).pow(4) * p.square() * (1 - p).log() * (near != 1)).sum()

    return -(hit + miss)


def train_detector(config: DetectorConfig, run: Run, quiet: bool = False) -> dict[str, Any]:
    """Trains the detector and scores it on videos of the validation split."""
    data = _samples("train", config.num_videos, config.num_pictures)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        detector = Detector(config.num_features)

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


def _samples(split: str, num_videos: int, num_pictures: int) -> Batches:
    """Pictures of generated videos at random frames, with the objects in them."""
    pictures = []
    truths = []
    is_object = []

    for number in range(num_videos):
        video = generate_video(split, number)
        # neighbouring pictures are alike: a few at random show as much as all of them
        frames = np.random.default_rng(number).choice(NUM_OBSERVED_FRAMES, num_pictures, replace=False)
        pictures.append(render_frames(video, frames))
        for frame in frames:
            rows = _objects_in(video, int(frame))
            truths.append(np.concatenate([rows, np.zeros((_MAX_OBJECTS - len(rows), 7))]))
            is_object.append(np.arange(_MAX_OBJECTS) < len(rows))

    tensors = {
        "pictures": torch.from_numpy(np.concatenate(pictures)),
        "truths": torch.tensor(np.stack(truths), dtype=torch.float32),
        "is_object": torch.tensor(np.stack(is_object), dtype=torch.float32),
    }
    return Batches(tensors, batch=dict.fromkeys(tensors, 0))


def _objects_in(video: RollingVideo, frame: int) -> Float[np.ndarray, "K 7"]:
    """x, y, width, height [px] and the numbers of the three values of every object whose centre is visible."""
    positions = video.positions[frame]
    is_visible = in_view(positions)
    occluder = video.appearance.occluder
    if occluder is not None:
        from_left = positions[:, 0] - occluder.left - occluder.velocity * frame
        is_visible &= ~((from_left >= 0) & (from_left <= occluder.width))

    kinds = list(ATTRIBUTES.values())
    numbers = [[kinds[k].index(value) for k, value in enumerate(triple)] for triple in video.objects]
    return np.concatenate([positions, video.box_sizes, np.array(numbers)], axis=1)[is_visible]


def _objective(detector: Detector, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    maps = detector(batch["pictures"].permute(0, 3, 1, 2).float() / 255)
    return detection_loss(maps, batch["truths"], batch["is_object"])


def score(detector: Detector, num_videos: int) -> dict[str, Any]:
    """Recall and precision within 4 px, position error and accuracy of attributes, on validation videos."""
    num_detections = 0
    num_objects = 0
    errors: list[float] = []
    correct: dict[str, list[bool]] = {name: [] for name in ATTRIBUTES}

    with evaluating(detector):
        for number in range(num_videos):
            video = generate_video("validation", number)
            frames = np.arange(0, NUM_OBSERVED_FRAMES, 4)
            detections = detect(detector, render_frames(video, frames))
            num_detections += len(detections.frame)

            for k, frame in enumerate(frames):
                candidates = np.flatnonzero(detections.frame == k)
                truths = _objects_in(video, int(frame))
                num_objects += len(truths)
                for truth in truths:
                    # an object without a detection within 4 px is missed
                    distance = np.hypot(*(detections.position[candidates] - truth[:2]).T)
                    if len(candidates) == 0 or distance.min() > 4:
                        continue

                    errors.append(float(distance.min()))
                    nearest = candidates[distance.argmin()]
                    for a, name in enumerate(ATTRIBUTES):
                        value = getattr(detections, name)[nearest].argmax()
                        correct[name].append(bool(value == truth[4 + a]))

    return {
        "recall": len(errors) / max(1, num_objects),
        "precision": len(errors) / max(1, num_detections),
        "error_px": float(np.mean(errors)) if errors else None,
        **{name: float(np.mean(values)) if values else 0.0 for name, values in correct.items()},
    }


def main() -> None:
    """Trains and prints the results."""
    import tyro

    def run(config: DetectorConfig, out: Path) -> None:
        print(train_detector(config, Run.create(out, "reasoning_detector", config)))

    tyro.cli(run, config=(tyro.conf.OmitArgPrefixes,))


if __name__ == "__main__":
    main()
