"""The contract of every coding scheme: it stands in a network on two clocks, streams, and passes a gradient."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import spikebridge.coding as coding
from spikebridge.coding import (
    BernoulliEncoder,
    BurstEncoder,
    Decoder,
    DeltaEncoder,
    Encoder,
    LatencyEncoder,
    PhaseEncoder,
    PopulationEncoder,
    RateEncoder,
    SynchronyEncoder,
)
from spikebridge.errors import DataError
from spikebridge.hybrid import Clock, HybridNetwork, HybridUnit, NetworkState, Transmission, every
from spikebridge.ops.precision import HALF

SCHEMES: dict[str, Callable[[], Encoder]] = {
    "rate": lambda: RateEncoder(5),
    "bernoulli": lambda: BernoulliEncoder(5, seed=3),
    "latency": lambda: LatencyEncoder(5),
    "phase": lambda: PhaseEncoder(5),
    "burst": lambda: BurstEncoder(5),
    "population": lambda: PopulationEncoder(3, num_neurons=4, low=-0.1, high=1.1),
    "delta": lambda: DeltaEncoder(0.07),
    "delta in single spikes": lambda: DeltaEncoder(0.5, limit=1),
    "synchrony": lambda: SynchronyEncoder(3, width=2),
}
every_scheme = pytest.mark.parametrize("name", SCHEMES)


def made(name: str) -> tuple[Encoder, Decoder]:
    """A scheme's encoder and decoder, in evaluation."""
    encoder = SCHEMES[name]()
    return encoder.eval(), encoder.decoder().eval()


def steps_of(encoder: Encoder) -> int:
    """Steps of spikes a value."""
    return encoder.window.length if encoder.window is not None else 1


def network_of(name: str) -> HybridNetwork:
    """Values on a slow clock, spikes on a fast one, values again."""
    encoder, decoder = made(name)
    links = [Transmission("values", "spikes", encoder), Transmission("spikes", "again", decoder)]

    return HybridNetwork(
        dt=1.0,
        inputs={"values": every(float(steps_of(encoder)))},
        parts={"spikes": nn.Identity(), "again": nn.Identity()},
        links=links,
        outputs=["spikes", "again"],
    ).eval()


def some_values(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Values in 0..1 and beyond."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype) * 1.6 - 0.3


def stretch(network: HybridNetwork, x: Tensor, edges: list[int]) -> dict[str, Tensor]:
    """A stream in stretches that end at the given ticks."""
    state: NetworkState | None = None
    clock = network.inputs["values"]
    pieces: dict[str, list[Tensor]] = {"spikes": [], "again": []}

    for start, stop in zip([0, *edges[:-1]], edges, strict=True):
        now = x[clock.count(start) : clock.count(stop)]
        outputs, state = network({"values": now}, state, ticks=stop - start)
        for key, y in outputs.items():
            pieces[key].append(y)

    return {key: torch.cat(values) for key, values in pieces.items() if values}


def test_no_scheme_is_left_out() -> None:
    offered = [getattr(coding, name) for name in coding.__all__]
    encoders = {kind for kind in offered if issubclass(kind, Encoder)} - {Encoder}
    decoders = {kind for kind in offered if issubclass(kind, Decoder)} - {Decoder}
    tested = [make() for make in SCHEMES.values()]

    assert {type(encoder) for encoder in tested} == encoders
    assert {type(encoder.decoder()) for encoder in tested} == decoders


@every_scheme
def test_encoder_and_decoder_are_hybrid_units_without_anything_to_learn(name: str) -> None:
    for unit in made(name):
        assert isinstance(unit, HybridUnit)
        assert not [*unit.parameters(), *unit.buffers()]


@every_scheme
def test_a_decoder_gives_the_slow_clock_back(name: str) -> None:
    network = network_of(name)
    steps = steps_of(made(name)[0])

    assert network.clock_of("values") == Clock(steps, 0)
    assert network.clock_of("spikes") == Clock(1, 0)
    assert network.clock_of("again") == Clock(steps, steps - 1)


@every_scheme
def test_links_in_a_network_give_what_the_units_give(name: str) -> None:
    encoder, decoder = made(name)
    x = some_values(4, 2, 3)
    outputs, _ = network_of(name)({"values": x})
    spikes, _ = encoder(x)

    assert torch.equal(outputs["spikes"], spikes)
    assert torch.equal(outputs["again"], decoder(spikes)[0])


@every_scheme
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_whole_steps_and_cuts_are_equal_to_the_bit(name: str, data: st.DataObject) -> None:
    network = network_of(name)
    x = some_values(data.draw(st.integers(1, 3)), 2, 3, seed=data.draw(st.integers(0, 999)))
    end = len(x) * network.inputs["values"].period
    cuts = data.draw(st.sets(st.integers(1, end)))
    whole = stretch(network, x, [end])

    for edges in (list(range(1, end + 1)), sorted(cuts | {end})):
        pieces = stretch(network, x, edges)
        assert all(torch.equal(pieces[key], whole[key]) for key in whole)


@every_scheme
def test_a_code_does_not_depend_on_batch_mates(name: str) -> None:
    encoder, decoder = made(name)
    x = some_values(3, 4, 2)
    others = x.clone()
    others[:, 1:] = some_values(3, 3, 2, seed=1)
    first = encoder(x)[0]
    second = encoder(others)[0]

    assert torch.equal(first[:, 0], second[:, 0])
    assert torch.equal(decoder(first)[0][:, 0], decoder(second)[0][:, 0])


@every_scheme
def test_no_time_passes_without_steps(name: str) -> None:
    encoder, decoder = made(name)
    x = some_values(2, 2, 3)
    spikes, state = encoder(x[:0])
    again, later = decoder(spikes)

    assert again.shape == (0, 2, 3)

    spikes, _ = encoder(x, state)
    assert torch.equal(spikes, encoder(x)[0])
    assert torch.equal(decoder(spikes, later)[0], decoder(spikes)[0])


@every_scheme
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 2)])
def test_any_shape_comes_back_in_the_dtype_it_had(name: str, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    encoder, decoder = made(name)
    x = some_values(2, 3, *shape, dtype=dtype)
    spikes, _ = encoder(x)
    again, _ = decoder(spikes)

    assert spikes.dtype == again.dtype == dtype
    assert again.shape == x.shape
    assert len(spikes) == 2 * steps_of(encoder)


@every_scheme
@pytest.mark.parametrize("dtype", HALF)
def test_a_code_in_half_precision_is_that_of_the_same_values_in_float32(name: str, dtype: torch.dtype) -> None:
    encoder, decoder = made(name)
    x = some_values(4, 3, 5).to(dtype)
    spikes = encoder(x)[0]
    again = decoder(encoder(x)[0])[0]

    assert spikes.dtype == again.dtype == dtype
    assert torch.equal(spikes, encoder(x.float())[0].to(dtype))
    assert torch.equal(again, decoder(spikes.float())[0].to(dtype))


@every_scheme
def test_spikes_are_whole(name: str) -> None:
    spikes, _ = made(name)[0](some_values(5, 2, 3))
    if isinstance(SCHEMES[name](), DeltaEncoder):
        assert torch.equal(spikes, spikes.round())
    else:
        assert set(spikes.unique().tolist()) == {0.0, 1.0}


@every_scheme
def test_what_comes_back_moves_with_the_value(name: str) -> None:
    # corners first: both ends, middles, where codes change
    corners = torch.tensor([0.0, 1.0, 0.5, 0.25, 0.1, 0.2, 0.3, 1e-7, 1 - 1e-7], dtype=torch.float64)
    x = torch.cat([corners, torch.linspace(0, 1, 91, dtype=torch.float64)]).reshape(1, 1, -1).requires_grad_()
    encoder, decoder = made(name)
    (gradient,) = torch.autograd.grad(decoder(encoder(x)[0])[0].sum(), x)

    assert float(gradient.min()) >= 0.5
    assert float(gradient.max()) <= 1 + 1e-9


@every_scheme
@pytest.mark.parametrize("start", [0.1, -0.4, 1.5])
def test_a_value_is_learned_through_the_chain(name: str, start: float) -> None:
    encoder, decoder = made(name)
    value = torch.tensor([start], requires_grad=True)
    optimizer = torch.optim.SGD([value], lr=0.1)
    state = None
    latest = []

    for _ in range(80):
        # the value stands still for a while: a channel of single spikes needs more than one step to say it
        spikes, new = encoder(value.expand(4, 1, 1), state)
        # only the random state continues from one trial to the next
        state = new if isinstance(encoder, BernoulliEncoder) else None
        again = decoder(spikes)[0][-1].squeeze()
        optimizer.zero_grad()
        (again - 0.6).square().backward()
        optimizer.step()
        latest.append(again.item())

    error = abs(sum(latest[-40:]) / 40 - 0.6)
    assert error <= (0.15 if isinstance(encoder, BernoulliEncoder) else encoder.bound)
    assert 0 < value.item() < 1


@every_scheme
def test_a_value_that_is_not_finite_is_refused(name: str) -> None:
    encoder, _ = made(name)
    x = torch.tensor([0.5, float("nan"), float("inf")]).reshape(1, 1, 3)
    with pytest.raises(DataError, match=rf"{type(encoder).__name__} needs finite .* 2 of 3 are NaN"):
        encoder(x)
