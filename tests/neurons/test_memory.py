"""Layers of an ANN with a state: PyTorch's own modules and the exact solution of the filters are the oracles."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.signal import cont2discrete
from torch import Tensor, nn

from spikebridge.deploy.bundle.export import export
from spikebridge.deploy.compare import compare_bundle
from spikebridge.errors import ConfigError, ShapeError, StateError
from spikebridge.hybrid import HybridNetwork, HybridUnit, Mean, Transmission, Tumbling, every
from spikebridge.neurons import LIF, DiagonalStateSpace, Memory, Sequential, Stateful, select
from spikebridge.neurons.state import tensors_of

DT = 0.001
MAKE: dict[str, Callable[[], Stateful]] = {
    "RNNCell": lambda: Memory(nn.RNNCell(3, 5)),
    "GRUCell": lambda: Memory(nn.GRUCell(3, 5)),
    "LSTMCell": lambda: Memory(nn.LSTMCell(3, 5)),
    "RNN": lambda: Memory(nn.RNN(3, 5, num_layers=2)),
    "GRU": lambda: Memory(nn.GRU(3, 5, num_layers=2)),
    "LSTM": lambda: Memory(nn.LSTM(3, 5)),
    "LSTM, projected": lambda: Memory(nn.LSTM(3, 5, num_layers=2, proj_size=2)),
    "state space": lambda: DiagonalStateSpace(3, modes=4, tau=(0.002, 0.02), dt=DT),
    "in a row": lambda: Sequential(gru=Memory(nn.GRUCell(3, 5)), fc=nn.Linear(5, 4), lif=LIF(0.01, dt=DT)),
}
layers = pytest.mark.parametrize("name", MAKE)


def made(name: str) -> Stateful:
    torch.manual_seed(0)
    return MAKE[name]().double()


def signal(num_steps: int = 12, batch: int = 4) -> Tensor:
    return torch.randn(num_steps, batch, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("cut", [0, 1, 5, 12])
@layers
def test_two_halves_make_the_whole(name: str, cut: int) -> None:
    layer = made(name)
    x = signal()
    whole, last = layer(x)
    first, state = layer(x[:cut])
    second, state = layer(x[cut:], state)

    torch.testing.assert_close(torch.cat([first, second]), whole, rtol=1e-12, atol=1e-12)
    for a, b in zip(tensors_of(state), tensors_of(last), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@layers
def test_steps_and_their_gradients_are_those_of_the_whole(name: str) -> None:
    layer = made(name)
    x = signal()
    parameters = list(layer.parameters())
    whole, _ = layer(x)
    expected = torch.autograd.grad(whole.square().sum(), parameters)

    state = layer.initial_state(x[0])
    outputs = []
    for x_t in x:
        y_t, state = layer.advance(x_t, state, {})
        outputs.append(y_t)

    y = torch.stack(outputs)
    torch.testing.assert_close(y, whole, rtol=1e-12, atol=1e-12)
    for a, b in zip(torch.autograd.grad(y.square().sum(), parameters), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


@layers
def test_selected_samples_go_on_as_in_the_batch(name: str) -> None:
    layer = made(name)
    x = signal()
    _, state = layer(x[:5])
    whole, _ = layer(x[5:], state)
    alone, _ = layer(x[5:, [2, 0]], select(state, [2, 0]))

    torch.testing.assert_close(alone, whole[:, [2, 0]], rtol=1e-12, atol=1e-12)


def test_a_cell_gives_the_values_of_the_module_with_its_weights() -> None:
    module = nn.GRU(3, 5).double()
    cell = nn.GRUCell(3, 5).double()
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in module.state_dict().items()})
    x = signal()

    torch.testing.assert_close(Memory(cell)(x)[0], module(x)[0], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(Memory(module)(x)[0], module(x)[0], rtol=0, atol=0)


def test_a_state_space_step_is_the_exact_solution_for_an_input_constant_in_it() -> None:
    layer = DiagonalStateSpace(1, modes=3, tau=(0.004, 0.004), dt=DT).double()
    a = (-layer.log_decay.exp() + 1j * layer.frequency)[0].detach().numpy()
    c = torch.complex(*layer.readout)[0].detach().numpy()
    system = (np.diag(a), np.ones((3, 1)), c[None], np.array([[layer.feedthrough.item()]]))
    ad, bd, cd, dd, _ = cont2discrete(system, DT, method="zoh")

    z = np.zeros((3, 1), dtype=complex)
    expected = []
    x = signal(batch=1)[..., :1]
    for u in x.flatten().tolist():
        z = ad @ z + bd * u
        expected.append((cd @ z + dd * u).real.item())

    y, _ = layer(x)
    np.testing.assert_allclose(y.flatten().detach().numpy(), expected, rtol=1e-10)


@pytest.mark.untyped
def test_an_ann_with_memory_is_a_part_of_a_network_and_of_its_bundle(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = HybridNetwork(
        dt=DT,
        inputs={"events": every(DT)},
        parts={
            "snn": Sequential(fc=nn.Linear(3, 6), lif=LIF(0.01, v_threshold=0.3)),
            "ann": Memory(nn.GRUCell(6, 4)),
            "slow": Sequential(ssm=DiagonalStateSpace(4, modes=2), fc=nn.Linear(4, 2)),
        },
        links=[
            Transmission("events", "snn"),
            Transmission("snn", "ann", HybridUnit(Tumbling(4), Mean())),
            Transmission("ann", "slow"),
        ],
        outputs=["ann", "slow"],
    )
    x = 2 * torch.rand(24, 2, 3)
    whole, _ = network({"events": x})
    state = None
    pieces = []
    for x_t in x:
        outputs, state = network.step({"events": x_t}, state)
        pieces += [outputs["slow"]] if len(outputs["slow"]) else []

    torch.testing.assert_close(torch.stack(pieces), whole["slow"], rtol=1e-5, atol=1e-6)

    bundle = export(network, {"events": x}, tmp_path / "memory.bundle")
    assert compare_bundle(bundle).passed


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Memory(nn.Linear(3, 2)), "nn.GRUCell"),
        (lambda: Memory(nn.GRU(3, 2, bidirectional=True)), "bidirectional"),
        (lambda: Memory(nn.LSTM(3, 2, batch_first=True)), "time first"),
        (lambda: DiagonalStateSpace(0), "features"),
        (lambda: DiagonalStateSpace(2, modes=1.5), "modes"),
        (lambda: DiagonalStateSpace(2, tau=(1.0, 0.1)), "shortest <= longest"),
        (lambda: DiagonalStateSpace(2)(torch.zeros(2, 1, 2)), "dt"),
    ],
)
def test_wrong_settings_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


@layers
def test_a_signal_or_a_state_of_other_sizes_is_refused(name: str) -> None:
    layer = made(name)
    with pytest.raises((ShapeError, RuntimeError)):
        layer(torch.zeros(2, 4, 7, dtype=torch.float64))

    _, state = layer(signal())
    with pytest.raises(StateError):
        layer(signal(batch=2), state)
