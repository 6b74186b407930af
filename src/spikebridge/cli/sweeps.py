"""`spikebridge sweep`: its options."""

import shlex
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import UseAppendAction, arg

from spikebridge.cli import formatting, targets
from spikebridge.cli.command import Command, CommandResult, Flag, Recipe, parse_command
from spikebridge.cli.failure import status
from spikebridge.cli.recipes import load_recipe, recipe_digest, recipe_id
from spikebridge.cli.sweep.grid import Cell, Setting, cells_of, parse_seeds, parse_settings
from spikebridge.cli.train import Train
from spikebridge.errors import ConfigError
from spikebridge.training.run.lock import lock_folder

if TYPE_CHECKING:
    from spikebridge.cli.sweep.sweep import Search
    from spikebridge.cli.sweep.table import Objective

_Values = Annotated[tuple[str, ...], UseAppendAction, arg(name="set", metavar="NAME=V,V,...", help_behavior_hint="")]
_Text = Annotated[str | None, arg(metavar="NAME", help_behavior_hint="")]
_Seeds = Annotated[str | None, arg(metavar="A:B", help_behavior_hint="(default: that of the preset)")]
_Number = Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: one a core, worker, or 16 jobs)")]
_Address = Annotated[str | None, arg(metavar="tcp://HOST:PORT", help_behavior_hint="")]
_Options = Annotated[tuple[str, ...], UseAppendAction, arg(metavar="NAME=VALUE", help_behavior_hint="")]
_Folder = Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(default: a new one, runs/RECIPE-sweep)")]
_OF_SEVERAL = ("cells", "sd", "lowest", "highest")
_MOST_SHOWN = 20  # rows of the table of a search


@dataclass(frozen=True, kw_only=True)
class SweepCommand(Command):
    """Train a recipe over settings and seeds, or search for the best settings, on one machine or many."""

    shows_progress = True

    recipe: Recipe
    """A recipe's name (see `spikebridge list`) or the path of a recipe file: the first argument."""
    values: _Values = ()
    """A setting of the recipe and its values; can be repeated. A search also draws from LOW:HIGH and LOW:HIGH:log."""
    seeds: _Seeds = None
    """Seeds of each combination of settings: from A to before B, or A,B,..."""
    preset: _Text = None
    """The named set of settings to start from."""
    out: _Folder = None
    """The folder of the sweep: a run folder for each cell, the table, a figure and a report."""
    resume: Flag = False
    """Resume the sweep in --out; start a new one if there is none. More settings and seeds may be given."""
    workers: _Number = None
    """Cells that train at a time."""
    retry: int = 1
    """How often a cell is tried again whose worker was lost, or that failed in a way that another attempt may not."""
    maximize: _Text = None
    """The number in the results whose highest value is the best, such as accuracy."""
    minimize: _Text = None
    """The number in the results whose lowest value is the best."""
    search: Literal["optuna"] | None = None
    """Search with Optuna instead of training every combination; needs the extra spikebridge[tune]."""
    trials: int = 20
    """Trainings of a search, together with those that are in the folder already."""
    pruning: bool = True
    """Stop trials of a search whose metrics fall behind the median of the others."""
    scheduler: _Address = None
    """Train on the workers of a Dask cluster; needs the extra spikebridge[cluster]."""
    slurm: Flag = False
    """Train each cell as a job of Slurm; needs the extra spikebridge[cluster]."""
    slurm_option: _Options = ()
    """A parameter of submitit, such as timeout_min=60 or slurm_partition=gpu; can be repeated."""
    quiet: Flag = False
    """Show no progress."""

    def execute(self) -> CommandResult:
        """Trains the cells, then writes the table, the figure and the report."""
        # executors and statistics: not for every `--help`
        from spikebridge.cli.sweep import executors

        self._check()
        if self.scheduler is None and not self.slurm:
            executors.begin_to_load(self.recipe)

        from spikebridge.cli.sweep.sweep import Sweep

        module = load_recipe(self.recipe)
        config = targets.initial_settings(module, self.recipe, ["--preset", self.preset] if self.preset else [])
        settings = parse_settings(self.values, config)
        seeds = None if self.seeds is None else parse_seeds(self.seeds)
        more = self._more_options(config, settings, seeds)
        self._check_values(settings, more)
        cells = cells_of(settings, seeds, more) if self.search is None else []
        folder = self.out or _new_folder(self.recipe, self.resume)
        tell = (lambda line: None) if self.quiet else status
        sweep = Sweep(folder, self.recipe, self._objective(), tell)
        preset = {"preset": self.preset, "search": self.search}
        sweep.begin(
            {"recipe": recipe_id(self.recipe), "recipe_sha256": recipe_digest(self.recipe), **preset}, self.resume
        )

        try:
            with lock_folder(folder):
                if self.search is None:
                    sweep.run_grid(cells, self._workers(folder), self.retry)
                else:
                    sweep.run_search(self._search(folder, settings, seeds, more), self._workers(folder), self.retry)

                return self._result(folder, sweep.finish(self._command(folder)))
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"stopped; `{self._command(folder)} --resume` resumes") from None

    def _check(self) -> None:
        """Refuses options that do not fit together."""
        if self.maximize is not None and self.minimize is not None:
            raise ConfigError("--maximize and --minimize exclude each other")
        if self.scheduler is not None and self.slurm:
            raise ConfigError("--scheduler and --slurm exclude each other")
        if self.slurm_option and not self.slurm:
            raise ConfigError("--slurm-option is for --slurm")

        for name, least in (("workers", 1), ("retry", 0), ("trials", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigError(f"--{name} is a whole number from {least} on, but got {value}")

        if self.search is None:
            return
        if self._objective() is None:
            raise ConfigError("a search needs --maximize NAME or --minimize NAME, a number in the results")
        if not self.values:
            raise ConfigError("a search needs what it draws: --set lr=0.001:0.1:log, --set hidden=8,16,32")

    def _objective(self) -> "Objective | None":
        from spikebridge.cli.sweep.table import Objective

        if self.minimize is not None:
            return Objective(self.minimize, maximize=False)
        return None if self.maximize is None else Objective(self.maximize)

    def _more_options(self, config: Any, settings: list[Setting], seeds: list[int] | None) -> list[str]:
        """Options that all cells have: one seed in each, the preset, the threads."""
        names = {field.name for field in fields(config)}
        if seeds is not None and "seed" not in names:
            raise ConfigError(f"{self.recipe} has no setting 'seed', so --seeds cannot be given")

        one_seed = seeds is not None and "num_seeds" in names and all(one.name != "num-seeds" for one in settings)
        return [
            *(["--num-seeds", "1"] if one_seed else []),
            *([] if self.preset is None else ["--preset", self.preset]),
            *([] if self.threads == "auto" else ["--threads", self.threads]),
        ]

    def _check_values(self, settings: list[Setting], more: list[str]) -> None:
        """Refuses values that the recipe does not take, before anything is trained."""
        for setting in settings:
            for value in setting.values:
                try:
                    parse_command(Train, "spikebridge train", [self.recipe, *setting.words(value), *more])
                except ConfigError as error:
                    raise ConfigError(f"--set {setting.name}={value}: {error}") from None

    def _search(self, folder: Path, settings: list[Setting], seeds: list[int] | None, more: list[str]) -> "Search":
        from spikebridge.cli.sweep.study import Study
        from spikebridge.cli.sweep.sweep import Search

        objective = self._objective()
        if objective is None or (seeds is not None and len(seeds) > 1):
            raise ConfigError(
                "a search trains each trial with one seed, such as --seeds 0; sweep the best settings over seeds then"
            )

        by_name = {setting.name: setting for setting in settings}
        own = [] if seeds is None else ["--seed", str(seeds[0])]

        def cell(number: int, drawn: dict[str, str]) -> Cell:
            words = [word for name, value in drawn.items() for word in by_name[name].words(value)]
            return Cell(drawn, None if seeds is None else seeds[0], (*words, *own, *more), f"trial-{number:04d}")

        metric = objective.metric if self.pruning else None
        return Search(cell, self.trials, Study(folder, settings, objective.maximize, metric))

    def _workers(self, folder: Path) -> Any:
        from spikebridge.cli.sweep import executors

        if self.scheduler is not None:
            return executors.dask_workers(self.scheduler, self.workers)
        if self.slurm:
            return executors.slurm_workers(folder / "jobs", self.slurm_option, self.workers)

        return executors.local_workers(self.workers, self.recipe)

    def _command(self, folder: Path) -> str:
        """The command line of the sweep, without --resume."""
        words = ["spikebridge", "sweep", self.recipe]
        for field in fields(self):
            value = getattr(self, field.name)
            name = "set" if field.name == "values" else field.name.replace("_", "-")
            if field.name in ("recipe", "out", "resume", "json", "quiet") or value == field.default:
                continue

            if isinstance(value, bool):
                words.append(f"--{name}" if value else f"--no-{name}")
            else:
                for one in value if isinstance(value, tuple) else (value,):
                    words += [f"--{name}", str(one)]

        return shlex.join([*words, "--out", str(folder)])

    def _result(self, folder: Path, results: dict[str, Any]) -> CommandResult:
        failed = [cell for cell in results["cells"] if cell["state"] == "failed"]
        table = results["table"]

        if self.search is not None:
            there = [row for row in table if row[results["metric"]] is not None]
            there.sort(key=lambda row: row[results["metric"]], reverse=results["direction"] == "highest")
            # a trial is one cell
            table = [{name: row[name] for name in row if name not in _OF_SEVERAL} for row in there]

        lines = [formatting.table(table[:_MOST_SHOWN] if self.search is not None else table)]
        if results["best"] is not None:
            lines.append(f"* best: the {results['direction']} {results['metric']}")

        lines += [f"failed: {cell['name']}: {cell['error']}" for cell in failed[:_MOST_SHOWN]]
        lines.append(f"report: {folder / 'report.html'}")
        data = {"sweep": folder, "report": folder / "report.html", **results}

        return CommandResult(data, "\n\n".join(lines), code=1 if failed else 0)


def _new_folder(recipe: str, resume: bool) -> Path:
    """runs/RECIPE-sweep, numbered: the newest one there is to resume, else the first free one."""
    return targets.run_folder(f"{Path(recipe).stem}-sweep", resume)
