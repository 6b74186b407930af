"""The spikes of each scheme, the values that its decoder makes of other spikes, and errors of wrong arguments."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from spikebridge.coding import (
    BernoulliEncoder,
    BurstDecoder,
    BurstEncoder,
    DeltaDecoder,
    DeltaEncoder,
    Encoder,
    LatencyDecoder,
    LatencyEncoder,
    PhaseEncoder,
    PopulationDecoder,
    PopulationEncoder,
    RateEncoder,
    SynchronyDecoder,
    SynchronyEncoder,
)
from spikebridge.errors import ConfigError, ShapeError
from spikebridge.ops.saturation import saturate

in_any_time = settings(deadline=None)


def code(encoder: Encoder, *values: float) -> list[list[float]]:
    """The spikes of single values, one list a value."""
    length = encoder(torch.zeros(1, 1))[0].shape[0]
    spikes, _ = encoder(torch.tensor(values).reshape(-1, 1))
    return spikes.reshape(-1, length).tolist()


def signal(*steps: float) -> Tensor:
    """One neuron of one sample."""
    return torch.tensor(steps, dtype=torch.float32).reshape(-1, 1, 1)


@in_any_time
@given(st.integers(1, 60), st.data())
def test_the_spikes_of_a_rate_are_as_many_as_rounded_and_as_even_as_whole_steps_allow(
    n: int, data: st.DataObject
) -> None:
    number = data.draw(st.integers(0, n))
    (spikes,) = code(RateEncoder(n), number / n)
    times = [t for t, s in enumerate(spikes) if s]

    assert len(times) == number

    gaps = {b - a for a, b in zip(times, [*times[1:], *(times[:1] and [times[0] + n])], strict=True)}
    assert max(gaps, default=0) - min(gaps, default=0) <= 1


def test_more_phases_than_a_number_has_bits_are_silent() -> None:
    assert code(PhaseEncoder(200), 0.75, 0.0) == [[1.0, 1.0] + [0.0] * 198, [0.0] * 200]


def test_nothing_leaks_from_one_value_to_the_next() -> None:
    encoder = RateEncoder(4)
    assert code(encoder, 0.6, 0.6, 0.0, 0.6) == [*code(encoder, 0.6) * 2, [0.0] * 4, *code(encoder, 0.6)]


def test_bernoulli_spikes_repeat_in_evaluation_and_follow_the_global_seed_in_training() -> None:
    x = torch.full((1, 2, 50), 0.5)
    encoder = BernoulliEncoder(4, seed=1).eval()

    assert torch.equal(encoder(x)[0], encoder(x)[0])
    assert not torch.equal(encoder(x)[0], BernoulliEncoder(4, seed=2).eval()(x)[0])

    encoder.train()
    torch.manual_seed(0)
    first = encoder(x)[0]
    second = encoder(x)[0]
    torch.manual_seed(0)

    assert torch.equal(encoder(x)[0], first)
    assert not torch.equal(first, second)


def test_latency_fires_once_and_large_values_first() -> None:
    spikes = code(LatencyEncoder(4), 1.0, 0.75, 0.5, 0.26, 0.25, 0.0)
    assert [row.index(1.0) for row in spikes] == [0, 1, 2, 2, 3, 3]
    assert [sum(row) for row in spikes] == [1.0] * 6


def test_latency_reads_the_first_spike_and_nothing_from_silence() -> None:
    again, _ = LatencyDecoder(4)(signal(0, 1, 1, 1, 0, 0, 0, 0))
    assert again.flatten().tolist() == [0.75, 0.0]


def test_phase_writes_bits() -> None:
    assert code(PhaseEncoder(3), 0.625, 1.0, 0.1) == [[1.0, 0.0, 1.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]


def test_a_burst_begins_at_once_and_strays_behind_it_do_not_count() -> None:
    assert code(BurstEncoder(4), 0.0, 0.5, 1.0) == [[0.0] * 4, [1.0, 1.0, 0.0, 0.0], [1.0] * 4]
    again, _ = BurstDecoder(4)(signal(1, 0, 1, 1, 0, 1, 1, 1))
    assert again.flatten().tolist() == [0.25, 0.0]


def test_a_population_fires_around_the_value() -> None:
    spikes, _ = PopulationEncoder(8, num_neurons=5, low=0.0, high=4.0)(signal(2.25))
    assert spikes.sum(0).flatten().tolist() == [0.0, 0.0, 6.0, 2.0, 0.0]


@in_any_time
@given(st.floats(-2, 3), st.integers(1, 20), st.integers(2, 6))
def test_neighbours_in_a_population_share_the_spikes(value: float, n: int, num_neurons: int) -> None:
    number = PopulationEncoder(n, num_neurons)(signal(value))[0].sum().item()
    assert number in (n, n + 1)


def test_a_silent_population_reads_as_the_middle_with_a_gradient_that_stays_small() -> None:
    spikes = torch.zeros(4, 1, 3, requires_grad=True)
    again, _ = PopulationDecoder(4, num_neurons=3, low=10.0, high=20.0)(spikes)

    assert again.flatten().tolist() == [15.0]

    again.sum().backward()
    # one more spike of an outer neuron would move the value by half the range
    assert spikes.grad is not None
    assert spikes.grad[0].flatten().tolist() == [-5.0, 0.0, 5.0]


def test_a_still_signal_costs_nothing_in_delta() -> None:
    spikes, _ = DeltaEncoder(0.5)(torch.tensor([1.0] * 5 + [-0.5] * 5).reshape(-1, 1, 1))
    assert spikes.flatten().tolist() == [2.0, 0, 0, 0, 0, -3.0, 0, 0, 0, 0]


@pytest.mark.untyped
def test_a_long_stream_of_delta_does_not_drift() -> None:
    encoder = DeltaEncoder(0.1)
    x = torch.sin(torch.arange(5000) * 0.37).reshape(-1, 1, 1)
    error = (encoder.decoder()(encoder(x)[0])[0] - x).abs()
    assert float(error[-100:].max()) <= encoder.bound + 1e-6


def test_the_gradient_of_a_signal_sent_on_change_is_that_of_the_value_now() -> None:
    x = torch.tensor([0.3, 0.9, 0.2]).reshape(3, 1, 1).requires_grad_()
    encoder = DeltaEncoder(0.25)
    again, _ = encoder.decoder()(encoder(x)[0])
    (gradient,) = torch.autograd.grad(again[-1].sum(), x)

    assert gradient.flatten().tolist() == pytest.approx([0.0, 0.0, 1.0])


@in_any_time
@given(st.floats(0, 1), st.integers(1, 8), st.integers(1, 3))
def test_each_neuron_alone_says_nothing_in_synchrony(value: float, n: int, width: int) -> None:
    spikes, _ = SynchronyEncoder(n, width)(signal(value))
    assert spikes.sum(0).flatten().tolist() == [n, n]


def test_synchrony_counts_spikes_that_come_near_each_other_in_part() -> None:
    pair = torch.zeros(16, 1, 2)
    pair[::4, 0, 0] = 1  # four slots of four steps
    pair[[0, 5, 10, 15], 0, 1] = 1  # together, one step late, out of phase, and one step late out of phase
    assert SynchronyDecoder(4, width=2)(pair)[0].item() == (1 + 0.5 + 0 + 0) / 4


@pytest.mark.untyped
@in_any_time
@given(st.floats(0, 1), st.integers(1, 6), st.integers(2, 4), st.data())
def test_late_spikes_add_their_share_to_the_bound_of_synchrony(
    value: float, n: int, width: int, data: st.DataObject
) -> None:
    encoder = SynchronyEncoder(n, width)
    spikes, _ = encoder(signal(value))
    late = data.draw(st.integers(0, width - 1))
    times = spikes[:, 0, 0, 1].nonzero().flatten()
    moved = times + torch.tensor([data.draw(st.integers(0, late)) for _ in times])
    spikes = spikes.clone()
    spikes[:, 0, 0, 1] = 0
    spikes[moved, 0, 0, 1] = 1

    assert abs(encoder.decoder()(spikes)[0].item() - value) <= encoder.bound + late / width + 1e-6


@pytest.mark.parametrize(
    "encoder", [RateEncoder(4), LatencyEncoder(4), PhaseEncoder(4), BurstEncoder(4), BernoulliEncoder(4)]
)
def test_values_outside_saturate(encoder: Encoder) -> None:
    assert code(encoder.eval(), -3.0, 7.0) == code(encoder, 0.0, 1.0)


def test_values_outside_saturate_in_groups_too() -> None:
    for encoder, low, high in [(PopulationEncoder(4, 3, -2.0, 2.0), -2.0, 2.0), (SynchronyEncoder(4), 0.0, 1.0)]:
        assert torch.equal(encoder(signal(-9.0, 9.0))[0], encoder(signal(low, high))[0])


def test_the_gradient_leads_back_into_the_range_and_never_further_out() -> None:
    for sign, expected in [(1.0, [0.0, 1.0, 1.0]), (-1.0, [-1.0, -1.0, 0.0])]:
        x = torch.tensor([-0.5, 0.5, 1.5], requires_grad=True)
        (sign * saturate(x)).sum().backward()
        assert x.grad is not None
        assert x.grad.tolist() == expected


@pytest.mark.parametrize(
    "kind", [RateEncoder, BernoulliEncoder, LatencyEncoder, PhaseEncoder, BurstEncoder, PopulationEncoder]
)
@pytest.mark.parametrize("number", [0, -1, 2.0, True])
def test_a_number_of_steps_is_a_whole_number_from_one_on(kind: type[Encoder], number: object) -> None:
    with pytest.raises(
        ConfigError, match=rf"{kind.__name__} needs num_steps as an integer of at least 1, but got {number}"
    ):
        kind(number)  # type: ignore[call-arg]


def test_synchrony_needs_slots_and_a_width() -> None:
    with pytest.raises(ConfigError, match="SynchronyEncoder needs num_slots as an integer of at least 1, but got 0"):
        SynchronyEncoder(0)

    with pytest.raises(ConfigError, match="SynchronyDecoder needs width as an integer of at least 1, but got 0"):
        SynchronyDecoder(2, width=0)


@pytest.mark.parametrize("quantum", [0.0, -1.0, float("nan"), float("inf")])
def test_a_quantum_is_above_zero(quantum: float) -> None:
    for kind in (DeltaEncoder, DeltaDecoder):
        with pytest.raises(ConfigError, match=f"{kind.__name__} needs a finite quantum > 0, but got {quantum}"):
            kind(quantum)


def test_a_limit_is_a_whole_number() -> None:
    with pytest.raises(ConfigError, match="DeltaEncoder needs limit as an integer of at least 1, but got 0"):
        DeltaEncoder(0.5, limit=0)


def test_a_population_needs_two_neurons_and_a_range() -> None:
    with pytest.raises(ConfigError, match="a population needs num_neurons as an integer of at least 2, but got 1"):
        PopulationEncoder(4, num_neurons=1)

    with pytest.raises(ConfigError, match=r"a finite range with low < high, but got low=1\.0, high=1\.0"):
        PopulationEncoder(4, low=1.0, high=1.0)

    with pytest.raises(ConfigError, match=r"a finite range with low < high, but got low=0\.0, high=inf"):
        PopulationEncoder(4, high=float("inf"))


def test_a_decoder_of_groups_names_the_axis_it_needs() -> None:
    with pytest.raises(
        ShapeError, match=r"a population of 3 neurons needs them as the last axis, \(T, B, \*N, 3\), but"
    ):
        PopulationDecoder(2, num_neurons=3)(torch.zeros(2, 1, 4))

    with pytest.raises(
        ShapeError, match=r"the second neuron as the last axis, \(T, B, \*N, 2\), but one step has shape"
    ):
        SynchronyDecoder(1)(torch.zeros(2, 1, 3))
