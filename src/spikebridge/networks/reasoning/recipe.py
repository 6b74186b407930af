"""Answers questions about videos of colliding objects: learned hybrid units perceive, a spiking graph reasons.

    spikebridge train reasoning                    # collision and presence units, on real scenes if they exist
    spikebridge train reasoning --preset quick     # on generated scenes, in seconds
    spikebridge eval reasoning --scenes scenes.jsonl.gz --questions questions.jsonl.gz --collisions learned --json
    spikebridge eval reasoning --scenes scenes.jsonl.gz --predict-from 96 --json      # collisions to come

    pictures --detector, tracker--> scene --collision and presence units--> events --+
    words --parser--> program --hybrid unit--> spike trains --> spiking graph --> answer, causes

Nothing is trained inside the graph. The hybrid units that detect collisions, entrances, exits and motion are trained
alone, each on its own objective; the detector and the question parser come with the package. The same questions are
answered with collisions from four sources:

| collisions | source |
|---|---|
| baked | the scene file, as its own perception gives them |
| fixed | the rule: both velocities change while two objects are near |
| learned | the trained units |
| near truth | reference scenes close to the truth: the upper limit |

Source: R. Zhao et al., Nature Communications 13:3427 (2022), section on reasoning; CLEVRER, K. Yi et al., ICLR 2020.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from spikebridge.data.catalog import has_files, refuse_data_folder
from spikebridge.errors import ConfigError
from spikebridge.hybrid import HybridUnit
from spikebridge.networks.reasoning import _report
from spikebridge.networks.reasoning.evaluation.comparison import compare
from spikebridge.networks.reasoning.evaluation.evaluate import QuestionEvaluation as Evaluation
from spikebridge.networks.reasoning.evaluation.evaluate import evaluate_files
from spikebridge.networks.reasoning.events.collision_inputs import candidate_pairs, signals
from spikebridge.networks.reasoning.events.collision_unit import CollisionUnit
from spikebridge.networks.reasoning.events.presence_unit import PresenceUnit
from spikebridge.networks.reasoning.training.labels import (
    Split,
    cause_questions,
    generated_split,
    real_split,
    scenes_with_truth,
)
from spikebridge.networks.reasoning.training.trained_units import learned_reader
from spikebridge.networks.reasoning.training.units import (
    choose_rule,
    choose_thresholds,
    collision_phase,
    detection_scores,
    presence_phase,
)
from spikebridge.training.loop import fit
from spikebridge.training.phase import Phase
from spikebridge.training.run.config_io import reproduce_command
from spikebridge.training.run.run import Run
from spikebridge.training.settings import Settings, check_minimum, check_positive


@dataclass(frozen=True)
class Config:
    """Settings of the reasoning recipe."""

    scenes: Literal["auto", "real", "generated"] = "auto"
    """real: CLEVRER scenes in SPIKEBRIDGE_DATA; auto: real if they are found, else generated."""
    num_videos: int = 400
    """Generated videos to train on."""
    num_validation: int = 400
    """Real videos on which settings are chosen; none of them has a test question."""
    training_videos: bool = False
    """Learn collisions from CLEVRER's training videos too, and from true collisions (the set clevrer_perceived)."""
    seed: int = 0
    """First seed of initial weights, order and augmentation."""
    num_seeds: int = 1
    """Trainings, with consecutive seeds."""
    num_features: int = 48
    """Channels of the collision unit; the presence unit has half as many."""
    epochs: int = 30
    """Passes over the candidate pairs; half as many for the presence unit."""
    batch_size: int = 256
    """Pairs (presence unit: objects) of a training step."""
    lr: float = 3e-3
    """Highest learning rate of a one-cycle schedule."""
    jitter: float = 0.3
    """Largest standard deviation of the position noise in training [px]."""

    # the detector and the parser have trainings of their own; an old run folder names the parts that it trained
    REMOVED_FIELDS: ClassVar[dict[str, Any]] = {"parts": ..., "size": ...}
    ADDED_FIELDS: ClassVar[tuple[str, ...]] = ("training_videos",)

    def __post_init__(self) -> None:
        numbers = ("num_videos", "num_validation", "num_seeds", "num_features", "epochs", "batch_size", "lr")
        check_positive(self, numbers)
        check_minimum(self, seed=0)
        if self.num_features % 8:
            raise ConfigError(f"num_features needs to be a multiple of 8, but got {self.num_features}")
        if self.training_videos and self.scenes == "generated":
            raise ConfigError("training_videos is of real scenes, but scenes is generated; leave one out")
        if not 0 <= self.jitter < math.inf:
            raise ConfigError(f"jitter needs to be 0 px or more, but got {self.jitter}")


PRESETS = {
    "quick": Config(scenes="generated", num_videos=32, num_features=16, epochs=16, batch_size=32),
    "default": Config(),
    "three": Config(scenes="real", training_videos=True, num_seeds=3),
}


def build(config: Config) -> dict[str, CollisionUnit]:
    """The untrained collision unit."""
    return {"collisions": _build_units(config, config.seed)[0]}


def trained(run: Run) -> dict[str, HybridUnit]:
    """The trained collision unit of the best seed on validation videos."""
    return {"collisions": learned_reader(run).unit}


def example(config: Config) -> dict[str, Tensor]:
    """The tracks of candidate pairs of a generated scene."""
    pairs = candidate_pairs(generated_split(1).train.perceived)
    return {"collisions": signals(pairs.places, pairs.visible, pairs.third, pairs.kinds)}


def train(config: Config, run: Run, quiet: bool = False) -> dict[str, Any]:
    """Trains the units, scores them, and compares the sources of collisions."""
    results = _train_units(config, run, quiet)
    run.save_results(results)

    return results


def evaluate(run: Run, data: Path | None = None, options: Evaluation | None = None) -> dict[str, Any]:
    """Scores the trained units of a run on files of scenes and questions, or again on those of the training."""
    config = run.config_as(Config)
    options = Evaluation() if options is None else options
    if (options.scenes, options.questions, options.predict_from) != (None, None, None):
        refuse_data_folder(data, "the files of --scenes and --questions")
        return evaluate_files(run, options)

    return compare(run, _split(config, data), _is_real(config, data), data)


def report(run: Run) -> Path:
    """Writes report.html: accuracy by source of the collisions, and how the units were chosen."""
    config = run.config_as(Config)
    return _report.write(run, asdict(config), reproduce_command("reasoning", config))


def _train_units(config: Config, run: Run, quiet: bool) -> dict[str, Any]:
    split = _split(config)
    child = run.child("rule")
    if not child.finished:
        child.save_results(choose_rule(split.validation.perceived, cause_questions(split.validation.reference)))

    colliding = scenes_with_truth(split.train) if config.training_videos else split.train
    for seed in range(config.seed, config.seed + config.num_seeds):
        unit, presence = _build_units(config, seed)
        settings = Settings(seed=seed, batch_size=config.batch_size, accelerator="cpu", quiet=quiet)
        half_epochs = -(-config.epochs // 2)
        phase = partial(presence_phase, split.train, half_epochs, config.lr)
        _train_unit(presence, phase, settings, run.child(f"presence/seed-{seed}"))
        phase = partial(collision_phase, colliding, config.epochs, config.lr, config.jitter)
        _train_unit(unit, phase, settings, run.child(f"collisions/seed-{seed}"))

        child = run.child(f"thresholds/seed-{seed}")
        if not child.finished:
            thresholds = choose_thresholds(unit.eval(), presence.eval(), split.validation)
            child.save_results({**thresholds, **detection_scores(unit, split.validation)})

    return compare(run, split, _is_real(config))


def _train_unit(unit: HybridUnit, phase: Callable[[], Phase], settings: Settings, run: Run) -> None:
    if not run.finished:
        fit(unit, [phase()], None, settings=settings, run=run)
        run.save_weights(unit)
        run.save_results({})

    run.load_weights(unit)


def _build_units(config: Config, seed: int) -> tuple[CollisionUnit, PresenceUnit]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return CollisionUnit(config.num_features), PresenceUnit(config.num_features // 2)


def _is_real(config: Config, data: Path | None = None) -> bool:
    if config.scenes == "auto":
        return data is not None or has_files("clevrer")

    if config.scenes == "generated":
        refuse_data_folder(data, "generated scenes")

    return config.scenes == "real"


def _split(config: Config, data: Path | None = None) -> Split:
    return real_split(config.num_validation, 0, data) if _is_real(config, data) else generated_split(config.num_videos)
