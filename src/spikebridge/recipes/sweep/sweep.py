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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from spikebridge.data.io.atomic import write_text
from spikebridge.data.io.closed_folder import inside
from spikebridge.data.io.json_text import read_json
from spikebridge.errors import ConfigError, DataError
from spikebridge.recipes.load import recipe_digest, recipe_id
from spikebridge.recipes.messages import status
from spikebridge.recipes.sweep.cell import Order
from spikebridge.recipes.sweep.executors import Workers, local_workers, train_cells
from spikebridge.recipes.sweep.grid import Cell, with_values
from spikebridge.recipes.sweep.study import Study
from spikebridge.recipes.sweep.table import CellResult, Objective, first_objective, result_of, summarize_cells
from spikebridge.training.run.config_io import read_results, to_plain
from spikebridge.training.run.lock import lock_folder
from spikebridge.training.run.metrics import MetricsFile
from spikebridge.training.run.run import Run

_FORMAT = "spikebridge sweep"
_VERSION = 1


class Sweep:
    """A sweep of a recipe, named or a file, in a folder.

    `config` are plain settings that all cells share. Without an objective, the first number in the results decides.
    `progress` gets a line for each cell that ended.
    """

    def __init__(
        self,
        folder: Path,
        recipe: str,
        config: dict[str, Any],
        objective: Objective | None = None,
        progress: Callable[[str], None] = status,
        threads: str = "auto",
    ) -> None:
        self.folder = folder
        self.recipe = recipe
        self.config = config
        self.objective = objective
        self.progress = progress
        self.threads = threads
        self.ended = MetricsFile(inside(folder, "cells.jsonl"))
        self.results: dict[str, CellResult] = {}

    def begin(self, preset: str | None = None, search: str | None = None, resume: bool = False) -> None:
        """Makes the folder; with `resume` it resumes the sweep that is there, which must have the same subject."""
        head = {"format": _FORMAT, "version": _VERSION}
        subject = {"recipe": recipe_id(self.recipe), "recipe_sha256": recipe_digest(self.recipe)}
        subject |= {"preset": preset, "search": search}
        file = inside(self.folder, "sweep.json")

        if not file.exists():
            if self.folder.exists() and (not self.folder.is_dir() or any(self.folder.iterdir())):
                raise ConfigError(f"{self.folder} is not empty and no sweep; take another folder (--out)")
            self.folder.mkdir(parents=True, exist_ok=True)
            write_text(file, json.dumps(head | subject, indent=2) + "\n")
            return

        stored = read_json(file, "the subject of a sweep")
        if not isinstance(stored, dict) or not head.items() <= stored.items():
            raise ConfigError(f"{file} is not that of a sweep of this version")
        if not resume:
            raise ConfigError(f"{self.folder} holds a sweep: resume it (--resume) or take another folder (--out)")

        for name, value in subject.items():
            if stored.get(name) != value:
                raise ConfigError(
                    f"{self.folder} is a sweep with {name} = {stored.get(name)!r}, not {value!r}; resume it with "
                    "the same, or take another folder (--out)"
                )

    def run_grid(self, cells: Sequence[Cell], workers: AbstractContextManager[Workers], retry: int) -> None:
        """Trains the cells that are not finished."""
        ended = {row.name: row for row in self._ended_cells()}
        missing = []

        for cell in cells:
            folder = self._cell_folder(cell)
            if not inside(folder, "results.json", self.folder).is_file():
                missing.append(cell)
                continue

            finished = result_of(cell, Run.open(folder, self.folder).results())
            row = ended.get(cell.name)
            kept = finished if row is None else row
            self.results[cell.name] = replace(finished, seconds=kept.seconds, cpu_seconds=kept.cpu_seconds)
            # as after a full disk, or where the scheduler was lost before the worker
            if row is None or row.state != "finished":
                self._keep_row(self.results[cell.name])

        if len(missing) < len(cells):
            self.progress(f"{len(cells) - len(missing)} of {len(cells)} cells are finished already")
        if not missing:
            return

        with workers as started:
            for cell, result in train_cells(started, map(self._order, missing), retry):
                self._end(cell, result, len(cells))

    def run_search(
        self, study: Study, cells: Iterator[Cell], number: int, workers: AbstractContextManager[Workers], retry: int
    ) -> None:
        """Trains the trials of a search, which the study draws one after the other, up to a number of them."""
        self.results |= {row.name: row for row in self._ended_cells()}
        with workers as started:
            for cell, result in train_cells(started, map(self._order, cells), retry):
                study.tell(cell, result)
                self._end(cell, result, number)

    def finish(self, command: str) -> dict[str, Any]:
        """Writes results.json, figure.svg and report.html, and gives the results; `command` makes the same sweep."""
        # here, since it imports matplotlib
        from spikebridge.recipes.sweep._report import write_sweep_report

        cells = list(self.results.values())
        objective = self.objective or first_objective(cells)
        if objective is None:
            first = next((cell for cell in cells if cell.error), None)
            reason = "" if first is None else f"; the first, {first.name}: {first.error}"
            raise DataError(f"no cell of {self.folder} has results{reason}")

        table = summarize_cells(cells, objective)
        results = {
            "metric": objective.metric,
            "direction": "highest" if objective.maximize else "lowest",
            "best": next((row for row in table if row["best"]), None),
            "table": table,
            "cells": [asdict(cell) for cell in cells],
        }

        write_text(inside(self.folder, "results.json"), json.dumps(results, indent=2) + "\n")
        write_sweep_report(self.folder, self.recipe, objective, table, cells, command)

        return results

    def _ended_cells(self) -> Iterator[CellResult]:
        for row in self.ended.rows():
            yield read_results(CellResult, {"name": row.pop("cell", None), **row}, self.ended.path)

    def _cell_folder(self, cell: Cell) -> Path:
        return inside(self.folder, f"cells/{cell.name}")

    def _order(self, cell: Cell) -> Order:
        config = with_values(self.config, cell.values)
        folder = self._cell_folder(cell).resolve()
        log = inside(self.folder.resolve(), f"logs/{cell.name}.txt")

        return Order(cell, recipe_id(self.recipe), config, str(folder), str(log), self.threads)

    def _end(self, cell: Cell, result: CellResult, number: int) -> None:
        """Keeps the result of a cell and reports it; `number` counts all cells."""
        self.results[cell.name] = result
        self._keep_row(result)

        words = result.error or result.state
        if self.objective is not None and result.state == "finished":
            words += f", {self.objective.metric} {self.objective.value(result.metrics, 'the results'):.4g}"

        self.progress(f"{len(self.results)}/{number} {cell.name}: {words} ({result.seconds:.1f} s)")

    def _keep_row(self, result: CellResult) -> None:
        row = asdict(result)
        try:
            self.ended.append({"cell": row.pop("name"), **row})
        except OSError as error:
            # a full disk, which may be emptied before the next cell ends
            self.progress(f"{self.ended.path}: {error.strerror}; the time that {result.name} took is not kept")


def train_all(
    recipe: str,
    configs: Mapping[str, Any],
    folder: Path,
    *,
    workers: int | None = 1,
    retry: int = 1,
    progress: Callable[[str], None] = status,
) -> dict[str, Run]:
    """Trains a recipe with each of several settings, as the cells of a sweep, or resumes those in the folder.

    For settings that are no grid; the table of the results is the caller's. Workers import the program that calls it,
    so its own work stands behind `if __name__ == "__main__":`.

    Args:
        recipe: its name, or the path of a recipe file.
        configs: settings of the recipe by the name of their cell; a later call may add cells.
        folder: the folder of the sweep.
        workers: cells that train at a time, each in a process of its own; None for one a core.
        retry: attempts after one in which a cell has lost its process, or has failed in a way that another may not.
        progress: gets a line for each cell that ended.

    Returns:
        The run of each cell.

    Raises:
        ConfigError: the folder is in use, or not that of such a sweep; a cell is there with other settings.
        DataError: a cell failed; the others were trained.
    """
    for name in configs:
        if Path(name).name != name:
            raise ConfigError(f"a cell is named like a folder, without slashes, but got {name!r}")

    sweep = Sweep(folder, recipe, {}, progress=progress)
    sweep.begin(resume=True)
    cells = [Cell(name, {}, None, to_plain(config)) for name, config in configs.items()]

    with lock_folder(folder):
        for name, config in configs.items():
            # the name does not say the settings, so a finished cell is compared
            if inside(folder, f"cells/{name}/results.json").is_file():
                Run.create(folder / "cells" / name, recipe_id(recipe), config, resume=True)

        sweep.run_grid(cells, local_workers(workers, recipe), retry)

    failed = [cell for cell in sweep.results.values() if cell.state == "failed"]
    if failed:
        first = failed[0]
        raise DataError(
            f"{len(failed)} of {len(cells)} cells of {folder} failed; the first, {first.name}: {first.error}; run it "
            "again to try them again"
        )

    return {name: Run.open(folder / "cells" / name, folder) for name in configs}
