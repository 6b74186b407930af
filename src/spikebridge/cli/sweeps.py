"""`spikebridge sweep`: many trainings of a recipe."""

import shlex
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import UseAppendAction, arg

from spikebridge._moved import moved
from spikebridge.cli import formatting
from spikebridge.cli.command import SETTINGS, Command, CommandResult, Flag, Folder, Name, Recipe, parse_command
from spikebridge.cli.train import Train
from spikebridge.data.io.closed_folder import inside
from spikebridge.errors import ConfigError
from spikebridge.recipes.load import load_recipe
from spikebridge.recipes.messages import status
from spikebridge.recipes.sweep.grid import Setting, cells_of, parse_seeds, parse_settings, values_of_seed
from spikebridge.recipes.training import initial_settings, run_folder
from spikebridge.training.run.config_io import to_plain
from spikebridge.training.run.lock import lock_folder

if TYPE_CHECKING:
    from spikebridge.recipes.sweep.executors import Workers
    from spikebridge.recipes.sweep.table import Objective

_Values = Annotated[tuple[str, ...], UseAppendAction, arg(name="set", metavar="NAME=V,V,...", help_behavior_hint="")]
_Seeds = Annotated[str | None, arg(metavar="A:B", help_behavior_hint="(default: that of the preset)")]
_Number = Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: one a core, worker, or 16 jobs)")]
_Address = Annotated[str | None, arg(metavar="tcp://HOST:PORT", help_behavior_hint="")]
_Options = Annotated[tuple[str, ...], UseAppendAction, arg(metavar="NAME=VALUE", help_behavior_hint="")]
_OF_SEVERAL = ("cells", "sd", "lowest", "highest")
_MAX_ROWS = 20  # of the table of a search


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
    preset: Name = None
    """The named set of settings to start from."""
    out: Folder = None
    """The folder of the sweep: runs of the cells, table, figure, report (default: a new one, runs/RECIPE-sweep)."""
    resume: Flag = False
    """Resume the sweep in --out; start a new one if there is none. More settings and seeds may be given."""
    workers: _Number = None
    """Cells that train at a time."""
    retry: int = 1
    """How often a cell is tried again whose worker was lost, or that failed in a way that another attempt may not."""
    maximize: Name = None
    """The number in the results whose highest value is the best, such as accuracy."""
    minimize: Name = None
    """The number in the results whose lowest value is the best."""
    search: Literal["optuna"] | None = None
    """Search with Optuna instead of training every combination; needs the extra tune."""
    trials: int = 20
    """Trainings of a search, together with those that are in the folder already."""
    pruning: bool = True
    """Stop trials of a search whose metrics fall behind the median of the others."""
    scheduler: _Address = None
    """Train on the workers of a Dask cluster; needs the extra cluster."""
    slurm: Flag = False
    """Train each cell as a job of Slurm; needs the extra cluster."""
    slurm_option: _Options = ()
    """A parameter of submitit, such as timeout_min=60 or slurm_partition=gpu; can be repeated."""
    quiet: Flag = False
    """Show no progress."""

    def execute(self) -> CommandResult:
        self._check()
        if self.scheduler is None and not self.slurm:
            from spikebridge.recipes.sweep.local import start_server

            # it loads PyTorch while this process does
            start_server(self.recipe)

        from spikebridge.recipes.sweep.sweep import Sweep

        recipe = load_recipe(self.recipe)
        config = initial_settings(recipe, self.recipe, self.preset)
        settings = parse_settings(self.values, config, self._read)
        seeds = {seed: values_of_seed(seed, config, settings) for seed in self._seeds(config)}
        cells = cells_of(settings, seeds) if self.search is None else []

        folder = self.out or run_folder(f"{Path(self.recipe).stem}-sweep", self.resume)
        objective = self._objective()
        progress = (lambda line: None) if self.quiet else status
        sweep = Sweep(folder, self.recipe, to_plain(config), objective, progress, self.threads)
        sweep.begin(self.preset, self.search, self.resume)

        from spikebridge.recipes.sweep.executors import LostSchedulerError

        try:
            with lock_folder(folder):
                # a search has an objective, else `_check` has refused it
                if self.search is None or objective is None:
                    sweep.run_grid(cells, self._workers(folder), self.retry)
                else:
                    from spikebridge.recipes.sweep.study import Study

                    study = Study(folder, settings, objective, self.pruning)
                    trials = study.cells(self.trials, *next(iter(seeds.items())))
                    sweep.run_search(study, trials, self.trials, self._workers(folder), self.retry)

                return self._result(folder, sweep.finish(self._command(folder)))
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"stopped; `{self._command(folder)} --resume` resumes") from None
        except LostSchedulerError as error:
            raise LostSchedulerError(
                f"{error} after {len(sweep.results)} cells; start another one with its workers, then "
                f"`{self._command(folder)} --resume` resumes, with the new address"
            ) from None

    def _check(self) -> None:
        """Refuses options that do not fit together."""
        if self.maximize is not None and self.minimize is not None:
            raise ConfigError("--maximize and --minimize exclude each other")
        if self.scheduler is not None and self.slurm:
            raise ConfigError("--scheduler and --slurm exclude each other")
        if self.slurm_option and not self.slurm:
            raise ConfigError("--slurm-option is for --slurm")

        for word in self.values:
            name = word.partition("=")[0].strip().removeprefix("--").replace("_", "-")
            if line := moved("options", f"{self.recipe}.{name}"):
                raise ConfigError(f"--set {word}: {line}")

        for name, minimum in (("workers", 1), ("retry", 0), ("trials", 1)):
            value = getattr(self, name)
            if value is not None and value < minimum:
                raise ConfigError(f"--{name} is an integer from {minimum} on, but got {value}")

        if self.search is None:
            return
        if self._objective() is None:
            raise ConfigError("a search needs --maximize NAME or --minimize NAME, a number in the results")
        if not self.values:
            raise ConfigError("a search needs what it draws: --set lr=0.001:0.1:log, --set hidden=8,16,32")

    def _objective(self) -> "Objective | None":
        from spikebridge.recipes.sweep.table import Objective

        if self.minimize is not None:
            return Objective(self.minimize, maximize=False)
        return None if self.maximize is None else Objective(self.maximize)

    def _seeds(self, config: Any) -> list[int | None]:
        """The seeds of each combination of settings; None for that of the preset."""
        if self.seeds is None:
            return [None]
        if not hasattr(config, "seed"):
            raise ConfigError(f"{self.recipe} has no setting 'seed', so --seeds cannot be given")

        seeds: list[int | None] = [*parse_seeds(self.seeds)]
        if self.search is not None and len(seeds) > 1:
            raise ConfigError(
                "a search trains each trial with one seed, such as --seeds 0; sweep the best settings over seeds then"
            )

        return seeds

    def _read(self, setting: Setting, text: str) -> Any:
        """The plain value of a setting, as `train` reads it; a wrong one is refused before anything is trained."""
        preset = [] if self.preset is None else ["--preset", self.preset]
        try:
            train = parse_command(Train, "spikebridge train", [self.recipe, *_option(setting, text), *preset])
        except ConfigError as error:
            raise ConfigError(f"--set {setting.name}={text}: {error}") from None

        path = [SETTINGS, *setting.name.replace("-", "_").split(".")]
        return to_plain(reduce(getattr, path, train))

    def _workers(self, folder: Path) -> "AbstractContextManager[Workers]":
        from spikebridge.recipes.sweep import executors

        if self.scheduler is not None:
            return executors.dask_workers(self.scheduler, self.workers)
        if self.slurm:
            return executors.slurm_workers(inside(folder, "jobs"), self.slurm_option, self.workers)

        return executors.local_workers(self.workers, self.recipe)

    def _command(self, folder: Path) -> str:
        """The command line of the sweep, without --resume."""
        words = ["spikebridge", "sweep", self.recipe]
        for field in fields(self):
            value = getattr(self, field.name)
            name = "set" if field.name == "values" else field.name.replace("_", "-")
            if field.name in ("recipe", "out", "resume", "json", "quiet") or value == field.default:
                continue

            # as tyro spells options
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
            rows = [row for row in table if row[results["metric"]] is not None]
            rows.sort(key=lambda row: row[results["metric"]], reverse=results["direction"] == "highest")
            # a trial is one cell
            table = [{name: row[name] for name in row if name not in _OF_SEVERAL} for row in rows[:_MAX_ROWS]]

        lines = [formatting.table(table)]
        if results["best"] is not None:
            lines.append(f"* best: the {results['direction']} {results['metric']}")

        lines += [f"failed: {cell['name']}: {cell['error']}" for cell in failed[:_MAX_ROWS]]
        lines.append(f"report: {folder / 'report.html'}")
        data = {"sweep": folder, "report": folder / "report.html", **results}

        return CommandResult(data, "\n\n".join(lines), code=1 if failed else 0)


def _option(setting: Setting, text: str) -> tuple[str, ...]:
    """The option of `train` that gives a setting a value; several words of one value are separated by spaces."""
    if isinstance(setting.default, bool) and text.lower() in ("true", "false"):
        group, dot, last = setting.name.rpartition(".")
        return (f"--{setting.name}" if text.lower() == "true" else f"--{group}{dot}no-{last}",)

    return (f"--{setting.name}", *text.split())
