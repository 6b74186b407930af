"""A search with Optuna: each trial is a cell, the study a journal file in the folder of the sweep."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from spikebridge.errors import ConfigError
from spikebridge.recipes.sweep.grid import Cell, Pruning, Setting
from spikebridge.recipes.sweep.table import CellResult, Objective

_NAME = "sweep"


class Study:
    """The trials of a search in a folder: which settings to try next, and their values.

    Args:
        folder: of the sweep; all workers see it.
        settings: what is drawn, from values or ranges.
        objective: the number in the results that is searched for.
        prunes: stop trials whose rows of metrics.jsonl fall behind in it.
    """

    def __init__(self, folder: Path, settings: Sequence[Setting], objective: Objective, prunes: bool) -> None:
        self._optuna = _import_optuna()
        self.journal = folder / "study.journal"
        self.settings = settings
        self.objective = objective
        self.prunes = prunes
        direction = "maximize" if objective.maximize else "minimize"
        self._study = self._optuna.create_study(
            storage=_storage(self.journal), study_name=_NAME, direction=direction, load_if_exists=True
        )

        there = self._study.direction.name.lower()
        if there != direction:
            raise ConfigError(f"the study in {folder} is to {there}, not to {direction}")

        # another seed for a resumed search, which would else draw its first trials again
        self._study.sampler = self._optuna.samplers.TPESampler(seed=len(self._study.trials))

    def cells(
        self, number: int, plain: Mapping[tuple[str, str], Any], seed: int | None, own: dict[str, int]
    ) -> Iterator[Cell]:
        """Cells until there are `number` trials in the study: those that a stopped search left, then new ones.

        `plain` holds the value of each setting's name and text, `own` the settings of the seed.
        """
        running = self._optuna.trial.TrialState.RUNNING
        left = [(trial, trial.params) for trial in self._study.trials if trial.state == running]

        for trial, drawn in itertools.chain(left, self._new_trials(number)):
            settings = {name: value if isinstance(value, str) else repr(value) for name, value in drawn.items()}
            values = {name: plain.get((name, value), value) for name, value in drawn.items()}
            pruning = None
            if self.prunes:
                pruning = Pruning(str(self.journal), _NAME, trial._trial_id, self.objective.metric)

            yield Cell(f"trial-{trial.number:04d}", settings, seed, values | own, trial.number, pruning)

    def tell(self, cell: Cell, result: CellResult) -> None:
        """Notes the end of a trial."""
        states = self._optuna.trial.TrialState
        if result.state == "finished":
            self._study.tell(cell.trial, self.objective.value(result.metrics, "the results"))
        else:
            self._study.tell(cell.trial, state=states.PRUNED if result.state == "pruned" else states.FAIL)

    def _new_trials(self, number: int) -> Iterator[tuple[Any, dict[str, Any]]]:
        while len(self._study.trials) < number:
            trial = self._study.ask()
            try:
                drawn = {setting.name: _draw(trial, setting) for setting in self.settings}
            except ValueError as error:
                self._study.tell(trial, state=self._optuna.trial.TrialState.FAIL)
                raise ConfigError(
                    f"the study in {self.journal} draws from other values ({error}); take another folder (--out)"
                ) from None

            yield trial, drawn


def open_trial(pruning: Pruning) -> tuple[Any, int]:
    """A trial as a worker reports to it, and the last step it has reported."""
    optuna = _import_optuna()
    study = optuna.load_study(study_name=pruning.study, storage=_storage(Path(pruning.journal)))
    reported = next(one.intermediate_values for one in study.trials if one._trial_id == pruning.trial)

    return optuna.trial.Trial(study, pruning.trial), max(reported, default=0)


def _draw(trial: Any, setting: Setting) -> Any:
    span = setting.range
    if span is None:
        return trial.suggest_categorical(setting.name, list(setting.values))
    if _takes_integers(setting):
        return trial.suggest_int(setting.name, int(span.low), int(span.high), log=span.is_log)

    return trial.suggest_float(setting.name, span.low, span.high, log=span.is_log)


def _takes_integers(setting: Setting) -> bool:
    """True if the default is an integer, or there is no default number and both ends of the range are integers."""
    if isinstance(setting.default, int | float) and not isinstance(setting.default, bool):
        return isinstance(setting.default, int)
    return setting.range is not None and all(float(end).is_integer() for end in setting.range[:2])


def _storage(journal: Path) -> Any:
    storages = import_module("optuna.storages")
    return storages.JournalStorage(import_module("optuna.storages.journal").JournalFileBackend(str(journal)))


def _import_optuna() -> Any:
    try:
        optuna = import_module("optuna")
    except ImportError as error:
        raise ConfigError(f"optuna is not installed ({error}); it comes with the extra: spikebridge[tune]") from None

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna
