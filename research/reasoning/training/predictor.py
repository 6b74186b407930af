"""Trains the prediction unit on the past and the true collisions of CLEVRER's training videos.

    python research/reasoning/training/predictor.py --out runs/reasoning_predictor [--seed 0] [--kind spiking]

A sample is a video until one of its frames, drawn anew in every epoch, with the collisions and places of the next 35
frames. The table is turned and mirrored at random, since its physics has no direction. The last 600 training videos are
held out: on them the threshold of the spike is chosen. No validation video is read.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from research.reasoning.training.spiking_roll_out import SpikingPredictionUnit
from spikebridge.data.catalog import find_files
from spikebridge.networks.reasoning.data.clevrer_scenes import read_scenes
from spikebridge.networks.reasoning.data.scene import Scene
from spikebridge.networks.reasoning.events.collision_inputs import FRAMES_PER_SAMPLE
from spikebridge.networks.reasoning.events.collision_unit import CollisionSpike
from spikebridge.networks.reasoning.events.prediction_inputs import on_table, past_of
from spikebridge.networks.reasoning.events.prediction_unit import NUM_SCORES, PredictionUnit, RollOut
from spikebridge.networks.reasoning.events.predictor import HORIZON, predict_collisions
from spikebridge.networks.reasoning.scores import prediction_scores
from spikebridge.networks.reasoning.training.labels import NEVER, UNKNOWN
from spikebridge.networks.reasoning.training.units import collision_time_loss
from spikebridge.training.loop import fit
from spikebridge.training.phase import WHOLE, Phase
from spikebridge.training.run.run import Run
from spikebridge.training.settings import Settings, check_positive

LAST_FRAMES = tuple(range(35, 96, 10))  # of the past of a sample
NUM_HELD_OUT = 600
THRESHOLDS = np.arange(-1.5, 1.51, 0.25)
KINDS = {"ann": PredictionUnit, "spiking": SpikingPredictionUnit}


@dataclass(frozen=True)
class PredictorConfig:
    """Settings of the training of the prediction unit."""

    num_videos: int = 5400  # training videos; the last 600 choose the threshold
    num_features: int = 48  # channels of the networks of objects and of pairs
    epochs: int = 30  # passes over the videos, each at a random frame
    batch_size: int = 64  # videos of a step
    lr: float = 3e-3  # highest learning rate of a one-cycle schedule
    jitter: float = 0.03  # largest standard deviation of the noise of places, in distances at which objects touch
    seed: int = 2  # of initial weights and order; of 0, 1 and 2 the best on held-out videos
    kind: Literal["ann", "spiking"] = "ann"  # neurons of the roll-out

    def __post_init__(self) -> None:
        check_positive(self, ("num_videos", "num_features", "epochs", "batch_size", "lr"))


class Futures:
    """Videos until a random frame, with the collisions and the places after it; a data set of `fit`."""

    def __init__(self, scenes: Sequence[Scene], jitter: float) -> None:
        self.scenes = scenes
        self.jitter = jitter
        self.first_frames = [first_frames(scene) for scene in scenes]
        self.kept: dict[tuple[int, int], Any] = {}

    def __len__(self) -> int:
        return len(self.scenes)

    def select(self, indices: Tensor) -> dict[str, Tensor]:
        """The samples of these videos, each at a random frame."""
        draws = torch.randint(len(LAST_FRAMES), indices.shape).tolist()
        rows = [self.sample(v, LAST_FRAMES[k]) for v, k in zip(indices.tolist(), draws, strict=True)]
        most = max(samples.shape[1] for samples, _, _ in rows)
        samples = torch.zeros(rows[0][0].shape[0], len(rows), most, rows[0][0].shape[2])
        frames = torch.full((len(rows), most, most), UNKNOWN)
        places = torch.full((NUM_SCORES - 1, len(rows), most, 2), math.nan)
        for b, (past, future, after) in enumerate(rows):
            number = past.shape[1]
            samples[:, b, :number] = past
            frames[b, :number, :number] = future
            places[:, b, :number] = after

        first, second = torch.triu_indices(most, most, 1)
        turn = _random_turns(len(rows))
        noise = self.jitter * torch.rand(1, *samples.shape[1:3], 1) * torch.randn(*samples.shape[:3], 2)
        turned = torch.einsum("bij,tboj->tboi", turn, samples[..., :2] + noise)

        return {
            "samples": torch.cat([turned, samples[..., 2:]], -1),
            "labels": frames[:, first, second],
            "places": torch.einsum("bij,tboj->tboi", turn, places),
        }

    def sample(self, video: int, last: int) -> tuple[Tensor, Tensor, Tensor]:
        """The past of the objects of a video, the frames until each pair collides, and the places after."""
        key = (video, last)
        if key not in self.kept:
            scene = self.scenes[video]
            past = past_of([scene], [last])
            seen = past.objects[0][past.objects[0] >= 0].numpy()
            until = self.first_frames[video][np.ix_(seen, seen)] - last
            labels = np.where(np.isnan(until), UNKNOWN, np.where((until > 0) & (until <= HORIZON), until, NEVER))
            frames = last + FRAMES_PER_SAMPLE * np.arange(1, NUM_SCORES)
            after = np.full((len(frames), len(seen), 2), np.nan)
            is_there = np.isin(frames, scene.frames)
            after[is_there] = on_table(scene.positions[np.isin(scene.frames, frames)][:, seen])
            tensors = (torch.from_numpy(one.astype(np.float32)) for one in (labels, after))
            self.kept[key] = (past.samples[:, 0, : len(seen)], *tensors)

        return self.kept[key]


def first_frames(scene: Scene) -> np.ndarray:
    """The frame at which each pair of perceived objects collides, infinity for never, NaN for an unknown object."""
    truth = scene.truth
    assert truth is not None, "training videos have their truth beside"
    number = {triple: i for i, triple in enumerate(truth.objects)}
    frames = np.full((len(truth.objects) + 1,) * 2, np.inf)
    frames[-1] = frames[:, -1] = np.nan
    for frame, a, b in truth.collisions.tolist()[::-1]:
        frames[a, b] = frames[b, a] = frame

    of_perceived = [number.get(triple, -1) for triple in scene.objects]
    return frames[np.ix_(of_perceived, of_perceived)]


def _random_turns(number: int) -> Tensor:
    """Rotations of the table by random angles, half of them mirrored."""
    angle = 2 * math.pi * torch.rand(number)
    mirror = 1 - 2.0 * (torch.rand(number) < 0.5)
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([torch.stack([cos, -sin * mirror], -1), torch.stack([sin, cos * mirror], -1)], 1)


def objective(unit: PredictionUnit, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """Cross-entropy over "at time t" and "never", and the distance of the rolled-out places from the true ones."""
    roll_out = unit.nonlinearity
    assert isinstance(roll_out, RollOut)
    h = batch["samples"].movedim(0, -1)
    scores, places = roll_out.roll_out(h)
    is_labeled = batch["labels"] != UNKNOWN
    collision = collision_time_loss(scores[is_labeled], batch["labels"][is_labeled])
    after = batch["places"][:, h[:, :, 7, -1] > 0]
    is_known = ~after.isnan()
    motion = F.smooth_l1_loss(places[is_known], after[is_known], beta=0.2)

    return collision + motion, {"collision": collision.detach(), "motion": motion.detach()}


def train_predictor(config: PredictorConfig, run: Run, quiet: bool = False) -> dict[str, Any]:
    """Trains the unit, and chooses its threshold on held-out training videos."""
    scenes = training_scenes()
    held_out = scenes[-NUM_HELD_OUT:]
    data = Futures(scenes[:-NUM_HELD_OUT][: config.num_videos], config.jitter)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        unit = KINDS[config.kind](config.num_features)

    steps = config.epochs + 1
    phase = Phase(
        "prediction unit",
        train=WHOLE,
        objective=objective,
        epochs=config.epochs,
        optimizer=partial(torch.optim.AdamW, lr=config.lr, weight_decay=0.01),
        scheduler=partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=config.lr, total_steps=steps),
        clip=1.0,
    )
    settings = Settings(seed=config.seed, batch_size=config.batch_size, accelerator="cpu", quiet=quiet)
    fit(unit, [phase], data, settings=settings, run=run)
    results = choose_threshold(unit.eval(), held_out)
    run.save_weights(unit)
    run.save_results(results)

    return results


def training_scenes() -> list[Scene]:
    """The training videos as perceived, with their truth."""
    training, _ = find_files("clevrer_perceived")
    return read_scenes(training)


def choose_threshold(unit: PredictionUnit, scenes: Sequence[Scene]) -> dict[str, Any]:
    """Sets the threshold with the best mean F1 over several first frames, and gives the scores from frame 96."""
    spike = unit.discretizer
    assert isinstance(spike, CollisionSpike)
    tried = {}
    for threshold in THRESHOLDS.tolist():
        spike.v_threshold.fill_(threshold)
        # several frames: collisions after frame 95 alone are few
        by_frame = [
            prediction_scores(scenes, predict_collisions(unit, scenes, first), first) for first in (56, 66, 76, 86, 96)
        ]
        tried[f"{threshold:g}"] = round(float(np.mean([scores["f1_pairs"] for scores in by_frame])), 5)

    best = max(tried, key=lambda name: tried[name])
    spike.v_threshold.fill_(float(best))
    scores = prediction_scores(scenes, predict_collisions(unit, scenes, 96), 96)

    return {"threshold": float(best), "tried": tried, "held_out": scores}


def main() -> None:
    """Trains and prints the results."""
    import tyro

    def run(config: PredictorConfig, out: Path) -> None:
        print(train_predictor(config, Run.create(out, "reasoning_predictor", config, resume=True)))

    tyro.cli(run, config=(tyro.conf.OmitArgPrefixes,))


if __name__ == "__main__":
    main()
