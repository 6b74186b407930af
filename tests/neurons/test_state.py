"""Functions over any state."""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from spikebridge.neurons import detach, select, to
from spikebridge.neurons.state import map_tensors, where


class Inner(NamedTuple):
    v: Tensor
    count: int


class Outer(NamedTuple):
    inner: Inner
    parts: tuple[Tensor, ...]
    held: dict[str, Tensor]
    line: list[Tensor]
    nothing: None = None


def make(value: float) -> Outer:
    v = torch.full((3, 2), value)
    return Outer(Inner(v, 7), (v + 1, v + 2), {"camera": v + 3}, [v + 4])


def leaves(state: Outer) -> list[Tensor]:
    return [state.inner.v, *state.parts, state.held["camera"], *state.line]


def test_every_tensor_is_mapped_and_nothing_else():
    doubled = map_tensors(lambda t: 2 * t, make(1.0))
    assert isinstance(doubled, Outer)
    assert isinstance(doubled.inner, Inner)
    assert [t[0, 0].item() for t in leaves(doubled)] == [2, 4, 6, 8, 10]
    assert (doubled.inner.count, doubled.nothing) == (7, None)


def test_select_takes_samples_from_every_tensor():
    state = map_tensors(lambda t: t * torch.tensor([[1.0], [10.0], [100.0]]), make(1.0))
    for samples in ([2, 0], torch.tensor([2, 0])):
        assert [t[:, 0].tolist() for t in leaves(select(state, samples))] == [[100 * k, k] for k in range(1, 6)]

    assert select(state, slice(1, 2)).parts[1][:, 0].tolist() == [30]
    assert len(select(state, torch.tensor([True, False, True])).inner.v) == 2


def test_to_leaves_whole_numbers_whole():
    v, wait = to((torch.ones(1), torch.ones(1, dtype=torch.int64)), dtype=torch.float64)
    assert (v.dtype, wait.dtype) == (torch.float64, torch.int64)
    assert to((torch.ones(1),), device="meta")[0].device.type == "meta"


def test_detach_cuts_every_tensor():
    x = torch.ones(3, 2, requires_grad=True)
    state = map_tensors(lambda t: t * x, make(1.0))
    assert all(t.requires_grad for t in leaves(state))
    assert not any(t.requires_grad for t in leaves(detach(state)))


def test_where_chooses_per_sample_in_every_tensor():
    mixed = where(torch.tensor([True, False, True]), make(0.0), make(100.0))
    for k, t in enumerate(leaves(mixed)):
        assert t[:, 0].tolist() == [k, 100 + k, k]
    assert mixed.inner.count == 7


def test_where_refuses_states_of_two_forms():
    with pytest.raises(ValueError, match="zip"):
        where(torch.tensor([True]), (torch.zeros(1),), (torch.zeros(1), torch.zeros(1)))
