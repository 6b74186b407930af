"""The names that a recipe defines: seven that every recipe has, and optional hooks of single commands."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol, cast

from spikebridge.errors import ConfigError
from spikebridge.training.run.run import Run

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from spikebridge.deploy.web.inputs import WebInputs

REQUIRED = ("Config", "PRESETS", "train", "evaluate", "report", "build", "example")


class Recipe(Protocol):
    """A Python file that describes a comparison of networks: settings, training, evaluation, report.

    A recipe is a module, so its functions have no `self`. Seven names are required. The others are optional hooks, and
    each says which command it serves. The page "Write a recipe" has an example.
    """

    Config: type[Any]
    """The settings, a frozen dataclass; its fields are the options of `train`."""
    PRESETS: Mapping[str, Any]
    """Settings by name; `default` is where `train` starts."""
    Evaluation: type[Any]
    """Hook of `eval`: a dataclass of further options, given to `evaluate` as its third argument."""

    REGIONS: Sequence[str]
    """Hook of `quantize`: the paths that have an integer form, where not all have one."""

    def build(self, config: Any) -> "dict[str, nn.Module]":
        """Every network of the comparison by name, untrained."""

    def example(self, config: Any) -> "dict[str, Tensor]":
        """A small batch of inputs by name; a network that is no `HybridNetwork` takes the first one."""

    def train(self, config: Any, run: Run, quiet: bool = False) -> dict[str, Any]:
        """Trains, or resumes the training, and writes the results into the run.

        A network is trained in an inner run of its name, such as `run.child("learned/seed-0")`.
        """

    def evaluate(self, run: Run, data: Path | None = None, options: Any = None) -> dict[str, Any]:
        """Measures the results of a trained run again, on its own data or on those of a file or folder."""

    def report(self, run: Run) -> Path:
        """Writes the report of a trained run and gives its path."""

    def trained(self, run: Run) -> "dict[str, nn.Module]":
        """Hook of all commands that load networks: networks with weights, where these are not a file each."""

    def network_example(self, config: Any, network: "nn.Module", run: Run | None) -> "dict[str, Tensor]":
        """Hook of all commands that run a network: its example, where networks read one sensor in several forms."""

    def weights_for(self, data: Path) -> str:
        """Hook of `eval RECIPE --data FILE`: the shipped weights that fit a file, where a recipe has several."""

    def calibration(self, config: Any, num_samples: int, data: Path | None) -> "dict[str, Tensor]":
        """Hook of `quantize` and `export --target c` or `web`: training inputs on which the scales are chosen."""

    def measure(self, network: "nn.Module", config: Any, data: Path | None) -> dict[str, float]:
        """Hook of `quantize`: the figures that quantisation may change."""

    def retrain(self, network: "nn.Module", config: Any, epochs: int, data: Path | None) -> None:
        """Hook of `quantize --chip --epochs`: trains a network further, in place, on the recipe's training data."""

    def regions(self, config: Any) -> Sequence[str]:
        """Hook of `quantize`: the same as `REGIONS`, where the paths depend on the settings; empty for all."""

    def tracker(self, run: Run, network: str | None = None) -> Any:
        """Hook of `track` and `live`: a trained network as a tracker, `networks.sensing.SensingTracker`."""

    def bundle_tracker(self, path: Path, integers: bool) -> Any:
        """Hook of `track` and `live`: the network of a bundle as a tracker."""

    def sample_reader(self, config: Mapping[str, Any], results: Mapping[str, Any]) -> Any:
        """Hook of `live --signal` and `run --input FILE.wav`: a reader of samples (`deploy.streaming.SampleReader`).

        It stands in a module `stream` next to the recipe, which imports no PyTorch: bundles run without it.
        """

    def stream_inputs(self, run: Run, network: "nn.Module") -> Mapping[str, tuple[int, Sequence[int]]]:
        """Hook of `live --signal NAME=FILE`: base ticks of a sample of each input, and its shape.

        A module `stream` next to the recipe opens the sensors (`networks.senses.stream`).
        """

    def web(self, config: Mapping[str, Any], results: Mapping[str, Any]) -> "WebInputs":
        """Hook of `export --target web`: the inputs that a page offers, from the settings and results of a run."""

    def trained_web(self, inputs: "WebInputs", numbers: "Mapping[str, NDArray[Any]]") -> "WebInputs":
        """Hook of `export --target web`: the same with a front end that needs the numbers of the trained network."""


def defines(recipe: Recipe, hook: str) -> bool:
    """True if a recipe defines a hook."""
    return hasattr(recipe, hook)


def default_settings(recipe: Recipe) -> Any:
    """The preset `default`, or the first one where a recipe has none of that name."""
    return recipe.PRESETS.get("default", next(iter(recipe.PRESETS.values())))


def checked_recipe(module: ModuleType, word: str) -> Recipe:
    """The module as a recipe; a `ConfigError` says what it lacks."""
    missing = [name for name in REQUIRED if not hasattr(module, name)]
    if missing:
        raise ConfigError(
            f"{word} is not a recipe: it has no {', '.join(missing)}. A recipe has {', '.join(REQUIRED)}."
        )

    config = module.Config
    presets = module.PRESETS
    if not (isinstance(config, type) and dataclasses.is_dataclass(config)):
        raise ConfigError(f"{word} is not a recipe: its Config should be a dataclass, but is {config!r:.100}")
    if not isinstance(presets, dict) or not presets:
        raise ConfigError(f"{word} is not a recipe: its PRESETS should name a Config at least, but is {presets!r:.100}")

    for name, preset in presets.items():
        if not isinstance(name, str) or not isinstance(preset, config):
            raise ConfigError(f"{word} is not a recipe: its preset {name!r} should be a Config, but is {preset!r:.100}")

    for name in REQUIRED[2:]:
        if not callable(getattr(module, name)):
            raise ConfigError(f"{word} is not a recipe: its {name} should be a function")

    return cast(Recipe, module)
