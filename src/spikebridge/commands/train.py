"""`spikebridge train`."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import arg

from spikebridge import layout, targets
from spikebridge.commands.command import SETTINGS, Answer, Command, Flag, Recipe, with_settings
from spikebridge.errors import ConfigError, SpikebridgeError
from spikebridge.recipes import discovery
from spikebridge.training.run import Run

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
            run.take_back()
            raise
        data = {"run": path, "report": report, "results": results}
        return Answer(data, f"{layout.results(results)}\n\nreport: {report}")
