"""The commands of `spikebridge`, one dataclass each: the docstring is the help, the fields are the options.

Nothing heavy is imported before a command runs, so that help and `list` answer at once.
"""

import dataclasses
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import FlagCreatePairsOff, Positional, Suppress, arg

from spikebridge import layout, targets
from spikebridge.data import files
from spikebridge.errors import ConfigError
from spikebridge.recipes import discovery
from spikebridge.training.run import Run

Flag = Annotated[bool, FlagCreatePairsOff, arg(help_behavior_hint="")]
Preset = Annotated[str | None, arg(metavar="NAME", help_behavior_hint="(default: `default`)")]
Network = Annotated[str | None, arg(metavar="NAME", help_behavior_hint="(default: all)")]
OneNetwork = Annotated[str | None, arg(metavar="NAME", help_behavior_hint="(default: the first one)")]
DataFolder = Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(default: $SPIKEBRIDGE_DATA)")]
RunFolder = Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(default: a new one, runs/RECIPE)")]
SvgFile = Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: NETWORK.svg)")]
Recipe = Annotated[str, Positional, arg(metavar="RECIPE", help_behavior_hint="")]
RunOrRecipe = Annotated[str, Positional, arg(metavar="RUN_OR_RECIPE", help_behavior_hint="")]
SETTINGS = "settings"


@dataclass(frozen=True)
class Answer:
    """What a command found out: `data` for machines, `text` for people, and the exit code.

    Of several processes only the first one tells.
    """

    data: dict[str, Any]
    text: str
    code: int = 0
    told: bool = True


@dataclass(frozen=True, kw_only=True)
class Command:
    """What all commands share."""

    json: Flag = False
    """Print one JSON document to stdout; everything else goes to stderr."""

    @classmethod
    def form(cls, program: str, words: list[str]) -> tuple[Any, str, list[str]]:
        """The dataclass to fill, the name its help gives, and the words left to fill it with."""
        return cls, program, words

    def answer(self) -> Answer:
        """Does the work."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class List(Command):
    """Show the recipes and the building blocks."""

    def answer(self) -> Answer:
        """Reads sources only; no recipe and no PyTorch is imported."""
        recipes = discovery.list_recipes()
        blocks = {kind: discovery.list_blocks(kind) for kind in discovery.KINDS}
        blocks["data sets"] = [discovery.Listing(known.name, known.about) for known in files.DATA_SETS]
        return Answer({"recipes": recipes, "blocks": blocks}, layout.listing(recipes, blocks))


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
        kind: Any = module.Config
        clash = {own.name for own in dataclasses.fields(cls)} & {
            other.name for other in dataclasses.fields(module.Config)
        }
        if clash:
            raise ConfigError(
                f"{recipe}: Config has {', '.join(sorted(clash))}, an option of `train` itself; rename it"
            )
        settings = targets.settings_to_start_from(module, recipe, rest)
        fields: list[Any] = [
            ("recipe", Suppress[str], field(default=recipe)),
            (SETTINGS, Annotated[kind, arg(name="")], field(default=settings)),
        ]
        form = dataclasses.make_dataclass(cls.__name__, fields, bases=(cls,), frozen=True, kw_only=True)
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
        data = {"run": path, "report": report, "results": results}
        return Answer(data, f"{layout.results(results)}\n\nreport: {report}")


@dataclass(frozen=True, kw_only=True)
class Eval(Command):
    """Evaluate a run, or the pretrained weights of a recipe."""

    target: RunOrRecipe
    """A run folder, or a recipe's name."""
    data: DataFolder = None
    """The folder with data sets."""

    def answer(self) -> Answer:
        """Loads the run and evaluates it."""
        target = targets.find(self.target)
        run = target.trained_run()
        results = target.module.evaluate(run, self.data)
        return Answer({"run": run.path, "results": results}, layout.results(results))


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


@dataclass(frozen=True, kw_only=True)
class Draw(Command):
    """Draw a network as SVG."""

    target: RunOrRecipe
    """A run folder, a recipe's name or the path of a recipe file."""
    network: OneNetwork = None
    """Which of the recipe's networks."""
    out: SvgFile = None
    """The file to write."""

    def answer(self) -> Answer:
        """Builds the network, sums it up and draws it."""
        target = targets.find(self.target)
        name, network = target.hybrid_network(self.network)
        from spikebridge.analysis import summarize
        from spikebridge.analysis.figures import draw_network

        summary = str(summarize(network, target.inputs(network)))
        path = self.out or Path(f"{name}.svg")
        targets.write_text(path, draw_network(network))
        return Answer({"network": name, "path": path, "summary": summary}, f"{summary}\n\ndrawing: {path}")


@dataclass(frozen=True, kw_only=True)
class Doctor(Command):
    """Examine the networks of a run; without one, the installation."""

    run: Annotated[str | None, Positional, arg(metavar="[RUN]", help_behavior_hint="")] = None
    """A run folder, or a recipe for its untrained networks."""
    network: Network = None
    """Which of the recipe's networks."""

    def answer(self) -> Answer:
        """Findings, each with a remedy; the exit code is 1 where there are any."""
        if self.run is None:
            from spikebridge.installation import examine_installation

            facts = examine_installation()
            return Answer(facts, layout.facts(facts))
        findings = targets.find(self.run).findings(self.network)
        return Answer({"findings": findings}, layout.findings(findings), code=1 if findings else 0)


@dataclass(frozen=True, kw_only=True)
class Data(Command):
    """Show which data sets are there, and where the others come from."""

    data: DataFolder = None
    """The folder with data sets."""

    def answer(self) -> Answer:
        """Looks for files; nothing is downloaded."""
        entries = files.available(self.data)
        sets = [
            {"name": entry.data_set.name, "present": entry.present, "missing": list(entry.missing)}
            | {"about": entry.data_set.about, "source": entry.data_set.source, "licence": entry.data_set.licence}
            for entry in entries
        ]
        return Answer({"data sets": sets}, layout.data_sets(sets))


@dataclass(frozen=True, kw_only=True)
class Copy(Command):
    """Copy a recipe into a file of your own, to edit and train."""

    recipe: Recipe
    """A recipe's name."""
    file: Annotated[Path, Positional, arg(metavar="FILE", help_behavior_hint="")]
    """The file to write, such as ./my.py."""

    def answer(self) -> Answer:
        """Writes the file unless there is one already."""
        text = discovery.source(self.recipe)
        if self.file.suffix != ".py":
            raise ConfigError(f"a recipe is a Python file: its name must end in .py, but got {self.file}")
        if self.file.exists():
            raise ConfigError(f"{self.file} exists; name another file or remove it first")
        targets.write_text(self.file, text)
        return Answer({"path": self.file}, f"{self.file}: edit it, then `spikebridge train {self.file}`")


COMMANDS: dict[str, type[Command]] = {
    "list": List,
    "train": Train,
    "eval": Eval,
    "report": Report,
    "draw": Draw,
    "doctor": Doctor,
    "data": Data,
    "copy": Copy,
}
