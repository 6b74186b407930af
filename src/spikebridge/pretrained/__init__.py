"""Weights that come with the package: run folders as their training left them, one a recipe.

Each has its record (settings, results, versions, seed, git revision), so that one command makes it again.
"""

from pathlib import Path

from spikebridge.training.run.run import Run

_FOLDER = Path(__file__).resolve().parent


def shipped() -> list[str]:
    """Names of what is shipped, in order."""
    return sorted(path.parent.name for path in _FOLDER.glob("*/config.json"))


def shipped_run(name: str) -> Run | None:
    """The run whose weights are shipped under a name, or None where there is none.

    Args:
        name: of a recipe, or of a part that is trained on its own.

    Example:
        >>> shipped_run("a network that nobody trained") is None
        True
    """
    return Run.open(_FOLDER / name) if name in shipped() else None
