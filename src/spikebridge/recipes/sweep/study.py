"""A search with Optuna: each trial is a cell, the study a journal file in the folder of the sweep."""

from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from spikebridge.cli.sweep.grid import Setting
from spikebridge.errors import ConfigError

_JOURNAL = "study.journal"
_NAME = "sweep"


class Pruning(NamedTuple):
    """Where a trial reports what its training measures.

    Args:
        journal: path of the study's file.
        study: its name.
        trial: number of the trial.
        metric: a name in the rows of metrics.jsonl.
    """

    journal: str
    study: str
    trial: int
    metric: str


class Study:
    """The trials of a search: which settings to try next, and what came of each.

    Args:
        folder: of the sweep; all workers see it.
        settings: what is drawn, from values or ranges.
        maximize: whether the highest value is the best.
        metric: its name in the rows of metrics.jsonl, by which trials are pruned; None prunes none.

    Raises:
        ConfigError: Optuna is not installed, or the study in the folder searches in the other direction.
    """

    def __init__(self, folder: Path, settings: Sequence[Setting], maximize: bool, metric: str | None) -> None:
        optuna = self._optuna = _optuna()
        self.journal = folder / _JOURNAL
        self.settings = settings
        self.metric = metric
        direction = "maximize" if maximize else "minimize"
        self._study = optuna.create_study(
            storage=_storage(self.journal), study_name=_NAME, direction=direction, load_if_exists=True
        )

        if self._study.direction.name.lower() != direction:
            raise ConfigError(f"the study in {folder} is to {self._study.direction.name.lower()}, not to {direction}")

        # another seed for a resumed search, which would else draw its first trials again
        self._study.sampler = optuna.samplers.TPESampler(seed=len(self._study.trials))

    def trials(self, number: int) -> Iterator[tuple[int, dict[str, str], Pruning | None]]:
        """Trials until there are `number` in the study: those that a stopped search left, then new ones.

        Yields:
            The number of the trial, its settings as typed, and how it reports.

        Raises:
            ConfigError: the study in the folder draws from other values.
        """
        running = self._optuna.trial.TrialState.RUNNING
        for left in [trial for trial in self._study.trials if trial.state == running]:
            yield left.number, self._settings_of(left.params), self._pruning(left)

        while len(self._study.trials) < number:
            trial = self._study.ask()
            try:
                drawn = {setting.name: self._draw(trial, setting) for setting in self.settings}
            except ValueError as error:
                self._study.tell(trial, state=self._optuna.trial.TrialState.FAIL)
                raise ConfigError(
                    f"the study in {self.journal} draws from other values ({error}); take another folder (--out)"
                ) from None

            yield trial.number, self._settings_of(drawn), self._pruning(trial)

    def tell(self, number: int, value: float | None, is_pruned: bool = False) -> None:
        """What came of a trial: a value, none where it failed or was pruned."""
        states = self._optuna.trial.TrialState
        if value is not None:
            self._study.tell(number, value)
        else:
            self._study.tell(number, state=states.PRUNED if is_pruned else states.FAIL)

    def _pruning(self, trial: Any) -> Pruning | None:
        return None if self.metric is None else Pruning(str(self.journal), _NAME, trial._trial_id, self.metric)

    def _draw(self, trial: Any, setting: Setting) -> Any:
        span = setting.range
        if span is None:
            return trial.suggest_categorical(setting.name, list(setting.values))
        if _is_whole(setting):
            return trial.suggest_int(setting.name, int(span.low), int(span.high), log=span.is_log)

        return trial.suggest_float(setting.name, span.low, span.high, log=span.is_log)

    def _settings_of(self, drawn: dict[str, Any]) -> dict[str, str]:
        return {name: value if isinstance(value, str) else repr(value) for name, value in drawn.items()}


def open_trial(pruning: Pruning) -> tuple[Any, int]:
    """A trial as a worker reports to it, and the last step it has reported."""
    optuna = _optuna()
    study = optuna.load_study(study_name=pruning.study, storage=_storage(Path(pruning.journal)))
    trial = optuna.trial.Trial(study, pruning.trial)
    known = next(one.intermediate_values for one in study.trials if one._trial_id == pruning.trial)

    return trial, max(known, default=0)


def _is_whole(setting: Setting) -> bool:
    """Whether a setting takes whole numbers: what its default is, else what its ends are."""
    if isinstance(setting.default, int | float) and not isinstance(setting.default, bool):
        return isinstance(setting.default, int)
    return setting.range is not None and all(float(end).is_integer() for end in setting.range[:2])


def _storage(journal: Path) -> Any:
    storages = import_module("optuna.storages")
    return storages.JournalStorage(import_module("optuna.storages.journal").JournalFileBackend(str(journal)))


def _optuna() -> Any:
    try:
        optuna = import_module("optuna")
    except ImportError as error:
        raise ConfigError(f"optuna is not installed ({error}); it comes with the extra: spikebridge[tune]") from None

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna
