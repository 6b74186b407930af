"""A recipe that trains nothing and takes no time, and an executor without processes."""

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from spikebridge.recipes.sweep import executors, local
from spikebridge.recipes.sweep.executors import Workers

RECIPE = '''"""A recipe that trains nothing."""

import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

from spikebridge.errors import ConfigError


@dataclass(frozen=True)
class Group:
    scale: float = 1.0


@dataclass(frozen=True)
class Config:
    """Settings."""

    lr: float = 0.1
    names: tuple[str, ...] = ("a",)
    fast: bool = True
    width: int = 4
    group: Group = Group()
    fail: str = "never"
    epochs: int = 3
    pause: float = 0.0
    seed: int = 0
    num_seeds: int = 5

    def __post_init__(self) -> None:
        if self.lr <= 0:
            raise ConfigError(f"lr should be above 0, but is {self.lr}")


PRESETS = {"default": Config(), "long": Config(epochs=6)}


def train(config, run, quiet=False):
    first = run.path / "first"
    time.sleep(config.pause)
    if config.fail == "disk":
        raise OSError(28, "No space left on device", "weights")
    if config.fail == "raise":
        raise RuntimeError("a mistake\\nin two lines")
    if config.fail in ("once", "kill") and not first.exists():
        first.touch()
        if config.fail == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise OSError(5, "Input/output error", "weights")
    for epoch in range(config.epochs):
        accuracy = 100 * (1 - abs(config.lr - 0.03)) * (epoch + 1) / config.epochs - config.seed
        run.log({"kind": "epoch", "epoch": epoch + 1, "accuracy": accuracy})
    row = {"network": "/".join(config.names), "accuracy %": accuracy * config.group.scale, "sd": None}
    results = {"table": [row], "loss": config.lr, "seeds": config.num_seeds}
    run.save_results(results)
    return results


def report(run):
    return run.path / "report.html"


def build(config):
    return {}


def evaluate(run, data=None):
    return run.results()


def example(config):
    return {}
'''


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The recipe as a file, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.py").write_text(RECIPE)
    return "tiny.py"


class _InPlace(Executor):
    """Calls run when they are submitted."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


@contextmanager
def in_place(number: int | None, recipe: str) -> Iterator[Workers]:
    """One cell at a time, in this process."""
    yield Workers(_InPlace(), number or 1)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Local cells run in this process."""
    monkeypatch.setattr(executors, "local_workers", in_place)
    monkeypatch.setattr(local, "start_server", lambda recipe: None)
