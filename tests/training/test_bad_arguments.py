"""No argument of a class of `training` ends in an error of Python or PyTorch."""

import inspect
from typing import Any

import pytest
import torch
from torch import nn

import spikebridge.training as training
from spikebridge.errors import SpikebridgeError

# wrong arguments are refused before their annotations are looked at
pytestmark = pytest.mark.untyped

WRONG = ["x", None, [1.0, 2.0], -1, 1.5, float("nan"), {}, torch.ones(3), True, nn.Identity]
USUAL: dict[str, Any] = {
    "name": "a",
    "train": ("",),
    "objective": lambda module, batch: 1,
    "epochs": 1,
    "optimizer": torch.optim.SGD,
    "metric": "loss",
    "mode": "min",
    "patience": 2,
    "start": 1,
    "strength": 1.0,
    "tensors": {"x": torch.ones(2, 1)},
    "batch": {"x": 0},
    "lengths": {"x": 2},
}
OTHERS = {"Run", "MLflowLogger", "WandbLogger"}  # made by Run.create, or take names for another program
KINDS = [name for name in training.__all__ if inspect.isclass(getattr(training, name)) and name not in OTHERS]


@pytest.mark.parametrize("name", KINDS)
def test_a_wrong_argument_is_a_sentence_of_ours(name: str) -> None:
    kind = getattr(training, name)
    arguments = [
        argument
        for argument in list(inspect.signature(kind.__init__).parameters.values())[1:]
        if argument.kind not in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD)
    ]
    usual = {one.name: USUAL.get(one.name) for one in arguments if one.default is one.empty}
    for argument in arguments:
        for value in WRONG:
            try:
                kind(**{**usual, argument.name: value})
            except SpikebridgeError as error:
                assert "\n" not in str(error)
