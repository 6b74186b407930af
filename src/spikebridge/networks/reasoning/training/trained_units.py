"""Collision readers from the trained units of a run of the reasoning recipe."""

import re
from typing import Annotated, Any, TypeAlias, TypedDict

from spikebridge.errors import ConfigError
from spikebridge.networks.reasoning.events.collision_unit import CollisionUnit, FixedCollisionUnit
from spikebridge.networks.reasoning.events.presence_unit import PresenceUnit
from spikebridge.networks.reasoning.events.reader import CollisionReader
from spikebridge.networks.reasoning.training.units import threshold_kind
from spikebridge.training.run.run import Run

_UNITS = re.compile(r"thresholds/seed-\d+")
_Tried: TypeAlias = Annotated[dict[str, float], "_"]


class _Thresholds(TypedDict):
    descriptive: float
    explanatory: float


class _TriedByKind(TypedDict):
    descriptive: _Tried
    explanatory: _Tried


class UnitSettings(TypedDict):
    """The thresholds of a seed's units, and the shares of right options at each threshold."""

    thresholds: _Thresholds
    tried: _TriedByKind


class _Limits(TypedDict):
    near: float
    jolt: float


def seeds_of(run: Run) -> list[int]:
    """The seeds of the trained units of a run; raises `ConfigError` for a run without trained units."""
    names = [name for name, child in run.children().items() if _UNITS.fullmatch(name) and child.finished]
    if not names:
        raise ConfigError(f"{run.path} has no trained collision unit; train one with spikebridge train reasoning")

    return sorted(int(name.rpartition("-")[2]) for name in names)


def best_seed(run: Run) -> int:
    """The first seed whose units give the most correct choices on the validation videos."""
    accuracies = {seed: unit_settings(run, seed)["tried"]["explanatory"].values() for seed in seeds_of(run)}
    return max(accuracies, key=lambda seed: max(accuracies[seed]))


def unit_settings(run: Run, seed: int) -> dict[str, Any]:
    """The thresholds of the units of a seed, and their scores on validation videos."""
    return run.first_child(f"thresholds/seed-{seed}").results(UnitSettings)


def learned_reader(run: Run, seed: int | None = None, kind: str = "explanatory") -> CollisionReader:
    """A collision reader with the units of a seed (None: the best one) and the threshold for a kind of question."""
    if seed is None:
        seed = best_seed(run)

    # the weights of a run fit only units of its own sizes
    num_features = int(run.config["num_features"])
    unit = CollisionUnit(num_features)
    presence = PresenceUnit(num_features // 2)
    run.first_child(f"collisions/seed-{seed}").load_weights(unit)
    run.first_child(f"presence/seed-{seed}").load_weights(presence)
    unit.set_threshold(unit_settings(run, seed)["thresholds"][threshold_kind(kind)])

    return CollisionReader(unit.eval(), presence.eval())


def fixed_reader(run: Run) -> CollisionReader:
    """A collision reader with the rule, whose two limits were chosen on the validation videos of the run."""
    limits = run.first_child("rule").results(_Limits)
    return CollisionReader(FixedCollisionUnit(limits["near"], limits["jolt"]))
