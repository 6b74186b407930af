"""Modules of other libraries as parts: what our own layers promise, promised by them too."""

import copy
import math
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spikebridge.deploy import adapt
from spikebridge.deploy.adapters.libraries import _ADAPTERS
from spikebridge.errors import ConfigError
from spikebridge.hybrid import HybridNetwork, HybridUnit, Transmission, every
from spikebridge.neurons import LIF, Sequential, Stateful, detach, select
from spikebridge.neurons.state import tensors_of
from spikebridge.neurons.stateless import SPIKING_LIBRARIES

N = 5


def library(name: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name, reason="`make test` installs it", exc_type=ImportError)


def dense(num_inputs: int, num_outputs: int) -> nn.Linear:
    """Weights so strong that what stands behind them fires."""
    layer = nn.Linear(num_inputs, num_outputs)
    nn.init.uniform_(layer.weight, -0.3, 0.9)
    return layer


def spikingjelly(mode: str) -> nn.Module:
    neuron = library("spikingjelly.activation_based.neuron")
    functional = library("spikingjelly.activation_based.functional")
    network = nn.Sequential(dense(N, 7), neuron.LIFNode(tau=2.0), dense(7, 4), neuron.ParametricLIFNode(v_reset=-0.5))
    functional.set_step_mode(network, mode)

    return network


def spikingjelly_recurrent() -> nn.Module:
    base = library("spikingjelly.activation_based.layer")
    neuron = library("spikingjelly.activation_based.neuron")
    container = base.LinearRecurrentContainer(neuron.IFNode(), N, N)
    return nn.Sequential(dense(N, N), container)


def snntorch() -> nn.Module:
    snn = library("snntorch")
    return nn.Sequential(
        dense(N, 7),
        snn.Leaky(beta=0.8, init_hidden=True),
        dense(7, 4),
        snn.Synaptic(alpha=0.6, beta=0.8, init_hidden=True),
    )


def snntorch_recurrent() -> nn.Module:
    snn = library("snntorch")
    return nn.Sequential(dense(N, 4), snn.RLeaky(beta=0.8, linear_features=4, init_hidden=True))


def norse_cells() -> nn.Module:
    norse = library("norse.torch")
    return norse.SequentialState(dense(N, 7), norse.LIFCell(), dense(7, 4), norse.LIBoxCell())


def norse_layers() -> nn.Module:
    norse = library("norse.torch")
    return norse.SequentialState(norse.Lift(dense(N, 7)), norse.LIF(), norse.LIFRecurrent(7, 4))


def sinabs() -> nn.Module:
    layers = library("sinabs.layers")
    return nn.Sequential(dense(N, 7), layers.LIF(tau_mem=5.0), dense(7, 4), layers.ExpLeak(tau_mem=3.0))


def sinabs_squeezing() -> nn.Module:
    layers = library("sinabs.layers")
    return nn.Sequential(dense(N, 7), layers.IAFSqueeze(batch_size=1), dense(7, 4), layers.IAFSqueeze(batch_size=1))


def snntorch_alone() -> nn.Module:
    return library("snntorch").Leaky(beta=0.8)


MAKERS: dict[str, Callable[[], nn.Module]] = {
    "SpikingJelly, multi-step": lambda: spikingjelly("m"),
    "SpikingJelly, single-step": lambda: spikingjelly("s"),
    "SpikingJelly, recurrent": spikingjelly_recurrent,
    "snnTorch": snntorch,
    "snnTorch, recurrent": snntorch_recurrent,
    "snnTorch, one neuron": snntorch_alone,
    "Norse, cells": norse_cells,
    "Norse, layers": norse_layers,
    "sinabs": sinabs,
    "sinabs, squeezing": sinabs_squeezing,
}


@pytest.fixture(params=MAKERS)
def part(request: pytest.FixtureRequest) -> Stateful:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        return adapt(MAKERS[request.param]())


def signal(num_steps: int = 12, batch: int = 4, seed: int = 0) -> Tensor:
    return 3 * torch.rand(num_steps, batch, N, generator=torch.Generator().manual_seed(seed))


def assert_same(left: Any, right: Any) -> None:
    pairs = zip(tensors_of(left), tensors_of(right), strict=True)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in pairs)


def test_the_signal_moves_every_part(part: Stateful) -> None:
    y, _ = part(signal())
    assert y.shape[:2] == (12, 4)
    # some neurons fire, and not all in every step
    assert y.std() > 0.01


@pytest.mark.parametrize("cut", [0, 1, 5, 12])
def test_two_halves_make_the_whole(part: Stateful, cut: int) -> None:
    x = signal()
    whole, last = part(x)
    first, state = part(x[:cut])
    second, state = part(x[cut:], state)
    assert_same(torch.cat([first, second]), whole)
    assert_same(state, last)


def test_steps_make_the_whole(part: Stateful) -> None:
    x = signal()
    whole, last = part(x)
    state = part.initial_state(x[0])
    outputs = []

    for x_t in x:
        y_t, state = part.step(x_t, state)
        outputs.append(y_t)

    assert_same(torch.stack(outputs), whole)
    assert_same(state, last)


def test_two_streams_through_one_module_never_mix(part: Stateful) -> None:
    ours = signal(seed=1)
    theirs = signal(batch=2, seed=2)
    alone = [part(ours)[0], part(theirs)[0]]
    states: list[Any] = [None, None]
    outputs: list[list[Tensor]] = [[], []]

    for t in range(len(ours)):
        for k, x in enumerate((ours, theirs)):
            y, states[k] = part(x[t : t + 1], states[k])
            outputs[k].append(y)

    assert_same([torch.cat(y) for y in outputs], alone)


def test_nothing_of_a_stream_is_left_in_the_module(part: Stateful) -> None:
    before = {name: value.clone() for name, value in part.state_dict().items()}
    first, _ = part(signal())
    part(signal(batch=3, seed=1))
    second, _ = part(signal())
    assert_same(first, second)
    after = part.state_dict()

    assert {name: value.shape for name, value in before.items()} == {n: v.shape for n, v in after.items()}

    # nothing hangs on to the graph of a stream
    copy.deepcopy(part)


def test_neither_input_nor_state_is_written_to(part: Stateful) -> None:
    x = signal(4)
    _, state = part(signal(4, seed=1))
    state = detach(state)
    x_before = x.clone()
    state_before = [tensor.clone() for tensor in tensors_of(state)]
    part(x, state)

    assert torch.equal(x, x_before)
    assert all(torch.equal(a, b) for a, b in zip(tensors_of(state), state_before, strict=True))


def test_samples_are_chosen_from_a_state(part: Stateful) -> None:
    x = signal()
    _, state = part(x[:6])
    whole, _ = part(x[6:], state)
    some, _ = part(x[6:, [2, 0]], select(state, [2, 0]))
    assert_same(some, whole[:, [2, 0]])


def test_gradients_of_halves_are_those_of_the_whole(part: Stateful) -> None:
    gradients = []
    for cuts in ([12], [5, 7]):
        x = signal().requires_grad_()
        state = None
        outputs = []

        for piece in x.split(cuts):
            y, state = part(piece, state)
            outputs.append(y)

        torch.cat(outputs).square().sum().backward()
        assert x.grad is not None

        gradients.append(x.grad)

    assert gradients[0].abs().sum() > 0

    torch.testing.assert_close(*gradients)


def test_an_adapted_part_stands_in_a_hybrid_network() -> None:
    torch.manual_seed(0)
    network = HybridNetwork(
        dt=1.0,
        inputs={"x": every(1.0)},
        parts={"snn": adapt(spikingjelly("m")), "ann": nn.Linear(4, 2)},
        links=[Transmission("x", "snn"), Transmission("snn", "ann")],
        outputs=["ann"],
    )

    x = signal()
    whole, _ = network({"x": x})
    first, state = network({"x": x[:7]})
    second, _ = network({"x": x[7:]}, state)
    assert_same(torch.cat([first["ann"], second["ann"]]), whole["ann"])


def test_a_reset_value_is_where_spikingjelly_begins() -> None:
    neuron = library("spikingjelly.activation_based.neuron")
    part = adapt(neuron.LIFNode(v_reset=-0.25, step_mode="m"))
    assert tensors_of(part.initial_state(torch.zeros(2, 3)))[0].unique().tolist() == [-0.25]


def test_a_layer_gives_the_spikes_of_our_own_with_the_same_equation() -> None:
    neuron = library("spikingjelly.activation_based.neuron")
    theirs = adapt(neuron.LIFNode(tau=2.0, decay_input=False, step_mode="m"))
    # both halve the membrane in a step
    ours = LIF(1 / math.log(2), dt=1.0)
    assert torch.equal(theirs(signal())[0], ours(signal())[0])


def test_layers_of_two_libraries_stand_in_a_row_once_each_is_adapted() -> None:
    mixed = nn.Sequential(spikingjelly("s"), library("snntorch").Leaky(beta=0.5, init_hidden=True))
    with pytest.raises(ConfigError, match="mixes layers of spikingjelly and snntorch"):
        adapt(mixed)

    row = Sequential(adapt(mixed[0]), adapt(mixed[1]))
    assert row(signal())[0].shape == (12, 4, 4)


@pytest.mark.parametrize("name", MAKERS)
def test_a_module_with_a_hidden_state_is_no_part_until_it_is_adapted(name: str) -> None:
    module = MAKERS[name]()
    inputs: Any = {"dt": 0.001, "inputs": {"x": every(0.001)}, "links": [Transmission("x", "p")], "outputs": ["p"]}
    for part in (module, nn.Sequential(nn.Identity(), module)):
        with pytest.raises(
            ConfigError, match=r"part 'p' holds the .* of \w+, whose state .*spikebridge\.deploy\.adapt"
        ):
            HybridNetwork(parts={"p": part}, **inputs)
        with pytest.raises(ConfigError, match=r"layer '0' holds the"):
            Sequential(part)
        with pytest.raises(ConfigError, match=r"'nonlinearity' holds the"):
            HybridUnit(None, None, part)

    HybridNetwork(parts={"p": adapt(module)}, **inputs)


def test_layers_of_a_spiking_library_that_keep_no_state_are_parts_as_they_are() -> None:
    assert set(SPIKING_LIBRARIES) == set(_ADAPTERS)
    pool = library("sinabs.layers").SumPool2d(2)
    conv = library("spikingjelly.activation_based.layer").Conv2d(1, 1, 3)
    assert Sequential(conv, pool)(torch.ones(2, 1, 1, 6, 6))[0].shape == (2, 1, 1, 2, 2)


def test_what_cannot_be_adapted_is_refused_with_the_remedy() -> None:
    with pytest.raises(ConfigError, match="Linear has no layer of"):
        adapt(nn.Linear(2, 2))

    neuron = library("spikingjelly.activation_based.neuron")
    with pytest.raises(ConfigError, match=r"set_step_mode\(module, 'm'\)"):
        adapt(nn.Sequential(neuron.IFNode(step_mode="s"), neuron.IFNode(step_mode="m")))

    with pytest.raises(ConfigError, match="init_hidden=True"):
        adapt(nn.Sequential(nn.Linear(2, 2), library("snntorch").Leaky(beta=0.5)))

    with pytest.raises(ConfigError, match="has no quantity"):
        adapt(neuron.IFNode(step_mode="m"))(signal(), v_threshold=2.0)
