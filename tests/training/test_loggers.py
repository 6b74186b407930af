"""Loggers get the rows of a training, once each, also of one that was stopped and resumed."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from spikebridge.errors import ConfigError
from spikebridge.training import Batches, MLflowLogger, Run, TensorBoardLogger, WandbLogger, fit
from spikebridge.training.callbacks.loggers import LOGGERS, check_loggers

pytestmark = pytest.mark.untyped

Make = Callable[..., Any]


@pytest.fixture
def train(line: nn.Linear, data: Batches, phase: Make, settings: Make, tmp_path: Path) -> Callable[..., Any]:
    """Trains two epochs, losses 64 and 16, in the run RUN of the test's folder."""

    def run(*loggers: str, **changes: Any) -> Any:
        nn.init.zeros_(line.weight)
        folder = Run.create(tmp_path / "run", "line", settings(), resume=True)
        folder.loggers = loggers
        return fit(line, [phase(epochs=2)], data, settings=settings(**changes), run=folder)

    return run


def tensorboard_scalars(folder: Path, name: str) -> list[tuple[int, float]]:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    return [(event.step, event.value) for event in accumulator.EventAccumulator(str(folder)).Reload().Scalars(name)]


@pytest.mark.parametrize("settings_or_name", [{"tensorboard": True}, "tensorboard"])
def test_tensorboard_shows_the_rows(train: Any, tmp_path: Path, settings_or_name: Any) -> None:
    for _ in range(2):  # the second training finds everything done and only shows it again
        if isinstance(settings_or_name, str):
            train(settings_or_name, log_every=1)
        else:
            train(log_every=1, **settings_or_name)

    folder = tmp_path / "run" / "tensorboard"
    assert tensorboard_scalars(folder, "line/loss") == [(1, 64.0), (2, 16.0)]
    assert tensorboard_scalars(folder, "line steps/loss") == [(1, 64.0), (2, 16.0)]


def test_mlflow_gets_rows_and_settings_in_one_run(train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # the logger sets it; the test takes it away again
    monkeypatch.setenv("DO_NOT_TRACK", "true")
    monkeypatch.chdir(tmp_path)

    for _ in range(2):
        train("mlflow")

    client = mlflow.MlflowClient((tmp_path / "mlruns").as_uri())
    (run,) = client.search_runs([client.get_experiment_by_name("spikebridge").experiment_id])
    history = client.get_metric_history(run.info.run_id, "line/loss")

    assert [(one.step, one.value) for one in history] == [(1, 64.0), (2, 16.0)]
    assert run.data.params["batch_size"] == "32"
    assert run.info.status == "FINISHED"


def test_wandb_writes_offline_into_the_run_folder(train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    train("wandb")
    (log,) = (tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb")
    deadline = time.monotonic() + 20  # a process of W&B writes the file

    while b"line/loss" not in (words := log.read_bytes()) and time.monotonic() < deadline:
        time.sleep(0.02)

    assert b"line/loss" in words
    assert b"spikebridge" in words
    assert (tmp_path / "run" / "wandb-id.txt").read_text() in log.name


class FakeWandb:
    """Functions of W&B that the logger calls, recorded."""

    class errors:  # noqa: N801
        Error = ValueError

    Settings = dict

    def __init__(self, refuse: bool = False) -> None:
        self.calls: list[Any] = []
        self.refuse = refuse

    def init(self, **options: Any) -> "FakeWandb":
        if self.refuse:
            raise ValueError("no API key")
        self.calls.append((options["id"], options["resume"], options["config"]["batch_size"]))
        return self

    def define_metric(self, *_: Any, **__: Any) -> None:
        return None

    def log(self, numbers: dict[str, float]) -> None:
        self.calls.append((numbers["step"], numbers["line/loss"]))

    def finish(self, exit_code: int) -> None:
        self.calls.append(exit_code)


def test_wandb_gets_each_row_once_and_resumes_under_its_id(
    train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)  # type: ignore[arg-type]
    monkeypatch.setattr("spikebridge.training.callbacks.loggers.find_spec", lambda name: True)

    for _ in range(2):
        train("wandb")

    started = ((tmp_path / "run" / "wandb-id.txt").read_text(), "allow", 32)

    assert fake.calls == [started, (1, 64.0), (2, 16.0), 0, started, 0]


def test_wandb_that_refuses_is_one_line(train: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", FakeWandb(refuse=True))  # type: ignore[arg-type]
    monkeypatch.setattr("spikebridge.training.callbacks.loggers.find_spec", lambda name: True)
    with pytest.raises(ConfigError, match=r"W&B cannot start: no API key; log in .*, or set WANDB_MODE=offline"):
        train("wandb")


@pytest.mark.parametrize("name", LOGGERS)
def test_a_logger_that_is_not_installed_is_named_before_the_training(
    train: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("spikebridge.training.callbacks.loggers.find_spec", lambda name: None)
    message = rf"the logger {name} is not installed: pip install -e '\.\[{name}\]'"
    with pytest.raises(ConfigError, match=message):
        check_loggers((name,))

    with pytest.raises(ConfigError, match=message):
        train(name)


def test_a_package_that_cannot_be_imported_is_named(train: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ConfigError, match=r"pip install -e '\.\[tensorboard\]'"):
        train(tensorboard=True)


@pytest.mark.parametrize("logger", [TensorBoardLogger, WandbLogger, MLflowLogger])
def test_a_logger_needs_a_run(line: nn.Linear, data: Batches, phase: Make, settings: Make, logger: Any) -> None:
    with pytest.raises(ConfigError, match="writes into a run folder, but this training has none"):
        fit(line, [phase()], data, settings=settings(), callbacks=[logger()])


def test_runs_inside_a_run_have_its_loggers(tmp_path: Path, settings: Make) -> None:
    run = Run.create(tmp_path / "run", "line", settings())
    run.loggers = ("tensorboard",)
    assert run.child("seed-0").loggers == ("tensorboard",)
