"""Values on links: pieces of inputs, held signals, the ticks at which values are due, and the starts of windows."""

import torch
from torch import Tensor

from spikebridge.hybrid import Clock, Transmission
from spikebridge.hybrid.network.delivery import ZeroOrderHold, split_inputs
from spikebridge.hybrid.network.link import Route
from spikebridge.hybrid.network.schedule import Schedule
from spikebridge.hybrid.unit.window import window_starts_from_clock, window_starts_from_mask


def test_inputs_are_cut_at_ticks() -> None:
    pieces = split_inputs({"x": Clock(2, 0)}, {"x": torch.tensor([1, 2])}, range(4))
    assert [{name: x.tolist() for name, x in piece.items()} for piece in pieces] == [{"x": [1]}, {}, {"x": [2]}]


def test_a_held_signal_has_the_newest_value_at_each_tick() -> None:
    hold = ZeroOrderHold(torch.zeros(1), torch.tensor([[1.0], [2.0]]), counts=[0, 1, 1, 2])
    assert hold.values(0, 4).flatten().tolist() == [0.0, 1.0, 1.0, 2.0]
    assert hold.changes == [1, 3]
    assert hold.newest is not None
    assert hold.newest.item() == 2.0


def test_values_are_due_at_the_ticks_of_their_clock() -> None:
    fast = Clock(1, 0)
    slow = Clock(3, 2)
    route = Route("link", Transmission("x", "part", held=True), slow, slow, slow, slow, slow)
    schedule = Schedule(["part"], (), {"part": [route]}, {"x": slow, "part": fast})

    assert [schedule.at(tick).parts[0].due for tick in range(6)] == [(), (), ("link",), (), (), ("link",)]


def test_a_window_starts_at_the_first_step_after_a_sample_of_the_trigger() -> None:
    # steps at 0, 2, 4, ...; triggers at 1, 4, 7, 10
    starts = window_starts_from_clock(Clock(2, 0), Clock(3, 1), 0, 12)
    assert starts == [False, True, True, False, True, True]


def flags(*values: bool) -> Tensor:
    """Flags of one sample, a row each."""
    return torch.tensor([[value] for value in values])


def test_a_flag_between_two_steps_starts_a_window_at_the_second() -> None:
    nothing = torch.tensor([False])
    starts, waiting = window_starts_from_mask(Clock(2, 0), Clock(1, 0), flags(True, False, True), nothing, 0, 3)
    assert starts.flatten().tolist() == [True, True]
    assert waiting.tolist() == [False]

    starts, waiting = window_starts_from_mask(Clock(2, 0), Clock(1, 0), flags(False, True), nothing, 0, 2)
    assert starts.flatten().tolist() == [False]
    assert waiting.tolist() == [True]

    # the next call has a step, but no sample of the trigger
    starts, waiting = window_starts_from_mask(Clock(2, 0), Clock(1, 9), None, waiting, 2, 4)
    assert starts.flatten().tolist() == [True]
    assert waiting.tolist() == [False]


def test_a_call_without_a_step_keeps_the_flags() -> None:
    starts, waiting = window_starts_from_mask(Clock(2, 0), Clock(1, 0), flags(True), torch.tensor([False]), 1, 2)
    assert starts.shape == (0, 1)
    assert waiting.tolist() == [True]
