"""A sweep in its folder: cells are trained or taken as they are, then a table, a figure and a report.

```
sweep.json      what is swept: the recipe and the preset
cells/NAME/     a run folder for each cell, resumable by itself
cells.jsonl     a row for each cell that ended: how, and how long it took
logs/NAME.txt   what its training printed
study.journal   of a search, the trials
results.json    the table and every cell
figure.svg      the same as a picture
report.html     both, with the command
```
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from spikebridge.cli.failure import status
from spikebridge.cli.recipes import recipe_digest, recipe_id
from spikebridge.cli.sweep import executors
from spikebridge.cli.sweep.cell import Order, Outcome
from spikebridge.cli.sweep.executors import Workers, run_orders
from spikebridge.cli.sweep.grid import Cell
from spikebridge.cli.sweep.study import Study
from spikebridge.cli.sweep.table import CellResult, Objective, first_objective, metrics_of, summarize_cells
from spikebridge.data.io.atomic import write_text
from spikebridge.data.io.json_text import read_json
from spikebridge.errors import ConfigError, DataError
from spikebridge.training.run.config_io import to_plain
from spikebridge.training.run.lock import lock_folder
from spikebridge.training.run.metrics import MetricsFile
from spikebridge.training.run.run import Run

_FORMAT = "spikebridge sweep"
_VERSION = 1


@dataclass(frozen=True)
class Search:
    """A search in the place of a grid.

    Attributes:
        cell: the cell of a trial, from its number and settings.
        trials: how many in all.
        study: that draws them.
    """

    cell: Callable[[int, dict[str, str]], Cell]
    trials: int
    study: Study


class Sweep:
    """A sweep in a folder.

    Args:
        folder: of the sweep.
        recipe: its name, or the path of a recipe file.
        objective: what makes a cell the best; None takes the first number in the results.
        tell: gets a line for each cell that ended.
    """

    def __init__(
        self, folder: Path, recipe: str, objective: Objective | None, tell: Callable[[str], None] = lambda line: None
    ) -> None:
        self.folder = folder
        self.recipe = recipe
        self.objective = objective
        self.tell = tell
        self.ended = MetricsFile(folder / "cells.jsonl")
        self.results: dict[str, CellResult] = {}

    def begin(self, what: Mapping[str, Any], resume: bool) -> None:
        """Makes the folder, or resumes the sweep in it.

        Args:
            what: is swept: the same for all cells.
            resume: resume a sweep that is there; start one if there is none.

        Raises:
            ConfigError: the folder holds a sweep and resume is not set, another sweep, or something else.
        """
        file = self.folder / "sweep.json"
        if file.exists():
            there = read_json(file, "what a sweep is of")
            if not isinstance(there, dict) or (there.get("format"), there.get("version")) != (_FORMAT, _VERSION):
                raise ConfigError(f"{file} is not that of a sweep of this version")
            if not resume:
                raise ConfigError(f"{self.folder} holds a sweep: resume it (--resume) or take another folder (--out)")

            for name, value in what.items():
                if there.get(name) != value:
                    raise ConfigError(
                        f"{self.folder} is a sweep with {name} = {there.get(name)!r}, not {value!r}; resume it with "
                        "the same, or take another folder (--out)"
                    )

            return

        if self.folder.exists() and (not self.folder.is_dir() or any(self.folder.iterdir())):
            raise ConfigError(f"{self.folder} is not empty and no sweep; take another folder (--out)")

        self.folder.mkdir(parents=True, exist_ok=True)
        write_text(file, json.dumps({"format": _FORMAT, "version": _VERSION, **what}, indent=2) + "\n")

    def run_grid(self, cells: Iterable[Cell], workers: AbstractContextManager[Workers], retry: int) -> None:
        """Trains the cells that are not finished."""
        cells = list(cells)
        times = {str(row.get("cell")): row for row in self.ended.rows()}
        missing = []

        for cell in cells:
            results = self._finished(cell)
            if results is None:
                missing.append(cell)
            else:
                row = times.get(cell.name, {})
                self._keep(cell, Outcome(results, seconds=_time(row, "seconds"), cpu_seconds=_time(row, "cpu_seconds")))

        if len(missing) < len(cells):
            self.tell(f"{len(cells) - len(missing)} of {len(cells)} cells are finished already")

        if not missing:
            return

        def end(cell: Cell, outcome: Outcome) -> None:
            self._end(cell, outcome, len(cells))

        with workers as there:
            run_orders(there, ((cell, self._order(cell)) for cell in missing), retry, end)

    def run_search(self, search: Search, workers: AbstractContextManager[Workers], retry: int) -> None:
        """Trains trials until there are enough.

        Raises:
            ConfigError: the results of a trial have no such metric.
        """
        objective = self.objective
        study = search.study
        if objective is None:
            raise ConfigError("a search needs --maximize NAME or --minimize NAME, a number in the results")

        def orders() -> Iterator[tuple[tuple[int, Cell], Order]]:
            for number, settings, pruning in study.trials(search.trials):
                cell = search.cell(number, settings)
                yield (number, cell), replace(self._order(cell), pruning=pruning)

        def end(key: tuple[int, Cell], outcome: Outcome) -> None:
            number, cell = key
            value = None
            if outcome.results is not None:
                value = objective.value(metrics_of(outcome.results), "the results")

            study.tell(number, value, outcome.is_pruned)
            self._end(cell, outcome, search.trials)

        for row in self.ended.rows():
            self._keep_row(row)

        with workers as there:
            run_orders(there, orders(), retry, end)

    def finish(self, command: str) -> dict[str, Any]:
        """Writes results.json, figure.svg and report.html.

        Args:
            command: that makes the same sweep.

        Returns:
            The results: the objective, the table, the best settings, every cell.

        Raises:
            DataError: no cell has results.
        """
        from spikebridge.cli.sweep._report import write_sweep_report  # imports matplotlib

        cells = list(self.results.values())
        objective = self.objective or first_objective(cells)
        if objective is None:
            first = next((cell for cell in cells if cell.error), None)
            reason = "" if first is None else f"; the first, {first.name}: {first.error}"
            raise DataError(f"no cell of {self.folder} has results{reason}")

        table = summarize_cells(cells, objective)
        best = next((row for row in table if row["best"]), None)
        results = {
            "metric": objective.metric,
            "direction": "highest" if objective.maximize else "lowest",
            "best": best,
            "table": table,
            "cells": [asdict(cell) for cell in cells],
        }

        write_text(self.folder / "results.json", json.dumps(results, indent=2) + "\n")
        write_sweep_report(self.folder, self.recipe, objective, table, cells, command)

        return results

    def _finished(self, cell: Cell) -> dict[str, Any] | None:
        """The results of a cell that is finished."""
        folder = self._cell_folder(cell)
        if not (folder / "results.json").is_file():
            return None
        if cell.config is None:
            return Run.open(folder).results()

        # the name of such a cell does not say its settings
        return Run.create(folder, recipe_id(self.recipe), cell.config, resume=True).results()

    def _cell_folder(self, cell: Cell) -> Path:
        return self.folder / "cells" / cell.name

    def _order(self, cell: Cell) -> Order:
        recipe = str(Path(self.recipe).resolve()) if self.recipe.endswith(".py") else self.recipe
        log = self.folder / "logs" / f"{cell.name}.txt"
        config = None if cell.config is None else to_plain(cell.config)
        return Order(recipe, str(self._cell_folder(cell).resolve()), cell.words, str(log.resolve()), config)

    def _end(self, cell: Cell, outcome: Outcome, number: int) -> None:
        result = self._keep(cell, outcome)
        row = {"cell": cell.name, **asdict(result)}
        del row["name"]

        try:
            self.ended.append(row)
        except OSError as error:  # a full disk, which may be emptied before the next cell ends
            self.tell(f"{self.ended.path}: {error.strerror}; the time that {cell.name} took is not kept")

        value = ""
        if self.objective is not None and outcome.results is not None:
            value = f", {self.objective.metric} {self.objective.value(result.metrics, 'the results'):.4g}"

        words = result.error if result.state == "failed" else f"{result.state}{value}"
        self.tell(f"{len(self.results)}/{number} {cell.name}: {words} ({outcome.seconds:.1f} s)")

    def _keep(self, cell: Cell, outcome: Outcome) -> CellResult:
        state: Any = "pruned" if outcome.is_pruned else "failed" if outcome.results is None else "finished"
        result = CellResult(
            cell.name,
            cell.settings,
            cell.seed,
            state,
            {} if outcome.results is None else metrics_of(outcome.results),
            outcome.error,
            outcome.seconds,
            outcome.cpu_seconds,
        )

        self.results[cell.name] = result
        return result

    def _keep_row(self, row: Mapping[str, Any]) -> None:
        """A cell as cells.jsonl has it."""
        try:
            given = {name: value for name, value in row.items() if name != "cell"}
            self.results[str(row["cell"])] = CellResult(str(row["cell"]), **given)
        except (KeyError, TypeError) as error:
            raise DataError(f"{self.ended.path} is damaged: {error}") from None


def _time(row: Mapping[str, Any], name: str) -> float:
    value = row.get(name, 0.0)
    return float(value) if isinstance(value, int | float) else 0.0


def train_all(
    recipe: str,
    configs: Mapping[str, Any],
    folder: Path,
    *,
    workers: int | None = 1,
    retry: int = 1,
    tell: Callable[[str], None] = status,
) -> dict[str, Run]:
    """Trains a recipe with each of several settings, as the cells of a sweep, or resumes what is in the folder.

    For settings that are no grid; the table of the results is the caller's. Workers import the program that calls it,
    so its own work stands behind `if __name__ == "__main__":`.

    Args:
        recipe: its name, or the path of a recipe file.
        configs: settings of the recipe by the name of their cell; more than before may be given.
        folder: of the sweep.
        workers: cells that train at a time, each in a process of its own; None for one a core.
        retry: how often a cell is tried again whose process was lost, or that failed in a way that another attempt may
            not.
        tell: gets a line for each cell that ended.

    Returns:
        The run of each cell.

    Raises:
        ConfigError: the folder is in use, or not that of such a sweep; a cell is there with other settings.
        DataError: a cell failed; the others were trained.
    """
    for name in configs:
        if Path(name).name != name:
            raise ConfigError(f"a cell is named like a folder, without slashes, but got {name!r}")

    sweep = Sweep(folder, recipe, None, tell)
    what = {"recipe": recipe_id(recipe), "recipe_sha256": recipe_digest(recipe), "preset": None, "search": None}
    sweep.begin(what, resume=True)
    cells = [Cell({}, None, (), name, config) for name, config in configs.items()]

    with lock_folder(folder):
        sweep.run_grid(cells, executors.local_workers(workers, recipe), retry)

    failed = [cell for cell in sweep.results.values() if cell.state == "failed"]
    if failed:
        first = failed[0]
        raise DataError(
            f"{len(failed)} of {len(cells)} cells of {folder} failed; the first, {first.name}: {first.error}; run it "
            "again to try them again"
        )

    return {cell.name: Run.open(folder / "cells" / cell.name) for cell in cells}
