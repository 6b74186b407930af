"""A search with Optuna: each trial is a cell, the study a journal file in the folder of the sweep."""

import itertools
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from spikebridge.data.io.closed_folder import inside
from spikebridge.errors import ConfigError, import_extra
from spikebridge.recipes.sweep.grid import Cell, Pruning, Range, Setting
from spikebridge.recipes.sweep.table import CellResult, Objective

_NAME = "sweep"


class Study:
    """The trials of a search: which settings to try next, and their values.

    The folder is that of the sweep, which all workers see. With `prunes`, trials stop whose rows of metrics.jsonl fall
    behind in the metric of the objective.
    """

    def __init__(self, folder: Path, settings: Sequence[Setting], objective: Objective, prunes: bool) -> None:
        optuna = _import_optuna()
        self.journal = inside(folder, "study.journal")
        self.settings = settings
        self.objective = objective
        self.prunes = prunes
        self._states = optuna.trial.TrialState
        direction = "maximize" if objective.maximize else "minimize"
        self._study = optuna.create_study(
            storage=_storage(self.journal), study_name=_NAME, direction=direction, load_if_exists=True
        )

        stored = self._study.direction.name.lower()
        if stored != direction:
            raise ConfigError(f"the study in {folder} is to {stored}, not to {direction}")

        # another seed for a resumed search, which would else draw its first trials again
        self._study.sampler = optuna.samplers.TPESampler(seed=len(self._study.trials))

    def cells(self, number: int, seed: int | None, own: dict[str, int]) -> Iterator[Cell]:
        """Cells until there are `number` trials in the study: those that a stopped search left, then new ones.

        All have the same seed, with its settings.
        """
        choices = {setting.name: setting.values for setting in self.settings}
        left = [trial for trial in self._study.trials if trial.state == self._states.RUNNING]
        for trial in itertools.chain(left, self._new_trials(number)):
            drawn = trial.params
            settings = {name: value if isinstance(value, str) else repr(value) for name, value in drawn.items()}
            values = {name: choices.get(name, {}).get(value, value) for name, value in drawn.items()}
            pruning = None
            if self.prunes:
                pruning = Pruning(str(self.journal), trial._trial_id, self.objective.metric)

            yield Cell(f"trial-{trial.number:04d}", settings, seed, values | own, trial.number, pruning)

    def _new_trials(self, number: int) -> Iterator[Any]:
        while len(self._study.trials) < number:
            trial = self._study.ask()
            try:
                for setting in self.settings:
                    _draw(trial, setting)
            except ValueError as error:
                self._study.tell(trial, state=self._states.FAIL)
                raise ConfigError(
                    f"the study in {self.journal} draws from other values ({error}); take another folder (--out)"
                ) from None

            yield trial

    def tell(self, cell: Cell, result: CellResult) -> None:
        """Notes the end of a trial."""
        if result.state == "finished":
            self._study.tell(cell.trial, self.objective.value(result.metrics, "the results"))
        else:
            self._study.tell(cell.trial, state=self._states[{"failed": "FAIL", "pruned": "PRUNED"}[result.state]])


def open_trial(pruning: Pruning) -> tuple[Any, int]:
    """A trial as a worker reports to it, and the last step it has reported."""
    optuna = _import_optuna()
    study = optuna.load_study(study_name=_NAME, storage=_storage(Path(pruning.journal)))
    reported = next(one.intermediate_values for one in study.trials if one._trial_id == pruning.trial)

    return optuna.trial.Trial(study, pruning.trial), max(reported, default=0)


def _draw(trial: Any, setting: Setting) -> None:
    span = setting.range
    if span is None:
        trial.suggest_categorical(setting.name, list(setting.values))
    elif _takes_integers(setting.default, span):
        trial.suggest_int(setting.name, int(span.low), int(span.high), log=span.is_log)
    else:
        trial.suggest_float(setting.name, span.low, span.high, log=span.is_log)


def _takes_integers(default: Any, span: Range) -> bool:
    """True if the default is an integer, or if it is no number and both ends of the range are integers."""
    if isinstance(default, int | float) and not isinstance(default, bool):
        return isinstance(default, int)
    return span.low.is_integer() and span.high.is_integer()


def _storage(journal: Path) -> Any:
    storages = import_module("optuna.storages")
    return storages.JournalStorage(import_module("optuna.storages.journal").JournalFileBackend(str(journal)))


def _import_optuna() -> Any:
    optuna = import_extra("optuna", "tune", "a search needs")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna
