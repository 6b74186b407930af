"""A network that a program of the user's builds, `FILE.py:FUNCTION`, as a recipe, for runs that `fit` has made."""

from collections.abc import Mapping
from inspect import Parameter, signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from spikebridge.errors import ConfigError, did_you_mean, in_words
from spikebridge.recipes.load import RECIPES, load_program
from spikebridge.training.run.run import Run

if TYPE_CHECKING:
    from torch import Tensor, nn


def is_own_network(word: str) -> bool:
    """True for the words FILE.py:FUNCTION."""
    return word.rpartition(":")[0].endswith(".py")


def is_fitted(folder: Path) -> bool:
    """True for a training that a program of the user's has made with `fit`; a recipe file would have left its hash."""
    if not (folder / "config.json").is_file() or not (folder / "metrics.jsonl").is_file():
        return False

    run = Run.open(folder)
    return not (run.recipe in RECIPES or run.recipe_digest is not None or run.recipe.endswith(".py"))


class OwnNetwork:
    """The recipe of one network: its function builds it, and a function `example` beside it gives inputs by name."""

    Config = dict
    PRESETS: ClassVar[Mapping[str, Any]] = {"default": {}}

    def __init__(self, word: str) -> None:
        self.file, _, self.function = word.rpartition(":")
        self.program = load_program(Path(self.file))

    def build(self, config: Any) -> "dict[str, nn.Module]":
        from torch import nn

        network = self._call(self.function, config, "which builds the network")
        if not isinstance(network, nn.Module):
            raise ConfigError(f"{self.function}() of {self.file} should build a network, but gave {in_words(network)}")
        return {self.function: network}

    def example(self, config: Any) -> "dict[str, Tensor]":
        inputs = self._call("example", config, "which gives a small batch of inputs by name")
        if not isinstance(inputs, Mapping) or not inputs:
            raise ConfigError(f"example() of {self.file} should give inputs by name, but gave {in_words(inputs)}")
        return dict(inputs)

    def calibration(self, config: Any, num_samples: int, data: Path | None) -> "dict[str, Tensor]":
        return self.example(config)

    def trained(self, run: Run) -> "dict[str, nn.Module]":
        networks = self.build(run.config)
        run.load_weights(networks[self.function])
        return networks

    def evaluate(self, run: Run, data: Path | None = None, options: Any = None) -> NoReturn:
        raise ConfigError(f"{self.file} evaluates its network itself, with spikebridge.training.evaluate")

    def report(self, run: Run) -> Path:
        return report_training(run, self.trained(run)[self.function])

    def _call(self, name: str, config: Any, purpose: str) -> Any:
        """The result of a function, which gets the config of the run if it takes an argument without a default."""
        function = getattr(self.program, name, None)
        if not callable(function):
            own = self.program.__name__
            known = [key for key, value in vars(self.program).items() if getattr(value, "__module__", None) == own]
            raise ConfigError(f"{self.file} has no function {name!r}, {purpose}; {did_you_mean(name, known)}")

        needed = [one for one in signature(function).parameters.values() if one.default is Parameter.empty]
        if len(needed) > 1:
            raise ConfigError(f"{name}() of {self.file} should take nothing, or the config of the run, but needs more")
        return function(*[config][: len(needed)])


def report_training(run: Run, network: Any = None) -> Path:
    """Writes report.html into the run of a training: results, learning curves, settings, and the network, if any."""
    from spikebridge.analysis.comparison import flat_numbers
    from spikebridge.analysis.learning_curves import learning_curves
    from spikebridge.analysis.plots.figures import draw_network
    from spikebridge.analysis.report import Picture, Section, Table, write_report
    from spikebridge.hybrid import HybridNetwork

    numbers = [{"result": name, "value": value} for name, value in flat_numbers(run.results() if run.finished else {})]
    settings = [{"setting": name, "value": str(value)} for name, value in run.config.items()]
    sections = [
        Section("Results", [] if numbers else "The run holds no results.", [Table(numbers)] if numbers else []),
        learning_curves({run.recipe: run.metrics.rows()}),
        Section("Settings", tables=[Table(settings)] if settings else []),
    ]
    if isinstance(network, HybridNetwork):
        sections.append(Section("Network", pictures=[Picture(draw_network(network))]))

    return write_report(run.file("report.html"), run.recipe, sections, run.versions())
