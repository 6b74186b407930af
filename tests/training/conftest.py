"""A training that a test can follow by hand: a line without bias, samples x = 1, a target y."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spikebridge.training import Batches, Phase, Settings

# programs that tests start; they are no modules
collect_ignore = ["killed_often.py", "killed_under_elastic.py", "spread_over_two.py", "tiny_training.py"]


def squared_error(module: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    return (module(batch["x"]) - batch["y"]).square().mean()


@pytest.fixture
def error() -> Callable[..., Tensor]:
    return squared_error


@pytest.fixture
def line() -> nn.Linear:
    module = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(module.weight)
    return module


@pytest.fixture
def data() -> Batches:
    return Batches({"x": torch.ones(4, 1), "y": torch.full((4, 1), 8.0)}, batch={"x": 0, "y": 0})


@pytest.fixture
def phase() -> Callable[..., Phase]:
    def make(**changes: Any) -> Phase:
        usual: dict[str, Any] = {
            "name": "line",
            "train": ("",),
            "objective": squared_error,
            "epochs": 1,
            "optimizer": partial(torch.optim.SGD, lr=0.25),
        }
        return Phase(**{**usual, **changes})

    return make


@pytest.fixture
def settings() -> Callable[..., Settings]:
    return partial(Settings, accelerator="cpu", quiet=True)


@pytest.fixture
def tiny() -> Path:
    return Path(__file__).with_name("tiny_training.py")
