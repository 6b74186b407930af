"""Cross-fitting: each video is read by units that were not trained on it, so that all videos can be scored."""

from collections.abc import Sequence

import torch

from spikebridge.networks.reasoning.data.scene import Scene
from spikebridge.networks.reasoning.events.collision_unit import CollisionUnit
from spikebridge.networks.reasoning.events.presence_unit import PresenceUnit
from spikebridge.networks.reasoning.events.reader import CollisionReader
from spikebridge.networks.reasoning.training.labels import SceneSet
from spikebridge.networks.reasoning.training.units import collision_phase, presence_phase
from spikebridge.training.loop import fit
from spikebridge.training.run.run import Run
from spikebridge.training.settings import Settings


class CrossFitReader:
    """Reads each scene with the reader of its fold, which was trained without the videos of that fold."""

    def __init__(self, readers: Sequence[CollisionReader], fold_of: dict[int | str, int]) -> None:
        self.readers = readers
        self.fold_of = fold_of

    def set_threshold(self, v_threshold: float) -> None:
        """Sets the threshold of all collision units [log-odds]."""
        for reader in self.readers:
            if isinstance(reader.unit, CollisionUnit):
                reader.unit.set_threshold(v_threshold)

    def __call__(self, scenes: Sequence[Scene]) -> list[Scene]:
        """The same scenes, in order, with the collisions, entrances and exits that the units detect."""
        results: dict[int, Scene] = {}
        for fold, reader in enumerate(self.readers):
            numbers = [i for i, scene in enumerate(scenes) if self.fold_of[scene.video] == fold]
            results.update(zip(numbers, reader([scenes[i] for i in numbers]), strict=True))

        return [results[i] for i in range(len(scenes))]


def folds(videos: Sequence[int | str], num_folds: int) -> dict[int | str, int]:
    """A fold for each video, in turn."""
    return {video: i % num_folds for i, video in enumerate(sorted(videos, key=str))}


def train_folds(
    run: Run,
    scenes: SceneSet,
    num_folds: int,
    *,
    epochs: int,
    num_features: int = 48,
    lr: float = 3e-3,
    jitter: float = 0.3,
    batch_size: int = 256,
    quiet: bool = False,
) -> CrossFitReader:
    """Trains units for each fold, or loads those of a run; the other settings are those of the recipe."""
    fold_of = folds([scene.video for scene in scenes.perceived], num_folds)
    readers = []

    for fold in range(num_folds):
        others = scenes.take({video for video, own in fold_of.items() if own != fold})
        settings = Settings(seed=fold, batch_size=batch_size, accelerator="cpu", quiet=quiet)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(fold)
            unit = CollisionUnit(num_features)
            presence = PresenceUnit(num_features // 2)

        child = run.child(f"presence/fold-{fold}")
        if not child.finished:
            fit(presence, [presence_phase(others, -(-epochs // 2), lr)], settings=settings, run=child)
            child.save_weights(presence)
            child.save_results({"num_videos": len(others.perceived)})

        child.load_weights(presence)
        child = run.child(f"collisions/fold-{fold}")
        if not child.finished:
            fit(unit, [collision_phase(others, epochs, lr, jitter)], settings=settings, run=child)
            child.save_weights(unit)
            child.save_results({"num_videos": len(others.perceived)})

        child.load_weights(unit)
        readers.append(CollisionReader(unit.eval(), presence.eval()))

    return CrossFitReader(readers, fold_of)
