"""`spikebridge train`, `eval`, `report` and `copy`: the commands of a recipe."""

import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from spikebridge.cli import formatting, targets
from spikebridge.cli.command import SETTINGS, Command, CommandResult, Flag, Recipe, RunOrRecipe, add_settings
from spikebridge.cli.recipes import load_recipe, recipe_files, recipe_id, recipe_source
from spikebridge.errors import ConfigError, SpikebridgeError
from spikebridge.training.run.run import Run

_Preset = Annotated[str | None, arg(metavar="NAME", help_behavior_hint="(default: `default`)")]
_RunFolder = Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(default: a new one, runs/RECIPE)")]


@dataclass(frozen=True, kw_only=True)
class Train(Command):
    """Train a recipe; `train RECIPE --help` shows its settings."""

    recipe: Recipe
    """A recipe's name (see `spikebridge list`) or the path of a recipe file: the first argument."""
    preset: _Preset = None
    """The named set of settings to start from; other options override single settings."""
    out: _RunFolder = None
    """The folder to write the run into: configuration, weights, results and report."""
    resume: Flag = False
    """Resume the run in --out from its last checkpoint; start a new run if there is none."""
    quiet: Flag = False
    """Show no progress."""

    @classmethod
    def specialize(cls, program: str, words: list[str]) -> tuple[Any, str, list[str]]:
        """Adds every field of the recipe's `Config`, with the values of the chosen preset."""
        if not words or words[0].startswith("-"):
            if "-h" in words or "--help" in words:
                return cls, program, words
            known = ", ".join(recipe_files()) or "none"
            raise ConfigError(f"the first argument must be a recipe: {program} RECIPE [OPTIONS]. Known: {known}.")
        recipe, rest = words[0], words[1:]
        module = load_recipe(recipe)
        settings = targets.initial_settings(module, recipe, rest)
        form = add_settings(cls, "recipe", recipe, settings)
        form.__doc__ = module.__doc__
        return form, f"{program} {recipe}", rest

    def execute(self) -> CommandResult:
        """Trains, then writes the report."""
        module = load_recipe(self.recipe)
        settings = getattr(self, SETTINGS)
        path = self.out or targets.run_folder(self.recipe, self.resume)
        run = Run.create(path, recipe_id(self.recipe), settings, resume=self.resume)
        try:
            # a recipe that shows progress takes `quiet`; it is only given where it is asked for
            results = module.train(settings, run, **({"quiet": True} if self.quiet else {}))
            if not run.writes:
                return CommandResult({}, "", printed=False)
            report = module.report(run)
        except KeyboardInterrupt:
            again = shlex.join(["spikebridge", "train", self.recipe, "--out", str(path), "--resume"])
            raise KeyboardInterrupt(f"stopped; `{again}` resumes") from None
        except SpikebridgeError:
            run.discard()
            raise
        data = {"run": path, "report": report, "results": results}
        return CommandResult(data, f"{formatting.results(results)}\n\nreport: {report}")


_DataPath = Annotated[Path | None, arg(metavar="PATH", help_behavior_hint="(default: $SPIKEBRIDGE_DATA)")]


@dataclass(frozen=True, kw_only=True)
class Eval(Command):
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
        word, rest = words[0], words[1:]
        options = getattr(targets.resolve_target(word).module, "Evaluation", None)
        if options is None:
            return cls, program, words
        form = add_settings(cls, "target", word, options())
        form.__doc__ = "Evaluate a run, or the pretrained weights of a recipe."
        return form, f"{program} {word}", rest

    def execute(self) -> CommandResult:
        """Loads the run and evaluates it."""
        target = targets.resolve_target(self.target)
        run = target.trained_run()
        options = getattr(self, SETTINGS, None)
        results = target.module.evaluate(run, self.data, *([] if options is None else [options]))
        return CommandResult({"run": run.path, **results}, formatting.results(results))


@dataclass(frozen=True, kw_only=True)
class Report(Command):
    """Write the report of a finished run again."""

    run: Annotated[Path, Positional, arg(metavar="RUN", help_behavior_hint="")]
    """A run folder."""

    def execute(self) -> CommandResult:
        """Opens the run and lets its recipe write the report."""
        target = targets.open_run(self.run)
        report = target.module.report(target.trained_run())
        return CommandResult({"report": report}, f"report: {report}")


@dataclass(frozen=True, kw_only=True)
class Copy(Command):
    """Copy a recipe into a new Python file, to edit and train."""

    recipe: Recipe
    """A recipe's name."""
    file: Annotated[Path, Positional, arg(metavar="FILE", help_behavior_hint="")]
    """The file to write, such as ./my.py."""

    def execute(self) -> CommandResult:
        """Writes the file unless there is one already."""
        text = recipe_source(self.recipe)
        if self.file.suffix != ".py":
            raise ConfigError(f"a recipe is a Python file: its name must end in .py, but got {self.file}")
        if os.path.lexists(self.file):
            raise ConfigError(f"{self.file} exists; name another file or remove it first")
        targets.write_file(self.file, text)
        return CommandResult({"path": self.file}, f"{self.file}: edit it, then `spikebridge train {self.file}`")
