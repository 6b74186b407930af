"""`spikebridge train`.

`spikebridge eval`.

`spikebridge report`.
"""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from spikebridge.cli import formatting, targets
from spikebridge.cli import recipes as discovery
from spikebridge.cli.command import SETTINGS, Answer, Command, Flag, Recipe, RunOrRecipe, with_settings
from spikebridge.errors import ConfigError, SpikebridgeError
from spikebridge.training.run.run import Run

Preset = Annotated[str | None, arg(metavar="NAME", help_behavior_hint="(default: `default`)")]
RunFolder = Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(default: a new one, runs/RECIPE)")]


@dataclass(frozen=True, kw_only=True)
class Train(Command):
    """Train a recipe; `train RECIPE --help` shows its settings."""

    recipe: Recipe
    """A recipe's name (see `spikebridge list`) or the path of a recipe file. It comes first."""
    preset: Preset = None
    """The settings to start from; other options change single ones."""
    out: RunFolder = None
    """The run folder."""
    resume: Flag = False
    """Go on with the run in that folder from its last checkpoint; start it if it is not there yet."""
    quiet: Flag = False
    """Show no progress."""

    @classmethod
    def form(cls, program: str, words: list[str]) -> tuple[Any, str, list[str]]:
        """Adds every field of the recipe's `Config`, with the values of the chosen preset."""
        if not words or words[0].startswith("-"):
            if "-h" in words or "--help" in words:
                return cls, program, words
            known = ", ".join(discovery.recipes()) or "none"
            raise ConfigError(f"the recipe comes first: {program} RECIPE [OPTIONS]. Known: {known}.")
        recipe, rest = words[0], words[1:]
        module = discovery.load(recipe)
        settings = targets.settings_to_start_from(module, recipe, rest)
        form = with_settings(cls, "recipe", recipe, settings)
        form.__doc__ = module.__doc__
        return form, f"{program} {recipe}", rest

    def answer(self) -> Answer:
        """Trains, then writes the report."""
        module = discovery.load(self.recipe)
        settings = getattr(self, SETTINGS)
        path = self.out or targets.run_folder(self.recipe, self.resume)
        run = Run.create(path, discovery.identity(self.recipe), settings, resume=self.resume)
        try:
            # a recipe that shows progress takes `quiet`; it is only given where it is asked for
            results = module.train(settings, run, **({"quiet": True} if self.quiet else {}))
            if not run.writes:
                return Answer({}, "", told=False)
            report = module.report(run)
        except KeyboardInterrupt:
            again = shlex.join(["spikebridge", "train", self.recipe, "--out", str(path), "--resume"])
            raise KeyboardInterrupt(f"stopped; `{again}` goes on") from None
        except SpikebridgeError:
            run.discard()
            raise
        data = {"run": path, "report": report, "results": results}
        return Answer(data, f"{formatting.results(results)}\n\nreport: {report}")


DataPath = Annotated[Path | None, arg(metavar="PATH", help_behavior_hint="(default: $SPIKEBRIDGE_DATA)")]


@dataclass(frozen=True, kw_only=True)
class Eval(Command):
    """Evaluate a run, or the pretrained weights of a recipe; `eval RECIPE --help` shows its options."""

    target: RunOrRecipe
    """A run folder, or a recipe's name. It comes first."""
    data: DataPath = None
    """The data to evaluate on: a folder or file, as the recipe has it."""

    @classmethod
    def form(cls, program: str, words: list[str]) -> tuple[Any, str, list[str]]:
        """Adds every field of the recipe's `Evaluation`, where it has one."""
        if not words or words[0].startswith("-"):
            if "-h" in words or "--help" in words:
                return cls, program, words
            raise ConfigError(f"the run or recipe comes first: {program} RUN_OR_RECIPE [OPTIONS]")
        word, rest = words[0], words[1:]
        options = getattr(targets.find(word).module, "Evaluation", None)
        if options is None:
            return cls, program, words
        return with_settings(cls, "target", word, options()), f"{program} {word}", rest

    def answer(self) -> Answer:
        """Loads the run and evaluates it."""
        target = targets.find(self.target)
        run = target.trained_run()
        options = getattr(self, SETTINGS, None)
        results = target.module.evaluate(run, self.data, *([] if options is None else [options]))
        return Answer({"run": run.path, **results}, formatting.results(results))


@dataclass(frozen=True, kw_only=True)
class Report(Command):
    """Write the report of a run again."""

    run: Annotated[Path, Positional, arg(metavar="RUN", help_behavior_hint="")]
    """A run folder."""

    def answer(self) -> Answer:
        """Opens the run and lets its recipe write the report."""
        target = targets.find_run(self.run)
        report = target.module.report(target.trained_run())
        return Answer({"report": report}, f"report: {report}")
