"""The words of a user resolved to a recipe with its run: a run folder, a recipe, or shipped weights."""

import itertools
import logging
import warnings
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from spikebridge._moved import moved
from spikebridge.errors import ConfigError, did_you_mean
from spikebridge.pretrained import shipped_run
from spikebridge.pretrained.network import trained_runs
from spikebridge.recipes.load import RECIPES, load_recipe, recipe_digest
from spikebridge.recipes.outline import network_names
from spikebridge.recipes.own_network import OwnNetwork, is_fitted, is_own_network
from spikebridge.recipes.recipe import Recipe, default_settings, defines
from spikebridge.recipes.training import resume_command
from spikebridge.training.run.run import Run

_log = logging.getLogger(__name__)

_WEIGHTS = "weights.safetensors"
_TRAINING_FILES = (_WEIGHTS, "metrics.jsonl", "results.json")


@dataclass(frozen=True)
class OwnRecipe:
    """The recipe file of a run, as the user named it; `edited` accepts a file that was edited after the start."""

    recipe: Path | None = None
    edited: bool = False


_PACKAGED = OwnRecipe()


@dataclass(frozen=True)
class Target:
    """A recipe with settings, and the run that they belong to, if any."""

    word: str
    recipe: Recipe
    settings: Any
    run: Run | None = None

    def trained_run(self) -> Run:
        """The run with its weights."""
        if self.run is None:
            own = isinstance(self.recipe, OwnNetwork)
            hint = f"give the run folder and --recipe {self.word}" if own else f"spikebridge train {self.word}"
            raise ConfigError(f"{self.word} has no trained weights; train it first: {hint}")

        return self.run

    def for_data(self, data: Path | None) -> "Target":
        """The same with the shipped weights that fit a file, where the recipe has several."""
        if self.word not in RECIPES or data is None or data.is_dir() or not defines(self.recipe, "weights_for"):
            return self

        run = shipped_run(self.recipe.weights_for(data))
        return self if run is None else _with_run(self.word, self.recipe, run)

    def training_note(self) -> str | None:
        """A sentence about a training that did not happen or did not end; None for a finished run."""
        if self.run is None:
            return f"untrained: {self.word} has no trained weights, so its networks are checked as they are built"
        if self.run.finished or (isinstance(self.recipe, OwnNetwork) and self.run.file(_WEIGHTS).exists()):
            return None

        # a folder that was only begun has settings alone
        command = resume_command(self.run.recipe, self.word)
        files = [file for file in self.run.path.rglob("*") if file.is_file()]
        if any(file.parent.name == "checkpoint" or file.name in _TRAINING_FILES for file in files):
            return f"interrupted: the training of {self.word} has not ended; `{command}` resumes it"

        return f"untrained: {self.word} was started, but holds no weights yet; `{command}` trains it"

    def networks(self, name: str | None = None) -> dict[str, Any]:
        """The recipe's networks by name, untrained, or only the one that is named."""
        _log.info("building the networks")
        built: dict[str, Any] = self.recipe.build(self.settings)
        if name is None:
            return dict(built)
        if name not in built:
            raise ConfigError(_unknown_network(self.word, self.word, name, built))

        return {name: built[name]}

    def hybrid_network(self, name: str | None = None) -> tuple[str, Any]:
        """Name and network: the one that is named, or the first one; a `ConfigError` if it has no parts and links."""
        name, network = next(iter(self.networks(name).items()))
        if not _is_hybrid(network):
            raise ConfigError(f"{name!r} is a {type(network).__name__}; only a hybrid network can be drawn")

        return name, network

    def inputs(self, network: Any) -> Any:
        """A network's inputs from the recipe's example: by name for a hybrid network, else the first one."""
        if defines(self.recipe, "network_example"):
            return self.recipe.network_example(self.settings, network, self.run)
        example = self.recipe.example(self.settings)
        return {name: example[name] for name in network.inputs} if _is_hybrid(network) else next(iter(example.values()))

    def findings(self, name: str | None = None) -> list[dict[str, Any]]:
        """The doctor's findings about the recipe's networks, with the weights of the run where it has them."""
        from spikebridge.analysis.doctor.doctor import diagnose

        networks = self.networks(name)
        rows = []

        for number, (network_name, network) in enumerate(networks.items(), start=1):
            run = self._run_of(network_name)
            # a recipe may keep its weights in a form of its own
            if run is not None and defines(self.recipe, "trained"):
                network = self.trained_network(network_name)[1]
            elif run is not None:
                run.load_weights(network)

            _log.info("checking %s (%d of %d)", network_name, number, len(networks))
            findings = diagnose(network.eval(), self.inputs(network))
            rows += [{"network": network_name} | asdict(one) for one in findings]

        return rows

    def trained_network(self, name: str | None = None) -> tuple[str, Any, Run]:
        """Name, network with its weights, and the run that trained it: the one that is named, or the first one."""
        run = self.trained_run()
        if defines(self.recipe, "trained"):
            networks = self.recipe.trained(run)
            name = next(iter(networks)) if name is None else name
            if name not in networks:
                raise ConfigError(f"{self.word} has no trained network {name!r}: {did_you_mean(name, networks)}")
            return name, networks[name], self._run_of(name) or run

        name, network = next(iter(self.networks(name).items()))
        trained = self._run_of(name) or (run if run.file(_WEIGHTS).exists() else None)
        if trained is None:
            raise ConfigError(f"{self.word} has no weights of {name!r}; train it first")

        trained.load_weights(network)
        return name, network, trained

    def _run_of(self, network: str) -> Run | None:
        """The run that trained a network: the inner run of its name, or the first one under it (a seed)."""
        runs = {} if self.run is None else trained_runs(self.run)
        inner = next((run for path, run in runs.items() if f"{path}/".startswith(f"{network}/")), None)
        return self.run if inner is None and isinstance(self.recipe, OwnNetwork) else inner


def resolve_target(word: str, own: OwnRecipe = _PACKAGED, network: str | None = None) -> Target:
    """A run folder, shipped weights, or a recipe by name or file.

    A network that the recipe does not have is refused before PyTorch is imported.
    """
    recipe, run = _resolved(word, own)
    names = network_names(recipe)
    if network is not None and names and network not in names:
        raise ConfigError(_unknown_network(word, recipe, network, names))

    module = _loaded(recipe)
    return Target(word, module, default_settings(module)) if run is None else _with_run(word, module, run)


def open_run(path: Path, own: OwnRecipe = _PACKAGED) -> Target:
    """A run folder with its recipe and settings."""
    if not path.is_dir():
        raise ConfigError(f"there is no run folder {path}; `spikebridge train RECIPE --out {path}` makes one")

    run = Run.open(path)
    return _with_run(str(path), _loaded(_recipe_of_run(run, own)), run)


def _loaded(word: str) -> Recipe:
    """The recipe of a name or file, or of a function that builds one network."""
    return cast(Recipe, OwnNetwork(word)) if is_own_network(word) else load_recipe(word)


def recipe_word(word: str, own: OwnRecipe = _PACKAGED) -> str:
    """The name or file of the recipe of a run folder, of shipped weights, or the recipe itself; nothing is loaded."""
    return _resolved(word, own)[0]


def _resolved(word: str, own: OwnRecipe) -> tuple[str, Run | None]:
    """The recipe of a word, and the run folder or the shipped run."""
    if word not in RECIPES and Path(word).is_dir():
        run = Run.open(Path(word))
        return _recipe_of_run(run, own), run
    if own.recipe is not None:
        raise ConfigError(f"{word} is no run folder; --recipe names the recipe file of a run")

    # parts of a recipe are shipped under names of their own, such as sensing_research
    shipped = shipped_run(word)
    if word in RECIPES or Path(word).suffix == ".py" or is_own_network(word):
        return word, shipped
    if shipped is not None and shipped.recipe in RECIPES:
        return shipped.recipe, shipped

    raise ConfigError(f"{word!r} is neither a run folder nor a recipe: {did_you_mean(word, RECIPES)}")


def _with_run(word: str, recipe: Recipe, run: Run) -> Target:
    try:
        settings = run.config_as(recipe.Config)
    except ConfigError as error:
        raise _with_left_network(run) or error from None

    return Target(word, recipe, settings, run)


def _with_left_network(run: Run) -> ConfigError | None:
    """The error about a network of a run that left its recipe; None if there is no such network."""
    # recipes call them networks, methods or parts
    lists = [value for value in run.config.values() if isinstance(value, list)]
    lines = (moved("networks", f"{run.recipe}.{name}") for name in itertools.chain(*lists))
    line = next(filter(None, lines), None)

    return None if line is None else ConfigError(f"{run.path}: {line}")


def _unknown_network(word: str, recipe: str, name: str, networks: Iterable[str]) -> str:
    return moved("networks", f"{recipe}.{name}") or f"{word} has no network {name!r}: {did_you_mean(name, networks)}"


def _recipe_of_run(run: Run, own: OwnRecipe) -> str:
    """The name of the run's recipe in the package, or the recipe file that the user named.

    No code is taken from a run folder, nor from a path in its files.
    """
    if run.recipe in RECIPES:
        if own.recipe is not None:
            raise ConfigError(f"{run.path} is a run of the recipe {run.recipe!r} of the package; leave --recipe out")
        return run.recipe

    if is_fitted(run.path) and not is_own_network(str(own.recipe)):
        raise ConfigError(
            f"{run.path} is a training of a program of yours, {run.recipe!r}; name the function that builds its "
            f"network: --recipe {own.recipe or 'FILE.py'}:FUNCTION"
        )

    if own.recipe is None:
        raise ConfigError(
            f"{run.path} is a run of {run.recipe!r}, which is no recipe of the package ({', '.join(RECIPES)}); if it "
            "is a recipe file of yours, name it: --recipe FILE.py"
        )

    word = str(own.recipe)
    if word in RECIPES:
        raise ConfigError(f"{run.path} is a run of {run.recipe!r}, not of the recipe {word!r} of the package")

    if not is_own_network(word):
        _check_digest(run, word, own.edited)
    return word


def _check_digest(run: Run, word: str, edited: bool) -> None:
    """Raises if a recipe file is not the one with which a run was started, and was not accepted as `edited`."""
    digest = recipe_digest(word)
    if run.recipe_digest is None:
        warnings.warn(f"{run.path} has no hash of its recipe; {word} is taken unchecked", stacklevel=2)
    elif digest != run.recipe_digest and not edited:
        raise ConfigError(
            f"{word} is not the recipe file that {run.path} was started with, or was edited since (its SHA-256 is "
            f"{digest:.12}..., expected {run.recipe_digest:.12}...); restore it, or accept it with --edited"
        )


def _is_hybrid(network: Any) -> bool:
    return hasattr(network, "inputs") and hasattr(network, "parts")
