"""Weights of a file are taken only where they are finite and of the kind of the network's own."""

from math import inf, nan
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from spikebridge.errors import ConfigError, DataError
from spikebridge.training import load_weights, save_weights


class Cell(nn.Module):
    """A layer with weights, a time constant without leak, and a counter."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.register_buffer("tau", torch.tensor([0.01, inf]))
        self.register_buffer("count", torch.tensor(0))


def loaded(path: Path, **changes: Tensor) -> Cell:
    """A cell with the weights of a file, some of them changed."""
    save_weights(path, {**Cell().state_dict(), **changes})
    cell = Cell()
    load_weights(path, cell)
    return cell


@pytest.mark.parametrize("value", [nan, inf, -inf])
def test_a_weight_that_is_not_finite_is_refused(tmp_path: Path, value: float) -> None:
    path = tmp_path / "w.safetensors"
    with pytest.raises(DataError, match=f"{path}: 1 of 3 values of 'weight' are not finite; the training diverged, or"):
        loaded(path, weight=torch.tensor([1.0, value, 1.0]))

    with pytest.raises(DataError, match="2 of 2 values of 'tau'"):
        loaded(path, tau=torch.tensor([inf, nan]))


def test_a_time_constant_that_is_infinite_in_the_network_stays(tmp_path: Path) -> None:
    assert loaded(tmp_path / "w.safetensors", tau=torch.tensor([0.02, inf])).tau.tolist() == pytest.approx([0.02, inf])


@pytest.mark.parametrize("kind", [torch.bool, torch.int64, torch.complex64])
def test_a_weight_of_another_kind_is_refused(tmp_path: Path, kind: torch.dtype) -> None:
    with pytest.raises(ConfigError, match=rf"'weight' holds {kind}, but torch\.float32 in this Cell"):
        loaded(tmp_path / "w.safetensors", weight=torch.ones(3, dtype=kind))
    with pytest.raises(ConfigError, match=r"'count' holds torch\.float32, but torch\.int64 in this Cell"):
        loaded(tmp_path / "w.safetensors", count=torch.tensor(1.0))


def test_another_precision_of_the_same_kind_is_taken(tmp_path: Path) -> None:
    cell = loaded(tmp_path / "w.safetensors", weight=torch.full((3,), 0.5, dtype=torch.float64))
    assert (cell.weight.dtype, cell.weight.tolist()) == (torch.float32, [0.5] * 3)
