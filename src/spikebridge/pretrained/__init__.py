"""Weights that come with the package: one run folder for each recipe, as its training wrote it.

Each has its record (settings, results, versions, seed, git revision), so one command reproduces it.
"""

from pathlib import Path

from spikebridge.training.run.run import Run

_FOLDER = Path(__file__).resolve().parent


def shipped() -> list[str]:
    """The names of the shipped runs, in order."""
    return sorted(path.parent.name for path in _FOLDER.glob("*/config.json"))


def shipped_run(name: str) -> Run | None:
    """The shipped run of a recipe, or of a part that is trained on its own; None if there is none of that name."""
    return Run.open(_FOLDER / name) if name in shipped() else None
