"""One rule for values with fewer axes than the neurons: a shape that fits in two ways is refused, in every place."""

from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from spikebridge.errors import ShapeError
from spikebridge.hybrid import (
    Alpha,
    Exponential,
    Gain,
    HybridNetwork,
    HybridUnit,
    Modulation,
    Threshold,
    Transmission,
    Tumbling,
    every,
    ticks,
)
from spikebridge.neurons import IF, LIF, Effect, Integrator, Memoryless, Recurrent, Sequential
from spikebridge.neurons.quantity import has_two_meanings
from spikebridge.neurons.stateless import modulated


@pytest.mark.parametrize(
    ("shape", "neurons", "is_ambiguous"),
    [
        ((4, 4), (4, 4, 4), True),  # channels x height, or height x width
        ((4,), (4, 4, 4), True),  # a value a channel, or a column
        ((4,), (4, 6, 4), True),
        ((4,), (4, 4), True),
        ((4, 1), (4, 4, 4), True),  # a value a channel, or a row
        ((1, 4), (4, 4, 4), True),
        ((4,), (4, 5, 6), False),  # a value a channel
        ((6,), (4, 5, 6), False),  # a value a column
        ((5,), (4, 5, 4), False),  # neither: refused elsewhere
        ((4, 4), (4, 4, 5), False),
        ((4, 1), (4, 1, 1), False),  # a channel has one neuron: 4 fits no trailing axis
        ((), (4, 4), False),
        ((1,), (4, 4), False),  # one for all, either way
        ((1, 1), (4, 4, 4), False),
        ((4, 1, 1), (4, 4, 4), False),  # all axes
        ((1, 4, 4), (4, 4, 4), False),
        ((4,), (4,), False),
        ((3, 4, 4), (4, 4), False),  # more axes: time and batch are named
    ],
)  # fmt: skip
def test_a_shape_has_two_meanings_where_it_fits_leading_and_trailing_axes(
    shape: tuple[int, ...], neurons: tuple[int, ...], is_ambiguous: bool
) -> None:
    assert has_two_meanings(shape, neurons) == is_ambiguous


@given(st.lists(st.integers(1, 3), max_size=4), st.data())
def test_the_rule_is_that_values_on_leading_and_trailing_axes_differ(neurons: list[int], data: st.DataObject) -> None:
    shape = data.draw(st.lists(st.integers(1, 3), max_size=len(neurons)))
    values = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    placed = []

    for ones in (values.ndim, 0):  # behind the value, or before it
        axes = [*values.shape[:ones], *[1] * (len(neurons) - values.ndim), *values.shape[ones:]]
        try:
            placed.append(values.reshape(axes).expand(neurons))
        except RuntimeError:
            continue

    differ = len(placed) == 2 and not torch.equal(*placed)
    assert has_two_meanings(shape, neurons) == differ


CUBE = torch.ones(2, 3, 4, 4, 4)  # (T, B, C, H, W)
MAP = r"of \w+ needs a value with all axes of \(4, 4, 4\), but got \(4, 4\)"
REMEDY = r"reshape it to \(4, 4, 1\) or to \(1, 4, 4\)"


@pytest.mark.parametrize(
    "signal",
    [
        torch.ones(4, 4),
        Effect(torch.ones(2, 3, 4, 4), "add"),
        Effect(torch.ones(1, 1, 4, 4), "replace"),
        [Effect(torch.ones(2, 3)), Effect(torch.ones(2, 3, 4, 4))],
    ],
    ids=["a tensor", "an effect", "a constant effect", "one of two effects"],
)
@pytest.mark.parametrize("layer", [IF(), LIF(dt=0.001), Memoryless()], ids=lambda layer: type(layer).__name__)
def test_a_map_on_a_cube_is_refused_with_both_ways_to_write_it(layer: Any, signal: Any) -> None:
    with pytest.raises(ShapeError, match=rf"v_threshold {MAP}.*{REMEDY}"):
        layer(CUBE, v_threshold=signal)

    with pytest.raises(ShapeError, match=REMEDY):
        Sequential(layer=layer)(CUBE, **{"layer.v_threshold": signal})

    with pytest.raises(ShapeError, match=REMEDY):
        Recurrent(layer, nn.Identity())(CUBE, **{"layer.v_threshold": signal})


@pytest.mark.parametrize("learn", [(), ("v_threshold",)], ids=["kept", "learned"])
def test_a_map_that_a_layer_keeps_is_refused(learn: tuple[str, ...]) -> None:
    layer = LIF(dt=0.001, v_threshold=torch.ones(4, 4), learn=learn)
    with pytest.raises(ShapeError, match=REMEDY):
        layer(CUBE)

    with pytest.raises(ShapeError, match=REMEDY):
        layer(CUBE, v_threshold=Effect(torch.ones(2, 3, 4)[..., :1]))  # under modulation too

    assert layer(torch.ones(2, 3, 5, 4, 4))[0].shape == (2, 3, 5, 4, 4)


def test_each_way_to_write_it_is_taken_at_its_word() -> None:
    v_threshold = torch.tensor([[0.5, 1.5], [1.5, 1.5]])
    x = torch.ones(1, 1, 2, 2, 2)  # fires where the threshold is 0.5
    on_leading = v_threshold.reshape(2, 2, 1)
    on_trailing = v_threshold.reshape(1, 2, 2)

    # channel 0, height 0: both columns
    for value in (on_leading, Effect(on_leading.reshape(1, 1, 2, 2, 1), "replace")):
        assert Memoryless()(x, v_threshold=value)[0].flatten().tolist() == [1, 1, 0, 0, 0, 0, 0, 0]

    # height 0, width 0: both channels
    for value in (on_trailing, Effect(on_trailing.reshape(1, 1, 1, 2, 2), "replace")):
        assert Memoryless()(x, v_threshold=value)[0].flatten().tolist() == [1, 0, 0, 0, 1, 0, 0, 0]

    assert Memoryless(v_threshold=on_trailing)(x)[0].flatten().tolist() == [1, 0, 0, 0, 1, 0, 0, 0]


def test_a_value_a_channel_needs_no_more_axes_where_it_fits_one_way() -> None:
    x = torch.ones(1, 1, 2, 1, 3)
    gain = torch.tensor([2.0, 3.0])
    assert Gain()(x, gain=Effect(gain.reshape(1, 1, 2)))[0].flatten().tolist() == [2, 2, 2, 3, 3, 3]


def test_no_shape_is_read_in_two_ways_by_effects_and_tensors() -> None:
    x = torch.ones(1, 1, 2, 3, 2)
    both = 0

    for axes in product((1, 2, 3), repeat=2):
        value = torch.rand(axes, generator=torch.Generator().manual_seed(1))
        found = []

        for form in (value, Effect(value.reshape(1, 1, *axes))):
            try:
                found.append(Gain()(x, gain=form)[0])
            except ShapeError:
                continue

        both += len(found) == 2
        assert len(found) < 2 or torch.equal(*found)

    assert both == 1  # (1, 1)


def test_a_parameter_under_an_effect_follows_the_same_rule() -> None:
    x = torch.ones(1, 1, 4)
    row = torch.ones(1, 1, 4)
    with pytest.raises(ShapeError, match=r"a modulated parameter.*\(4, 4\), but got \(4,\).*\(4, 1\) or to \(1, 4\)"):
        modulated(nn.Linear(4, 4), {"weight": Effect(row)}, x)

    for shape in ((1, 1, 4, 1), (1, 1, 1, 4)):
        assert modulated(nn.Linear(4, 4), {"weight": Effect(row.reshape(shape))}, x).shape == (1, 1, 4)

    assert modulated(nn.Linear(3, 4), {"weight": Effect(row)}, x[..., :3]).shape == (1, 1, 4)  # a value an output


@pytest.mark.parametrize(
    "unit",
    [
        HybridUnit(None, Exponential(torch.full((4, 4), 0.01), dt=0.001, keep=True)),
        HybridUnit(Tumbling(2), Alpha(torch.full((4, 4), 0.01), dt=0.001)),
        HybridUnit(None, None, nn.Identity(), Threshold(torch.ones(4, 4))),
    ],
    ids=["a kernel", "a kernel of windows", "a discretizer"],
)  # fmt: skip
def test_the_stages_of_a_unit_follow_the_same_rule(unit: HybridUnit) -> None:
    with pytest.raises(ShapeError, match=REMEDY):
        unit(CUBE)
    assert unit(torch.ones(2, 3, 5, 4, 4))[0].shape[1:] == (3, 5, 4, 4)


def test_a_kernel_alone_and_under_modulation_follows_the_same_rule() -> None:
    with pytest.raises(ShapeError, match=REMEDY):
        Exponential(torch.full((4, 4), 0.01), dt=0.001)(CUBE)

    for value in (torch.full((4, 4), 0.01), Effect(torch.ones(2, 3, 4, 4))):
        with pytest.raises(ShapeError, match=REMEDY):
            Exponential(0.01, dt=0.001)(CUBE, tau=value)


def network(shape: tuple[int, ...], delay: int) -> HybridNetwork:
    return HybridNetwork(
        dt=0.001,
        inputs={"x": every(0.001), "m": every(0.001)},
        parts={"p": Sequential(out=Integrator(0.01))},
        links=[
            Transmission("x", "p"),
            Modulation("m", "p.out.r", HybridUnit(None, None, nn.Unflatten(1, shape)), delay=ticks(delay)),
        ],
        outputs=["p"],
    )


def on_a_square(network: HybridNetwork, num_ticks: int) -> Tensor:
    signals = {"x": torch.ones(num_ticks, 1, 2, 2), "m": torch.tensor([1.0, 3.0]).expand(num_ticks, 1, 2)}
    return network(signals, ticks=num_ticks)[0]["p"][-1, 0]


@pytest.mark.parametrize("delay", [0, 2])
def test_a_link_follows_the_same_rule_at_its_first_value(delay: int) -> None:
    with pytest.raises(ShapeError, match=r"r of Integrator.*\(2, 2\), but got \(2,\).*\(2, 1\) or to \(1, 2\)"):
        on_a_square(network((2,), delay), 4)

    rows = on_a_square(network((2, 1), delay), 4)
    columns = on_a_square(network((1, 2), delay), 4)

    assert torch.equal(rows, columns.T)
    assert (rows[1] > rows[0]).all()


def test_a_link_is_checked_where_a_stream_runs_step_by_step() -> None:
    hybrid = network((2,), 2)
    signals = {"x": torch.ones(1, 2, 2), "m": torch.ones(1, 2)}
    _, state = hybrid.step(signals)
    _, state = hybrid.step(signals, state)

    with pytest.raises(ShapeError, match=r"reshape it to \(2, 1\) or to \(1, 2\), behind time and batch"):
        hybrid.step(signals, state)
