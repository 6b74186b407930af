"""Loggers: callbacks that send the rows of a training to TensorBoard, Weights & Biases or MLflow.

Each is thin: the rows are those of metrics.jsonl, and only the process that writes sends them. The package behind a
logger is optional and imported when the training starts.
"""

import os
import shutil
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import uuid4

from spikebridge.data.io.atomic import write_text
from spikebridge.data.io.safe_open import read_text
from spikebridge.errors import ConfigError, did_you_mean, install_command
from spikebridge.training.callbacks.callback import Callback, Training
from spikebridge.training.run.metrics import Row
from spikebridge.training.run.run import Run


class _RowLogger(Callback):
    """Sends every row once; a subclass opens, sends and closes."""

    def __init__(self) -> None:
        self._num_sent = 0

    def on_fit_start(self, training: Training) -> None:
        if training.run is None:
            raise ConfigError(
                f"{type(self).__name__} writes into a run folder, but this training has none: fit(..., run=Run.create("
                "...))"
            )

        if training.writes:
            self._num_sent = self._open(training.run, training.rows)
            # a log that begins with this training lacks the rows before its checkpoint
            self._send(training)

    def on_step_end(self, training: Training, values: Mapping[str, float]) -> None:
        self._send(training)

    def on_epoch_end(self, training: Training, row: Row) -> None:
        self._send(training)

    def on_fit_end(self, training: Training) -> None:
        if training.writes:
            self._send(training)
            self._close(training.finished)

    def _send(self, training: Training) -> None:
        if training.writes:
            for row in training.rows[self._num_sent :]:
                self._log(_numbers_of(row), row["step"])
            self._num_sent = len(training.rows)

    def _open(self, run: Run, rows: list[Row]) -> int:
        """Starts or resumes the log; returns how many of the rows it has already."""
        raise NotImplementedError

    def _log(self, numbers: dict[str, float], step: int) -> None:
        raise NotImplementedError

    def _close(self, finished: bool) -> None:
        raise NotImplementedError


def _numbers_of(row: Row) -> dict[str, float]:
    """The numbers of a row under `PHASE/NAME`, those of a step under `PHASE steps/NAME`."""
    prefix = {"epoch": row.get("phase"), "step": f"{row.get('phase')} steps"}.get(row["kind"], row["kind"])
    return {f"{prefix}/{name}": value for name, value in row.items() if isinstance(value, float)}


class TensorBoardLogger(_RowLogger):
    """Writes the rows for TensorBoard into the folder `tensorboard` of the run; `tensorboard --logdir runs` shows them.

    Raises:
        ConfigError: TensorBoard is not installed, or there is no run.
    """

    def _open(self, run: Run, rows: list[Row]) -> int:
        writer = _import("tensorboard", "torch.utils.tensorboard").SummaryWriter
        folder = run.file("tensorboard")
        # rows after the checkpoint of a killed training would be shown twice
        if folder.exists():
            shutil.rmtree(folder)

        self._writer = writer(str(folder))
        return 0

    def _log(self, numbers: dict[str, float], step: int) -> None:
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)

    def _close(self, finished: bool) -> None:
        self._writer.close()


class WandbLogger(_RowLogger):
    """Sends the rows to Weights & Biases, with the settings of the run as its config.

    The id is kept in the run folder, so a resumed training resumes there too. Mode, entity and address are those of
    W&B's own variables: `WANDB_MODE=offline` writes into the run folder alone.

    Args:
        project: its name there; None takes `WANDB_PROJECT`, or `spikebridge`.

    Raises:
        ConfigError: W&B is not installed or refuses to start, or there is no run.
    """

    def __init__(self, project: str | None = None) -> None:
        super().__init__()
        self.project = project or os.environ.get("WANDB_PROJECT", "spikebridge")

    def _open(self, run: Run, rows: list[Row]) -> int:
        wandb = _import("wandb", "wandb")
        run.file("wandb")
        run_id, is_resumed = _kept_id(run, "wandb", lambda: uuid4().hex[:12])

        try:
            self._run = wandb.init(
                project=self.project,
                name=str(run.path),
                id=run_id,
                resume="allow",
                dir=str(run.path),
                config=run.config,
                settings=wandb.Settings(silent=True),
            )
        except wandb.errors.Error as error:
            raise ConfigError(f"W&B cannot start: {error}; log in (wandb login), or set WANDB_MODE=offline") from error

        # W&B would take the number of a row as its step
        self._run.define_metric("*", step_metric="step")
        return len(rows) if is_resumed else 0

    def _log(self, numbers: dict[str, float], step: int) -> None:
        self._run.log({**numbers, "step": step})

    def _close(self, finished: bool) -> None:
        self._run.finish(exit_code=0 if finished else 1)


class MLflowLogger(_RowLogger):
    """Sends the rows to MLflow, with the settings of the run as its parameters.

    The id is kept in the run folder, so a resumed training resumes there too.

    Args:
        uri: address of the tracking server; None takes `MLFLOW_TRACKING_URI`, or `mlruns` in the working folder.
        experiment: its name there; None takes `MLFLOW_EXPERIMENT_NAME`, or `spikebridge`.

    Raises:
        ConfigError: MLflow is not installed or refuses, or there is no run.
    """

    def __init__(self, uri: str | None = None, experiment: str | None = None) -> None:
        super().__init__()
        self.uri = uri or os.environ.get("MLFLOW_TRACKING_URI")
        self.experiment = experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME", "spikebridge")

    def _open(self, run: Run, rows: list[Row]) -> int:
        mlflow = _import("mlflow", "mlflow")
        if self.uri is None:
            # a folder of files needs no server and no database; since version 3 MLflow asks for this consent
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")

        try:
            self._client = mlflow.MlflowClient(self.uri or Path("mlruns").resolve().as_uri())
            experiment = self._client.get_experiment_by_name(self.experiment)
            new = experiment is None
            experiment_id = self._client.create_experiment(self.experiment) if new else experiment.experiment_id
            self._id, is_resumed = _kept_id(
                run, "mlflow", lambda: self._client.create_run(experiment_id, run_name=str(run.path)).info.run_id
            )

            if is_resumed:
                self._client.set_terminated(self._id, "RUNNING")
            else:
                for name, value in _flat(run.config).items():
                    self._client.log_param(self._id, name, value)
        except mlflow.exceptions.MlflowException as error:
            raise ConfigError(f"MLflow cannot start at {self.uri or 'mlruns'}: {error}") from error

        return len(rows) if is_resumed else 0

    def _log(self, numbers: dict[str, float], step: int) -> None:
        for name, value in numbers.items():
            self._client.log_metric(self._id, name, value, step=step)

    def _close(self, finished: bool) -> None:
        self._client.set_terminated(self._id, "FINISHED" if finished else "KILLED")


LOGGERS: dict[str, Callable[[], Callback]] = {
    "tensorboard": TensorBoardLogger,
    "wandb": WandbLogger,
    "mlflow": MLflowLogger,
}


def check_loggers(names: tuple[str, ...]) -> None:
    """Refuses a logger that is unknown or not installed; imports none."""
    for name in names:
        if name not in LOGGERS:
            raise ConfigError(f"no logger {name!r}: {did_you_mean(name, LOGGERS)}")
        if find_spec(name) is None:
            raise _not_installed(name)


def make_loggers(names: tuple[str, ...]) -> list[Callback]:
    """The loggers of these names."""
    check_loggers(names)
    return [LOGGERS[name]() for name in names]


def _not_installed(name: str) -> ConfigError:
    return ConfigError(f"the logger {name} is not installed: {install_command(name)}, or take another one")


def _import(name: str, module: str) -> Any:
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError as error:
        raise _not_installed(name) from error


def _kept_id(run: Run, name: str, make: Callable[[], str]) -> tuple[str, bool]:
    """The id of the run at a logger, from the run folder or made and kept there; and whether it was there."""
    file = run.file(f"{name}-id.txt")
    is_there = file.exists()
    if not is_there:
        write_text(file, make())

    return read_text(file, f"the id of a run at {name}", max_bytes=1000).strip(), is_there


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings under dotted names."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}

    return flat
