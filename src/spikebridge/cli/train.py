"""`spikebridge train`, `eval`, `report` and `copy`: the commands of a recipe."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from spikebridge.cli import formatting
from spikebridge.cli.command import (
    SETTINGS,
    Command,
    CommandResult,
    File,
    Flag,
    Folder,
    Name,
    Recipe,
    RunCommand,
    RunOrRecipe,
    add_settings,
    check_data,
    option_value,
    own_options,
    write_file,
)
from spikebridge.cli.words import refuse_misspelt
from spikebridge.errors import ConfigError, did_you_mean
from spikebridge.recipes import target as targets
from spikebridge.recipes.load import RECIPES, load_recipe, recipe_file
from spikebridge.recipes.own_network import is_fitted, report_training
from spikebridge.recipes.recipe import defines
from spikebridge.recipes.target import OwnRecipe
from spikebridge.recipes.training import initial_settings, run_folder, train_recipe
from spikebridge.training.run.run import Run

_Loggers = Annotated[tuple[str, ...], arg(metavar="NAME ...", help_behavior_hint="(default: none)")]
_DataPath = Annotated[Path | None, arg(metavar="PATH", help_behavior_hint="(default: $SPIKEBRIDGE_DATA)")]


@dataclass(frozen=True, kw_only=True)
class Train(Command):
    """Train a recipe; `train RECIPE --help` shows its settings."""

    shows_progress = True

    recipe: Recipe
    """A recipe's name (see `spikebridge list`) or the path of a recipe file: the first argument."""
    preset: Name = None
    """The named set of settings to start from; other options override single settings (default: `default`)."""
    out: Folder = None
    """The folder of the run: configuration, weights, results and report (default: a new one, runs/RECIPE)."""
    resume: Flag = False
    """Resume the run in --out from its last checkpoint; start a new run if there is none."""
    quiet: Flag = False
    """Show no progress."""
    logger: _Loggers = ()
    """Send the rows of metrics.jsonl to tensorboard, wandb or mlflow too; each needs the extra of its name."""

    @classmethod
    def specialize(cls, program: str, words: list[str]) -> tuple[Any, str, list[str]]:
        """Adds every field of the recipe's `Config`, with the values of the chosen preset."""
        if not words or words[0].startswith("-"):
            if "-h" in words or "--help" in words:
                return cls, program, words
            raise ConfigError(
                f"the first argument must be a recipe: {program} RECIPE [OPTIONS]. Known: {', '.join(RECIPES)}."
            )

        word = words[0]
        rest = words[1:]
        program = f"{program} {word}"
        refuse_misspelt(word, "Config", program, rest, own_options(cls))
        recipe = load_recipe(word)
        # other options change single settings of the run that is resumed, or of the preset
        resumed = None
        if "--resume" in rest:
            resumed = Path(option_value(rest, "out") or run_folder(word, resume=True))

        form = add_settings(cls, "recipe", word, initial_settings(recipe, word, option_value(rest, "preset"), resumed))
        form.__doc__ = formatting.without_markdown(recipe.__doc__ or "")

        return form, program, rest

    def execute(self) -> CommandResult:
        if self.logger:
            # here, since it imports PyTorch
            from spikebridge.training.callbacks.loggers import check_loggers

            check_loggers(self.logger)

        path = self.out or run_folder(self.recipe, self.resume)
        settings = getattr(self, SETTINGS)
        trained = train_recipe(self.recipe, settings, path, resume=self.resume, quiet=self.quiet, loggers=self.logger)
        if trained.results is None:
            return CommandResult({}, "", printed=False)

        text = formatting.results(trained.results)
        text += "" if trained.report is None else f"\n\nreport: {trained.report}"

        return CommandResult({"run": path, "report": trained.report, "results": trained.results}, text)


@dataclass(frozen=True, kw_only=True)
class Eval(RunCommand):
    """Evaluate a run, or the pretrained weights of a recipe; `eval RECIPE --help` shows its options."""

    target: RunOrRecipe
    """A run folder, or the name of a recipe with pretrained weights: the first argument."""
    data: _DataPath = None
    """The folder or file of data to evaluate on."""

    @classmethod
    def specialize(cls, program: str, words: list[str]) -> tuple[Any, str, list[str]]:
        """Adds every field of the recipe's `Evaluation`, where it has one."""
        if not words or words[0].startswith("-"):
            if "-h" in words or "--help" in words:
                return cls, program, words
            raise ConfigError(f"the first argument must be a run folder or a recipe: {program} RUN_OR_RECIPE [OPTIONS]")

        word = words[0]
        rest = words[1:]
        file = option_value(rest, "recipe")
        own = OwnRecipe(None if file is None else Path(file), "--edited" in rest)
        refuse_misspelt(targets.recipe_word(word, own), "Evaluation", f"{program} {word}", rest, own_options(cls))
        recipe = targets.resolve_target(word, own).recipe
        if not defines(recipe, "Evaluation"):
            return cls, program, words

        form = add_settings(cls, "target", word, recipe.Evaluation())
        form.__doc__ = "Evaluate a run, or the pretrained weights of a recipe."

        return form, f"{program} {word}", rest

    def execute(self) -> CommandResult:
        check_data(self.data)
        target = targets.resolve_target(self.target, self.own).for_data(self.data)
        run = target.trained_run()
        # a recipe without `Evaluation` takes no options
        options = [getattr(self, SETTINGS)] if hasattr(self, SETTINGS) else []
        results = target.recipe.evaluate(run, self.data, *options)

        return CommandResult({"run": run.path, **results}, formatting.results(results))


@dataclass(frozen=True, kw_only=True)
class Report(RunCommand):
    """Write the report of a finished run again, or a comparison of several runs."""

    runs: Annotated[tuple[Path, ...], Positional, arg(metavar="RUN [RUN ...]", help_behavior_hint="")]
    """A run folder, or several to compare: results, settings, learning curves."""
    out: File = None
    """The file of a comparison (default: comparison.html)."""

    def execute(self) -> CommandResult:
        if not self.runs:
            raise ConfigError("expected the folder of a run, but got none: spikebridge report RUN [RUN ...]")

        if len(self.runs) > 1:
            from spikebridge.recipes.comparison import write_comparison

            path = self.out or Path("comparison.html")
            write_comparison(self.runs, path)
            return CommandResult({"report": path}, f"comparison: {path}")

        if self.out is not None:
            raise ConfigError("--out names the file of a comparison; the report of one run is written into its folder")

        if self.recipe is None and is_fitted(self.runs[0]):
            report = report_training(Run.open(self.runs[0]))
        else:
            target = targets.open_run(self.runs[0], self.own)
            report = target.recipe.report(target.trained_run())

        return CommandResult({"report": report}, f"report: {report}")


@dataclass(frozen=True, kw_only=True)
class Copy(Command):
    """Copy a recipe into a new Python file, to edit and train."""

    recipe: Recipe
    """A recipe's name."""
    file: Annotated[Path, Positional, arg(metavar="FILE", help_behavior_hint="")]
    """The file to write, such as ./my.py."""

    def execute(self) -> CommandResult:
        if self.recipe not in RECIPES:
            raise ConfigError(f"no recipe {self.recipe!r}: {did_you_mean(self.recipe, RECIPES)}")
        if self.file.suffix != ".py":
            raise ConfigError(f"a recipe is a Python file: its name must end in .py, but got {self.file}")
        if os.path.lexists(self.file):
            raise ConfigError(f"{self.file} exists; name another file or remove it first")

        write_file(self.file, recipe_file(self.recipe).read_text(encoding="utf-8"))
        return CommandResult({"path": self.file}, f"{self.file}: edit it, then `spikebridge train {self.file}`")
