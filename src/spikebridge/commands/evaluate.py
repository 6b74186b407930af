"""`spikebridge eval`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import arg

from spikebridge import layout, targets
from spikebridge.commands.command import SETTINGS, Answer, Command, RunOrRecipe, with_settings
from spikebridge.errors import ConfigError

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
        return Answer({"run": run.path, **results}, layout.results(results))
