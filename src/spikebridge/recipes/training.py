"""One training of a recipe in a run folder: where it goes, from which settings it starts, how it ends."""

import os
import shlex
import warnings
from pathlib import Path
from typing import Any, NamedTuple

from spikebridge._moved import moved
from spikebridge.data.io.atomic import is_disk_full
from spikebridge.errors import ConfigError, DataError, SpikebridgeError, did_you_mean
from spikebridge.recipes.load import load_recipe, recipe_digest, recipe_id
from spikebridge.recipes.recipe import Recipe, default_settings
from spikebridge.training.run.environment import is_first_process
from spikebridge.training.run.run import Run

_RUNS = Path("runs")


class Trained(NamedTuple):
    """A run at its end, with the path of its report; both are None in a process that writes nothing."""

    results: dict[str, Any] | None
    report: Path | None


def train_recipe(
    word: str,
    settings: Any,
    path: Path,
    *,
    resume: bool = False,
    quiet: bool = False,
    loggers: tuple[str, ...] = (),
) -> Trained:
    """Trains a recipe, given by name or file, in a run folder; with `resume` it resumes the run that is there."""
    recipe = load_recipe(word)
    digest = recipe_digest(word)
    run = Run.create(path, recipe_id(word), settings, resume=resume, recipe_digest=digest)
    if run.recipe_digest != digest:
        warnings.warn(f"{word} was edited after {path} was started", stacklevel=2)

    run.loggers = loggers
    with run.lock():
        return _train(recipe, word, settings, run, quiet)


def _train(recipe: Recipe, word: str, settings: Any, run: Run, quiet: bool) -> Trained:
    command = resume_command(word, str(run.path))
    try:
        # a recipe without progress takes no `quiet`
        results = recipe.train(settings, run, **({"quiet": True} if quiet else {}))
        if not run.writes:
            return Trained(None, None)
        report = recipe.report(run)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"stopped; `{command}` resumes") from None
    except SpikebridgeError:
        # settings that were refused at once leave no folder
        run.discard()
        raise
    except OSError as error:
        if not is_disk_full(error):
            raise
        # every file is written in whole or not at all, so the last checkpoint is good
        raise DataError(
            f"{error.filename or run.path}: {error.strerror}; the run is whole up to its last checkpoint: free some "
            f"space, then `{command}` resumes"
        ) from error

    return Trained(results, report if report is not None and Path(report).is_file() else None)


def initial_settings(recipe: Recipe, word: str, preset: str | None = None, resumed: Path | None = None) -> Any:
    """The settings from which a training starts: those of a preset, of the run to resume, or of the default preset."""
    if preset is not None:
        if preset not in recipe.PRESETS:
            raise ConfigError(unknown_preset(word, preset, recipe.PRESETS))
        return recipe.PRESETS[preset]

    if resumed is not None and resumed.is_dir() and any(resumed.iterdir()):
        run = Run.open(resumed)
        if run.recipe == recipe_id(word):
            return run.config_as(recipe.Config)

    return default_settings(recipe)


def unknown_preset(recipe: str, preset: str, presets: Any) -> str:
    """The line about a preset that a recipe does not have."""
    line = moved("presets", f"{recipe}.{preset}")
    return line or f"{recipe} has no preset {preset!r}: {did_you_mean(preset, presets)}"


def run_folder(recipe: str, resume: bool) -> Path:
    """runs/RECIPE, numbered: the newest one to resume, else the first free one."""
    if "RANK" in os.environ:
        raise ConfigError("several processes were started together: name the run folder they share (--out)")

    # a process that the first one started finds the folder already
    resume = resume or not is_first_process()
    stem = Path(recipe).stem
    names = [stem]

    while (_RUNS / names[-1]).exists():
        names.append(f"{stem}-{len(names) + 1}")

    return _RUNS / (names[-2] if resume and len(names) > 1 else names[-1])


def resume_command(recipe: str, out: str) -> str:
    """The command that resumes a run."""
    return shlex.join(["spikebridge", "train", recipe, "--out", out, "--resume"])
