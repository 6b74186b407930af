"""The trained units of a run, put together to what reads scenes anew."""

from typing import Any

from spikebridge.errors import ConfigError
from spikebridge.networks.reasoning.events.collision_unit import CollisionUnit, FixedCollisionUnit
from spikebridge.networks.reasoning.events.presence_unit import PresenceUnit
from spikebridge.networks.reasoning.events.reader import CollisionReader
from spikebridge.networks.reasoning.training.units import threshold_kind
from spikebridge.training.run.run import Run


def seeds_of(run: Run) -> list[int]:
    """The seeds that the units of a run were trained with.

    Args:
        run: of the reasoning recipe.

    Raises:
        ConfigError: none was.
    """
    names = [name for name, child in run.children().items() if name.startswith("thresholds/seed-") and child.finished]
    if not names:
        raise ConfigError(f"{run.path} has no trained collision unit; train it with --parts collisions")
    return sorted(int(name.rpartition("-")[2]) for name in names)


def best_seed(run: Run) -> int:
    """The seed whose units judge most choices of the validation videos rightly; of equals the first."""
    judged = {seed: chosen_of(run, seed)["tried"]["explanatory"].values() for seed in seeds_of(run)}
    return max(judged, key=lambda seed: max(judged[seed]))


def chosen_of(run: Run, seed: int) -> dict[str, Any]:
    """What was chosen for the units of a seed on validation videos, and how they did there."""
    return run.children()[f"thresholds/seed-{seed}"].results()


def learned_reader(run: Run, seed: int | None = None, kind: str = "explanatory") -> CollisionReader:
    """What reads scenes with the trained units.

    Args:
        run: of the reasoning recipe.
        seed: of the units; None takes the best one on validation videos.
        kind: of the questions that the scenes are read for.
    """
    chosen = best_seed(run) if seed is None else seed
    num_features = int(run.config["num_features"])
    unit, presence = CollisionUnit(num_features), PresenceUnit(num_features // 2)
    children = run.children()
    children[f"collisions/seed-{chosen}"].load_weights(unit)
    children[f"presence/seed-{chosen}"].load_weights(presence)
    unit.set_threshold(chosen_of(run, chosen)["thresholds"][threshold_kind(kind)])
    return CollisionReader(unit.eval(), presence.eval())


def fixed_reader(run: Run) -> CollisionReader:
    """What reads scenes with the rule, its two limits chosen on the validation videos of the run."""
    limits = run.children()["rule"].results()
    return CollisionReader(FixedCollisionUnit(near=limits["near"], jolt=limits["jolt"]))
