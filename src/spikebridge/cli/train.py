"""`spikebridge train`, `eval`, `report` and `copy`: the commands of a recipe."""

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from spikebridge.cli import formatting, targets
from spikebridge.cli.command import (
    SETTINGS,
    Command,
    CommandResult,
    Flag,
    OwnRecipe,
    Recipe,
    RunCommand,
    RunOrRecipe,
    add_settings,
    check_data,
    own_options,
    parse_options,
)
from spikebridge.cli.recipes import load_recipe, recipe_digest, recipe_files, recipe_id, recipe_source, refuse_misspelt
from spikebridge.data.io.atomic import check_target, is_disk_full
from spikebridge.errors import ConfigError, DataError, SpikebridgeError
from spikebridge.training.run.run import Run

_Preset = Annotated[str | None, arg(metavar="NAME", help_behavior_hint="(default: `default`)")]
_RunFolder = Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(default: a new one, runs/RECIPE)")]
_Loggers = Annotated[tuple[str, ...], arg(metavar="NAME ...", help_behavior_hint="(default: none)")]


@dataclass(frozen=True, kw_only=True)
class Train(Command):
    """Train a recipe; `train RECIPE --help` shows its settings."""

    shows_progress = True

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
    logger: _Loggers = ()
    """Send the rows of metrics.jsonl to tensorboard, wandb or mlflow too; each needs its extra: spikebridge[wandb]."""

    @classmethod
    def specialize(cls, program: str, words: list[str]) -> tuple[Any, str, list[str]]:
        """Adds every field of the recipe's `Config`, with the values of the chosen preset."""
        if not words or words[0].startswith("-"):
            if "-h" in words or "--help" in words:
                return cls, program, words
            known = ", ".join(recipe_files()) or "none"
            raise ConfigError(f"the first argument must be a recipe: {program} RECIPE [OPTIONS]. Known: {known}.")

        recipe = words[0]
        rest = words[1:]
        refuse_misspelt(recipe, "Config", f"{program} {recipe}", rest, own_options(cls))
        module = load_recipe(recipe)
        settings = targets.initial_settings(module, recipe, rest)
        form = add_settings(cls, "recipe", recipe, settings)
        form.__doc__ = module.__doc__

        return form, f"{program} {recipe}", rest

    def execute(self) -> CommandResult:
        """Trains, then writes the report."""
        module = load_recipe(self.recipe)
        settings = getattr(self, SETTINGS)
        if self.logger:
            from spikebridge.training.callbacks.loggers import check_loggers  # imports torch

            check_loggers(self.logger)

        path = self.out or targets.run_folder(self.recipe, self.resume)
        digest = recipe_digest(self.recipe)
        run = Run.create(path, recipe_id(self.recipe), settings, resume=self.resume, recipe_digest=digest)
        if run.recipe_digest != digest:
            warnings.warn(f"{self.recipe} was edited after {path} was started", stacklevel=2)

        run.loggers = self.logger
        with run.lock():
            return self._train(module, run)

    def _train(self, module: Any, run: Run) -> CommandResult:
        settings = getattr(self, SETTINGS)
        path = run.path
        resume = targets.resume_command(self.recipe, str(path))

        try:
            # a recipe that shows progress takes `quiet`; it is only given where it is asked for
            results = module.train(settings, run, **({"quiet": True} if self.quiet else {}))
            if not run.writes:
                return CommandResult({}, "", printed=False)
            report = module.report(run)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"stopped; `{resume}` resumes") from None
        except SpikebridgeError:
            run.discard()
            raise
        except OSError as error:
            if not is_disk_full(error):
                raise
            # every file is written in whole or not at all, so the last checkpoint is good
            raise DataError(
                f"{error.filename or path}: {error.strerror}; the run is whole up to its last checkpoint: free some "
                f"space, then `{resume}` resumes"
            ) from error

        written = report is not None and Path(report).is_file()
        data = {"run": path, "report": report if written else None, "results": results}

        return CommandResult(data, formatting.results(results) + (f"\n\nreport: {report}" if written else ""))


_DataPath = Annotated[Path | None, arg(metavar="PATH", help_behavior_hint="(default: $SPIKEBRIDGE_DATA)")]


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
        own = parse_options(OwnRecipe, program, rest, add_help=False)[0]
        refuse_misspelt(targets.recipe_word(word, own), "Evaluation", f"{program} {word}", rest, own_options(cls))
        options = getattr(targets.resolve_target(word, own).module, "Evaluation", None)

        if options is None:
            return cls, program, words

        form = add_settings(cls, "target", word, options())
        form.__doc__ = "Evaluate a run, or the pretrained weights of a recipe."

        return form, f"{program} {word}", rest

    def execute(self) -> CommandResult:
        """Loads the run and evaluates it."""
        check_data(self.data)
        target = targets.resolve_target(self.target, self.own).for_data(self.data)
        run = target.trained_run()
        options = getattr(self, SETTINGS, None)
        results = target.module.evaluate(run, self.data, *([] if options is None else [options]))

        return CommandResult({"run": run.path, **results}, formatting.results(results))


_ComparisonFile = Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: comparison.html)")]


@dataclass(frozen=True, kw_only=True)
class Report(RunCommand):
    """Write the report of a finished run again, or a comparison of several runs."""

    runs: Annotated[tuple[Path, ...], Positional, arg(metavar="RUN [RUN ...]", help_behavior_hint="")]
    """A run folder, or several to compare: results, settings, learning curves."""
    out: _ComparisonFile = None
    """The file of a comparison."""

    def execute(self) -> CommandResult:
        """Opens the run and lets its recipe write the report, or writes the comparison."""
        if not self.runs:
            raise ConfigError("expected the folder of a run, but got none: spikebridge report RUN [RUN ...]")
        if len(self.runs) > 1:
            return self._compare()
        if self.out is not None:
            raise ConfigError("--out names the file of a comparison; the report of one run is written into its folder")

        target = targets.open_run(self.runs[0], self.own)
        report = target.module.report(target.trained_run())

        return CommandResult({"report": report}, f"report: {report}")

    def _compare(self) -> CommandResult:
        from spikebridge.analysis.comparison import RunRecord, compare_runs
        from spikebridge.analysis.report import write_report

        path = self.out or Path("comparison.html")
        check_target(path)
        names = [one.resolve().name for one in self.runs]
        records = []

        for folder, name in zip(self.runs, names, strict=True):
            run = Run.open(folder)
            metrics = {child: inner.metrics.rows() for child, inner in run.children().items()}
            metrics |= {run.recipe: rows} if (rows := run.metrics.rows()) else {}
            results = run.results() if run.finished else None
            shown = name if names.count(name) == 1 else str(folder)
            records.append(RunRecord(shown, run.config, results, run.environment(), metrics))

        title = "Comparison of " + ", ".join(record.name for record in records)
        write_report(path, title, compare_runs(records), command=f"spikebridge report {' '.join(map(str, self.runs))}")

        return CommandResult({"report": path}, f"comparison: {path}")


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
